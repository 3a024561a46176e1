"""What `compare` reads of runs with many classes."""

from collections import Counter
from pathlib import Path

import pytest

from visual_summaries.pipeline.commands.compared import ClassOfRun, FinishedTables, Run, compared_class
from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.store.tables import TableStore
from visual_summaries.schemas import make_table

SCORES = {"prediction": 0, "prediction_name": "one", "class_index": 0, "uri": "", "split": "fit", "explained": True}


def made_up(folder: Path, labels: list[str]) -> TableStore:
    """Classes of two images each, in a shard an image."""
    store = TableStore(folder)
    for table in ("images", "maps", "summaries", "members"):
        shards = []
        for label in labels:
            for number in range(2):
                rows = [{"image_id": f"{label} {number}", "label": label} | SCORES] if table == "images" else []
                path = store.shard_path(table, "f", label, str(number))
                shards.append(store.write(table, path, make_table(table, rows), label))
        store.write_manifest(table, "f", shards, complete=True)
    return store


def test_a_class_is_read_as_the_manifest_says_and_each_manifest_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = [f"class {number}" for number in range(5)]
    plain = made_up(tmp_path, labels)
    stores = [FinishedTables(tmp_path), FinishedTables(tmp_path)]
    for label in [*labels, "unknown"]:
        assert stores[0].read_all("images", label=label).equals(plain.read_all("images", label=label))
    assert stores[0].read_all("images").equals(plain.read_all("images"))
    counts: Counter[str] = Counter()
    read = TableStore.manifest
    monkeypatch.setattr(TableStore, "manifest", lambda self, table: counts.update([table]) or read(self, table))
    runs = [Run(store, RunConfig(), Preprocessing()) for store in stores]
    reads: Counter[str] = Counter()
    once = TableStore.read
    monkeypatch.setattr(
        TableStore, "read", lambda self, table, *more: reads.update([table]) or once(self, table, *more)
    )
    for label in labels:
        own = [ClassOfRun(run, label) for run in runs]
        assert compared_class(own).answers == ((2, 2), (2, 2)) and own[0].pictures.name == "one"
    # The images of one of the two had been read before.
    assert counts == {"images": 1, "maps": 2, "summaries": 2, "members": 2}
    assert reads == dict.fromkeys(counts, 2 * len(labels))
