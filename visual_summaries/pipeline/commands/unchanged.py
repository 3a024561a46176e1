"""Whether a job that adds to a run would find its tables as they are, and if not, what has changed."""

from collections.abc import Sequence

from visual_summaries.pipeline.commands.stored import differing, stored_run, tables_changed
from visual_summaries.pipeline.config import ConfigurationError, RunConfig
from visual_summaries.pipeline.runtime.kept import MEND, Kept
from visual_summaries.pipeline.runtime.records import RunState
from visual_summaries.pipeline.runtime.stage import Stage
from visual_summaries.pipeline.stages.recorded import Recorded, read_recorded
from visual_summaries.pipeline.store.tables import StoreError


def check_unchanged(state: RunState, stages: Sequence[Stage]) -> None:
    """Refuse to go on where the table of one of `stages` is kept but was made with something else.

    Raises:
        ConfigurationError: with what has changed and what to do.
    """
    for stage in stages:
        kept = state.kept.get(stage.writes)
        if kept is not None and kept.fingerprint != stage.fingerprint(state.config, state.inputs):
            raise ConfigurationError(
                f"{_changed(state, stage, kept)}. The finished table {stage.writes} in {state.store.root} stays as it "
                f"is: {MEND}"
            )


def _changed(state: RunState, stage: Stage, kept: Kept) -> str:
    if not kept.fingerprint:
        return f"the table {stage.writes} is missing or damaged"
    try:
        run = stored_run(str(state.store.root))
    except StoreError as error:
        return str(error)
    found = _changed_settings(run.config, state.config, stage)
    if not found and stage.depends_on:
        found = _changed_inputs(run.recorded, read_recorded(state.recorded, str(state.store.root)))
        found += ["model.name"] if run.config.model.name != state.config.model.name else []
    if not found:
        return f"the table {stage.writes} was made by another version of this program, or of the network's code"
    return f"not as the run was made: {', '.join(found)}"


def _changed_settings(stored: RunConfig, config: RunConfig, stage: Stage) -> list[str]:
    return [name for name in differing(stored, config) if stage.writes in tables_changed(name, stored, config)]


def _changed_inputs(stored: Recorded, now: Recorded) -> list[str]:
    told = {
        "weights": "the weights of the classifier",
        "preprocessing": "the classifier's preprocessing",
        "class_names": "the classifier's class names",
        "head": "the classifier's head (model.head)",
    }
    return [what for name, what in told.items() if getattr(stored, name) != getattr(now, name)]
