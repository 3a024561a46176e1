"""The job `evaluate`: a paper's experiments on the images of a run, resumable, and their tables."""

import math
import re
import string
from collections import defaultdict
from pathlib import Path

from rich.console import Console

from pipeline.config import RunConfig
from pipeline.evaluate.intervals import mean_interval, wilson_interval
from pipeline.stages.images import ImagesStage
from pipeline.stages.run import check_tolerance, opened_run, run_stage, write_errors_manifest
from pipeline.stages.stage import Stage
from pipeline.stages.studies import ADVERSARIAL, COLOR_BIAS, StudiesStage
from pipeline.store.atomic import write_atomically
from pipeline.store.tables import TableStore

PAPERS: dict[str, tuple[Stage, ...]] = {"fgvis": (ImagesStage(), StudiesStage())}

# FGVis, Table 1: share of adversarial classes generated, without and with its filter, of its four networks.
PUBLISHED = {"filter off": "100.0 %", "filter on": "0.0 to 0.2 %"}


def run_evaluation(config: RunConfig, paper: str, console: Console) -> str:
    """Run a paper's experiments on Ray, resuming whatever is complete; return the path of their tables (Markdown).

    Raises:
        As `run_pipeline`.
    """
    with opened_run(config, console, adds=True) as (state, workers):
        for stage in PAPERS[paper]:
            run_stage(state, stage, workers)
            check_tolerance(state)
        write_errors_manifest(state, complete=True)
        text = study_tables(state.store, config.model.name)
        path = Path(config.output) / f"evaluation-{paper}.md"
        write_atomically(path, text)
    console.print(text, markup=False, highlight=False)
    return str(path)


def study_tables(store: TableStore, model: str) -> str:
    """FGVis's Table 1 and the classes by color bias, from the table `measurements`, as Markdown."""
    generated: dict[str, list[float]] = {variant: [] for variant in PUBLISHED}
    kept: dict[str, list[float]] = defaultdict(list)
    for shard in store.manifest("measurements"):
        swaps: dict[str, list[float]] = defaultdict(list)
        for row in store.read("measurements", [shard.path], ["image_id", "study", "variant", "value"]).to_pylist():
            if row["study"] == ADVERSARIAL:
                generated[row["variant"]].append(row["value"])
            elif row["study"] == COLOR_BIAS:
                swaps[row["image_id"]].append(row["value"])
        if swaps:
            kept[shard.label] += [sum(values) / len(values) for values in swaps.values()]
    model = escaped(model)
    lines = [
        "Adversarial defense (FGVis, Table 1): share of the surest images (score ≥ 0.995 where there are enough) for",
        "which evidence for their least likely class could be generated; 95 % Wilson interval.",
        "",
        "| network | variant | images | generated | 95 % interval | published |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for variant, values in generated.items():
        low, high = wilson_interval(int(sum(values)), len(values)) if values else (math.nan, math.nan)
        share = sum(values) / len(values) if values else math.nan
        lines.append(
            f"| {model} | {variant} | {len(values)} | {share:.1%} | {low:.1%} – {high:.1%} | {PUBLISHED[variant]} |"
        )
    lines += [
        "",
        "Color bias (FGVis, §4.3): share of a class's correctly predicted images that still are with their color",
        "channels swapped, mean over both swaps; classes that depend most on color first; 95 % bootstrap interval.",
        "",
        "| network | class | images | kept | 95 % interval |",
        "|---|---|--:|--:|--:|",
    ]
    figures = {label: mean_interval(values) for label, values in kept.items()}
    for label in sorted(figures, key=lambda label: (figures[label][0], label)):
        mean, low, high = figures[label]
        lines.append(f"| {model} | {escaped(label)} | {len(kept[label])} | {mean:.1%} | {low:.1%} – {high:.1%} |")
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Text from data as it is, in a cell of a Markdown table."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return re.sub(f"([{re.escape(string.punctuation)}])", r"\\\1", printable)
