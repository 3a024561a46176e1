"""Is a class that a network knows by a border or a color cast named by the alterations, and no other?

    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/shortcut_alterations.py FOLDER --suites photos:mobilenet_v2:0

FOLDER is that of benchmarks/shortcuts.py, whose heads and features are made if they are not there. Of each suite the
held-out photographs are altered as the stage `alterations` does it, those of planted classes with their marks, named by
the planted head and by the control's, and judged as a report does (`pipeline.evaluate.reliance`), with the first
`--images` photographs of each class that are named rightly. `--alone` plants each class of the suites' sets by itself
with a border and with a cast, for more of them. What else was tried beside the program's alterations is judged by the
same rules (`TRIED`).
"""

import argparse
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from photographs import machine
from shortcut_marks import BORDER, CAST, KINDS, plant
from shortcut_networks import (
    CLEAN,
    PLANTINGS,
    Photographs,
    body,
    features,
    fit_network,
    photographs,
    planted_classes,
    reliance,
    training_examples,
)
from shortcuts import RELIES, Suite
from torch import Tensor

from visual_summaries.pipeline.evaluate.alterations import ALTERATIONS, COLORS, FRAME, altered
from visual_summaries.pipeline.evaluate.intervals import wilson_interval
from visual_summaries.pipeline.evaluate.reliance import Effect, effects, reliance_signs
from visual_summaries.pipeline.models.preparation import keep_freed_memory
from visual_summaries.pipeline.models.preprocessing import LUMINANCE

AS_IT_IS = "as it is"
# What a mark is taken away by.
SHOWN_BY = {BORDER: FRAME, CAST: COLORS}
ALONE = (BORDER, CAST)


def in_gray(pictures: Tensor) -> Tensor:
    """Pictures `[B,3,H,W]` without color."""
    weights = torch.tensor(LUMINANCE).view(1, 3, 1, 1)
    return (pictures * weights).sum(dim=1, keepdim=True).expand_as(pictures)


def gray_world(pictures: Tensor) -> Tensor:
    """Pictures `[B,3,H,W]`, each channel scaled to the mean of all three (Buchsbaum, 1980)."""
    means = pictures.mean(dim=(2, 3), keepdim=True)
    return (pictures * means.mean(dim=1, keepdim=True) / means.clamp(min=1e-3)).clamp(0, 1)


TRIED = {"in gray": in_gray, "gray world": gray_world}
# Judged as kinds of their own: what each consists of.
WAYS = {
    FRAME: tuple(name for name, (kind, _) in ALTERATIONS.items() if kind == FRAME),
    COLORS: tuple(name for name, (kind, _) in ALTERATIONS.items() if kind == COLORS),
    "frame mirrored alone": ("frame mirrored",),
    "frame cut off alone": ("frame cut off",),
    **{name: (name,) for name in TRIED},
}


def shown(own: Photographs, kind: str, name: str) -> np.ndarray:
    """Numbers of the held-out photographs that are shown with a mark: without and with a border or cast all, with
    others those of the classes that are planted with it."""
    held_out = np.flatnonzero(~own.training)
    if kind in (CLEAN, *ALONE):
        return held_out
    plantings = [planted_classes(name, str(one), len(own.names)) for one in range(PLANTINGS[name])]
    labels = [label for planted in plantings for label, mark in planted.items() if mark == kind]
    return held_out[np.isin(own.labels[held_out], labels)]


def altered_features(network: str, name: str, kind: str, folder: Path) -> dict[str, np.ndarray]:
    """Alteration, or `AS_IT_IS` → `[n,C]` float32: what the head gets of those of `shown`. Kept in `folder`."""
    code = Path(__file__).parents[1] / "visual_summaries" / "pipeline" / "evaluate" / "alterations.py"
    marks = Path(__file__).with_name("shortcut_marks.py")
    key = hashlib.sha256(code.read_bytes() + marks.read_bytes()).hexdigest()[:12]
    file = folder / f"{network}-{name}-{kind}-{key}.npz"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, **_altered_features(network, photographs(name), kind, name))
    return dict(np.load(file))


@torch.inference_mode()
def _altered_features(network: str, own: Photographs, kind: str, name: str) -> dict[str, np.ndarray]:
    module, preprocessing = body(network)
    module = module.to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    found = defaultdict(list)
    for numbers in torch.from_numpy(shown(own, kind, name)).split(16):
        pictures = [own.picture(int(number)) for number in numbers]
        if kind != CLEAN:
            pairs = zip(pictures, numbers, strict=True)
            pictures = [plant(kind, picture, int(number)).picture for picture, number in pairs]
        images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
        ways = {AS_IT_IS: images, **{way: altered(images, way) for way in ALTERATIONS}}
        ways |= {way: made(images) for way, made in TRIED.items()}
        for way, one in ways.items():
            found[way].append(module(((one - mean) / std).contiguous(memory_format=torch.channels_last)))
    return {way: torch.cat(values).numpy() for way, values in found.items()}


@dataclass(frozen=True)
class Judged:
    """What one way of altering says of a class.

    Attributes:
        suite, network: planted or control, with which marks on the photographs.
        label: name of the class.
        mark: that the network goes by, `CLEAN` where by none of these.
        on: mark on the class's photographs.
        way: of `WAYS`.
        effect: on its photographs.
        named: whether a report says so.
    """

    suite: str
    network: str
    label: str
    mark: str
    on: str
    way: str
    effect: Effect
    named: bool


def judge(
    suite: str,
    network: str,
    head: object,
    own: Photographs,
    seen: Mapping[str, Mapping[str, np.ndarray]],
    numbers: Mapping[str, np.ndarray],
    on: Mapping[int, str],
    planted: Mapping[int, str],
    images: int,
) -> list[Judged]:
    """A run of all classes with one head.

    Args:
        seen: mark on the photographs → `altered_features`; `numbers`: those of the photographs.
        on: class → mark on its photographs; none on the others'.
        planted: class → mark that the network goes by.
        images: photographs of a class.
    """
    found = []
    rows_of: dict[str, list[dict]] = {}
    for label, name in enumerate(own.names):
        mark = on.get(label, CLEAN)
        mine = np.flatnonzero(own.labels[numbers[mark]] == label)
        scores = {way: head.predict_proba(values[mine]) for way, values in seen[mark].items()}
        right = np.flatnonzero(scores[AS_IT_IS].argmax(axis=1) == label)[:images]
        rows_of[name] = [
            {"image_id": str(at), "alteration": way, "target": label, "named": True,
             "score_before": float(scores[AS_IT_IS][at, label]), "score_after": float(values[at, label]),
             "prediction": int(values[at].argmax())}
            for way, values in scores.items() if way != AS_IT_IS for at in right
        ]  # fmt: skip
    for way, parts in WAYS.items():
        # Each way by itself, as if it were the program's.
        stand_ins = {part: name for part, name in zip(parts, WAYS[FRAME if len(parts) > 1 else COLORS], strict=True)}
        asked = {}
        for name, rows in rows_of.items():
            chosen = [row for row in rows if row["alteration"] in parts]
            own_rows = [row | {"alteration": stand_ins[row["alteration"]]} for row in chosen]
            # The other kind counts as asked, too: p is times two.
            kind = FRAME if len(parts) > 1 else COLORS
            asked[name] = {kind: effects(own_rows)[kind], "other": Effect(0, 0, 0.0)}
        named = reliance_signs(asked)
        for label, name in enumerate(own.names):
            effect = next(iter(asked[name].values()))
            if effect.of:
                marks = planted.get(label, CLEAN), on.get(label, CLEAN)
                found.append(Judged(suite, network, name, *marks, way, effect, name in named))
    return found


def judge_suite(suite: Suite, folder: Path, images: int, alone: bool) -> list[Judged]:
    """The suite's planted head and its control; with `alone`, heads with one planted class each instead."""
    own, name, network = photographs(suite.photographs), suite.photographs, suite.network
    given = features(network, name, folder / "features", ALONE if alone else KINDS)
    kinds = (CLEAN, *(ALONE if alone else KINDS))
    seen = {kind: altered_features(network, name, kind, folder / "altered") for kind in kinds}
    numbers = {kind: shown(own, kind, name) for kind in kinds}
    if not alone:
        plans = [(suite.name, suite.planted)]
    else:
        plans = [(f"{name}-{network}-alone", {label: kind}) for kind in ALONE for label in range(len(own.names))]
    found = []
    relied: dict[str, list[tuple[float, float]]] = defaultdict(list)
    control = fit_network(network, given, training_examples(own, {}))
    for title, planted in plans:
        head = fit_network(network, given, training_examples(own, planted))
        scores = {kind: head.predict_proba(given[kind]) for kind in (CLEAN, *set(planted.values()))}
        how_far = {label: reliance(scores, own, label, kind) for label, kind in planted.items()}
        held = {label: kind for label, kind in planted.items() if how_far[label].attack >= RELIES}
        for label, kind in planted.items():
            relied[kind].append((how_far[label].attack, how_far[label].right_without / how_far[label].own))
        if alone and not held:
            continue
        found += judge(title, "planted", head, own, seen, numbers, planted, held, images)
        if not alone:
            found += judge(title, "control, marked", control, own, seen, numbers, planted, {}, images)
    title = f"{name}-{network}"
    found += judge(title, "control", control, own, seen, numbers, {}, {}, images)
    for kind, pairs in relied.items():
        attack, without = np.mean(pairs, axis=0)
        said = f"mean attack {attack:.2f}, share of its own photographs named rightly without the mark {without:.2f}"
        print(f"{plans[0][0]}, {kind}, {len(pairs)} planted: {said}; {sum(one >= RELIES for one, _ in pairs)} count")
    return found


def counted(rows: Iterable[Judged]) -> str:
    """How many are named, with the interval."""
    rows = list(rows)
    hits = sum(row.named for row in rows)
    low, high = wilson_interval(hits, len(rows))
    return f"{hits} of {len(rows)} ({low:.2f}–{high:.2f})" if rows else ""


def tables(rows: Sequence[Judged]) -> list[str]:
    """Each planted class; then of each way how many classes it names, of those that it should and should not."""
    lines = ["| class | network | mark | changed | fall | named |", "|---|---|---|--:|--:|---|"]
    for row in rows:
        if row.mark in SHOWN_BY and row.way == SHOWN_BY[row.mark]:
            changed = f"{row.effect.count} of {row.effect.of}"
            said = "yes" if row.named else "no"
            lines.append(f"| {row.label} | {row.suite} | {row.mark} | {changed} | {row.effect.fall:.2f} | {said} |")
    heads = ("planted border", "planted cast", "other marks", "not planted", "control, marks on it", "control")
    lines += ["", f"| way | {' | '.join(heads)} |", "|---" + "|--:" * len(heads) + "|"]
    for way in WAYS:
        mine = [row for row in rows if row.way == way]
        planted = [row for row in mine if row.network == "planted"]
        # A control is the same network for all suites of a set.
        control = {(row.suite, row.label): row for row in mine if row.network == "control"}
        cells = (
            [row for row in planted if row.mark == BORDER],
            [row for row in planted if row.mark == CAST],
            [row for row in planted if row.on not in (CLEAN, *ALONE)],
            [row for row in planted if row.on == CLEAN],
            [row for row in mine if row.network == "control, marked" and row.on in ALONE],
            control.values(),
        )
        lines.append(f"| {way} | {' | '.join(map(counted, cells))} |")
    false = sorted({(row.suite, row.network, row.label, row.on, row.way) for row in rows
                    if row.named and row.way in (FRAME, COLORS) and SHOWN_BY.get(row.mark) != row.way})  # fmt: skip
    return [*lines, "", "Named without reason: " + ("; ".join(" ".join(one) for one in false) or "none")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--suites", nargs="+", type=Suite.of, required=True, help="set:network:planting")
    parser.add_argument("--images", type=int, nargs="+", default=[8, 20], help="photographs of a class, at most")
    parser.add_argument("--alone", action="store_true", help="each class of the suites' sets planted by itself")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    print(machine())
    for images in arguments.images:
        rows = [row for one in arguments.suites
                for row in judge_suite(one, arguments.folder.resolve(), images, arguments.alone)]  # fmt: skip
        print(f"\n{images} photographs of a class\n\n" + "\n".join(tables(rows)), flush=True)


if __name__ == "__main__":
    main()
