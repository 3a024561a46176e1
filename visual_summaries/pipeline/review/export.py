"""From answers in SQLite to the table `ratings`, and back from the table to rows."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from visual_summaries.pipeline.evaluate.ratings import FIND_IMAGE, HIGHEST_RATING, MAP_RATING
from visual_summaries.pipeline.review.answers import AnswerStore
from visual_summaries.pipeline.review.questions import Shards, computed_from, shards_by_class
from visual_summaries.pipeline.store.tables import StoreError, TableStore, digest
from visual_summaries.schemas import TABLES, make_table

TABLE = "ratings"
RESTS_ON = ("summaries", "maps")


def export_answers(answers: AnswerStore, store: TableStore) -> tuple[int, int]:
    """Write the table `ratings`, one shard for each class, and its manifest; the same answers give the same shards.

    Returns:
        (rows written, answers left out). Answers about summaries or maps that the run does not have any more are left
        out; they stay in SQLite.

    Raises:
        StoreError: the answers cannot be read, or the table cannot be written.
    """
    columns = TABLES[TABLE].schema.names
    every = answers.all()
    by_label: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for answer in _current(every, shards_by_class(store, RESTS_ON)):
        by_label[answer["label"]].append({name: answer[name] for name in columns})
    shards = []
    for label, rows in sorted(by_label.items()):
        identity = digest([row | {"answered": row["answered"].isoformat()} for row in rows])
        path = store.shard_path(TABLE, identity, label, TABLE)
        shards.append(store.find(TABLE, path, label) or store.write(TABLE, path, make_table(TABLE, rows), label))
    store.write_manifest(TABLE, digest([shard.path for shard in shards]), shards, complete=True)
    written = sum(shard.rows for shard in shards)
    return written, len(every) - written


def current_ratings(store: TableStore) -> list[dict[str, Any]]:
    """Rows of the table `ratings` that are about what the run holds now; none where there is no such table.

    The run may have been made again, with other summaries under the same numbers, since the answers were exported.

    Raises:
        StoreError: a table is damaged.
    """
    if not (store.folder(TABLE) / "manifest.json").exists():
        return []
    return list(_current(store.read_all(TABLE).to_pylist(), shards_by_class(store, RESTS_ON)))


def _current(rows: Iterable[Mapping[str, Any]], shards: Shards) -> Iterable[Any]:
    for row in rows:
        if _origin(row) == computed_from(row["kind"], row["label"], shards):
            yield row


def _origin(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The shards that an answer was given about. A run, with its answers, may come from anywhere."""
    try:
        protocol = json.loads(row["protocol"])
        searched = row["kind"] != FIND_IMAGE or (isinstance(protocol["distractors"], str) and len(protocol["pool"]) > 0)
        rated = row["kind"] != MAP_RATING or 0 <= row["value"] <= HIGHEST_RATING
        if searched and rated:
            return tuple(protocol["computed_from"])
        problem = "it is out of range"
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        problem = f"{type(error).__name__}: {error}"
    raise StoreError(f"an answer of {row['rater']!r} about {row['label']!r} is damaged ({problem}); export them anew")
