"""The plan of a run without running it: classes, images, stages, what is complete, what the rest will cost."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from visual_summaries.pipeline.commands.looks import looked_at
from visual_summaries.pipeline.commands.opened import start_state
from visual_summaries.pipeline.commands.writable import check_writable
from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.data.decode import DecodeError, read_image
from visual_summaries.pipeline.explain.interface import target_scores
from visual_summaries.pipeline.explain.registry import make_explainer
from visual_summaries.pipeline.models.dense_features import GRID
from visual_summaries.pipeline.models.preparation import PreparedClassifier, keep_freed_memory
from visual_summaries.pipeline.names import shown, shown_lines
from visual_summaries.pipeline.runtime.records import Found, find_outcomes
from visual_summaries.pipeline.runtime.stage import PlannedShard
from visual_summaries.pipeline.stages.classifier import classifier_of
from visual_summaries.pipeline.stages.explain import own_settings
from visual_summaries.pipeline.stages.features import COMPONENTS
from visual_summaries.pipeline.stages.inputs import Inputs, gather_inputs
from visual_summaries.pipeline.stages.order import STAGES
from visual_summaries.pipeline.stages.propose import searched_boxes, stored_descriptors
from visual_summaries.pipeline.summarize.conv_descriptors import conv_descriptors
from visual_summaries.pipeline.summarize.matching import match
from visual_summaries.pipeline.summarize.proposals import REFERENCE_SIDE

TIMED_PASSES = 3
TIMED_BATCH = 4


@dataclass(frozen=True)
class StagePlan:
    """One line of the plan: units complete and planned, images (or `counts`) to do; None where still unknown."""

    stage: str
    units: int | None
    complete: int
    images: int | None
    counts: str = "images"
    wanted: bool = True

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return self.units is not None and self.complete == self.units


def plan_stages(config: RunConfig, inputs: Inputs, console: Console) -> list[StagePlan]:
    """Walk the stages on paper. Every later stage is unknown until the images have been read once."""
    state = start_state(config, inputs, console)
    lines: list[StagePlan] = []
    names = [stage.writes for stage in STAGES]
    known = True
    for stage in STAGES:
        if known and stage.plans_from_rows:
            known = all(lines[names.index(table)].done for table in stage.reads)
        if not known:
            lines.append(StagePlan(stage.name, None, 0, None, wanted=stage.wanted(config)))
            continue
        fingerprint = stage.fingerprint(config, inputs)
        units = stage.named_units(state.plan, fingerprint)
        found = Found(state.store, stage, fingerprint)
        complete = find_outcomes(state.store, stage, units, found)
        images = sum(unit.size for unit in units if unit.name not in complete)
        lines.append(StagePlan(stage.name, len(units), len(complete), images, stage.counts, stage.wanted(config)))
        state.plan.shards[stage.writes] = [
            PlannedShard.of(complete[unit.name].shard, unit)
            if unit.name in complete
            # What it will hold is not known: no unit that reads it is taken for complete.
            else PlannedShard(f"{unit.name}.parquet", unit.label, unit.size, content=f"not yet: {unit.name}")
            for unit in units
        ]
        known = stage.name != "images" or len(complete) == len(units)
    return lines


@dataclass(frozen=True)
class Costs:
    """Seconds of one processor core, measured on this machine a moment ago; None of what the run does not do."""

    map: float
    proposals: float | None = None
    pair: float | None = None


def measure_costs(config: RunConfig, inputs: Inputs) -> Costs:
    """Time a few passes of the network, one selective search and one pair of images, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_freed_memory()
    try:
        side = inputs.preprocessing.crop_side
        classifier = PreparedClassifier(classifier_of(config))
        images = torch.rand(TIMED_BATCH, 3, side, side, requires_grad=True)
        targets = torch.zeros(TIMED_BATCH, dtype=torch.int64)

        def one_pass() -> None:
            scores = target_scores(classifier, images, targets)
            torch.autograd.grad(scores.sum(), [images])

        one_pass()
        pass_seconds = _time(one_pass, TIMED_PASSES) / TIMED_BATCH
        map_seconds = pass_seconds * make_explainer(config.explain.explainer, *own_settings(config.explain)).passes
        if not config.summaries.with_proposals:
            return Costs(map_seconds)
        picture = _sample_image(inputs, side)

        def propose() -> tuple[np.ndarray, np.ndarray]:
            boxes = searched_boxes(picture, 0, config.proposals)[: config.proposals.limit]
            return boxes, stored_descriptors(picture, boxes, config.proposals)

        boxes, descriptors = propose()
        if config.proposals.descriptor == "conv":
            features = np.random.default_rng(0).normal(size=(GRID, GRID, COMPONENTS))
            descriptors = conv_descriptors(features, boxes, (side, side))
        features, tensor = torch.from_numpy(descriptors), torch.from_numpy(boxes)

        def pair() -> None:
            match(
                features,
                tensor,
                features,
                tensor,
                config.matching.score,
                config.matching.mode,
                side / REFERENCE_SIDE,
                (side, side),
                (side, side),
            )

        pair()
        return Costs(
            map=map_seconds,
            proposals=_time(propose, 1),
            pair=_time(pair, 2),
        )
    finally:
        torch.set_num_threads(threads)


def _time(action: Callable[[], object], times: int) -> float:
    started = time.perf_counter()
    for _ in range(times):
        action()
    return (time.perf_counter() - started) / times


def _sample_image(inputs: Inputs, side: int) -> np.ndarray:
    """The first readable photograph of the run; noise if there is none."""
    for group in inputs.classes:
        for entry in group.entries[:3]:
            try:
                image = inputs.preprocessing.analyzed_image(read_image(entry.uri).image)
                return image.permute(1, 2, 0).contiguous().numpy()
            except DecodeError:
                continue
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)


def print_plan(config: RunConfig, console: Console) -> None:
    """Print classes, stages and the estimated cost; nothing is written into the output.

    Raises:
        StoreError: the output could not be written.
        CatalogError: no photograph that was looked at is there, or can be read. Errors as `gather_inputs`.
    """
    check_writable(config.output.path)
    with TemporaryDirectory() as folder:
        _print_plan(config, gather_inputs(config, demo_below=Path(folder), self_check=True), console)


def _print_plan(config: RunConfig, inputs: Inputs, console: Console) -> None:
    console.print(inputs.found, markup=False, highlight=False)
    if inputs.doubt:
        console.print(f"Self-check: {shown(inputs.doubt)}", markup=False, highlight=False)
    if inputs.faults:
        first = inputs.faults[0]
        said = f"{len(inputs.faults)} left out of them, such as {first.uri}: {first.reason}"
        console.print(shown(said), markup=False, highlight=False)
    for said in (*inputs.notes, *looked_at(config, inputs)):
        console.print(shown_lines(said), markup=False, highlight=False, soft_wrap=True)
    classes = Table(title=f"{len(inputs.classes)} classes, {inputs.image_count} images")
    for name in ("class", "index", "name", "to explain", "held-out", "test"):
        classes.add_column(name, justify="left" if name in ("class", "name") else "right")
    fit = []
    for group in inputs.classes:
        splits = [entry.split for entry in group.entries]
        fit.append(splits.count("fit"))
        classes.add_row(
            _plain(group.label),
            str(group.class_index),
            _plain(inputs.class_names[group.class_index]),
            *(str(splits.count(split)) for split in ("fit", "held-out", "test")),
        )
    console.print(classes)
    stages = Table(title=f"Stages, into {_plain(config.output)}")
    for name in ("stage", "units", "complete", "to do"):
        stages.add_column(name, justify="left" if name == "stage" else "right")
    lines = plan_stages(config, inputs, console)
    for line in lines:
        if not line.wanted:
            continue
        unknown = "later"
        stages.add_row(
            line.stage,
            unknown if line.units is None else str(line.units),
            str(line.complete),
            unknown if line.images is None else f"{line.images} {line.counts}",
        )
    console.print(stages)
    by_name = {line.stage: line for line in lines}
    costs = measure_costs(config, inputs)
    explain = by_name["explain"].images if by_name["explain"].images is not None else sum(fit)
    total = explain * costs.map
    said = [f"  maps       at most {explain} × {costs.map:.2f} s"]
    if costs.proposals is not None and costs.pair is not None:
        proposals = by_name["propose"].images if by_name["propose"].images is not None else sum(fit)
        pairs = 0 if by_name["match"].done else sum(most_pairs(count, config) for count in fit)
        total += proposals * costs.proposals + pairs * costs.pair
        said.append(f"  proposals  at most {proposals} × {costs.proposals:.2f} s")
        said.append(f"  matching   at most {pairs} image pairs × {costs.pair * 1000:.0f} ms")
    console.print(
        "\n".join(
            [
                "Estimated cost, timed on one core of this machine (a GPU makes maps many times faster):",
                *said,
                f"  together   {total / 60:.1f} core-minutes",
                "Nothing was computed or written. The same command without --dry-run makes the run.",
            ]
        ),
        markup=False,
        highlight=False,
    )


def most_pairs(images: int, config: RunConfig) -> int:
    """Image pairs to be matched of a class, at most; each image with itself is one."""
    if images <= config.matching.all_pairs_up_to:
        return images * (images + 1) // 2
    return images * (min(config.matching.neighbors, images - 1) + 1)


def _plain(text: str) -> str:
    """Text for a rich table: on one line, and brackets are not markup."""
    return shown(text).replace("[", r"\[")
