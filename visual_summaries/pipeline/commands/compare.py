"""The job `compare`: the same classes under several classifiers or explainers, from their finished runs."""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from visual_summaries.pipeline.commands.results import write_results
from visual_summaries.pipeline.commands.stored import stored_run
from visual_summaries.pipeline.commands.writable import check_writable
from visual_summaries.pipeline.config import ConfigurationError
from visual_summaries.pipeline.evaluate.intervals import mean_interval, wilson_interval
from visual_summaries.pipeline.evaluate.stability import found_again_in, matched_summaries, member_overlap
from visual_summaries.pipeline.export.contents import KEPT_COLUMNS, kept_clusters
from visual_summaries.pipeline.objects import ObjectPath, place
from visual_summaries.pipeline.report.class_pages import class_page
from visual_summaries.pipeline.report.comparison import ComparedClass, ComparedRun, comparison_text, plot_counts
from visual_summaries.pipeline.report.comparison_page import ComparedPictures, write_comparison
from visual_summaries.pipeline.runtime.failures import room_to_write
from visual_summaries.pipeline.stages.explain import explainer_name
from visual_summaries.pipeline.stages.report.stage import FOLDER as REPORT
from visual_summaries.pipeline.store.links import check_links
from visual_summaries.pipeline.store.tables import TableStore
from visual_summaries.schemas import EDGES

SAME = "same as in the first run"
OVERLAP = "largest overlap with one of the first run"


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
    stores = [FinishedTables(folder) for folder in folders]
    for store in stores:
        check_links(store.root)
    configs = [stored_run(folder).config for folder in folders]
    labels = common_labels(stores)
    if not labels:
        raise ConfigurationError("the runs have no class in common")
    names = run_names([f"{config.model.name} {explainer_name(config)}" for config in configs], folders)
    runs = [compared_run(name, store, labels) for name, store in zip(names, stores, strict=True)]
    classes = [compared_class(label, stores) for label in labels]
    text, table = comparison_text(runs, classes), shared_table(names, classes)
    path = write_results(folder, "comparison", text, table, partial(plot_counts, runs))
    shown = [[compared_pictures(store, one.label) for store in stores] for one in classes]
    page = write_comparison(folder, runs, classes, shown)
    return path, str(page)


class FinishedTables(TableStore):
    """Tables that nobody changes meanwhile: each manifest is read once, not for every class."""

    def __init__(self, root: str | Path | ObjectPath) -> None:
        super().__init__(root)
        self._by_label: dict[str, dict[str, list[str]]] = {}

    def read_all(self, table: str, columns: Sequence[str] | None = None, label: str | None = None) -> pa.Table:
        if label is None:
            return super().read_all(table, columns)
        if table not in self._by_label:
            found: dict[str, list[str]] = {}
            for shard in self.manifest(table):
                found.setdefault(shard.label, []).append(shard.path)
            self._by_label[table] = found
        return self.read(table, self._by_label[table].get(label, ()), columns)


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


def kept_summaries(store: TableStore, label: str) -> dict[int, dict[str, np.ndarray]]:
    """A class's kept summaries with their kept members: number → image → box."""
    kept = kept_clusters(store.read_all("summaries", KEPT_COLUMNS, label).to_pylist())
    found: dict[int, dict[str, np.ndarray]] = defaultdict(dict)
    for row in store.read_all("members", ["cluster", "image_id", *EDGES, "kept"], label).to_pylist():
        if row["kept"] and row["cluster"] in kept:
            found[kept[row["cluster"]]][row["image_id"]] = np.array([row[edge] for edge in EDGES])
    return dict(sorted(found.items()))


def compared_class(label: str, stores: list[TableStore]) -> ComparedClass:
    """Which summaries the first run shares with each other one, and which only one of the two has.

    Each two runs are compared on the images that both explained: what one of them never saw says nothing of the other.
    """
    own = [kept_summaries(store, label) for store in stores]
    explained = [set(store.read_all("maps", ["image_id"], label).column("image_id").to_pylist()) for store in stores]
    shared, overlaps, again = [], [], []
    for other, seen in zip(own[1:], explained[1:], strict=True):
        both = explained[0] & seen
        first, second = (
            [{image: box for image, box in members.items() if image in both} for members in run.values()]
            for run in (own[0], other)
        )
        numbers = list(own[0]), list(other)
        shared.append(tuple((numbers[0][a], numbers[1][b]) for a, b in matched_summaries(first, second)))
        again.append(tuple(found_again_in([members for members in first if members], second)))
        overlaps.append(tuple(max((member_overlap(a, b) for a in first), default=0.0) for b in second))
    return ComparedClass(label, tuple(tuple(kept) for kept in own), tuple(shared), tuple(overlaps), tuple(again))


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


def compared_pictures(store: TableStore, label: str) -> ComparedPictures:
    """The name of a class and the exemplars of its kept summaries, as the run's own report shows them."""
    names = store.read_all("images", ["class_index", "prediction", "prediction_name"], label).to_pylist()
    name = next((row["prediction_name"] for row in names if row["prediction"] == row["class_index"]), label)
    own = store.root / REPORT / class_page(label)
    kept = store.read_all("summaries", ["summary", "kept", "members", "support"], label).to_pylist()
    found = {
        row["summary"]: (own.parent / f"summary-{row['summary'] + 1:02d}-01.webp", row["members"], row["support"])
        for row in kept
        if row["kept"]
    }
    return ComparedPictures(name, found)
