"""Whether a network's answers on some of its photographs look right, and if not, which mistake they look like.

People lose days to these: channels in another order, other or no normalization, another cut of the image, labels that
are shifted or sorted otherwise. Each is tried, and believed only where it is clearly better than what is configured.
Shapes: N photographs, K classes.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from visual_summaries.pipeline.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

# With so many right nothing is tried: no mistake worth a warning leaves so many.
FINE = 0.85
# Probability by chance that something which is tried looks better than what is configured; about twenty are tried.
CHANCE = 1e-3
# What is configured must give up so many of all photographs, at least, to something else.
LEAST_GAIN = 0.15
# Right answers with a mend are at least so many times those without.
LEAST_RATIO = 1.25
FEWEST_PHOTOGRAPHS = 10
# Of the photographs that are wrong so many are tried at once, and no more after twice without success.
AT_ONCE = 4
# A network a quarter of the way from guessing to perfect would hardly have as few right as one that is warned of.
POOR, POOR_CHANCE = 0.25, 0.01


@dataclass(frozen=True)
class Variant:
    """A mistake in how photographs are brought to the network, by what would be right.

    Attributes:
        words: "right with …", to complete it.
        mend: what to do, in the imperative.
        preprocessing: to try.
        kind: of mistake; where one of a kind is clearly better, the kinds after it are not tried.
        batch_statistics: whether batch norms are to take mean and variance of the photographs that are tried.
    """

    words: str
    mend: str
    preprocessing: Preprocessing
    kind: str
    batch_statistics: bool = False


@dataclass(frozen=True)
class Verdict:
    """What a check found; `line` is empty where nothing looks wrong, or nothing is sure.

    Attributes:
        photographs, right: tried, and predicted as their label; 0 where nothing was tried.
        mended: right with what the check suggests; None without a suggestion.
        confused: the class that is most often taken for another one, in words; empty where that is no class's rule.
    """

    photographs: int
    right: int
    mended: int | None = None
    line: str = ""
    confused: str = ""

    @property
    def plain(self) -> str:
        """How many are right, where there is nothing to warn of; empty where nothing was tried."""
        if self.line or not self.photographs:
            return ""
        if self.right >= FINE * self.photographs:
            return _of(self.right, self.photographs)
        return (
            f"{_of(self.right, self.photographs)}{self.confused}, and none of the usual mistakes was recognized; "
            "if you expected more, check model.labels, the weights and the preprocessing"
        )


def variants(configured: Preprocessing) -> list[Variant]:
    """What else the preprocessing may be meant to be, the most frequent mistakes first."""

    def normalized(mean: Sequence[float], std: Sequence[float]) -> str:
        return f"model.mean={_numbers(mean)} model.std={_numbers(std)}"

    other = "bgr" if configured.channels == "rgb" else "rgb"
    thousandths = (1 / 255,) * 3
    known: list[tuple[str, str, dict[str, Any]]] = [
        (other.upper(), f"model.channels={other}", {"channels": other}),
        ("values from 0 to 1, without normalization", "", {"mean": (0, 0, 0), "std": (1, 1, 1)}),
        ("ImageNet's mean and deviation", "", {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}),
        ("values from -1 to 1", "", {"mean": (0.5,) * 3, "std": (0.5,) * 3}),
        ("values from 0 to 255", "", {"mean": (0, 0, 0), "std": thousandths}),
        (
            "BGR, values up to 255, ImageNet's mean taken off",
            f" model.channels={other}",
            {"mean": IMAGENET_MEAN, "std": thousandths, "channels": "bgr"},
        ),
    ]
    if len(configured.mean) != len(IMAGENET_MEAN):
        # Red, green and blue are not what this network gets.
        known = []
    side = configured.crop_side
    squashed = configured.squash
    resized = [("the whole image", "model.squash=true", {"squash": True, "squash_side": None})] if not squashed else []
    resized += [
        (
            f"the shorter side resized to {size} pixels",
            f"model.resize={size}" + (" model.squash=false" if squashed else ""),
            {"resize_side": size, "squash": False},
        )
        for size in (round(side * 8 / 7), side, 2 * side)
    ]
    found = []
    for words, setting, changes in (*known, *resized):
        changed = replace(configured, **changes)
        if "mean" in changes:
            setting = normalized(changed.mean, changed.std) + (
                setting if changed.channels != configured.channels else ""
            )
        if changed != configured:
            kind = "pixels" if "channels" in changes or "mean" in changes else "crop"
            found.append(Variant(words, f"set {setting}", changed, kind))
    found.append(
        Variant(
            "mean and variance of these photographs in its batch norms",
            "give weights whose running_mean and running_var are those of the trained network",
            configured,
            "batch norms",
            batch_statistics=True,
        )
    )
    return found


def check(
    targets: np.ndarray,
    logits: np.ndarray,
    tried: Sequence[Variant],
    ask: Callable[[Variant, np.ndarray], np.ndarray | None],
    class_names: Sequence[str],
    orders: Mapping[str, Sequence[int]] | None = None,
    alone: np.ndarray | None = None,
) -> Verdict:
    """Compare a network's answers with the photographs' labels, and where they disagree, with likely mistakes.

    Args:
        targets: `[N]` int, index of each photograph's class.
        logits: `[N,K]`, the network's as it is configured.
        tried: the preprocessing's variants, tried in this order.
        ask: gives the network's logits `[M,K]` with a variant for the photographs of the M indices; None when
            there is no time left. Asked of the photographs that are wrong first, of the others only where that
            is promising.
        class_names: K names, as they are configured.
        orders: further orders that the outputs may be in: words, and for each class the index of its output.
        alone: `[M,K]`, logits of the first M photographs when each is shown without the others, where that was tried: a
            network in evaluation mode gives the same.

    Returns:
        A verdict without a line where all looks right, or nothing is sure.
    """
    count = len(targets)
    correct = logits.argmax(axis=1) == targets
    right = int(correct.sum())
    if count < FEWEST_PHOTOGRAPHS or logits.shape[1] < 2:
        return Verdict(0, 0)
    if alone is not None and _differs(logits[: len(alone)], alone):
        line = (
            f"{_of(right, count)}: the scores of a photograph change with those that are shown with it, or each time: "
            "a layer works as in training, such as a batch norm or a dropout called as a function; give it "
            "training=self.training"
        )
        return Verdict(count, right, None, line)
    if right >= FINE * count:
        return Verdict(count, right)
    for mended, said in _labels(targets, logits, correct, class_names, orders or {}):
        return Verdict(count, right, mended, f"{_of(right, count)}: {said}")
    best = _best(targets, logits, correct, tried, ask)
    if best is not None:
        mended, variant = best
        line = f"{_of(right, count)}: right with {variant.words}: {_of(mended, count)}; {variant.mend}"
        return Verdict(count, right, mended, line)
    guessed = 1 / logits.shape[1]
    if _at_most(right, count, guessed + POOR * (1 - guessed)) < POOR_CHANCE:
        line = (
            f"{_of(right, count)}, hardly more than by guessing, and no other order of channels or labels, "
            "normalization or crop helps: the labels may be others, or it may be the network itself"
        )
        return Verdict(count, right, None, line)
    return Verdict(count, right, confused=_confused(targets, logits.argmax(axis=1), class_names))


def label_orders(class_names: Sequence[str], wordnet_ids: Sequence[str] | None) -> dict[str, list[int]]:
    """Orders that outputs are often in, in words → for each class the index of its output if they were in it."""
    orders = orders_of(class_names)
    if wordnet_ids is not None:
        orders["sorted by WordNet id"] = _places(wordnet_ids)
    return orders


def orders_of(names: Sequence[str], before: str = "") -> dict[str, list[int]]:
    """As `label_orders`, of other names of the classes; `before` begins the words."""
    return {
        f"{before}sorted as text, 10 before 2": _places(names),
        f"{before}sorted by number, 2 before 10": _places([_natural(name) for name in names]),
        f"{before}sorted without regard to capitals": _places([name.lower() for name in names]),
    }


def _places(keys: Sequence[Any]) -> list[int]:
    places = np.empty(len(keys), dtype=int)
    places[sorted(range(len(keys)), key=lambda index: keys[index])] = range(len(keys))
    return places.tolist()


def _labels(
    targets: np.ndarray,
    logits: np.ndarray,
    correct: np.ndarray,
    class_names: Sequence[str],
    orders: Mapping[str, Sequence[int]],
) -> Iterator[tuple[int, str]]:
    """Mistakes in the labels that account for the answers: (right with that, what it looks like and what to do)."""
    predicted = logits.argmax(axis=1)
    for step, mend in ((1, "an output more before the first class"), (-1, "an output less before the first class")):
        shifted = predicted == targets + step
        if _clearly_better(targets, correct, shifted):
            yield (
                int(shifted.sum()),
                f"the labels look shifted by one ({shifted.sum()} right with that): the network has {mend}, such as "
                "one for the background; give model.labels a file with a name for each output in its order",
            )
    for words, order in orders.items():
        moved = np.asarray(order)[targets]
        if _clearly_better(targets, correct, predicted == moved):
            yield (
                int((predicted == moved).sum()),
                f"the labels look {words} ({(predicted == moved).sum()} right with that): give model.labels a file "
                "with the names in that order",
            )
    consistent = _consistent(targets, predicted)
    # Less would be a network that takes some classes for others.
    permuted = correct.sum() <= len(targets) / 4 and consistent is not None and consistent.sum() >= len(targets) / 2
    if permuted and _clearly_better(targets, correct, consistent):
        wrong = [(int(t), int(p)) for t, p in zip(targets, predicted, strict=True) if t != p]
        (target, seen), _ = Counter(wrong).most_common(1)[0]
        yield (
            int(consistent.sum()),
            f"the labels look permuted: {consistent.sum()} are what others of their class are predicted as, such as "
            f"{class_names[target]} as {class_names[seen]}; check the order of model.labels, or data.class_map",
        )


def _consistent(targets: np.ndarray, predicted: np.ndarray) -> np.ndarray | None:
    """Which photographs are predicted as most others of their class are, `[N]` bool.

    None where classes have but one photograph, or where that says nothing: classes share what they are predicted as, or
    it would happen as often by chance.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for index, target in enumerate(targets.tolist()):
        members[target].append(index)
    members = {target: indices for target, indices in members.items() if len(indices) > 1}
    result = np.zeros(len(targets), dtype=bool)
    seen = []
    for indices in members.values():
        seen.append(Counter(predicted[indices].tolist()).most_common(1)[0][0])
        for index in indices:
            others = Counter(predicted[other] for other in indices if other != index)
            result[index] = others[predicted[index]] == max(others.values())
    several = sum(len(indices) for indices in members.values())
    if len(members) < 2 or len(set(seen)) < 0.8 * len(seen) or result.sum() < several / 2:
        return None
    shares = np.array([*Counter(predicted.tolist()).values()]) / len(predicted)
    # With one or two others it is enough to agree with one of them; of more the most frequent answer counts.
    few = max(len(indices) for indices in members.values()) <= 3
    chance = 1 - (1 - float((shares**2).sum())) ** 2 if few else float(shares.max())
    return result if _at_least(int(result.sum()), several, chance) < CHANCE else None


def _confused(targets: np.ndarray, predicted: np.ndarray, class_names: Sequence[str]) -> str:
    """Of which class most photographs, three or more, are taken for one other class; empty if of none."""
    wrong = Counter((int(t), int(p)) for t, p in zip(targets, predicted, strict=True) if t != p)
    members = Counter(targets.tolist())
    rule = [(count, *pair) for pair, count in wrong.items() if count >= 3 and 2 * count > members[pair[0]]]
    if not rule:
        return ""
    count, target, seen = max(rule)
    return f" ({count} of {members[target]} of {class_names[target]} are taken for {class_names[seen]})"


def _best(
    targets: np.ndarray,
    logits: np.ndarray,
    correct: np.ndarray,
    tried: Sequence[Variant],
    ask: Callable[[Variant, np.ndarray], np.ndarray | None],
) -> tuple[int, Variant] | None:
    """Of the variants that are clearly better the one with which the labels are likeliest, after how many are right."""
    wrong, good = np.flatnonzero(~correct), np.flatnonzero(correct)
    found: list[tuple[int, float, Variant]] = []
    own = _log_probabilities(logits, targets)
    for variant in tried:
        if found and variant.kind != found[-1][2].kind:
            break
        first = _promising(targets, wrong, partial(ask, variant))
        if first is None:
            continue
        second = ask(variant, good) if len(good) else np.zeros((0, logits.shape[1]))
        if second is None:
            break
        answers = np.empty_like(logits, dtype=np.float64)
        answers[wrong], answers[good] = first, second
        mended = answers.argmax(axis=1) == targets
        likelier = _log_probabilities(answers, targets)
        # The scores of the labels tell more than which of them are the highest.
        sure = _at_least(int((likelier > own).sum()), int((likelier != own).sum()), 0.5) < CHANCE
        if _clearly_better(targets, correct, mended, sure, collapsed=True):
            found.append((int(mended.sum()), float(likelier.mean()), variant))
    if not found:
        return None
    # By the labels' scores: of much the same preprocessing a photograph more or less decides nothing.
    right, _, variant = max(found, key=lambda one: one[1])
    return right, variant


def _promising(
    targets: np.ndarray, wrong: np.ndarray, ask: Callable[[np.ndarray], np.ndarray | None]
) -> np.ndarray | None:
    """Logits `[W,K]` for the photographs that are wrong; None once too few of them can become right, or time is up."""
    needed, right = LEAST_GAIN * len(targets), 0
    found: list[np.ndarray] = []
    for start in range(0, len(wrong), AT_ONCE):
        indices = wrong[start : start + AT_ONCE]
        answers = ask(indices)
        if answers is None:
            return None
        found.append(answers)
        right += int((answers.argmax(axis=1) == targets[indices]).sum())
        left = len(wrong) - start - len(indices)
        if right + left < needed or (not right and start >= AT_ONCE):
            return None
    return np.concatenate(found) if found else None


def _clearly_better(
    targets: np.ndarray, before: np.ndarray, after: np.ndarray, sure: bool = False, collapsed: bool = False
) -> bool:
    """Whether many more are right than could be by chance (`sure` tells so otherwise), in more classes than one or two.

    By an exact sign test of the photographs that change. `collapsed`: the mistake may make the network call everything
    by one name; of up to four classes that one is right before, and cannot gain.
    """
    gained, lost = after & ~before, before & ~after
    gain = int(gained.sum()) - int(lost.sum())
    if gain < LEAST_GAIN * len(targets) or after.sum() < LEAST_RATIO * before.sum():
        return False
    # Two classes that the network takes for each other are no mistake in the labels.
    classes = {*targets.tolist()}
    if collapsed and len(classes) <= 4:
        classes = {*targets[~before].tolist()}
    if len({*targets[gained].tolist()}) < min(4, len(classes)):
        return False
    changed = int(gained.sum() + lost.sum())
    return sure or _at_least(int(gained.sum()), changed, 0.5) < CHANCE


def _differs(together: np.ndarray, alone: np.ndarray) -> bool:
    """Whether answers differ by more than rounding, of at least half the photographs."""
    size = max(float(np.abs(together).max()), 1e-9)
    return bool((np.abs(together - alone).max(axis=1) > 0.02 * size).mean() >= 0.5)


def _log_probabilities(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    logits = logits - logits.max(axis=1, keepdims=True)
    return logits[np.arange(len(targets)), targets] - np.log(np.exp(logits).sum(axis=1))


def _at_least(found: int, count: int, chance: float) -> float:
    """Probability of `found` or more of `count` where each has the probability `chance`."""
    return sum(math.comb(count, k) * chance**k * (1 - chance) ** (count - k) for k in range(found, count + 1))


def _at_most(found: int, count: int, chance: float) -> float:
    return 1 - _at_least(found + 1, count, chance)


def _natural(name: str) -> tuple[tuple[int, int, str], ...]:
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name) if part)


def _numbers(values: Sequence[float]) -> str:
    return f"[{', '.join(f'{value:.4g}' for value in values)}]"


def _of(right: int, count: int) -> str:
    return f"{right} of {count} right"
