"""Reference pages of what a person can write: `python -m visual_summaries.jobs.document settings` or `commands`."""

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from visual_summaries.jobs.command import VERBS
from visual_summaries.pipeline.config import RunConfig

MADE_BY = "This page is made by `python -m visual_summaries.jobs.document {name} > docs/reference/{name}.md`."
LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
STATUSES = "Exit statuses are listed under [When something fails](../how-to/cluster.md#when-something-fails)."


def settings_document() -> str:
    """Markdown with every setting: its default, the values it takes, what it does."""
    lines = [
        "# Settings",
        "",
        "A setting is given on the command line as `section.key=value`, or as a line in a YAML file that `--config` "
        "names. `visual-summaries summarize --print-config` prints all of them, as a YAML file with comments, as they "
        "would be used. " + MADE_BY.format(name="settings"),
        "",
        "`null`, or an empty value, stands for no value. Text is taken as it is written: `2024`, `001` and `yes` stay "
        "text where text is expected. `~` at the beginning of a path is your home folder. Lengths *of a 224-px image* "
        "grow with the side of the image. The settings of `ray` and the batch sizes never change a result.",
        "",
        "## General",
    ]
    lines += _table(RunConfig, "")
    for prefix, title, section in _sections(RunConfig, ""):
        lines += ["", f"{'#' * (prefix.count('.') + 1)} {prefix.rstrip('.')}", "", f"{title[0].upper()}{title[1:]}."]
        lines += _table(section, prefix)
    return "\n".join(lines) + "\n"


def commands_document() -> str:
    """Markdown with every verb of the command line and its options."""
    lines = [
        "# Commands",
        "",
        "`visual-summaries <verb>`, or `python -m visual_summaries <verb>` where the script is not on the path. "
        f"`visual-summaries <verb> --help` prints the same. {STATUSES} {MADE_BY.format(name='commands')}",
        "",
        "| verb | does |",
        "| --- | --- |",
        *(f"| [`{verb}`](#{verb}) | {_cell(does)} |" for verb, does in VERBS.items()),
    ]
    for verb in VERBS:
        parser: argparse.ArgumentParser = importlib.import_module(f"visual_summaries.jobs.{verb}").build_parser()
        lines += ["", f"## {verb}", "", str(parser.description)]
        lines += ["", "| argument | meaning |", "| --- | --- |"]
        lines += [_argument(action) for action in parser._actions if action.dest != "help"]
        lines += ["", parser.epilog] if parser.epilog else []
    return "\n".join(lines) + "\n"


def _sections(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, type[BaseModel]]]:
    """(prefix of its settings, what it is about, class) of each section, those in sections after what holds them."""
    for name, field in model.model_fields.items():
        if _is_section(field):
            yield f"{prefix}{name}.", str(field.description), field.annotation
            yield from _sections(field.annotation, f"{prefix}{name}.")


def _table(model: type[BaseModel], prefix: str) -> list[str]:
    lines = ["", "| setting | default | values | meaning |", "| --- | --- | --- | --- |"]
    for name, field in model.model_fields.items():
        if not _is_section(field):
            default = json.dumps(field.get_default(), ensure_ascii=False).strip('"')
            cells = (f"`{prefix}{name}`", f"`{default}`", _values(field), _cell(str(field.description)))
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _is_section(field: FieldInfo) -> bool:
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def _values(field: FieldInfo) -> str:
    """What a setting may be, in words."""
    limits = dict(_limits(field.annotation, field.metadata))
    if limits.keys() == {"ge", "le"}:
        return f"{_kind(field.annotation)} from {limits['ge']:g} to {limits['le']:g}"
    return ", ".join([_kind(field.annotation), *(f"{LIMITS[name]} {limit:g}" for name, limit in limits.items())])


def _kind(annotation: Any) -> str:
    inner = [one for one in get_args(annotation) if one not in (type(None), Ellipsis)]
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{one}`" for one in get_args(annotation))
    if get_origin(annotation) is tuple:
        return f"list: {_kind(inner[0])}"
    if hasattr(annotation, "__metadata__"):
        return _kind(annotation.__origin__)
    if inner:
        return " or ".join(dict.fromkeys(map(_kind, inner)))
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "settings as in the section `model`"
    names = {bool: "`true`, `false`", int: "whole number", float: "number", str: "text"}
    return names.get(annotation, "path or address")


def _limits(annotation: Any, metadata: list[Any]) -> Iterator[tuple[str, float]]:
    """The bounds on a number, those of its type and of the setting itself."""
    for one in get_args(annotation) if get_origin(annotation) is not Literal else ():
        yield from _limits(one, [])
    for constraint in [*getattr(annotation, "__metadata__", ()), *metadata]:
        for part in getattr(constraint, "metadata", [constraint]):
            yield from ((name, getattr(part, name)) for name in LIMITS if hasattr(part, name))


def _argument(action: argparse.Action) -> str:
    name = action.metavar or action.dest.upper()
    written = [f"{option} {name}" if action.nargs != 0 else option for option in action.option_strings] or [name]
    needed = " (required)" if action.required and action.option_strings else ""
    return f"| {', '.join(f'`{one}`' for one in written)} | {_cell(action.help or '')}{needed} |"


def _cell(text: str) -> str:
    return text.replace("%%", "%").replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


DOCUMENTS: dict[str, Callable[[], str]] = {"settings": settings_document, "commands": commands_document}


if __name__ == "__main__":
    print(DOCUMENTS[sys.argv[1]](), end="")
