"""Settings as a person writes them: YAML in which each value is the text that stands there.

What a text means is the setting's affair: `2024` is a number for a seed, a name for a folder, a label among labels.
YAML's own guesses (`12:30` is 750, `yes` is true, `001` is 1) are never asked for.
"""

import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from visual_summaries.pipeline.documents import DocumentError, Nothing, read_yaml


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
