"""What the runs of this folder's tests have in common, wherever they write."""

from pathlib import Path

from runs import tables

SETTINGS = (
    "explain.shard_size=4",
    "explain.batch_size=4",
    "proposals.limit=100",
    "ray.workers=2",
    "pruning.minimum_members=2",
    "explain.preset=fast",
)


def comparable(output: Path | str) -> dict[str, list[dict]]:
    """Rows of all tables, with photographs named as both runs name them."""
    found = {name: table.to_pylist() for name, table in tables(output).items()}
    for rows in found.values():
        for row in rows:
            if row.get("uri"):
                row["uri"] = "/".join(row["uri"].split("/")[-2:])
    return found
