"""The table at a run's end: whose accuracy it shows, and that its columns are explained."""

import io
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from visual_summaries.pipeline.commands.outcome import print_outcome
from visual_summaries.pipeline.runtime.settings import Location
from visual_summaries.pipeline.store.tables import TableStore

# Of class a three of four are right and one cannot be read, of class b one of two; of the other nothing is predicted.
IMAGES = {
    "a": {"class_index": [0] * 5, "prediction": [0, 0, 0, 1, None], "decode_error": [None] * 4 + ["broken"]},
    "b": {"class_index": [1] * 2, "prediction": [1, None], "decode_error": pa.nulls(2, pa.string())},
}


def metric(label: str, name: str, value: float, n: int = 1) -> dict[str, Any]:
    return {"label": label, "metric": name, "value": value, "low": None, "high": None, "n": n}


@pytest.fixture
def said(tmp_path, monkeypatch: pytest.MonkeyPatch) -> str:  # noqa: ANN001
    metrics = [metric(label, "summaries", 2) for label in ("", "a", "b")]
    metrics += [metric(label, "accounted for", 0.5) for label in ("", "a", "b")]
    for name in ("accuracy before specialists", "accuracy after specialists"):
        metrics += [metric("", name, 0.5, 2), metric("a", name, 0), metric("b", name, 1)]

    def read_all(self: TableStore, table: str, columns: list[str] | None = None) -> Any:
        return SimpleNamespace(to_pylist=lambda: metrics if table == "metrics" else [])

    def read(self: TableStore, table: str, shards: list[str], columns: list[str]) -> pa.Table:
        (label,) = shards
        names = [None if one is None else "ab"[one] for one in IMAGES[label]["prediction"]]
        return pa.table(IMAGES[label] | {"prediction_name": names}).select(columns)

    monkeypatch.setattr(TableStore, "read_all", read_all)
    monkeypatch.setattr(TableStore, "read", read)
    shards = [SimpleNamespace(path=label, label=label) for label in IMAGES]
    monkeypatch.setattr(TableStore, "manifest", lambda self, table: shards)
    printed = io.StringIO()
    print_outcome(SimpleNamespace(output=Location(str(tmp_path))), Console(file=printed, width=120))
    return printed.getvalue()


def test_the_accuracy_is_that_of_the_report(said: str) -> None:
    rows = [line.split() for line in said.splitlines()]
    assert ["class", "summaries", "accounted", "accuracy", "test", "fused"] in rows
    assert ["a", "2", "50%", "75.0%", "0.0%", "0.0%"] in rows
    assert ["b", "2", "50%", "50.0%", "100.0%", "100.0%"] in rows
    assert ["all", "2.0", "50%", "66.7%", "50.0%", "50.0%"] in rows


def test_columns_are_explained_where_they_are_there(said: str) -> None:
    notes = [line.split(":")[0] for line in said.splitlines() if ": " in line]
    assert notes == ["accounted", "accuracy", "test"] and "the same on the 2 set aside for tests" in said
