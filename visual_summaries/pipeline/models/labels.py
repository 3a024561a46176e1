"""What the classes are called: ImageNet's names and WordNet ids, and files of one's own names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from torchvision.models import ResNet50_Weights

from visual_summaries.pipeline.models.classifier import ClassifierError
from visual_summaries.pipeline.models.label_files import label_rows
from visual_summaries.pipeline.names import unnamed
from visual_summaries.pipeline.objects import ObjectPath
from visual_summaries.pipeline.texts import ListError

IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class Labels:
    """Names of K classes in the order of the logits, and their WordNet ids where known."""

    names: tuple[str, ...]
    wordnet_ids: tuple[str, ...] | None = None


TWO_CLASSES = Labels(("negative", "positive"))
"""Of a network with one output, unless they have other names."""


@cache
def imagenet_labels() -> Labels:
    """The 1,000 classes of ImageNet-1k: torchvision's names; WordNet ids, which ascend with the index."""
    wordnet_ids = Path(__file__).with_name("imagenet_wordnet_ids.txt").read_text(encoding="ascii").split()
    return Labels(tuple(ResNet50_Weights.IMAGENET1K_V1.meta["categories"]), tuple(wordnet_ids))


def numbered_labels(number_of_classes: int) -> Labels:
    """Names of classes that nobody has named: "class 0", "class 1", …"""
    return Labels(tuple(map(unnamed, range(number_of_classes))))


def read_labels(path: Path | ObjectPath, number_of_classes: int) -> Labels:
    """Read the names of a classifier's classes.

    Args:
        path: a file of any form that `label_files` knows. Or the word `imagenet`.
        number_of_classes: how many names there must be; indices run from 0.

    Raises:
        ClassifierError: not readable, or not exactly one name for each class.
    """
    if str(path) == "imagenet":
        labels = imagenet_labels()
        _check_indices("imagenet", range(IMAGENET_CLASSES), number_of_classes)
        return labels
    try:
        rows = label_rows(path)
    except OSError as error:
        raise ClassifierError(f"{path}: cannot read the labels: {error.strerror or error}") from None
    except ListError as error:
        raise ClassifierError(f"{path}: cannot read the labels: {error}") from None
    _check_indices(path, [index for index, _, _ in rows], number_of_classes)
    rows.sort(key=lambda row: row[0])
    for index, name, _ in rows:
        if not name:
            raise ClassifierError(f"{path}: class {index} has an empty name")
    wordnet_ids = tuple(wordnet_id for _, _, wordnet_id in rows)
    return Labels(tuple(name for _, name, _ in rows), wordnet_ids if all(wordnet_ids) else None)


def _check_indices(path: str | Path, indices: Iterable[int], number_of_classes: int) -> None:
    indices = list(indices)
    if len(indices) != number_of_classes:
        hint = "; is the first of them a heading, or a background that the network lacks?"
        raise ClassifierError(
            f"{path}: {len(indices)} class names, but the network has {number_of_classes} classes; "
            "give one name for each, in the order of its outputs"
            + (hint if len(indices) == number_of_classes + 1 else "")
        )
    repeated = [index for index, count in Counter(indices).items() if count > 1]
    if repeated:
        raise ClassifierError(f"{path}: class index {repeated[0]} is there more than once")
    outside = sorted(index for index in indices if not 0 <= index < number_of_classes)
    if outside:
        raise ClassifierError(
            f"{path}: class index {outside[0]} is outside 0 … {number_of_classes - 1}; indices begin at 0"
        )
