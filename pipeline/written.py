"""Settings as a person writes them: YAML in which each value is the text that stands there.

What a text means is the setting's affair: `2024` is a number for a seed, a name for a folder, a label among labels.
YAML's own guesses (`12:30` is 750, `yes` is true, `001` is 1) are never asked for.
"""

import re
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel

from pipeline.documents import DocumentError, parse_yaml

GUESSED = ("bool", "int", "float", "timestamp", "value")


class Nothing(str):
    """YAML's null, as it was written: `null`, `~` or nothing at all."""


class Loader(yaml.SafeLoader):
    """Text for all scalars."""


for _tag in GUESSED:
    Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", lambda loader, node: loader.construct_scalar(node))
Loader.add_constructor("tag:yaml.org,2002:null", lambda loader, node: Nothing(loader.construct_scalar(node)))


def read_yaml(text: str) -> Any:
    """Mappings, lists and texts; `Nothing` for null.

    Raises:
        DocumentError: with a message of one line, as `parse_yaml`.
    """
    read = parse_yaml(text, Loader)
    return Nothing() if read is None else read


class WholeNumbers(Loader):
    """Text for all scalars but whole numbers that are written as such: `7`, not `"7"`, `007` or `7_0`."""


def _whole_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int | str:
    text = loader.construct_scalar(node)
    return int(text) if re.fullmatch(r"0|-?[1-9][0-9]{0,17}", text) else text


WholeNumbers.add_constructor("tag:yaml.org,2002:int", _whole_number)


def read_whole_numbers(text: str) -> Any:
    """As `read_yaml`, with whole numbers among the values; names in mappings are text all the same."""
    read = parse_yaml(text, WholeNumbers)
    return Nothing() if read is None else _named_by_text(read)


def _named_by_text(read: Any) -> Any:
    if isinstance(read, dict):
        return {str(name): _named_by_text(value) for name, value in read.items()}
    return [_named_by_text(one) for one in read] if isinstance(read, list) else read


def value_of(text: str, annotation: Any) -> Any:
    """The value that `section.key=text` gives a setting of this type.

    A setting that is text takes the text as it stands, `#`, `:` and all; quotes around the whole of it are taken off.
    Others take YAML.

    Raises:
        DocumentError: as `read_yaml`.
    """
    if not _is_text(annotation):
        return meant(read_yaml(text), annotation)
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        try:
            read = read_yaml(text)
        except DocumentError:
            read = None
        return read if isinstance(read, str) else text
    return None if text in ("", "~", "null") else text


def meant(value: Any, annotation: Any) -> Any:
    """What `read_yaml` gave, for a setting of this type: None for `Nothing`, and in place of an empty section {}.

    Among texts, as in a list of labels, `null` and `~` are texts like any other.
    """
    kinds = _kinds(annotation)
    section = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
    if isinstance(value, Nothing):
        return {} if section and type(None) not in kinds else None
    if isinstance(value, Mapping):
        fields = section.model_fields if section else {}
        return {
            str(name): meant(one, fields[name].annotation) if name in fields else one for name, one in value.items()
        }
    if isinstance(value, list):
        inner = next((get_args(kind)[0] for kind in kinds if get_origin(kind) is tuple and get_args(kind)), None)
        return [str(one) if one and isinstance(one, str) and _is_text(inner) else meant(one, inner) for one in value]
    return value


def annotation_of(dotted: str, section: type[BaseModel]) -> Any:
    """The type of the setting with this dotted name below `section`; None if there is none."""
    annotation: Any = section
    for name in dotted.split("."):
        fields = getattr(annotation, "model_fields", {})
        if name not in fields:
            return None
        annotation = fields[name].annotation
    return annotation


def _kinds(annotation: Any) -> tuple[Any, ...]:
    """The types that a value may have."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(kind for one in get_args(annotation) for kind in _kinds(one))
    return (annotation,)


def _is_text(annotation: Any) -> bool:
    return any(
        (isinstance(kind, type) and issubclass(kind, str)) or get_origin(kind) is Literal
        for kind in _kinds(annotation)
    )
