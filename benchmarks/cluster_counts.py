"""How many clusters a finished run's scores give, with and without self matches and at other preferences.

    python benchmarks/cluster_counts.py runs/demo

Reads the tables `maps`, `matches`; prints one line per class. The figures of
docs/reference/measurements/paper-chain.md come from it.
"""

import sys

import numpy as np

from visual_summaries.pipeline.stages.cluster import part_edges
from visual_summaries.pipeline.store.tables import TableStore
from visual_summaries.pipeline.summarize.clustering import cluster_scores

FACTORS = (1.3, 1.1)


def count(scores: np.ndarray, factor: float = 1.3) -> int:
    """Clusters of scores `[n,n]` at a preference factor, other settings at their defaults."""
    return len(set(cluster_scores(scores, factor).exemplar.tolist()))


def main(output: str) -> None:
    """Print the counts of the run in folder `output`."""
    store = TableStore(output)
    columns = ["explained", "with parts", "parts", "largest score", "median score", "99 % between images"]
    print(" | ".join(["class", *columns, *(f"clusters at {factor}" for factor in FACTORS), "without self matches"]))
    for label in sorted({shard.label for shard in store.manifest("matches")}):
        parts, edges = part_edges(store.read_all("matches", label=label))
        if not len(parts):
            continue
        image, scores = parts.column("image_id").to_numpy(), edges.dense(len(parts))
        same = image[:, None] == image
        between = scores[~same]
        figures = [
            store.read_all("maps", ["image_id"], label).num_rows,
            len(set(image)),
            len(parts),
            f"{scores.max():.0f}",
            f"{np.median(scores):.2f}",
            f"{np.quantile(between, 0.99) if len(between) else float('nan'):.1f}",
            *(count(scores, factor) for factor in FACTORS),
            count(np.where(same, 0, scores)),
        ]
        print(" | ".join([label, *map(str, figures)]))


if __name__ == "__main__":
    main(sys.argv[1])
