"""The network on some of the run's photographs, before the run: `pipeline.models.self_check` with real ones."""

import copy
import time
from collections.abc import Iterator, Sequence
from itertools import zip_longest

import numpy as np
import torch
from torch import nn

from pipeline.config import RunConfig
from pipeline.data.catalog import CatalogClass, CatalogEntry
from pipeline.data.decode import DecodeError, read_image
from pipeline.models.classifier import Classifier
from pipeline.models.preprocessing import Preprocessing
from pipeline.models.self_check import FEWEST_PHOTOGRAPHS, Variant, check, label_orders, orders_of, variants

PHOTOGRAPHS, CLASSES = 32, 16
TOGETHER = 8
ALONE = 3
# Photographs and answers as configured take so long at most where ten are tried by then, and what else is tried.
READING_SECONDS, TRYING_SECONDS = 4.0, 8.0

Square = tuple[int, int, bool, int | None, bool]


def checked(config: RunConfig, classifier: Classifier, classes: Sequence[CatalogClass]) -> str:
    """A line about the network's answers on some photographs where they look wrong; empty where all is well.

    It never raises for a photograph or a variant that does not work, and takes seconds.
    """
    if not config.model.self_check or config.model.weights == "random":
        return ""
    try:
        return _checked(classifier, classes)
    except Exception:  # A person's own network may raise anything; that of the run says so.
        return ""


def _checked(classifier: Classifier, classes: Sequence[CatalogClass]) -> str:
    tries = variants(classifier.preprocessing)
    deadline = time.monotonic() + READING_SECONDS
    geometries = {_geometry(one): one for one in (classifier.preprocessing, *(each.preprocessing for each in tries))}
    targets: list[int] = []
    squares: dict[Square, list[torch.Tensor]] = {geometry: [] for geometry in geometries}
    answers: list[np.ndarray] = []
    own = squares[_geometry(classifier.preprocessing)]
    for entry in spread(classes, PHOTOGRAPHS, CLASSES):
        if time.monotonic() > deadline and len(targets) >= FEWEST_PHOTOGRAPHS:
            break
        try:
            image = read_image(entry.uri).image
        except DecodeError:
            continue
        for geometry, preprocessing in geometries.items():
            squares[geometry].append(preprocessing.analyzed_image(image))
        targets.append(entry.class_index)
        if len(own) - sum(map(len, answers)) == TOGETHER:
            answers.append(_logits(classifier, own[-TOGETHER:]))
    rest = own[sum(map(len, answers)) :]
    if rest:
        answers.append(_logits(classifier, rest))
    if len(targets) < FEWEST_PHOTOGRAPHS:
        return ""
    alone = np.concatenate([_logits(classifier, [square]) for square in own[:ALONE]])
    deadline = time.monotonic() + TRYING_SECONDS
    with_batch: list[np.ndarray] = []

    def ask(variant: Variant, indices: np.ndarray) -> np.ndarray | None:
        if variant.batch_statistics:
            if not any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in classifier.module.modules()):
                return np.zeros((len(indices), answers[0].shape[1]))
            if not with_batch:
                with_batch.append(_with_batch_statistics(classifier, own))
            return with_batch[0][indices]
        found = []
        for start in range(0, len(indices), TOGETHER):
            if time.monotonic() > deadline:
                return None
            chosen = [squares[_geometry(variant.preprocessing)][index] for index in indices[start : start + TOGETHER]]
            found.append(_logits(classifier, chosen, variant.preprocessing))
        return np.concatenate(found)

    names = classifier.class_names
    orders = label_orders(names, classifier.wordnet_ids)
    if len(classes) == len(names):
        labels = {group.class_index: group.label for group in classes}
        if len(labels) == len(names):
            orders |= orders_of([labels[index] for index in range(len(names))], "as the photographs' labels, ")
    return check(np.array(targets), np.concatenate(answers), tries, ask, names, orders, alone).line


def spread(classes: Sequence[CatalogClass], photographs: int, most_classes: int) -> Iterator[CatalogEntry]:
    """Photographs of up to so many classes, evenly from among all: one of each class, then a second of each, …"""
    filled = [group for group in classes if group.entries]
    if not filled:
        return
    wanted = max(most_classes, -(-photographs // max(len(group.entries) for group in filled)))
    chosen = [filled[index * len(filled) // wanted] for index in range(min(wanted, len(filled)))]
    if wanted >= len(filled):
        chosen = filled
    share = -(-photographs // len(chosen))
    taken = (
        [group.entries[at * len(group.entries) // share] for at in range(min(share, len(group.entries)))]
        for group in chosen
    )
    count = 0
    for row in zip_longest(*taken):
        for entry in row:
            if entry is not None and count < photographs:
                count += 1
                yield entry


def _geometry(preprocessing: Preprocessing) -> Square:
    one = preprocessing
    return one.resize_side if not one.squash else 0, one.crop_side, one.squash, one.squash_side, one.floor_crop


@torch.no_grad()
def _logits(
    classifier: Classifier, squares: Sequence[torch.Tensor], preprocessing: Preprocessing | None = None
) -> np.ndarray:
    images = torch.stack(list(squares)).to(classifier.device).float().div_(255)
    one = classifier
    if preprocessing is not None:
        one = copy.copy(classifier)
        one.preprocessing = preprocessing
    return one.logits(images).float().cpu().numpy()


def _with_batch_statistics(classifier: Classifier, squares: Sequence[torch.Tensor]) -> np.ndarray:
    one = copy.copy(classifier)
    one.module = copy.deepcopy(classifier.module)
    for layer in one.module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.train()
    return _logits(one, squares)
