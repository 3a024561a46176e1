"""Affinity propagation over sparse scores against scikit-learn's over the whole matrix: seconds a step and memory.

    python benchmarks/clustering.py

The scores look like a class's parts: blocks of parts that match one another, a few chance matches between, every part
with itself. Times and memory are of fresh processes on one thread, times those of the processor, so that other programs
count little; the time of a step is the difference of a longer and a shorter run, the best of several, over the
difference of their steps, so that preparing does not count. Memory is what the call needs above what its process held
with the scores before; for the dense algorithm that includes the matrix. Prints Markdown;
docs/reference/measurements/matching.md keeps the figures.
"""

import argparse
import ctypes
import math
import os
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402
from photographs import machine, peak_memory, reset_peak_memory  # noqa: E402
from sklearn.cluster import affinity_propagation  # noqa: E402
from sklearn.exceptions import ConvergenceWarning  # noqa: E402

from visual_summaries.pipeline.summarize.clustering import cluster_edges  # noqa: E402

OURS, DENSE = "sparse, ours", "dense, scikit-learn's"
SHARE_IN_BLOCKS = 0.6


@dataclass(frozen=True)
class Cost:
    """Of one algorithm: edges, seconds a step, seconds before and after all steps, bytes."""

    edges: int
    step: float
    rest: float
    memory: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--compared", nargs="*", type=int, default=[1000, 3000, 6000], help="parts, 5 %% of the pairs")
    parser.add_argument("--alone", nargs="*", type=int, default=[12_000, 25_000, 50_000], help="parts, 100 edges each")
    parser.add_argument("--steps", type=int, default=20, help="steps by which the two runs differ")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    print(f"{machine()}, numpy {np.__version__}; 1 thread\n")
    columns = "parts, edges, algorithm, ms / step, × faster, rest (s), memory (MB), share of the memory"
    print("| " + columns.replace(", ", " | ") + " |\n|--:|--:|---|--:|--:|--:|--:|--:|")
    for count in arguments.compared + arguments.alone:
        compared = count in arguments.compared
        degree = round(0.05 * count) if compared else 100
        costs = {}
        for name in (OURS, DENSE) if compared else (OURS,):
            costs[name] = measured(name, count, degree, arguments.steps, arguments.repeats)
        dense = costs.get(DENSE)
        for name, cost in costs.items():
            faster = f"{dense.step / cost.step:.1f}" if dense else "–"
            share = f"1/{dense.memory / cost.memory:.1f}" if dense else "–"
            print(
                f"| {count} | {cost.edges} | {name} | {1e3 * cost.step:.1f} | {faster} | {cost.rest:.2f} "
                f"| {cost.memory / 1e6:.0f} | {share} |",
                flush=True,
            )


def measured(name: str, count: int, degree: int, steps: int, repeats: int) -> Cost:
    """A process each: memory that one run has freed would hide what the next one needs."""
    short, long = [], []
    for _ in range(repeats):
        for runs, number in ((short, 2), (long, 2 + steps)):
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                runs.append(pool.submit(run, name, count, degree, number).result())
    seconds = [min(taken for taken, _, _ in runs) for runs in (short, long)]
    step = (seconds[1] - seconds[0]) / steps
    return Cost(long[0][2], step, seconds[0] - 2 * step, max(memory for _, memory, _ in long))


def run(name: str, count: int, degree: int, steps: int) -> tuple[float, int, int]:
    """Seconds and bytes of so many steps, and edges."""
    # Importing and first calls need memory of their own.
    cluster(name, *scores(100, 20), 100, 2)
    edges = scores(count, degree)
    # What making the scores has freed would be used again without being counted.
    ctypes.CDLL(None).malloc_trim(0)
    reset_peak_memory()
    before = peak_memory()
    started = time.process_time()
    done = cluster(name, *edges, count, steps)
    seconds, memory = time.process_time() - started, peak_memory() - before
    if done != steps:
        raise RuntimeError(f"{done} steps instead of {steps}")
    return seconds, memory, len(edges[0])


def cluster(name: str, rows: np.ndarray, columns: np.ndarray, values: np.ndarray, count: int, steps: int) -> int:
    """Number of steps done."""
    if name == OURS:
        return cluster_edges(rows, columns, values, count, maximum_iterations=steps, dense_limit=0).iterations
    similarity = np.zeros((count, count))
    similarity[rows, columns] = values
    similarity -= similarity.max()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        # More than half of the scores are absent, so the median is that of an absent one.
        return affinity_propagation(
            similarity,
            preference=1.3 * similarity.min(),
            damping=0.9,
            max_iter=steps,
            convergence_iter=100,
            copy=False,
            random_state=0,
            return_n_iter=True,
        )[2]


def scores(count: int, degree: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Symmetric edges, about `degree` a part: `[e]` int64 rows and columns, `[e]` float32 scores."""
    generator = np.random.default_rng(count)
    # An edge is drawn on one side. Half of a block's pairs have one: being drawn twice, that takes log 4 as many draws.
    drawn = int((1 - SHARE_IN_BLOCKS + SHARE_IN_BLOCKS * math.log(4)) * count * degree / 2)
    inside = int(SHARE_IN_BLOCKS * math.log(4) * count * degree / 2)
    block = max(2, int(2 * SHARE_IN_BLOCKS * degree))
    rows = generator.integers(0, count, drawn)
    columns = generator.integers(0, count, drawn)
    columns[:inside] = np.minimum(rows[:inside] // block * block + generator.integers(0, block, inside), count - 1)
    keys = np.unique(np.minimum(rows, columns) * count + np.maximum(rows, columns))
    rows, columns = np.divmod(keys, count)
    same = rows // block == columns // block
    values = generator.uniform(np.where(same, 0.3, 0.02), np.where(same, 0.9, 0.3)).astype(np.float32)
    distinct = rows != columns
    rows, columns, values = rows[distinct], columns[distinct], values[distinct]
    place, itself = generator.permutation(count), np.arange(count)
    ends = place[rows], place[columns]
    return (
        np.concatenate([ends[0], ends[1], itself]),
        np.concatenate([ends[1], ends[0], itself]),
        np.concatenate([values, values, np.ones(count, np.float32)]),
    )


if __name__ == "__main__":
    main()
