"""Answers in a run that comes from elsewhere."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from visual_summaries.pipeline.evaluate.ratings import FIND_IMAGE, MAP_RATING
from visual_summaries.pipeline.review.export import TABLE, current_ratings
from visual_summaries.pipeline.store.tables import StoreError, TableStore
from visual_summaries.schemas import TABLES, make_table

WHOLE = {"computed_from": [], "distractors": "same class", "pool": ["a"]}


@pytest.mark.parametrize(
    "kind, value, protocol",
    [
        (MAP_RATING, 3.0, "no JSON"),
        (MAP_RATING, 3.0, "[" * 100_000),
        (MAP_RATING, 3.0, "[]"),
        (MAP_RATING, 3.0, "{}"),
        (MAP_RATING, 3.0, json.dumps(WHOLE | {"computed_from": 5})),
        (MAP_RATING, 70.0, json.dumps(WHOLE)),
        (MAP_RATING, None, json.dumps(WHOLE)),
        (FIND_IMAGE, 1.0, json.dumps(WHOLE | {"pool": []})),
        (FIND_IMAGE, 1.0, json.dumps(WHOLE | {"distractors": ["x"]})),
    ],
    ids="text levels list empty number high none pool distractors".split(),
)
def test_damaged_answers_are_named(tmp_path: Path, kind: str, value: float | None, protocol: str) -> None:
    store = TableStore(tmp_path)
    for table in ("summaries", "maps"):
        store.write_manifest(table, "f", [], complete=True)
    row = dict.fromkeys(TABLES[TABLE].schema.names) | {
        "kind": kind,
        "label": "cat",
        "rater": "Ann",
        "value": value,
        "protocol": protocol,
        "answered": datetime.now(UTC),
    }
    path = store.shard_path(TABLE, "f", "cat", "u")
    store.write_manifest(TABLE, "f", [store.write(TABLE, path, make_table(TABLE, [row]), "cat")], complete=True)
    with pytest.raises(StoreError, match="an answer of 'Ann' about 'cat' is damaged"):
        current_ratings(store)
