"""The study of summaries on a drawn class whose parts are known, through tables made up here."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from visual_summaries.pipeline.config import load_config
from visual_summaries.pipeline.data.decode import DecodeError
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.runtime.units import Output, Unit
from visual_summaries.pipeline.stages.candidates import CandidatesStage, stored_candidates
from visual_summaries.pipeline.stages.studies import STUDIES

sys.path.insert(0, str(Path(__file__).parents[2] / "summarize"))

from drawn_parts import CELL, GRID, Drawn, draw, pattern  # noqa: E402

SIDE, COUNT = GRID * CELL, 12
# Of the photographs, wider than what the network sees, this much is cut off on the left and on the right.
MARGIN = 20
UNIT = Unit("drawn", ())


class Worker:
    """The tables of one class, as a stage reads them; no photograph can be opened."""

    def __init__(self, drawn: Drawn, landmarks: str) -> None:
        self.step = lambda: None
        self.setup = SimpleNamespace(preprocessing=Preprocessing(SIDE, SIDE))
        self.classifier = SimpleNamespace(class_names=("drawn", "other"))
        values = {"model.name": "demo", "evaluation.subsamples": 3, "summaries.resamples": 0}
        self.config = load_config(values=values | {"data.landmarks": landmarks})
        ids = [f"image {number:02d}" for number in range(COUNT)]
        self.tables: dict[str, list[dict[str, Any]]] = {
            "images": [
                {"image_id": one, "uri": f"/somewhere/drawn/{one}.jpg", "width": SIDE + 2 * MARGIN, "height": SIDE}
                for one in ids
            ],
            "features": [
                {"image_id": one, "features": own.astype(np.float16).tobytes(), "features_shape": list(own.shape)}
                for one, own in zip(ids, drawn.features, strict=True)
            ],
            "maps": [
                {"image_id": one, "saliency": 255 * mask.astype(np.uint8), "saliency_shape": [1, SIDE, SIDE]}
                for one, mask in zip(ids, drawn.masks, strict=True)
            ],
        }
        self.tables["candidates"] = CandidatesStage().compute(self, UNIT, ()).rows
        chosen = [row for row in self.tables["candidates"] if row["rank"] is not None]
        self.tables["members"] = [
            {**row, "cluster": row["candidate"], "proposal": None, "kept": True} for row in chosen
        ]
        self.tables["summaries"] = [
            {"cluster": number, "summary": 10 + number, "kept": True}
            for number in sorted({row["candidate"] for row in chosen})
        ]

    def read(self, unit: Unit, table: str, columns: list[str] | None = None) -> list[dict[str, Any]]:
        return [dict(row) if columns is None else {name: row[name] for name in columns} for row in self.tables[table]]

    def photographs(self, unit: Unit) -> dict[str, dict[str, Any]]:
        return {row["image_id"]: row for row in self.tables["images"]}

    def analyzed_image(self, row: dict[str, Any], margin: int = 0) -> None:
        raise DecodeError("gone")


def middle(cells: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(cells)
    return (columns.mean() + 0.5) * CELL + MARGIN, (rows.mean() + 0.5) * CELL


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    # Of patterns that vary more from cell to cell, the cells least like the others are not found: a quarter of a head.
    patterns = {"head": pattern(0, 5, 5, spread=0.2), "wing": pattern(1, 6, 5, spread=0.2)}
    return draw(patterns, COUNT, moving=4, noise=0.2)


@pytest.fixture(scope="module")
def worker(drawn: Drawn, tmp_path_factory: pytest.TempPathFactory) -> Worker:
    """Half of the wings are called left ones; in the first image the head has no landmark but one beside the crop."""
    path = tmp_path_factory.mktemp("landmarks") / "landmarks.csv"
    lines = ["file,part,x,y"]
    for number in range(COUNT):
        x, y = middle(drawn.truth["wing"][number])
        lines.append(f"drawn/image {number:02d}.jpg,{('left wing', 'right wing')[number % 2]},{x},{y}")
        x, y = middle(drawn.truth["head"][number])
        if number:
            lines.append(f"drawn/image {number:02d}.jpg,head,{x},{y}")
        else:
            lines.append(f"drawn/image {number:02d}.jpg,horn,{MARGIN - 0.5},{y}")
    path.write_text("\n".join(lines) + "\n")
    return Worker(drawn, str(path))


@pytest.fixture(scope="module")
def measured(worker: Worker) -> dict[tuple[str, int], dict[str, Any]]:
    output = Output([])
    STUDIES["summaries"].measure(worker, UNIT, (), output)
    assert {row["reason"] for row in output.errors} == {"gone"}
    found = {(row["variant"], row["summary"]): row for row in output.rows}
    assert len(found) == len(output.rows) and all(row["image_id"] == "" for row in output.rows)
    return found


def part_of(drawn: Drawn, worker: Worker) -> dict[int, str]:
    """Summary → the part that it is."""
    ids = [row["image_id"] for row in worker.tables["images"]]
    candidates = stored_candidates(worker, UNIT, ids)
    assert {10 + number for number in candidates} == {row["summary"] for row in worker.tables["summaries"]}
    return {
        10 + number: max(drawn.truth, key=lambda part: drawn.found(candidate, part))
        for number, candidate in candidates.items()
    }


def test_stored_candidates_are_those_that_were_found(drawn: Drawn, worker: Worker) -> None:
    ids = [row["image_id"] for row in worker.tables["images"]]
    found = stored_candidates(worker, UNIT, ids)
    assert len(found) == 2
    for number, candidate in found.items():
        rows = [row for row in worker.tables["candidates"] if row["candidate"] == number]
        assert candidate.boxes.tolist() == [[row[edge] for edge in ("x0", "y0", "x1", "y1")] for row in rows]
        assert [ids[image] for image in candidate.images] == [row["image_id"] for row in rows]
        part = max(drawn.truth, key=lambda part: drawn.found(candidate, part))
        assert drawn.found(candidate, part) > 0.75
        assert not (candidate.segments & ~drawn.truth[part][candidate.images]).any()


def test_parts_are_found_again(drawn: Drawn, worker: Worker, measured: dict) -> None:
    for summary in part_of(drawn, worker):
        for variant in ("another seed", "80% of the images"):
            row = measured[f"found again, {variant}", summary]
            assert row["value"] == 1 and json.loads(row["protocol"]) == {"repetitions": 3, "images": COUNT}
    assert not any("Rand" in variant for variant, _ in measured)


def test_purity_is_that_of_the_parts(drawn: Drawn, worker: Worker, measured: dict) -> None:
    parts = part_of(drawn, worker)
    assert sorted(parts.values()) == ["head", "wing"]
    for summary, part in parts.items():
        row = measured["part purity", summary]
        counts = json.loads(row["protocol"])["nearest landmarks"]
        members = [one["image_id"] for one in worker.tables["members"] if one["cluster"] == summary - 10]
        # The first image's head is nearest to its wing: what lies beside the crop does not count.
        expected = {part: len(members)}
        if part == "head" and "image 00" in members:
            expected = {"head": len(members) - 1, "wing": 1}
        assert counts == expected and row["value"] == max(counts.values()) / len(members)
        random = measured["part purity of random salient boxes", summary]["value"]
        assert 0.5 <= random < 0.8
        gain = measured["part purity, gain over random salient boxes", summary]["value"]
        assert gain == pytest.approx(row["value"] - random)
        # One landmark in each box, the first image's head aside.
        assert measured["entropy of landmarks in the boxes", summary]["value"] <= 1


def test_a_summary_of_nothing_is_not_found_again(worker: Worker) -> None:
    steady, moved = sorted({row["candidate"] for row in worker.tables["members"]})

    def read(unit: Unit, table: str, columns: list[str] | None = None) -> list[dict[str, Any]]:
        rows = worker.read(unit, table, columns)
        if table == "candidates":
            nowhere = {"x0": 0.0, "y0": 0.0, "x1": 2.0, "y1": 2.0}
            return [row | nowhere if row["candidate"] == moved else row for row in rows]
        return [] if table == "members" else rows

    other = SimpleNamespace(**vars(worker), read=read, photographs=worker.photographs)
    output = Output([])
    STUDIES["summaries"].measure(other, UNIT, (), output)
    found = {(row["variant"], row["summary"]): row["value"] for row in output.rows}
    assert found == {
        (f"found again, {variant}", 10 + number): number == steady
        for variant in ("another seed", "80% of the images")
        for number in (steady, moved)
    }


def test_without_summaries_nothing_is_measured(worker: Worker) -> None:
    bare = SimpleNamespace(**vars(worker))
    bare.read = lambda unit, table, columns=None: [] if table == "summaries" else worker.read(unit, table, columns)
    output = Output([])
    STUDIES["summaries"].measure(bare, UNIT, (), output)
    assert output.rows == [] and output.errors == []
