"""What takes a border away? A frame is a frame behind every blur; the score behind other references, and masks by one.

    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/shortcut_borders.py FOLDER

FOLDER is that of benchmarks/shortcuts.py. Of classes whose network goes by a border, the frame of marked held-out
photographs is replaced by each of `references`, and so is all that is not the frame: a mask can show the frame only
by a reference that takes it away. Then masks are made as by default, but behind the picture moved by half of its side
both ways (`moved`), and measured as explainers alone are; beside them explainers that are there. Rows go to
`borders.jsonl`, and are not made again.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from shortcut_marks import BORDER, plant
from shortcut_networks import SIDE, photographs
from shortcut_peers import salient_shares
from shortcuts import PLANTED, RELIES, Suite, add, fit, known, model_name, stored
from torch import Tensor

from visual_summaries.pipeline.explain.registry import EXPLAINERS, make_explainer
from visual_summaries.pipeline.explain.robust import RobustMasks, RobustMethod
from visual_summaries.pipeline.models.loading import load_classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier, keep_freed_memory

SUITES = ("photos:mobilenet_v2:0", "photos:mobilenet_v2:2")
SCORED, EXPLAINED = 8, 4
OTHERS = ("grad-cam", "gradient", "integrated-gradients", "occlusion")
WITHOUT = "the photograph without a border"
MOVED = "crisp, behind the picture moved by half"
DATA_MEAN = (0.485, 0.456, 0.406)


def moved(images: Tensor) -> Tensor:
    """Pictures `[…,H,W]` moved by half of their sides both ways, what leaves at one side coming in at the other."""
    return images.roll((images.shape[-2] // 2, images.shape[-1] // 2), (-2, -1))


class _Moved:
    """A perturbation that hides behind the moved picture."""

    def prepare(self, images: Tensor) -> dict[str, Tensor]:
        return {"blurred": moved(images), "difference": images - moved(images)}

    def apply(self, prepared: dict[str, Tensor], keep: Tensor) -> Tensor:
        return prepared["blurred"].addcmul(keep, prepared["difference"])


class _MovedMethod(RobustMethod):
    def __init__(self, settings) -> None:
        super().__init__(settings)
        self.perturbation = _Moved()

    def _baseline(self, state: dict[str, Tensor], turn: Tensor) -> Tensor:
        return state["blurred"]


class MovedMasks(RobustMasks):
    """The default masks in all but what they hide behind."""

    def method(self) -> RobustMethod:
        return _MovedMethod(self.settings)


def references(picture: np.ndarray, frame: np.ndarray, other: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """What could be where a mask hides, by name: pictures float32 `[S,S,3]` in [0,1].

    Args:
        picture: with its border.
        frame: bool `[S,S]`, the border's pixels.
        other: a photograph of another class.
        seed: of the noise.
    """
    width = int(np.argmax(~frame[SIDE // 2]))
    inner = picture[width : SIDE - width, width : SIDE - width]
    noise = np.random.default_rng(seed).normal(0.45, 0.25, picture.shape).clip(0, 1)
    found = {
        "a blur of 12 px": ndimage.gaussian_filter(picture, (12, 12, 0), mode="nearest"),
        "the picture's mean color": np.broadcast_to(picture.mean(axis=(0, 1)), picture.shape),
        "the data mean": np.broadcast_to(np.array(DATA_MEAN), picture.shape),
        "black": np.zeros_like(picture),
        "noise": noise,
        "another photograph": other,
        "the picture moved by half": np.roll(picture, (SIDE // 2, SIDE // 2), (0, 1)),
        "its inside, mirrored outward": np.pad(inner, ((width, width), (width, width), (0, 0)), mode="reflect"),
    }
    return {name: value.astype(np.float32) for name, value in found.items()}


def scores_behind(classifier, suite: Suite, target: int) -> dict[str, dict[str, float]]:
    """Mean score with the frame, and with all, replaced by each reference; over `SCORED` photographs."""
    own = photographs(suite.photographs)
    others = np.flatnonzero(~own.training & (own.labels != target))
    found: dict[str, list[tuple[float, float]]] = {}
    for number in _held_out(suite, target)[:SCORED]:
        mark = plant(BORDER, own.picture(number), number)
        picture, frame = mark.picture.astype(np.float32) / 255, mark.mask[..., None]
        another = own.picture(int(np.random.default_rng(number).choice(others))) / 255
        behind = references(picture, mark.mask, another, number)
        behind[WITHOUT] = own.picture(number).astype(np.float32) / 255
        pairs = [(np.where(frame, value, picture), value) for value in (picture, *behind.values())]
        shown = np.stack([one for pair in pairs for one in pair]).astype(np.float32)
        images = torch.from_numpy(shown).permute(0, 3, 1, 2)
        with torch.no_grad():
            scores = classifier.logits(images).softmax(dim=1)[:, target].view(-1, 2).tolist()
        for name, pair in zip(("as it is", *behind), scores, strict=True):
            found.setdefault(name, []).append(pair)
    means = {name: np.mean(pairs, axis=0).tolist() for name, pairs in found.items()}
    return {name: {"frame": frame, "all": everything} for name, (frame, everything) in means.items()}


def _held_out(suite: Suite, target: int) -> list[int]:
    own = photographs(suite.photographs)
    return np.flatnonzero(~own.training & (own.labels == target)).tolist()


def measure(suite: Suite, label: str, folder: Path) -> None:
    """Rows of one class."""
    own, file = photographs(suite.photographs), folder / "borders.jsonl"
    target, key = own.names.index(label), {"suite": suite.name, "label": label}
    weights = folder / "heads" / f"{suite.name}-{PLANTED}.safetensors"
    classifier = load_classifier(model_name(suite.photographs, suite.network), weights, resize_side=SIDE)
    if not known(file, key | {"what": "scores"}):
        add(file, key | {"what": "scores", "scores": scores_behind(classifier, suite, target)})
    numbers = _held_out(suite, target)[:EXPLAINED]
    marks = [plant(BORDER, own.picture(number), number) for number in numbers]
    images = torch.from_numpy(np.stack([mark.picture for mark in marks])).permute(0, 3, 1, 2).float() / 255
    for name in (MOVED, *OTHERS):
        if known(file, key | {"what": name}):
            continue
        entry = EXPLAINERS.get(name, EXPLAINERS["crisp"])
        maker = MovedMasks() if name == MOVED else make_explainer(name)
        maps = maker.explain(PreparedClassifier(classifier), images, torch.full((len(images),), target))
        found = salient_shares(entry, maps.saliency.mean(dim=1), np.stack([mark.mask for mark in marks]))
        add(file, key | {"what": name, "inside": found.inside, "area": found.area, "largest": found.largest})


def table(rows: Sequence[dict]) -> list[str]:
    """Two tables: scores behind references; shares of the salient pixels in the frame."""
    labels = sorted({row["label"] for row in rows})
    scores = {row["label"]: row["scores"] for row in rows if row["what"] == "scores"}
    lines = [f"| behind | {' | '.join(f'{one}: frame replaced | all replaced' for one in labels)} |"]
    lines.append("|---" * (1 + 2 * len(labels)) + "|")
    for name in next(iter(scores.values())):
        cells = [f"{scores[one][name][what]:.2f}" for one in labels for what in ("frame", "all")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", f"| maps | {' | '.join(f'{one}: salient pixels in the frame' for one in labels)} | its area |"]
    lines.append("|---" * (2 + len(labels)) + "|")
    for name in (MOVED, *OTHERS):
        own = {row["label"]: row for row in rows if row["what"] == name}
        cells = [f"{own[one]['inside']:.2f}" if one in own else "" for one in labels]
        area = np.mean([row["area"] for row in rows if "area" in row])
        lines.append(f"| {name} | {' | '.join(cells)} | {area:.2f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    folder = arguments.folder.resolve()
    for written in SUITES:
        suite = Suite.of(written)
        for row in fit(suite, folder):
            if row["kind"] == BORDER and row[PLANTED]["attack"] >= RELIES:
                measure(suite, row["label"], folder)
    print("\n".join(table(stored(folder / "borders.jsonl"))))


if __name__ == "__main__":
    main()
