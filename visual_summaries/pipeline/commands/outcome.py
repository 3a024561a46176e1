"""What a run found, in a table at its end."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import pyarrow.compute as compute
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.names import shown
from visual_summaries.pipeline.store.tables import TableStore

SHOWN = {
    "summaries": ("summaries", "{:.0f}"),
    "accounted for": ("accounted", "{:.0%}"),
    "drop": ("drop", "{:.2%}"),
    "area": ("area", "{:.1%}"),
    "accuracy": ("accuracy", "{:.1%}"),
    "accuracy before specialists": ("test", "{:.1%}"),
    "accuracy after specialists": ("fused", "{:.1%}"),
    "part F1": ("part F1", "{:.2f}"),
}
# What the columns mean, in the order of the table.
NOTES = {
    "accounted for": "accounted: share of the salient pixels that lie in a summary",
    "drop": "drop: what the score loses without the salient pixels",
    "area": "area: the salient share of a photograph",
    "accuracy": "accuracy: the network on all photographs that could be read, as in the report",
    "accuracy before specialists": "test: the same on the {n} set aside for tests; fused: there, with the summaries' "
    "specialists",
}
CLASSES_SHOWN = 40


def print_outcome(config: RunConfig, console: Console) -> None:
    """Print the figures of each class, what was left out, and how known parts were recovered."""
    store = TableStore(config.output.path)
    names, accuracies = _classes(store)
    metrics: dict[str, dict[str, Any]] = defaultdict(dict)
    overall = {}
    for row in store.read_all("metrics").to_pylist():
        metrics[row["label"]][row["metric"]] = row["value"]
        if not row["label"]:
            overall[row["metric"]] = row
    for label, accuracy in accuracies.items():
        metrics[label]["accuracy"] = accuracy
    present = {name for figures in metrics.values() for name in figures}
    columns = [(name, *SHOWN[name]) for name in SHOWN if name in present]
    table = Table(title="What the classifier looks at", box=SIMPLE, padding=(0, 1, 0, 0))
    table.add_column("class", no_wrap=True)
    for _, heading, _ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    labels = sorted(label for label in metrics if label)
    for label in [*labels[:CLASSES_SHOWN], ""]:
        cells = [metrics[label].get(name) for name, _, _ in columns]
        texts = ["–" if cell is None else form.format(cell) for cell, (_, _, form) in zip(cells, columns, strict=True)]
        if label == "" and "summaries" in present:
            texts[0] = f"{metrics['']['summaries']:.1f}"
        table.add_row(shown(names.get(label, label)).replace("[", r"\[") or "all", *texts)
    console.print(table)
    if len(labels) > CLASSES_SHOWN:
        console.print(f"{len(labels) - CLASSES_SHOWN:,} more classes are in the report.", style="dim", highlight=False)
    for name, note in NOTES.items():
        if name in present:
            tested = overall.get(name, {}).get("n")
            console.print(note.format(n=tested), style="dim", highlight=False)
    _print_parts(metrics, console)
    if "part F1" in overall:
        console.print(known_parts(overall), markup=False, highlight=False)
    errors = store.read_all("errors").to_pylist()
    for said, of_images in (("Left out", True), ("Noted of classes", False)):
        counts = Counter(row["stage"] for row in errors if bool(row["image_id"] or row["uri"]) == of_images)
        if counts:
            listed = ", ".join(f"{count} in {stage}" for stage, count in counts.items())
            console.print(f"{said}: {listed}; reasons in the table errors and in the report.", markup=False)


def _print_parts(metrics: dict[str, dict[str, float]], console: Console) -> None:
    prefix = "overlap with part: "
    for label in sorted(metrics):
        parts = {name.removeprefix(prefix): value for name, value in metrics[label].items() if name.startswith(prefix)}
        if parts:
            listed = ", ".join(f"{part} {value:.2f}" for part, value in parts.items())
            console.print(shown(f"  {label}: best overlap with {listed}"), markup=False, highlight=False)


def known_parts(overall: Mapping[str, Mapping[str, Any]]) -> str:
    """What the rows of `metrics` over all classes, by their figures, say of the parts that are known."""
    recall, summaries = overall["part recall"], overall["part precision"]["n"]
    found = round((recall["value"] or 0) * recall["n"])
    figures = []
    for name in ("precision", "recall", "F1"):
        row = overall[f"part {name}"]
        figure = "–" if row["value"] is None else f"{row['value']:.2f}"
        if row["low"] is not None:
            figure += f" ({row['low']:.2f} – {row['high']:.2f})"
        figures.append(f"{name} {figure}")
    return f"Known parts: {found} of {recall['n']} found, each by one of {summaries} summaries: {', '.join(figures)}."


def _classes(store: TableStore) -> tuple[dict[str, str], dict[str, float]]:
    """Label → label with the classifier's name for it, where they differ (as WordNet ids do); and label → share of the
    class's decoded photographs that are predicted as it, "" for all of them."""
    columns = ["class_index", "prediction", "prediction_name", "decode_error"]
    names: dict[str, str] = {}
    right, decoded = Counter(), Counter()
    for shard in store.manifest("images"):
        table = store.read("images", [shard.path], columns)
        # Without a prediction, as where no class of several has a score of half, a photograph is not named rightly.
        correct = compute.fill_null(compute.equal(table.column("prediction"), table.column("class_index")), False)
        for counted in (shard.label, ""):
            decoded[counted] += table.column("decode_error").null_count
            right[counted] += compute.sum(correct).as_py() or 0
        for row in table.filter(correct).slice(0, 1).to_pylist():
            names[shard.label] = row["prediction_name"].split(",")[0]
    named = {label: label if name.lower() == label.lower() else f"{label} {name}" for label, name in names.items()}
    return named, {label: right[label] / count for label, count in decoded.items() if count}
