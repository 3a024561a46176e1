"""The job `compare`: the same classes under several classifiers or explainers, from their finished runs."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from visual_summaries.pipeline.commands.compared import ClassOfRun, Run, compared_class
from visual_summaries.pipeline.commands.compared_drawing import drawn_pair
from visual_summaries.pipeline.commands.results import write_results, write_table
from visual_summaries.pipeline.commands.stored import stored_run
from visual_summaries.pipeline.commands.writable import check_writable
from visual_summaries.pipeline.config import ConfigurationError
from visual_summaries.pipeline.evaluate.intervals import mean_interval, wilson_interval
from visual_summaries.pipeline.evaluate.paired import PairedAccuracy, paired_accuracy
from visual_summaries.pipeline.objects import ObjectPath, place
from visual_summaries.pipeline.report.compared import ComparedPair, parts_rows, photograph_rows
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
    classes, shown = [], []
    for label in labels:
        own = [ClassOfRun(run, label) for run in runs]
        classes.append(compared_class(own))
        shown.append([one.pictures for one in own])
    told = [compared_run(name, number, classes) for number, name in enumerate(names)]
    accuracies = [paired([one.pairs[other] for one in classes]) for other in range(len(runs) - 1)]
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
    return path, str(write_comparison(folder, told, classes, shown, pairs))


def run_names(names: list[str], folders: list[str]) -> list[str]:
    """Model and explainer; with the folder where that does not tell the runs apart."""
    alike = len(set(names)) < len(names)
    return [f"{name} ({place(folder).name})" if alike else name for name, folder in zip(names, folders, strict=True)]


def common_labels(stores: list[TableStore]) -> list[str]:
    """Classes that all runs have, in order."""
    own = [{shard.label for shard in store.manifest("images")} for store in stores]
    return sorted(set.intersection(*own))


def compared_run(name: str, number: int, classes: Sequence[ComparedClass]) -> ComparedRun:
    """Accuracy of the run of this number over all images of the classes, and how many summaries a class has."""
    right, images = (sum(one.answers[number][part] for one in classes) for part in (0, 1))
    counts = tuple(len(one.summaries[number]) for one in classes)
    accuracy = right / images if images else float("nan")
    interval = wilson_interval(right, images)
    return ComparedRun(name, images, accuracy, *interval, counts, *mean_interval(np.array(counts)))


def paired(pairs: Sequence[ComparedPair]) -> PairedAccuracy:
    """How often two runs are right on the photographs that both could read, over the classes."""
    both, neither = sum(one.both for one in pairs), sum(one.neither for one in pairs)
    return paired_accuracy(both, *(sum(one.only(run) for one in pairs) for run in (0, 1)), neither)


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
