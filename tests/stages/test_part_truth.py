"""Kept summaries against known parts, from tables made up here: by hand, to the last row and the printed sentence."""

import json
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from visual_summaries.pipeline.commands.evaluate import check_studies, default_studies
from visual_summaries.pipeline.commands.outcome import known_parts, print_outcome
from visual_summaries.pipeline.config import ConfigurationError, load_config
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.runtime.settings import Location
from visual_summaries.pipeline.runtime.units import Output, Unit
from visual_summaries.pipeline.stages.part_truth import class_truths, truth_rows
from visual_summaries.pipeline.stages.part_truth import known_parts as known_parts_of
from visual_summaries.pipeline.stages.studies import STUDIES
from visual_summaries.pipeline.store.tables import TableStore

SIDE = 100
EDGES = ("x0", "y0", "x1", "y1")
# A photograph of 300 × 200 px is seen from column 50 to column 250: two pixels of it are one of the square.
WIDTH, HEIGHT = 300, 200
HEAD, TAIL, LEG = (50, 0, 90, 40), (150, 100, 190, 140), (90, 0, 130, 40)


def seen(box: tuple[int, ...], cut: float = 1.0) -> dict[str, float]:
    """A box of the photograph as the network sees it, narrowed to a share `cut` of its width."""
    x0, y0, x1, y1 = ((edge - start) / 2 for edge, start in zip(box, (50, 0, 50, 0), strict=True))
    return dict(zip(EDGES, (x0, y0, x0 + cut * (x1 - x0), y1), strict=True))


class Worker:
    """The tables of two classes, as a stage reads them."""

    def __init__(self) -> None:
        preprocessing = Preprocessing(SIDE, SIDE, (0.5,) * 3, (0.5,) * 3)
        self.setup = SimpleNamespace(preprocessing=preprocessing)
        self.config = SimpleNamespace(model=SimpleNamespace(name="network"))
        images = [(label, number) for label in ("bird", "fish", "stone") for number in range(4)]
        summaries = [("bird", 7, 0), ("bird", 2, 1), ("bird", 5, 2), ("fish", 7, 0)]
        places = {
            ("bird", 7): (TAIL, 0.4),
            ("bird", 2): (HEAD, 0.8),
            ("bird", 5): (HEAD, 0.6),
            ("bird", 9): (TAIL, 1.0),
            ("fish", 7): (HEAD, 1.0),
        }
        self.tables: dict[str, list[dict[str, Any]]] = {
            "images": [
                {"image_id": f"{label} {number}", "label": label, "uri": f"/somewhere/{label}/{number}.jpg"}
                | {"width": WIDTH, "height": HEIGHT}
                for label, number in images
            ],
            "summaries": [
                {"label": label, "cluster": cluster, "summary": summary, "kept": True}
                for label, cluster, summary in summaries
            ]
            + [{"label": "bird", "cluster": 9, "summary": 3, "kept": False}],
            "members": [
                {"label": label, "cluster": cluster, "image_id": f"{label} {number}", "kept": number < 2}
                # A member that is not kept is nowhere.
                | (seen(box, cut) if number < 2 else dict.fromkeys(EDGES, 0.0))
                for (label, cluster), (box, cut) in places.items()
                for number in range(4)
            ],
        }

    def read(self, unit: Any, table: str, columns: list[str]) -> list[dict[str, Any]]:
        rows = [row for row in self.tables[table] if unit is None or row["label"] == unit.label]
        return [{name: row[name] for name in columns} for row in rows]


@pytest.fixture
def parts(tmp_path) -> Path:  # noqa: ANN001
    lines = ["file,class,part,x0,y0,x1,y1,discriminative"]
    for number in range(4):
        for label, part, box, told in (
            ("bird", "head", HEAD, "true"),
            ("bird", "tail", TAIL, "true"),
            ("bird", "leg", LEG, "false"),
            ("fish", "fin", HEAD, "true"),
            ("elsewhere", "wing", HEAD, "true"),
        ):
            # One fish hides its fin.
            if (label, number) != ("fish", 1):
                lines.append(f"{label}/{number}.jpg,{label},{part},{','.join(map(str, box))},{told}")
    (tmp_path / "parts.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "parts.csv"


def test_summaries_are_judged_by_the_true_boxes(parts: Path) -> None:
    bird, fish = class_truths(Worker(), None, known_parts_of(parts))
    assert (bird.label, bird.parts, bird.summaries) == ("bird", ("head", "tail"), (0, 1, 2))
    np.testing.assert_allclose(bird.overlaps, [[0, 0.4], [0.8, 0], [0.6, 0]])
    assert (fish.label, fish.parts, fish.summaries) == ("fish", ("fin",), (0,))
    assert fish.overlaps.tolist() == [[0.5]]


def test_rows_by_hand(parts: Path) -> None:
    rows = list(truth_rows(class_truths(Worker(), None, known_parts_of(parts)), seed=0))
    value = {(row["label"], row["metric"]): row["value"] for row in rows}
    assert len(value) == len(rows) == 2 + 3 + 1 + 3 + 3 + 3
    assert value["bird", "overlap with part: head"] == pytest.approx(0.8)
    assert value["bird", "overlap with part: tail"] == pytest.approx(0.4)
    assert value["fish", "overlap with part: fin"] == 0.5
    # Two of the bird's summaries are the head, which counts once.
    expected = {
        ("bird", ""): (1 / 3, 1 / 2, 2 / 5),
        ("fish", ""): (1, 1, 1),
        ("", ""): (2 / 4, 2 / 3, 4 / 7),
        ("", ", overlap ≥ 0.3"): (3 / 4, 1, 6 / 7),
    }
    for (label, suffix), figures in expected.items():
        found = [value[label, f"part {name}{suffix}"] for name in ("precision", "recall", "F1")]
        assert found == pytest.approx(figures)
    overall = {row["metric"]: row for row in rows if not row["label"]}
    assert [overall[f"part {name}"]["n"] for name in ("precision", "recall", "F1")] == [4, 3, 7]
    recall = overall["part recall"]
    assert (recall["low"], recall["high"], recall["unit"]) == (0.5, 1, "share") and "≥ 0.5" in recall["method"]
    assert {"all classes" in row["method"] for row in overall.values()} == {True}
    assert all(row["low"] is None and "all classes" not in row["method"] for row in rows if row["label"])
    assert list(truth_rows([], seed=0)) == []


def test_the_outcome_says_how_many_parts_are_found(parts: Path, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN001
    rows = list(truth_rows(class_truths(Worker(), None, known_parts_of(parts)), seed=0))
    overall = {row["metric"]: row for row in rows if not row["label"]}
    sentence = (
        "Known parts: 2 of 3 found, each by one of 4 summaries: precision 0.50 (0.33 – 1.00), recall 0.67 "
        "(0.50 – 1.00), F1 0.57 (0.40 – 1.00)."
    )
    assert known_parts(overall) == sentence

    def read_all(self: TableStore, table: str, columns: list[str] | None = None) -> Any:
        return SimpleNamespace(to_pylist=lambda: rows if table == "metrics" else [])

    monkeypatch.setattr(TableStore, "read_all", read_all)
    monkeypatch.setattr(TableStore, "manifest", lambda self, table: [])
    printed = StringIO()
    print_outcome(SimpleNamespace(output=Location(str(tmp_path))), Console(file=printed, width=200))
    lines = printed.getvalue().splitlines()
    assert sentence in lines and "  bird: best overlap with head 0.80, tail 0.40" in lines
    assert next(line for line in lines if line.lstrip().startswith("bird ")).split() == ["bird", "0.40"]
    assert next(line for line in lines if line.lstrip().startswith("all ")).split() == ["all", "0.57"]


def test_without_any_summary_precision_is_unknown(parts: Path) -> None:
    worker = Worker()
    worker.tables["summaries"] = []
    rows = list(truth_rows(class_truths(worker, None, known_parts_of(parts)), seed=0))
    overall = {row["metric"]: row for row in rows if not row["label"]}
    assert known_parts(overall) == (
        "Known parts: 0 of 3 found, each by one of 0 summaries: precision –, recall 0.00 (0.00 – 0.00), "
        "F1 0.00 (0.00 – 0.00)."
    )


def test_the_study_has_a_row_for_each_class_and_summary(parts: Path) -> None:
    rows = {}
    for label in ("bird", "fish", "stone"):
        output = Output([])
        STUDIES["truth"].measure(Worker(), Unit(label, (), payload=parts), (), output)
        assert not output.errors
        rows |= {(label, row["summary"], row["variant"]): row for row in output.rows}
    assert {label for label, _, _ in rows} == {"bird", "fish"}
    assert len(rows) == 2 * 6 + 3 + 1
    for least, figures in ((0.5, (1 / 3, 1 / 2, 2 / 5)), (0.3, (2 / 3, 1, 4 / 5))):
        names = [f"part {name} of a class, overlap ≥ {least}" for name in ("precision", "recall", "F1")]
        own = [rows["bird", None, name] for name in names]
        assert [row["value"] for row in own] == pytest.approx(figures)
    found = json.loads(own[0]["protocol"])
    assert found == {"parts": 2, "summaries": 3, "summary of a part": {"head": 1, "tail": 0}}
    nearest = [rows["bird", summary, "largest overlap with a part"] for summary in (0, 1, 2)]
    assert [json.loads(row["protocol"])["part"] for row in nearest] == ["tail", "head", "head"]
    assert [row["value"] for row in nearest] == pytest.approx([0.4, 0.8, 0.6])


def test_the_study_needs_parts_that_are_known(parts: Path) -> None:
    for values, known in (({"data.parts": str(parts)}, True), ({"data.images": "demo"}, True), ({}, False)):
        config = load_config(values={"model.name": "demo", **values})
        assert ("truth" in default_studies(config)) == known
        if known:
            check_studies(["truth"], config)
        else:
            with pytest.raises(ConfigurationError, match=r"set data\.parts"):
                check_studies(["truth"], config)


def test_another_truth_is_other_work(parts: Path) -> None:
    def units() -> list[Unit]:
        shards = {"summaries": {"bird": ("s",), "fish": ("t",)}, "members": {"bird": ("m",)}, "images": {}}
        plan = SimpleNamespace(
            inputs=SimpleNamespace(parts=parts),
            by_label=shards.get,
            contents=shards.get,
            images_by_label=lambda table: {"bird": 1, "fish": 1},
        )
        return STUDIES["truth"].units(plan)

    before = units()
    assert [unit.label for unit in before] == ["bird", "fish"] and before == units()
    with open(parts, "a") as file:
        file.write("bird/0.jpg,bird,wing,0,0,9,9,true\n")
    assert [unit.identity[1:] for unit in units()] == [unit.identity[1:] for unit in before]
    assert all(one.identity != other.identity for one, other in zip(units(), before, strict=True))
