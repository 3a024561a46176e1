"""A finished run opened by its folder: what is believed of what it says of itself, and what this command line must say.

A run may come from anywhere, so that what is stored is data:

- `model.name`, `evaluation.other_models` and `evaluation.taggers` that name code (`module:function`) are never imported
  on the run's word; a command that needs the network wants the same name on its own command line.
- `ray.*` and `log` are left out: where work is done and where logs go is this command line's to say.
- `output` is left out: the folder is the one that this command line names.
- The classifier's preprocessing, class names and weights digest, and the classes, are in the column `inputs`, read by a
  strict schema (`visual_summaries/pipeline/stages/recorded.py`).
- `data.*`, `model.weights`, `model.labels` and `explain.cam.edges` are read by `evaluate` alone, from the files and
  addresses that the run names, weights without unpickling.
- Photographs in the table `images` are read by `evaluate`, `report`, `review` and `compare`, and used only where their
  content's hash is the stored one.
- Everything else is as stored; this command line may change what changes no stored table.
"""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from visual_summaries.pipeline.commands.options import NETWORKS, OPTIONS
from visual_summaries.pipeline.config import ConfigurationError, RunConfig, laid_over, validated
from visual_summaries.pipeline.models.own_code import is_code
from visual_summaries.pipeline.runtime.settings import Location, Section
from visual_summaries.pipeline.settings import ModelSettings
from visual_summaries.pipeline.stages.order import STAGES
from visual_summaries.pipeline.stages.recorded import Recorded, read_recorded
from visual_summaries.pipeline.store.tables import StoreError, TableStore

HERE = ("ray", "log")
# What may be said of a stored run: settings that change no stored table. A name with a dot at its end is a section's.
REPORT = ("report.", "ray.", "log")
EVALUATE = (
    *("evaluation.", "data.boxes", "data.landmarks", "ray.", "log", "error_tolerance"),
    *("model.batch_size", "explain.batch_size", "explain.pass_memory"),
)


@dataclass(frozen=True)
class StoredRun:
    """A run as it says itself.

    Attributes:
        folder: as the command line names it.
        config: what it was made with, except for what is this command line's.
        recorded: what it started from.
    """

    folder: str
    config: RunConfig
    recorded: Recorded


def stored_run(folder: str) -> StoredRun:
    """Read what a run says of itself; nothing is imported, loaded or asked for.

    Raises:
        StoreError: there is no run, or what it says is damaged.
    """
    rows = TableStore(folder).read_all("runs", ["stage", "configuration", "inputs"]).to_pylist()
    stages = {stage.name for stage in STAGES}
    rows = [row for row in rows if row["stage"] in stages]
    if not rows:
        raise StoreError(f"the table runs in {folder} knows no stage of a run over photographs: run summarize again, "
            "or name another folder")
    try:
        stored = json.loads(rows[-1]["configuration"])
        kept = {name: value for name, value in stored.items() if name not in HERE}
        config = validated(kept | {"output": folder})
    except (ValueError, RecursionError, AttributeError, TypeError, ConfigurationError) as error:
        raise StoreError(f"the configuration in the table runs in {folder} is damaged: {error}") from None
    return StoredRun(folder, config, read_recorded(rows[-1]["inputs"], folder))


def reopened(
    run: StoredRun, given: Mapping[str, Any], changeable: tuple[str, ...], runs_network: bool
) -> RunConfig:
    """The configuration of a command on a stored run: the run's own, with what this command line says.

    Args:
        given: settings of this command line, see `given_settings`.
        changeable: what they may change; all others may only say what is so.
        runs_network: whether the command loads the classifier; then code must be named by `given`.

    Raises:
        ConfigurationError: a setting would change what is stored or could have no effect; or code is not named.
    """
    changed = validated(laid_over(given, run.config.model_dump()))
    before, after = dict(leaves(run.config)), dict(leaves(changed))
    for name in _named(given):
        if _may_change(name, changeable) or _same(before[name], after[name]):
            continue
        raise ConfigurationError(_refusal(name, run, changed))
    if runs_network:
        _check_code(run, changed, given)
    return changed


def differing(first: RunConfig, second: RunConfig) -> list[str]:
    """Dotted names of the settings that differ."""
    others = dict(leaves(second))
    return [name for name, value in leaves(first) if not _same(value, others[name])]


def tables_changed(name: str, stored: RunConfig, changed: RunConfig) -> list[str]:
    """Tables whose stages compute with the setting `name`, where it differs."""
    tree = stored.model_dump()
    *sections, last = name.split(".")
    inner = tree
    for section in sections:
        inner = inner[section]
    inner[last] = dict(leaves(changed))[name]
    try:
        alone = validated(tree)
    except ConfigurationError:
        # It takes another setting with it.
        alone = changed
    return [stage.writes for stage in STAGES if stage.settings(alone) != stage.settings(stored)]


def leaves(section: Section, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of all settings that are no sections."""
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _check_code(run: StoredRun, config: RunConfig, given: Mapping[str, Any]) -> None:
    """Whoever has made the run must not choose what runs here."""
    model, others = given.get("model", {}), given.get("evaluation", {})
    name = run.config.model.name
    if is_code(name) and not (isinstance(model, Mapping) and "name" in model):
        raise ConfigurationError(
            f"the network of the run in {run.folder} is the code {_argument(name)}; to run it say --model "
            f"{_argument(name)} on this command line (a run may come from anywhere)"
        )
    for setting, options in NETWORKS.items():
        name = setting.rpartition(".")[2]
        if not (isinstance(others, Mapping) and name in others):
            _check_further(run, setting, options, getattr(config.evaluation, name))


def _check_further(
    run: StoredRun, setting: str, options: tuple[str, str], models: Sequence[ModelSettings]
) -> None:
    codes = [model for model in models if is_code(model.name)]
    if codes:
        said = " ".join(
            f"{options[0]} {_argument(model.name)}"
            + (f" {options[1]} {_argument(model.weights)}" if model.weights else "")
            for model in models
        )
        raise ConfigurationError(
            f"{setting} of the run in {run.folder} names the code {_argument(codes[0].name)}; to run it "
            f"say {said} on this command line, to leave it out {setting}=[]"
        )


def _refusal(name: str, run: StoredRun, changed: RunConfig) -> str:
    said = f"{name} ({OPTIONS[name]})" if name in OPTIONS else name
    if name == "output":
        return f"{said} cannot be said of the run in {run.folder}: its folder is the one that --run names"
    before, after = (dict(leaves(config))[name] for config in (run.config, changed))
    tables = tables_changed(name, run.config, changed)
    what = f"would change what is stored ({', '.join(tables)})" if tables else "cannot be changed or has no effect here"
    return (
        f"{said} {what}: the run in {run.folder} was made with {_shown(before)}, not {_shown(after)}. Leave it out, or "
        "work in another folder: without --run, with --output FOLDER"
    )


def _shown(value: Any) -> str:
    return json.dumps(value, default=str)


def _argument(text: str) -> str:
    """Text of the run's as a part of a command; nothing in it acts on a shell or a terminal."""
    return shlex.quote(text) if text.isprintable() else _shown(text)


def _may_change(name: str, changeable: tuple[str, ...]) -> bool:
    return any(name.startswith(one) if one.endswith(".") else name == one for one in changeable)


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, Location) and isinstance(second, Location):
        return first.path == second.path
    return first == second


def _named(given: Mapping[str, Any], section: type[Section] = RunConfig, prefix: str = "") -> Iterator[str]:
    """Dotted names of the settings that are given."""
    for name, value in given.items():
        inner = section.model_fields[name].annotation
        if isinstance(value, Mapping) and isinstance(inner, type) and issubclass(inner, Section):
            yield from _named(value, inner, f"{prefix}{name}.")
        else:
            yield prefix + name
