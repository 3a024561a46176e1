"""The network on some of the run's photographs, before the run: `pipeline.models.self_check` with real ones."""

import copy
import time
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import zip_longest

import numpy as np
import torch
from torch import nn

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.data.catalog import CatalogClass, CatalogEntry, evenly
from visual_summaries.pipeline.data.decode import DecodeError, read_image
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.models.self_check import (
    FEWEST_PHOTOGRAPHS,
    Variant,
    Verdict,
    check,
    label_orders,
    orders_of,
    variants,
)

PHOTOGRAPHS, CLASSES = 32, 16
TOGETHER = 4
ALONE = 3
# Photographs and answers as configured take so long at most where ten are tried by then, and what else is tried.
READING_SECONDS, TRYING_SECONDS = 4.0, 8.0
# A network that has not seen ten by then is too slow to be tried here.
LONGEST_READING_SECONDS = 15.0
NOTHING_TRIED = Verdict(0, 0)


def checked(config: RunConfig, classifier: Classifier, classes: Sequence[CatalogClass]) -> Verdict:
    """How many of some photographs the network names rightly, with a line where its answers look wrong.

    It never raises for a photograph or a variant that does not work, and takes seconds.
    """
    if not config.model.self_check or config.model.weights == "random":
        return NOTHING_TRIED
    try:
        return _checked(classifier, classes)
    except Exception:  # A person's own network may raise anything; that of the run says so.
        return NOTHING_TRIED


def _checked(classifier: Classifier, classes: Sequence[CatalogClass]) -> Verdict:
    begun = time.monotonic()
    entries: list[CatalogEntry] = []
    squares: list[torch.Tensor] = []
    answers: list[np.ndarray] = []
    for entry in spread(classes, PHOTOGRAPHS, CLASSES):
        if time.monotonic() > begun + READING_SECONDS and len(entries) >= FEWEST_PHOTOGRAPHS:
            break
        if time.monotonic() > begun + LONGEST_READING_SECONDS:
            return NOTHING_TRIED
        try:
            squares.append(classifier.preprocessing.analyzed_image(read_image(entry.uri).image))
        except DecodeError:
            continue
        entries.append(entry)
        if not len(squares) % TOGETHER:
            answers.append(_logits(classifier, squares[-TOGETHER:]))
    if len(squares) % TOGETHER:
        answers.append(_logits(classifier, squares[-(len(squares) % TOGETHER) :]))
    if len(entries) < FEWEST_PHOTOGRAPHS:
        return NOTHING_TRIED
    alone = np.concatenate([_logits(classifier, [square]) for square in squares[:ALONE]])
    deadline = time.monotonic() + TRYING_SECONDS
    # Photographs are large: one is read again for each other crop, where it comes to that.
    cut = cache(lambda preprocessing, index: preprocessing.analyzed_image(read_image(entries[index].uri).image))
    batch = cache(lambda: _with_batch_statistics(classifier, squares))

    def ask(variant: Variant, indices: np.ndarray) -> np.ndarray | None:
        if variant.batch_statistics:
            return None if time.monotonic() > deadline else batch()[indices]
        changed = variant.preprocessing
        found = []
        for index in indices.tolist():
            if time.monotonic() > deadline:
                return None
            square = squares[index] if variant.kind == "pixels" else cut(changed, index)
            found.append(_logits(classifier, [square], changed))
        return np.concatenate(found)

    names = classifier.class_names
    orders = label_orders(names, classifier.wordnet_ids)
    labels = {group.class_index: group.label for group in classes}
    if len(labels) == len(names):
        orders |= orders_of([labels[index] for index in range(len(names))], "as the photographs' labels, ")
    tried = [
        one for one in variants(classifier.preprocessing) if not one.batch_statistics or _batch_norms(classifier.module)
    ]
    targets = np.array([entry.class_index for entry in entries])
    verdict = check(targets, np.concatenate(answers), tried, ask, names, orders, alone)
    # Of a photograph that is of several classes each is right.
    shown = {entry.uri for entry in entries}
    several = sum(entry.uri in shown for group in classes for entry in group.entries) > len(shown)
    return NOTHING_TRIED if several else verdict


def spread(classes: Sequence[CatalogClass], photographs: int, most_classes: int) -> Iterator[CatalogEntry]:
    """Photographs of up to so many classes, evenly from among all: one of each class, then a second of each, …"""
    filled = [group for group in classes if group.entries]
    if not filled:
        return
    wanted = max(most_classes, -(-photographs // max(len(group.entries) for group in filled)))
    chosen = evenly(filled, wanted)
    share = -(-photographs // len(chosen))
    taken = [evenly(group.entries, share) for group in chosen]
    count = 0
    for row in zip_longest(*taken):
        for entry in row:
            if entry is not None and count < photographs:
                count += 1
                yield entry


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
    for layer in _batch_norms(one.module):
        layer.train()
    return _logits(one, squares)


def _batch_norms(module: nn.Module) -> list[nn.Module]:
    return [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
