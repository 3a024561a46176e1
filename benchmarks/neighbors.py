"""Summaries with nearest neighbors against those with all pairs: how much two finished runs have in common.

    visual-summaries summarize --images photos --output runs/all …
    visual-summaries summarize --images photos --output runs/near … matching.all_pairs_up_to=1 matching.neighbors=30
    python benchmarks/neighbors.py runs/all runs/near

For each class: image pairs of both; the adjusted Rand index of the clusters over the parts that both have; and the
share of summaries that are matched (the same part in half of their images), for kept ones and for all clusters of at
least three images. Prints Markdown. The figures of docs/reference/measurements/matching.md come from it.
"""

import sys
from collections import Counter, defaultdict

import numpy as np

from visual_summaries.pipeline.evaluate.stability import adjusted_rand_index, matched_share
from visual_summaries.pipeline.store.tables import TableStore
from visual_summaries.schemas import EDGES

LEAST_IMAGES = 3


def clusters(store: TableStore, label: str) -> dict[tuple[str, int], int]:
    """Part → cluster, noise left out."""
    rows = store.read_all("clusters", ["image_id", "proposal", "cluster"], label).to_pylist()
    return {(row["image_id"], row["proposal"]): row["cluster"] for row in rows if row["cluster"] is not None}


def summaries(store: TableStore, label: str, kept_only: bool) -> list[dict[str, np.ndarray]]:
    """Members of each summary, or of each cluster of enough images."""
    found: dict[int, dict[str, np.ndarray]] = defaultdict(dict)
    for row in store.read_all("members", ["cluster", "image_id", *EDGES, "kept"], label).to_pylist():
        if row["kept"] or not kept_only:
            found[row["cluster"]][row["image_id"]] = np.array([row[edge] for edge in EDGES])
    return [members for members in found.values() if len(members) >= LEAST_IMAGES]


def main(paths: list[str]) -> None:
    first, second = (TableStore(path) for path in paths)
    labels = sorted({shard.label for shard in first.manifest("matches")})
    print("| class | image pairs | parts | clusters | Rand index | matched summaries | matched clusters |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for label in labels:
        pairs = [store.read_all("pairs", ["task"], label).num_rows for store in (first, second)]
        found = [clusters(store, label) for store in (first, second)]
        sizes = [len(Counter(one.values())) for one in found]
        shares = []
        for kept_only in (True, False):
            members = [summaries(store, label, kept_only) for store in (first, second)]
            shares.append(f"{matched_share(*members):.2f} ({len(members[0])}, {len(members[1])})")
        common = len(set(found[0]) & set(found[1]))
        print(
            f"| {label} | {pairs[0]} → {pairs[1]} | {len(found[0])}, {len(found[1])}, {common} in both | "
            f"{sizes[0]}, {sizes[1]} | {adjusted_rand_index(*found):.2f} | {' | '.join(shares)} |"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
