"""Stage `images`: photographs → `images`: identity, size, prediction, scores and features of every image."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.data.archives.address import TAR, is_member, member_of
from visual_summaries.pipeline.data.catalog import CatalogEntry
from visual_summaries.pipeline.data.decode import DecodeError, read_image
from visual_summaries.pipeline.explain.interface import class_scores
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.objects import is_remote, place, states_of
from visual_summaries.pipeline.runtime.stage import Plan, Resources, Stage
from visual_summaries.pipeline.runtime.units import Output, Unit, error_row
from visual_summaries.pipeline.stages.constants import constants
from visual_summaries.pipeline.stages.context import WorkerContext, chunks
from visual_summaries.pipeline.store.tables import digest

IMAGES_PER_UNIT = 1024
# The split of a file that could be a copy of one in another unit is drawn from its bytes, so copies share it.
BY_CONTENT = "by content"


class ImagesStage(Stage):
    """Decodes, predicts and describes every image of the catalog."""

    name = "images"
    version = 2
    writes = "images"
    resources = Resources(gpu=True)
    depends_on = ("classifier", "class names")

    def settings(self, config: RunConfig) -> Any:
        own = [config.explain.policy, config.model.batch_size, config.model.feature_layer]
        return [*own, constants(read_image, Preprocessing)]

    def units(self, plan: Plan) -> list[Unit]:
        units, data = [], plan.config.data
        for group in plan.inputs.classes:
            states = file_states(entry.uri for entry in group.entries)
            for entries, alone in copies_together(group.entries, states, IMAGES_PER_UNIT):
                splits = {entry.uri: entry.split if alone else BY_CONTENT for entry in entries}
                files = tuple((uri, split, *states[uri]) for uri, split in splits.items())
                units.append(
                    Unit(
                        label=group.label,
                        identity=(
                            group.class_index,
                            files,
                            *(() if alone else (data.test, data.held_out, plan.config.seed)),
                        ),
                        items=tuple(splits),
                        payload=(group.class_index, splits),
                        divisible=True,
                        size=len(entries),
                    )
                )
        return units

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        class_index, splits = unit.payload
        output, data = Output(rows=[]), worker.config.data
        seen: dict[str, str] = {}
        remarks: dict[str, list[str]] = {}
        # Of equal files the one that is explained stays: a copy among the test images would spoil the test.
        ordered = sorted(items, key=lambda uri: (splits[uri] != "fit", uri))
        for uris in chunks(ordered, worker.config.model.batch_size):
            batch, rows = [], []
            for uri in uris:
                row: dict[str, Any] = {
                    "image_id": "",
                    "uri": uri,
                    "label": unit.label,
                    "class_index": class_index,
                    "split": "fit" if splits[uri] == BY_CONTENT else splits[uri],
                    "explained": False,
                }
                try:
                    decoded = read_image(uri)
                    if (first := seen.setdefault(decoded.image_id, uri)) != uri:
                        raise DecodeError(f"the same picture, byte for byte, as {first}", decoded.image_id)
                    batch.append(worker.first_square(decoded))
                    row |= {"width": decoded.width, "height": decoded.height, "mode": decoded.mode}
                    row["image_id"] = decoded.image_id
                    if splits[uri] == BY_CONTENT:
                        row["split"] = split_by_content(decoded.image_id, data.test, data.held_out, worker.config.seed)
                    rows.append(row)
                    for remark in decoded.remarks:
                        remarks.setdefault(remark.kind, []).append(f"{uri}: {remark.said}")
                except DecodeError as error:
                    row |= {"image_id": error.image_id or "", "decode_error": str(error)}
                    output.rows.append(row)
                    output.errors.append(
                        error_row(
                            self.name, unit.label, str(error), error.image_id, uri, retry=error.image_id is None
                        )
                    )
            if batch:
                self._predict(worker, batch, rows)
                output.rows.extend(rows)
            worker.advance(unit, len(uris))
        output.rows.sort(key=lambda row: row["uri"])
        for alike in remarks.values():
            # Of the class, not of an image: nothing is left out.
            several = f"{len(alike)} images, the first of them " if len(alike) > 1 else ""
            output.errors.append(error_row(self.name, unit.label, several + min(alike)))
        return output

    def excluded_row(self, unit: Unit, item: str, reason: str) -> dict[str, Any]:
        return error_row(self.name, unit.label, reason, uri=item, retry=True)

    def _predict(self, worker: WorkerContext, batch: list[torch.Tensor], rows: list[dict[str, Any]]) -> None:
        """Fill in prediction, scores and features of decoded rows."""
        with torch.no_grad():
            images = worker.model_input(batch)
            logits = worker.classifier.logits(images)
            probabilities = class_scores(worker.classifier, logits).cpu().numpy()
            features = worker.classifier.features(images).cpu().numpy()
        policy = worker.config.explain.policy
        for row, scores, vector in zip(rows, probabilities, features, strict=True):
            prediction = predicted_class(scores, row["class_index"], worker.classifier.independent)
            correct = prediction == row["class_index"]
            if prediction is not None:
                row |= {
                    "prediction_name": worker.classifier.class_names[prediction],
                    "prediction_score": float(scores[prediction]),
                }
            row |= {
                "prediction": prediction,
                "score": float(scores[row["class_index"]]),
                "explained": row["split"] == "fit" and (policy == "all" or correct),
                "probabilities": scores.astype(np.float32).tobytes(),
                "features": vector.astype(np.float16).tobytes(),
            }


def predicted_class(scores: np.ndarray, own: int, independent: bool) -> int | None:
    """What an image of the class `own` is predicted as, by its scores `[K]`: the class of the highest score.

    Of `independent` classes it may be several: its own if it is among them, else the one of the highest score, or None
    where no score is at least ½.
    """
    best = int(scores.argmax())
    if not independent:
        return best
    if scores[own] >= 0.5:
        return own
    return best if scores[best] >= 0.5 else None


def copies_together(
    entries: Sequence[CatalogEntry], states: Mapping[str, tuple[int, int]], limit: int
) -> Iterator[tuple[list[CatalogEntry], bool]]:
    """Pieces of at most `limit` files, each with whether no copy of its files can be in another piece.

    Copies have equal sizes, so files of a size stay together; where there are more than `limit` of one size they fill
    pieces of their own.
    """
    by_size: dict[int, list[CatalogEntry]] = {}
    for entry in entries:
        by_size.setdefault(states[entry.uri][0], []).append(entry)
    piece: list[CatalogEntry] = []
    for alike in by_size.values():
        if len(alike) > limit:
            yield from ((list(some), False) for some in chunks(alike, limit))
            continue
        if len(piece) + len(alike) > limit:
            yield piece, True
            piece = []
        piece = [*piece, *alike]
    if piece:
        yield piece, True


def split_by_content(image_id: str, test: float, held_out: float, seed: int) -> str:
    """The split of a file by its sha256 alone: `test` and `held_out` are the shares of those."""
    drawn = int(digest(seed, "split", image_id)[:13], 16) / 16**13
    return "test" if drawn < test else "held-out" if drawn < test + held_out else "fit"


def file_states(uris: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Size and modification time (ns) of each file, −1 where it is not there: a changed file is read again.

    Of a photograph in an archive it is its own size, −1 where that is not known, and the time of the archive.

    Raises:
        ObjectError: an object store does not answer.
    """
    uris = list(uris)
    members = {uri: member_of(uri) for uri in uris if is_member(uri)}
    # Each archive once, for all its photographs.
    files = {uri: uri for uri in uris if uri not in members} | {uri: one.archive for uri, one in members.items()}
    places = list(dict.fromkeys(files.values()))
    states = {one: _MISSING for one in places} | states_of(one for one in places if is_remote(one))
    states |= _file_states([one for one in places if not is_remote(one)])
    found = {uri: states[file] for uri, file in files.items()}
    for uri, member in members.items():
        if found[uri] != _MISSING:
            found[uri] = (member.size if member.kind == TAR else -1, found[uri][1])
    return found


_MISSING = (-1, -1)
# Looked at together: each look at a file of a network's disk is a wait.
TOGETHER, AT_A_TIME = 16, 32


def _file_states(uris: Sequence[str]) -> dict[str, tuple[int, int]]:
    parts = chunks(uris, AT_A_TIME)
    if len(parts) < 2:
        return {one: _file_state(one) for one in uris}
    with ThreadPoolExecutor(TOGETHER) as threads:
        found = threads.map(lambda part: [(one, _file_state(one)) for one in part], parts)
        return {one: state for part in found for one, state in part}


def _file_state(uri: str) -> tuple[int, int]:
    try:
        state = place(uri).stat()
    except (OSError, ValueError):
        return _MISSING
    return (state.st_size, state.st_mtime_ns)
