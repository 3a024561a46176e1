"""Which columns of a Parquet file hold photographs and labels."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from visual_summaries.pipeline.data.class_map import CatalogError

# As data sets of Hugging Face call them: taken where there are others of their kind.
IMAGE, LABEL = "image", "label"


@dataclass(frozen=True)
class ImageColumn:
    """The column of photographs. `path`: where their bytes are in the schema; `names`: their paths' place, or None."""

    name: str
    path: str
    names: str | None


@dataclass(frozen=True)
class Columns:
    """`label`: name of the column; `classes`: of an integer label the classes' names, where the file says them."""

    image: ImageColumn
    label: str
    classes: tuple[str, ...] | None


def columns_of(schema: Any) -> Columns:
    """The columns of a `pyarrow.Schema`, by kind; among several of a kind the one that is called image, or label.

    Raises:
        CatalogError: none or several could be it, or a name is there twice. The message does not name the file.
    """
    images = column_of(schema)
    labels = [
        field.name
        for field in schema
        if field.name != images.name and (_is_label(field.type) or (field.name == LABEL and _may_be_label(field.type)))
    ]
    # Lists, of photographs of several labels, are otherwise taken where nothing else can be it: sizes are lists, too.
    labels = labels or [field.name for field in schema if _is_label(_listed(field.type))]
    classes = _classes(schema)
    named = [name for name in labels if name in classes]
    label = _one(labels if LABEL in labels or not named else named, LABEL, "label", "integers or text")
    return Columns(images, label, classes.get(label))


def column_of(schema: Any) -> ImageColumn:
    """The column of photographs: bytes, or structs with bytes, as `columns_of`."""
    for name in schema.names:
        if schema.names.count(name) > 1:
            raise CatalogError(f"the column {name!r} is there twice; leave one")
    found = {}
    for field in schema:
        inner = _fields(field.type)
        if field.name == LABEL and len(schema.names) > 1:
            # Of text without its mark, which is bytes as well.
            continue
        if _is_binary(field.type):
            found[field.name] = ImageColumn(field.name, field.name, None)
        elif "bytes" in inner and _is_binary(inner["bytes"]):
            path = f"{field.name}.path" if "path" in inner and _is_text(inner["path"]) else None
            found[field.name] = ImageColumn(field.name, f"{field.name}.bytes", path)
    name = _one(found, IMAGE, "photographs", "bytes, or structs with a field bytes")
    return found[name]


def _one(names: Iterable[str], usual: str, what: str, kind: str) -> str:
    names = list(names)
    if usual in names:
        return usual
    if len(names) == 1:
        return names[0]
    if not names:
        raise CatalogError(f"no column can hold the {what} ({kind})")
    listed = ", ".join(map(repr, names))
    raise CatalogError(f"several columns could hold the {what} ({listed}): leave one, or call the right one {usual!r}")


def _fields(kind: Any) -> dict[str, Any]:
    from pyarrow import types

    return {field.name: field.type for field in kind} if types.is_struct(kind) else {}


def _is_binary(kind: Any) -> bool:
    from pyarrow import types

    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _is_label(kind: Any) -> bool:
    from pyarrow import types

    values = kind.value_type if types.is_dictionary(kind) else kind
    return _is_text(values) or types.is_integer(values)


def _listed(kind: Any) -> Any:
    """The type of a list's values; any other as it is."""
    from pyarrow import types

    listed = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return kind.value_type if listed else kind


def _may_be_label(kind: Any) -> bool:
    """Whether a column may hold labels that is called so: text without its mark, lists."""
    return _is_binary(kind) or _is_label(_listed(kind))


def _classes(schema: Any) -> dict[str, tuple[str, ...]]:
    """Column → names of its classes, where `datasets` has written them."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        features = {column: _of_list(feature) for column, feature in features.items()}
        found = {column: feature["names"] for column, feature in features.items() if _is_class_label(feature)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return {
        column: tuple(names)
        for column, names in found.items()
        if isinstance(names, list) and all(isinstance(name, str) for name in names)
    }


def _of_list(feature: Any) -> Any:
    """What a list, as `datasets` has written it by this or an earlier version, is of."""
    if isinstance(feature, dict) and "feature" in feature:
        return feature["feature"]
    return feature[0] if isinstance(feature, list) and len(feature) == 1 else feature


def _is_class_label(feature: Any) -> bool:
    return isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and "names" in feature
