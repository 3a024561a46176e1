"""Are summaries coherent to another network, and have better networks more of them? (visual summaries, Fig. 4, Table 3)

    VISUAL_SUMMARIES_DATA=../shared/data PYTHONPATH=. python benchmarks/coherence.py FOLDER --suites photos birds

Networks of known quality explain the same photographs (`coherence_runs`); of each run, the number of summaries a class,
and their coherence by the strongest other network (`visual-summaries evaluate --tagger`), as the paper has it, on whole
images, and on the members' crops. Everything is kept in FOLDER and not made again.

Intervals come from resampling classes, the same for all networks. Accuracy is ranked within a suite alone: the networks
of different suites see different photographs.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations, product
from pathlib import Path

import numpy as np
import torch
from coherence_runs import SUITES, Network, choice, networks, run_folder, summarized, tagger_of
from photographs import data_directory, machine

from visual_summaries.pipeline.evaluate.intervals import mean_interval, wilson_interval
from visual_summaries.pipeline.models.preparation import keep_freed_memory
from visual_summaries.pipeline.store.tables import TableStore

FIGURES = {
    "tags, whole images (the paper's)": (
        "distance of tags of whole images within the summary",
        "distance of tags of whole images within random images of the class",
    ),
    "tags, crops": (
        "distance of tags of crops within the summary",
        "distance of tags of crops within random members of the class",
    ),
    "features, whole images": (
        "distance of features of whole images within the summary",
        "distance of features of whole images within random images of the class",
    ),
    "features, crops": (
        "distance of features of crops within the summary",
        "distance of features of crops within random members of the class",
    ),
}
PAPERS = "tags, whole images (the paper's)"


@dataclass(frozen=True)
class Run:
    """What came of a network's run, a value for each class in order; NaN where there is no summary of two members.

    Attributes:
        summaries: kept ones of each class.
        shares: of each summary of two members or more, the share of its class's photographs that it is in.
        within, random: figure → μ_S and μ_R of each class.
        images: explained, of all classes.
    """

    network: Network
    summaries: np.ndarray
    shares: np.ndarray
    within: Mapping[str, np.ndarray]
    random: Mapping[str, np.ndarray]
    images: int


def read(network: Network, output: Path, labels: Sequence[str]) -> Run:
    """A run's figures from its tables."""
    store = TableStore(output)
    kept = [row["label"] for row in store.read_all("summaries").to_pylist() if row["kept"]]
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    shares = []
    for row in store.read_all("measurements").to_pylist():
        variant = row["variant"].rpartition(", by ")[0]
        values[variant, row["label"]].append(row["value"])
        if variant == FIGURES[PAPERS][0]:
            told = json.loads(row["protocol"])
            shares.append(told["members"] / told["whole images of the class"])

    def means(variant: str) -> np.ndarray:
        return np.array([np.mean(values[variant, label]) if values[variant, label] else np.nan for label in labels])

    return Run(
        network,
        np.array([kept.count(label) for label in labels]),
        np.array(shares),
        {name: means(within) for name, (within, _) in FIGURES.items()},
        {name: means(random) for name, (_, random) in FIGURES.items()},
        store.read_all("maps", ["image_id"]).num_rows,
    )


def interval(values: np.ndarray, form: str = ".3f") -> str:
    """Mean over classes with its interval."""
    mean, low, high = mean_interval(values[~np.isnan(values)])
    return f"{mean:{form}} ({low:{form}} – {high:{form}})"


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Kendall's concordant less discordant pairs; ties count as neither."""
    return float(sum(np.sign((x[i] - x[j]) * (y[i] - y[j])) for i, j in combinations(range(len(x)), 2)))


def by_accuracy(suites: Mapping[str, Sequence[Run]], value: Callable[[Run], float]) -> str:
    """How many of the pairs of networks, within suites, are in the order of their accuracy, and what chance would do.

    p: share of all orders of the networks within their suites whose count is as far from zero, both directions.
    """
    given = [([run.network.accuracy for run in runs], [value(run) for run in runs]) for runs in suites.values()]
    own = sum(rank_correlation(x, y) for x, y in given)
    pairs = sum(len(x) * (len(x) - 1) // 2 for x, _ in given)
    orders = list(product(*(permutations(y) for _, y in given)))
    counts = [sum(rank_correlation(x, y) for (x, _), y in zip(given, order, strict=True)) for order in orders]
    chance = np.mean([abs(count) >= abs(own) - 1e-9 for count in counts])
    return f"{own / pairs:+.2f} ({pairs} pairs of {sum(len(x) for x, _ in given)} networks, p = {chance:.2f})"


def print_suite(suite: str, runs: Sequence[Run]) -> None:
    classes = len(runs[0].summaries)
    print(f"\n{suite}: {classes} classes, {runs[0].images} photographs, the same for every network\n")
    print("| network | tagger | accuracy | summaries | a class | classes with one or more | photographs with it |")
    print("|---|---|---|--:|--:|--:|--:|")
    for run in runs:
        low, high = wilson_interval(run.network.right, run.network.of)
        accuracy = f"{run.network.accuracy:.1%} ({low:.1%} – {high:.1%}) of {run.network.of}"
        cells = [run.network.name, tagger_of(run.network.name), accuracy, str(run.summaries.sum())]
        print(f"| {' | '.join(cells)} | {interval(run.summaries, '.2f')} | {np.sum(run.summaries > 0)} | "
              f"{run.shares.mean():.0%} |")
    print("\n| network | distance of | μ_S | μ_R | μ_R − μ_S | classes with μ_S < μ_R |")
    print("|---|---|--:|--:|--:|--:|")
    for run, name in product(runs, FIGURES):
        within, random = run.within[name], run.random[name]
        known = ~np.isnan(within)
        below = f"{np.sum(within[known] < random[known])} of {known.sum()}"
        means = f"{np.nanmean(within):.3f} | {np.nanmean(random):.3f}"
        print(f"| {run.network.name} | {name} | {means} | {interval(random - within)} | {below} |")
    print("\nless accurate network, more accurate one: summaries a class, and μ_R − μ_S by the paper's tags, more")
    for first, second in combinations(runs, 2):
        more = interval((second.summaries - first.summaries).astype(float), "+.2f")
        gains = [run.random[PAPERS] - run.within[PAPERS] for run in (first, second)]
        print(f"- {first.network.name}, {second.network.name}: {more}; {interval(gains[1] - gains[0], '+.3f')}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--suites", nargs="+", choices=SUITES, default=list(SUITES))
    parser.add_argument("--images", type=int, default=12, help="of a class")
    parser.add_argument("--classes", type=int, default=12, help="of a suite, at most")
    parser.add_argument("--settings", nargs="*", default=[], help="of the runs, as explain.explainer=grad-cam")
    parser.add_argument("--tables", action="store_true", help="only print what there is")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    sys.path.append(str(data_directory() / "networks"))
    folder, settings = arguments.folder.resolve(), tuple(arguments.settings)
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[Run]] = {}
    for suite in arguments.suites:
        labels = list(choice(suite, folder, arguments.images))[: arguments.classes]
        for network in networks(suite, folder):
            output = run_folder(suite, network.name, folder, arguments.images, settings)
            if not arguments.tables:
                summarized(suite, network.name, folder, arguments.images, len(labels), settings)
            if (output / "tables/measurements/manifest.json").exists():
                found.setdefault(suite, []).append(read(network, output, labels))
    print(machine())
    for suite, runs in found.items():
        print_suite(suite, runs)
    print("\nagreement with the order by accuracy, −1 to 1, within suites")
    for name, value in (
        ("summaries a class", lambda run: float(run.summaries.mean())),
        *(
            (f"μ_R − μ_S, {name}", lambda run, name=name: float(np.nanmean(run.random[name] - run.within[name])))
            for name in FIGURES
        ),
    ):
        print(f"- {name}: {by_accuracy(found, value)}")


if __name__ == "__main__":
    main()
