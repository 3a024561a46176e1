"""RunConfig from the annotated default, a YAML file and `section.key=value` overrides, strictly checked."""

import difflib
import json
import reprlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from visual_summaries.pipeline.documents import DocumentError, read_yaml
from visual_summaries.pipeline.objects import CREDENTIALS, ObjectPath, holds_credentials, place, read_named
from visual_summaries.pipeline.settings import RunConfig, Section
from visual_summaries.pipeline.suggestions import did_you_mean
from visual_summaries.pipeline.texts import ListError, decoded
from visual_summaries.pipeline.written import annotation_of, meant, value_of

__all__ = [
    "ConfigurationError",
    "RunConfig",
    "annotated_default",
    "given_settings",
    "laid_over",
    "load_config",
    "validated",
]


PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {
        "explain": {"preset": "authors"},
        "summaries": {"sources": ["proposals"], "selection": "similarity"},
        "proposals": {"search": "published", "limit": 500, "descriptor": "hog", "components": None},
        "specialists": {"fusion": "convex"},
    },
}
"""What a preset sets; everything else that is given wins over it."""


class ConfigurationError(Exception):
    """A configuration that cannot be used; the message names the setting and what to do."""


def load_config(
    path: str | Path | None = None,
    overrides: Iterable[str] = (),
    values: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Read the YAML file at `path` (if any), apply `section.key=value` overrides, check everything.

    `values` are further settings by dotted name, taken as they are; overrides win over them.

    What is written is text, in a file as in an override, until the setting says what it is: see `pipeline.written`.

    Raises:
        ConfigurationError: unreadable file, unknown name (with the nearest valid one), impossible value.
    """
    tree = given_settings(path, overrides, values)
    preset = tree.get("preset")
    return validated(laid_over(tree, PRESETS.get(preset, {}) if isinstance(preset, str) else {}))


def given_settings(
    path: str | Path | None = None,
    overrides: Iterable[str] = (),
    values: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What `load_config` is given as one tree of known names, without what is not said; raises as `load_config`."""
    tree: dict[str, Any] = {}
    if path is not None:
        tree = _read_file(path)
    for name, value in (values or {}).items():
        _assign(tree, name, value)
    for override in overrides:
        name, separator, text = override.partition("=")
        if not separator:
            raise ConfigurationError(f"override {override!r} must have the form section.key=value")
        _assign(tree, name.strip(), _parse(name.strip(), text))
    _reject_unknown(tree)
    _reject_credentials(tree)
    return tree


def validated(tree: Mapping[str, Any]) -> RunConfig:
    """The configuration of a tree of settings; raises a ConfigurationError for an impossible value."""
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as error:
        raise ConfigurationError(_describe(error)) from None


def annotated_default(config: RunConfig | None = None) -> str:
    """The configuration (by default the default one) as YAML with one comment per setting."""
    config = config or RunConfig()
    lines = ["# visual-summaries configuration; a run's own file holds only the lines that differ."]

    def write(section: BaseModel, indent: str) -> None:
        plain = section.model_dump(mode="json")
        for name, field in type(section).model_fields.items():
            value = getattr(section, name)
            if isinstance(value, Section):
                lines.append(f"{indent}{name}:  # {field.description}")
                write(value, indent + "  ")
            else:
                text = json.dumps(plain[name], ensure_ascii=False)
                lines.append(f"{indent}{name}: {text}  # {field.description}")

    write(config, "")
    return "\n".join(lines) + "\n"


def valid_names(section: type[BaseModel] = RunConfig, prefix: str = "") -> list[str]:
    """All settings' dotted names, sections included."""
    names = []
    for name, field in section.model_fields.items():
        names.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            names += valid_names(field.annotation, f"{prefix}{name}.")
    return names


def _read_file(written: str | Path) -> dict[str, Any]:
    path: Path | ObjectPath | str = written
    try:
        path = place(written)
        content = read_named(path)
        tree = read_yaml(decoded(content) if content.strip() else "")
    except (DocumentError, ListError) as error:
        raise ConfigurationError(f"{path}: {error}") from None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"cannot read the configuration {path}: {error}") from None
    tree = meant(tree, RunConfig)
    if not isinstance(tree, dict):
        raise ConfigurationError(f"{path} must hold names and values, not {type(tree).__name__}")
    return tree


def _parse(name: str, text: str) -> Any:
    try:
        return value_of(text, annotation_of(name, RunConfig))
    except DocumentError as error:
        raise ConfigurationError(f"{name}={text}: {error}") from None


def _assign(tree: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, last = dotted.split(".")
    for section in sections:
        inner = tree.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigurationError(f"{section} is not a section, so {dotted} cannot be set")
        tree = inner
    tree[last] = value


def laid_over(tree: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with what `tree` says in place of its own, section by section."""
    merged = dict(base) | dict(tree)
    for name, value in base.items():
        if isinstance(value, Mapping) and isinstance(tree.get(name), Mapping):
            merged[name] = laid_over(tree[name], value)
    return merged


def _reject_unknown(tree: Mapping[str, Any], prefix: str = "") -> None:
    names = valid_names()
    for key, value in tree.items():
        dotted = f"{prefix}{key}"
        if dotted not in names:
            raise ConfigurationError(f"unknown setting {dotted!r}{_nearest(dotted, names)}")
        if isinstance(value, Mapping) and any(name.startswith(dotted + ".") for name in names):
            _reject_unknown(value, f"{dotted}.")


def _reject_credentials(tree: Any, prefix: str = "") -> None:
    """The configuration is stored with the run and shown in its report: no key may be in it, nor in this message."""
    if isinstance(tree, str) and holds_credentials(tree):
        raise ConfigurationError(f"{prefix}: {CREDENTIALS}")
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            _reject_credentials(value, f"{prefix}.{key}" if prefix else str(key))


def _nearest(dotted: str, names: list[str]) -> str:
    last = dotted.rsplit(".", 1)[-1]
    same_leaf = [name for name in names if name.rsplit(".", 1)[-1] == last]
    close = same_leaf or difflib.get_close_matches(dotted, names, n=3, cutoff=0.5)
    if not close:
        leaves = {name.rsplit(".", 1)[-1]: name for name in names}
        close = [leaves[leaf] for leaf in difflib.get_close_matches(last, leaves, n=3, cutoff=0.5)]
    return f"; did you mean {' or '.join(close)}?" if close else "; see --print-config for all settings"


def _describe(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"]) or "configuration"
        # What cannot be a location may hold a key.
        hidden = problem["type"] == "location" or isinstance(problem["input"], (dict, BaseModel))
        given = "" if hidden else f" (given: {reprlib.repr(problem['input'])})"
        hint = ""
        if problem["type"] == "literal_error" and isinstance(problem["input"], str):
            expected = problem["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
            hint = did_you_mean(problem["input"], expected)
        lines.append(f"{name}: {problem['msg'].removeprefix('Value error, ')}{given}{hint}")
    return "\n".join(lines)
