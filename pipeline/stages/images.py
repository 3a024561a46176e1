"""Stage `images`: photographs → `images`: identity, size, prediction, scores and features of every image."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from pipeline.config import RunConfig
from pipeline.data.decode import DecodeError, read_image
from pipeline.models.preprocessing import Preprocessing
from pipeline.objects import is_remote, place, states_of
from pipeline.runtime.stage import Plan, Resources, Stage
from pipeline.runtime.units import Output, Unit, error_row
from pipeline.stages.constants import constants
from pipeline.stages.context import WorkerContext, chunks

IMAGES_PER_UNIT = 1024


class ImagesStage(Stage):
    """Decodes, predicts and describes every image of the catalog."""

    name = "images"
    writes = "images"
    resources = Resources(gpu=True)
    depends_on = ("classifier", "class names")

    def settings(self, config: RunConfig) -> Any:
        own = [config.explain.policy, config.model.batch_size, config.model.feature_layer]
        return [*own, constants(read_image, Preprocessing)]

    def units(self, plan: Plan) -> list[Unit]:
        units = []
        for group in plan.inputs.classes:
            states = file_states(entry.uri for entry in group.entries)
            for entries in chunks(group.entries, IMAGES_PER_UNIT):
                files = tuple((entry.uri, entry.split, *states[entry.uri]) for entry in entries)
                units.append(
                    Unit(
                        label=group.label,
                        identity=(group.class_index, files),
                        items=tuple(entry.uri for entry in entries),
                        payload=(group.class_index, {entry.uri: entry.split for entry in entries}),
                        divisible=True,
                        size=len(entries),
                    )
                )
        return units

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        class_index, splits = unit.payload
        output = Output(rows=[])
        seen: dict[str, str] = {}
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
                    "split": splits[uri],
                    "explained": False,
                }
                try:
                    decoded = read_image(uri)
                    if (first := seen.setdefault(decoded.image_id, uri)) != uri:
                        raise DecodeError(f"the same picture, byte for byte, as {first}", decoded.image_id)
                    batch.append(worker.first_square(decoded))
                    row |= {"width": decoded.width, "height": decoded.height, "mode": decoded.mode}
                    row["image_id"] = decoded.image_id
                    rows.append(row)
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
        return output

    def excluded_row(self, unit: Unit, item: str, reason: str) -> dict[str, Any]:
        return error_row(self.name, unit.label, reason, uri=item, retry=True)

    def _predict(self, worker: WorkerContext, batch: list[torch.Tensor], rows: list[dict[str, Any]]) -> None:
        """Fill in prediction, scores and features of decoded rows."""
        with torch.no_grad():
            images = worker.model_input(batch)
            probabilities = worker.classifier.logits(images).softmax(dim=1).cpu().numpy()
            features = worker.classifier.features(images).cpu().numpy()
        policy = worker.config.explain.policy
        for row, scores, vector in zip(rows, probabilities, features, strict=True):
            prediction = int(scores.argmax())
            correct = prediction == row["class_index"]
            row |= {
                "prediction": prediction,
                "prediction_name": worker.classifier.class_names[prediction],
                "prediction_score": float(scores[prediction]),
                "score": float(scores[row["class_index"]]),
                "explained": row["split"] == "fit" and (policy == "all" or correct),
                "probabilities": scores.astype(np.float32).tobytes(),
                "features": vector.astype(np.float16).tobytes(),
            }


def file_states(uris: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Size and modification time (ns) of each file, −1 where it is not there: a changed file is read again.

    Raises:
        ObjectError: an object store does not answer.
    """
    uris = list(uris)
    states = states_of(uri for uri in uris if is_remote(uri))
    return {uri: states.get(uri, (-1, -1)) if is_remote(uri) else _file_state(uri) for uri in uris}


def _file_state(uri: str) -> tuple[int, int]:
    try:
        state = place(uri).stat()
    except (OSError, ValueError):
        return (-1, -1)
    return (state.st_size, state.st_mtime_ns)
