"""The job `evaluate`: what can be measured of a run's maps and summaries, or a paper's experiments; resumable."""

from collections.abc import Iterable, Sequence
from functools import partial

from rich.console import Console

from visual_summaries.pipeline.commands.opened import opened_run
from visual_summaries.pipeline.commands.results import write_results
from visual_summaries.pipeline.config import ConfigurationError, RunConfig
from visual_summaries.pipeline.report.evaluation import all_figures, panels, paper_tables, plot_panels
from visual_summaries.pipeline.runtime.failures import room_to_write
from visual_summaries.pipeline.runtime.flow import run_stages
from visual_summaries.pipeline.runtime.records import write_errors_manifest
from visual_summaries.pipeline.runtime.stage import Stage
from visual_summaries.pipeline.stages.order import STAGES
from visual_summaries.pipeline.stages.studies import STUDIES, StudiesStage
from visual_summaries.pipeline.stages.studies.figures import Curve, Figure, curves, figures, figures_table
from visual_summaries.pipeline.stages.studies.truth import knows_parts
from visual_summaries.pipeline.store.links import check_links
from visual_summaries.pipeline.store.tables import TableStore
from visual_summaries.pipeline.suggestions import did_you_mean

ALWAYS = ("faithfulness", "explanation maps", "map stability", "wholeness", "summaries", "specialists")
ANNOTATED, TRANSFER, TRUTH, COHERENCE = "localization", "transfer", "truth", "coherence"

# A paper's experiments: studies, and the explainers that they compare (none: the run's own).
PAPERS: dict[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]] = {
    "fgvis": (
        (("adversarial", "color bias"), ()),
        (("faithfulness",), ("grad-cam", "occlusion", "lime", "rise", "fgvis")),
    ),
    "glas": (
        (
            (ANNOTATED,),
            ("gradient", "grad-cam", "lime", "rise", "occlusion", "meaningful-perturbation", "glas", "rglas"),
        ),
    ),
    "feature-cam": ((("explanation maps",), ("cam", "grad-cam", "grad-cam++", "smooth-grad-cam++", "feature-cam")),),
    "visual-summaries": (
        (("faithfulness",), ("meaningful-perturbation", "thresholded-perturbation", "crisp")),
        (("summaries", "specialists"), ()),
    ),
}


def run_evaluation(
    configs: Sequence[RunConfig], console: Console, paper: str | None = None, studies: Sequence[str] = ()
) -> list[str]:
    """Measure what is missing of each run and write tables and plots; return the paths of the Markdown ones.

    Args:
        configs: of the runs, each in a folder of its own; what a study needs and is not there is computed.
        paper: run that paper's experiments, with each of the explainers that it compares in a folder of its own below
            the run's; the tables and plots of all are in the run's folder.
        studies: names of studies; default: the paper's, or all whose needs the run meets.

    Raises:
        ConfigurationError: an unknown study, one that lacks what it needs, or a run that was made with something else.
        As `run_pipeline`.
    """
    written = []
    for config in configs:
        check_links(config.output.path)
        experiments = PAPERS[paper] if paper else (((), ()),)
        found: list[Figure] = []
        lines: list[Curve] = []
        planned = [
            (variant, tuple(studies) or papers_studies(names, config) or default_studies(config))
            for names, explainers in experiments
            for variant in with_explainers(config, chosen_explainers(config, explainers))
        ]
        for _, names in planned:
            check_studies(names, config)
        for variant, names in planned:
            measure(variant, names, console)
            store = TableStore(variant.output.path)
            found += figures(store, config.seed)
            lines += curves(store)
        name = f"evaluation-{paper}" if paper else "evaluation"
        text = (paper_tables(paper, found) + "\n" if paper else "") + all_figures(found)
        drawn = panels(lines, found)
        plot = partial(plot_panels, drawn) if drawn else None
        with room_to_write(config.output):
            written.append(write_results(config.output.path, name, text, figures_table(found), plot))
    return written


def chosen_explainers(config: RunConfig, explainers: Sequence[str]) -> tuple[str, ...]:
    """The explainers that are compared; the configuration may choose others."""
    own = config.evaluation.explainers
    return tuple(explainers if own is None or not explainers else own)


def default_studies(config: RunConfig) -> tuple[str, ...]:
    """Those that need nothing that is not there."""
    annotated = bool(config.data.boxes or config.data.landmarks)
    further = {
        ANNOTATED: annotated,
        TRANSFER: bool(config.evaluation.other_models),
        TRUTH: knows_parts(config),
        COHERENCE: bool(config.evaluation.taggers),
    }
    return (*ALWAYS, *(name for name, possible in further.items() if possible))


def papers_studies(names: tuple[str, ...], config: RunConfig) -> tuple[str, ...]:
    """A paper's studies; where summaries are measured, their coherence by a tagger too if one is named."""
    return (*names, COHERENCE) if "summaries" in names and config.evaluation.taggers else names


def check_studies(names: Iterable[str], config: RunConfig) -> None:
    """Raise a ConfigurationError for an unknown study, or one without what it needs."""
    for name in names:
        if name not in STUDIES:
            known = ", ".join(STUDIES)
            raise ConfigurationError(f"unknown study {name!r}; known: {known}{did_you_mean(name, STUDIES)}")
        STUDIES[name].check(config)


def with_explainers(config: RunConfig, explainers: Sequence[str]) -> list[RunConfig]:
    """The run's configuration with each explainer, in a folder below the run's; the run's own if there is none."""
    if not explainers:
        return [config]
    values = config.model_dump()
    return [
        RunConfig.model_validate(
            values
            | {"output": str(config.output.path / "explainers" / name)}
            | {"explain": values["explain"] | {"explainer": name}}
        )
        for name in explainers
    ]


def measure(config: RunConfig, names: Sequence[str], console: Console) -> None:
    """Run the stages that the studies need, then the studies."""
    stage = StudiesStage(STUDIES[name] for name in names)
    needed = needed_stages(stage.reads)
    with opened_run(config, console, adds=needed) as (state, workers):
        run_stages(state, [*needed, stage], workers)
        write_errors_manifest(state, complete=True)


def needed_stages(tables: Iterable[str]) -> list[Stage]:
    """The stages that write these tables, and those that they need in turn, in order."""
    wanted, chosen = set(tables), []
    for stage in reversed(STAGES):
        if stage.writes in wanted:
            chosen.append(stage)
            wanted |= set(stage.reads)
    return chosen[::-1]
