"""The job `compare`: the same classes under several classifiers or explainers, from their finished runs."""

from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from visual_summaries.pipeline.commands.compared import (
    Run,
    compared_class,
    compared_pictures,
    kept_summaries,
    right_by_photograph,
)
from visual_summaries.pipeline.commands.compared_drawing import drawn_pair
from visual_summaries.pipeline.commands.results import write_results, write_table
from visual_summaries.pipeline.commands.stored import stored_run
from visual_summaries.pipeline.commands.writable import check_writable
from visual_summaries.pipeline.config import ConfigurationError
from visual_summaries.pipeline.evaluate.intervals import mean_interval, wilson_interval
from visual_summaries.pipeline.evaluate.paired import PairedAccuracy, paired_accuracy
from visual_summaries.pipeline.objects import ObjectPath, place
from visual_summaries.pipeline.report.compared import parts_rows, photograph_rows
from visual_summaries.pipeline.report.comparison import ComparedClass, ComparedRun, comparison_text, plot_counts
from visual_summaries.pipeline.report.comparison_page import PairShown, write_comparison
from visual_summaries.pipeline.runtime.failures import room_to_write
from visual_summaries.pipeline.stages.explain import explainer_name
from visual_summaries.pipeline.store.links import check_links
from visual_summaries.pipeline.store.tables import TableStore

SAME = "same as in the first run"
OVERLAP = "largest overlap with one of the first run"
PARTS = {
    **dict.fromkeys(("class", "run"), pa.string()),
    "summary": pa.int32(),
    **dict.fromkeys(("other run", "in the other run"), pa.string()),
    "counterpart": pa.int32(),
    **dict.fromkeys(("largest overlap", "evidence"), pa.float64()),
    **dict.fromkeys(("photographs", "looked at in"), pa.int32()),
    "by chance": pa.float64(),
}
PHOTOGRAPHS = {
    **dict.fromkeys(("class", "image_id", "uri", "right", "wrong", "called"), pa.string()),
    **dict.fromkeys(("score of what it is called", "score of its own class"), pa.float64()),
}


def run_comparison(folders: list[str], output: str) -> tuple[str, str]:
    """Compare finished runs; returns the paths of the Markdown table and of the page.

    Raises:
        ConfigurationError: fewer than two runs, or no class that all have.
        StoreError: a folder without a finished run, or the output cannot be written.
    """
    if len(folders) < 2:
        raise ConfigurationError("name at least two finished runs to compare: --run FOLDER --run FOLDER")
    folder = place(output)
    check_writable(folder)
    with room_to_write(output):
        return _compare(folders, folder)


def _compare(folders: list[str], folder: Path | ObjectPath) -> tuple[str, str]:
    runs = [Run.opened(stored_run(name)) for name in folders]
    stores = [run.store for run in runs]
    for store in stores:
        check_links(store.root)
    labels = common_labels(stores)
    if not labels:
        raise ConfigurationError("the runs have no class in common")
    names = run_names([f"{run.config.model.name} {explainer_name(run.config)}" for run in runs], folders)
    told = [compared_run(name, store, labels) for name, store in zip(names, stores, strict=True)]
    classes = [compared_class(label, runs) for label in labels]
    accuracies = [paired(runs[0].store, store, labels) for store in stores[1:]]
    text, table = comparison_text(told, classes, accuracies), shared_table(names, classes)
    path = write_results(folder, "comparison", text, table, partial(plot_counts, told))
    parts, photographs = pair_tables(names, classes)
    write_table(folder, "comparison-parts", parts)
    write_table(folder, "comparison-photographs", photographs)
    pairs = []
    for other, accuracy in enumerate(accuracies):
        both = [(one.label, one.pairs[other]) for one in classes]
        drawn = drawn_pair(folder / "pictures", other + 1, (runs[0], runs[other + 1]), both)
        pairs.append(PairShown(accuracy, both, drawn))
    shown = [[compared_pictures(run.store, one.label) for run in runs] for one in classes]
    return path, str(write_comparison(folder, told, classes, shown, pairs))


def run_names(names: list[str], folders: list[str]) -> list[str]:
    """Model and explainer; with the folder where that does not tell the runs apart."""
    alike = len(set(names)) < len(names)
    return [f"{name} ({place(folder).name})" if alike else name for name, folder in zip(names, folders, strict=True)]


def common_labels(stores: list[TableStore]) -> list[str]:
    """Classes that all runs have, in order."""
    own = [{shard.label for shard in store.manifest("images")} for store in stores]
    return sorted(set.intersection(*own))


def compared_run(name: str, store: TableStore, labels: list[str]) -> ComparedRun:
    """Accuracy over all images of the classes, and how many summaries a class has."""
    right: list[bool] = []
    counts = []
    for label in labels:
        rows = store.read_all("images", ["prediction", "class_index", "decode_error"], label).to_pylist()
        right += [row["prediction"] == row["class_index"] for row in rows if row["decode_error"] is None]
        counts.append(len(kept_summaries(store, label)))
    low, high = wilson_interval(sum(right), len(right))
    accuracy = sum(right) / len(right) if right else float("nan")
    return ComparedRun(name, len(right), accuracy, low, high, tuple(counts), *mean_interval(np.array(counts)))


def paired(first: TableStore, second: TableStore, labels: list[str]) -> PairedAccuracy:
    """How often two runs are right on the photographs that both could read, over the classes."""
    answers: list[tuple[bool, bool]] = []
    for label in labels:
        own, other = right_by_photograph(first, label), right_by_photograph(second, label)
        answers += [(right, other[image_id]) for image_id, right in own.items() if image_id in other]
    both = np.array(answers, bool).reshape(-1, 2)
    return paired_accuracy(both[:, 0], both[:, 1])


def shared_table(names: list[str], classes: list[ComparedClass]) -> pa.Table:
    """A row for each summary of each run: its partner in the first run, if it has one, and how near it comes to one."""
    rows = []
    for one in classes:
        for run, numbers in enumerate(one.summaries):
            partners = {b: a for a, b in one.shared[run - 1]} if run else {number: number for number in numbers}
            overlaps = one.overlaps[run - 1] if run else [1.0] * len(numbers)
            rows += [
                {"class": one.label, "run": names[run], "summary": summary, SAME: partners.get(summary), OVERLAP: near}
                for summary, near in zip(numbers, overlaps, strict=True)
            ]
    columns = {"class": pa.string(), "run": pa.string(), "summary": pa.int32(), SAME: pa.int32(), OVERLAP: pa.float64()}
    return pa.Table.from_pylist(rows, schema=pa.schema(columns.items()))


def pair_tables(names: list[str], classes: list[ComparedClass]) -> tuple[pa.Table, pa.Table]:
    """Of the first run and each other one: a row for each summary of either, and for each photograph that only one
    gets right."""
    parts, photographs = [], []
    for other in range(len(names) - 1):
        both, pairs = (names[0], names[other + 1]), [(one.label, one.pairs[other]) for one in classes]
        parts += parts_rows(both, pairs)
        photographs += photograph_rows(both, pairs)
    return (
        pa.Table.from_pylist(parts, schema=pa.schema(PARTS.items())),
        pa.Table.from_pylist(photographs, schema=pa.schema(PHOTOGRAPHS.items())),
    )
