"""A small network that tells fundus photographs with exudates from those without, cross-validated.

    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/lesion_network.py lesions

Labels are of whole photographs; the outlines of the exudates take no part. The network is SqueezeNet 1.1 up to its
fifth fire module (cells of 8 pixels), frozen as ImageNet left it, one linear score for each cell, and the mean of the
`CELLS` highest scores. The color that is zero once normalized is the mean of the training photographs. `FOLDS` networks
are fitted; each photograph is judged by the one that has seen neither it nor another of its group: photographs with
consecutive numbers, as the two eyes of a patient have, or of one patient's number. The recipe was chosen by the AUC on
the even folds and is confirmed on the odd ones.

Writes `fold-K.safetensors` and `results.json` into the folder, some two minutes on one core. The photographs are those
of HEI-MED (Giancardo et al., Medical Image Analysis 16, 2012), for non-commercial research only.

Shapes: N photographs, H by W pixels, P cells, C features of a cell.
"""

import argparse
import copy
import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from photographs import data_directory
from PIL import Image
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import squeezenet1_1

from visual_summaries.pipeline.evaluate.intervals import wilson_interval
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.heads import Head
from visual_summaries.pipeline.models.preparation import keep_freed_memory
from visual_summaries.pipeline.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

CLASSES = ("no exudates", "exudates")
SIDE = 512
# No color of a pixel is above it: outside of the photograph's round.
BLACK = 0.08
FOLDS = 6
# Modules of SqueezeNet's `features`: up to the fifth fire module.
LAYERS = 8
# Cells whose scores' mean is the photograph's.
CELLS = 8
# Principal directions of the cells' features that the head may use.
DIRECTIONS = 96
STEPS, RATE, DECAY = 60, 0.02, 0.1


@dataclass(frozen=True)
class Photographs:
    """The photographs in the order of their list.

    Attributes:
        names: N files.
        exudates: `[N]` bool.
        numbered: `[N]` bool: of the source whose files have bare numbers; all with exudates are.
        groups: N names; photographs of one group stay in one fold.
        folds: `[N]` 0 … `FOLDS` − 1.
    """

    names: tuple[str, ...]
    exudates: np.ndarray
    numbered: np.ndarray
    groups: tuple[str, ...]
    folds: np.ndarray

    @property
    def confirms(self) -> np.ndarray:
        """`[N]` bool: of the odd folds, by which nothing was chosen."""
        return self.folds % 2 == 1


@cache
def photographs() -> Photographs:
    """All 169."""
    with open(data_directory() / "lesions/images.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    names = tuple(row["file"] for row in rows)
    exudates = np.array([row["has_exudates"] == "1" for row in rows])
    groups = groups_of(names)
    numbered = np.array(["_" not in name for name in names])
    return Photographs(names, exudates, numbered, groups, drawn_folds(groups, exudates, numbered))


def groups_of(names: Sequence[str]) -> tuple[str, ...]:
    """A group for each of the sorted file names: `00000054.jpg` is in that of `00000053.jpg`; `23_2308.dcm.jpg` in
    that of patient 23."""
    found: list[str] = []
    previous = None
    for name in names:
        stem = name.split(".")[0]
        if "_" in stem:
            found.append(stem.split("_")[0])
            continue
        consecutive = previous is not None and int(stem) - previous <= 1
        found.append(found[-1] if consecutive else stem)
        previous = int(stem)
    return tuple(found)


def drawn_folds(groups: Sequence[str], exudates: np.ndarray, numbered: np.ndarray, seed: int = 0) -> np.ndarray:
    """A fold `[N]` for each photograph: groups are dealt out in random order, those with exudates, and those of each
    source, apart."""
    chance = np.random.default_rng(seed)
    kinds: dict[str, tuple[bool, bool]] = {}
    for group, positive, number in zip(groups, exudates, numbered, strict=True):
        kinds[group] = (bool(positive) or kinds.get(group, (False,))[0], not number)
    folds = {}
    for kind in sorted(set(kinds.values())):
        own = sorted(group for group in kinds if kinds[group] == kind)
        chance.shuffle(own)
        folds |= {group: place % FOLDS for place, group in enumerate(own)}
    return np.array([folds[group] for group in groups])


def picture(name: str) -> Tensor:
    """A photograph `[3,H,W]` float32 in [0,1]."""
    image = Image.open(data_directory() / "lesions/images" / name).convert("RGB")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def outlined(name: str) -> np.ndarray:
    """Its exudates `[H,W]` bool."""
    return np.array(Image.open(data_directory() / "lesions/exudates" / name.replace(".jpg", ".png"))) > 0


class LesionNetwork(nn.Module):
    """Normalized photographs `[B,3,H,W]` to one logit `[B,1]` of having exudates.

    `mean` `[3]` is the color that is zero once normalized.
    """

    def __init__(self, features: nn.Module, channels: int, cells: int = CELLS) -> None:
        super().__init__()
        self.features, self.score, self.cells = features, nn.Conv2d(channels, 1, 1), cells
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN))

    def forward(self, images: Tensor) -> Tensor:
        return highest(self.score(self.features(images)).flatten(1), self.cells)[:, None]


def highest(scores: Tensor, cells: int) -> Tensor:
    """The mean `[B]` of the highest of the cells' scores `[B,P]`."""
    return scores.topk(min(cells, scores.shape[1]), dim=1).values.mean(dim=1)


def trunk() -> nn.Module:
    """What makes the cells' features, with ImageNet's weights."""
    network = squeezenet1_1()
    weights = load_file(data_directory() / "weights/squeezenet1_1.safetensors")
    network.load_state_dict({name: values.float() for name, values in weights.items()})
    return network.features[:LAYERS].eval().requires_grad_(False)


def mean_color(names: Sequence[str]) -> Tensor:
    """The mean color `[3]` of what is not black around the photographs."""
    colors = []
    for name in names:
        image = picture(name)
        colors.append(image[:, image.amax(dim=0) > BLACK].mean(dim=1))
    return torch.stack(colors).mean(dim=0)


def rebased(first: nn.Conv2d, color: Tensor) -> nn.Conv2d:
    """The first convolution, without padding, for images of which `color` `[3]` is subtracted instead of ImageNet's
    mean: explainers hide pixels in what is zero, and that gray is as bright as exudates in a dark photograph."""
    found = copy.deepcopy(first)
    shift = (color - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    found.bias.data += (first.weight.sum(dim=(2, 3)) @ shift).detach()
    return found


@torch.inference_mode()
def cells_of(names: Sequence[str]) -> Tensor:
    """Features `[N,P,C]` float16 of the cells."""
    features, found = trunk().to(memory_format=torch.channels_last), []
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    for name in names:
        image = ((picture(name) - mean) / std)[None].contiguous(memory_format=torch.channels_last)
        found.append(features(image)[0].flatten(1).T.half())
    return torch.stack(found)


def fit_head(cells: Tensor, labels: Tensor, seed: int, most: int = CELLS, steps: int = STEPS) -> tuple[Tensor, Tensor]:
    """Weights `[C]` and bias `[]` of the cells' score, from features `[N,P,C]` and labels `[N]` bool of photographs.

    The score is linear in the features' `DIRECTIONS` largest principal directions, each scaled to about one. Both
    classes count alike.
    """
    sample = cells[:, ::7].flatten(0, 1).float()
    middle = sample.mean(dim=0)
    variances, directions = torch.linalg.eigh(torch.cov((sample - middle).T))
    kept = min(DIRECTIONS, len(variances))
    sizes = variances[-kept:].clamp_min(1e-8).sqrt()
    basis = directions[:, -kept:] / (sizes + 0.03 * sizes[-1])
    reduced = torch.stack([(one.float() - middle) @ basis for one in cells])
    chance = torch.Generator().manual_seed(seed)
    weight = (0.1 * torch.randn(kept, generator=chance)).requires_grad_()
    bias = torch.zeros((), requires_grad=True)
    targets, ratio = labels.float(), (~labels).sum() / labels.sum()
    optimizer = torch.optim.AdamW([weight, bias], lr=RATE, weight_decay=DECAY)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = RATE * min(1, 2 * (1 - step / steps))
        logits = highest(reduced @ weight + bias, most)
        loss = functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=ratio)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    weight, bias = weight.detach(), bias.detach()
    # The steps end before scale and zero are those that the classes ask for.
    logits = highest(reduced @ weight + bias, most)
    scaled = LogisticRegression(C=1e3, class_weight="balanced").fit(logits[:, None].numpy(), labels.numpy())
    scale, shift = float(scaled.coef_[0, 0]), float(scaled.intercept_[0])
    whole = basis @ weight
    return scale * whole, scale * (bias - middle @ whole) + shift


def classifier(folder: Path, fold: int) -> Classifier:
    """The network that has not seen the photographs of a fold, as `main` wrote it."""
    module = LesionNetwork(squeezenet1_1().features[:LAYERS], 256)
    module.load_state_dict(load_file(folder / f"fold-{fold}.safetensors"))
    preprocessing = Preprocessing(SIDE, SIDE, tuple(module.mean.tolist()), IMAGENET_STD)
    return Classifier(module, preprocessing, CLASSES, name=f"lesions {fold}", head=Head("binary"))


def results_of(folder: Path) -> np.ndarray:
    """Logits `[N]` of all photographs, each by the network that has not seen it."""
    return np.array([row["logit"] for row in json.loads((folder / "results.json").read_text())])


def auc_interval(
    logits: np.ndarray, labels: np.ndarray, groups: Sequence[str], samples: int = 1000
) -> tuple[float, float, float]:
    """AUC and its percentile-bootstrap interval over groups: (AUC, low, high)."""
    members: dict[str, list[int]] = {}
    for number, group in enumerate(groups):
        members.setdefault(group, []).append(number)
    rows, chance, found = list(members.values()), np.random.default_rng(0), []
    while len(found) < samples:
        drawn = np.concatenate([rows[number] for number in chance.integers(len(rows), size=len(rows))])
        if 0 < labels[drawn].sum() < len(drawn):
            found.append(roc_auc_score(labels[drawn], logits[drawn]))
    return float(roc_auc_score(labels, logits)), *(float(edge) for edge in np.quantile(found, (0.025, 0.975)))


def accuracy_table(logits: np.ndarray, own: Photographs) -> str:
    """AUC and shares rightly named, of photographs by networks that have not seen them."""
    lines = ["| photographs | n | with exudates | AUC | named rightly | of those with | of those without |"]
    lines.append("|---|--:|--:|--:|--:|--:|--:|")
    sources = {"all": np.ones_like(own.numbered), "of the source that all with exudates are of": own.numbered}
    halves = {"": np.ones_like(own.numbered), ", chosen by": ~own.confirms, ", confirming": own.confirms}
    for source, first in sources.items():
        for half, second in halves.items():
            rows = np.flatnonzero(first & second)
            labels, right = own.exudates[rows], (logits[rows] > 0) == own.exudates[rows]
            auc, low, high = auc_interval(logits[rows], labels, [own.groups[row] for row in rows])
            shares = [_share(right[some]) for some in (labels | True, labels, ~labels)]
            figures = " | ".join([f"{auc:.3f} ({low:.3f} – {high:.3f})", *shares])
            lines.append(f"| {source}{half} | {len(rows)} | {labels.sum()} | {figures} |")
    return "\n".join(lines)


def _share(right: np.ndarray) -> str:
    low, high = wilson_interval(int(right.sum()), len(right))
    return f"{right.mean():.1%} ({low:.1%} – {high:.1%})"


def main() -> None:
    """Fit what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    own, results = photographs(), arguments.folder / "results.json"
    if not results.exists():
        arguments.folder.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(1)
        keep_freed_memory()
        cells, labels = cells_of(own.names), torch.from_numpy(own.exudates)
        features, logits = trunk(), np.zeros(len(own.names))
        for fold in range(FOLDS):
            seen = torch.from_numpy(own.folds != fold)
            weight, bias = fit_head(cells[seen], labels[seen], arguments.seed)
            network = LesionNetwork(copy.deepcopy(features), len(weight))
            network.mean.copy_(mean_color([name for name, chosen in zip(own.names, seen, strict=True) if chosen]))
            network.features[0] = rebased(features[0], network.mean)
            network.score.weight.data.copy_(weight.view(1, -1, 1, 1))
            network.score.bias.data.fill_(bias)
            save_file(network.state_dict(), arguments.folder / f"fold-{fold}.safetensors")
            found = [highest(one.float()[None] @ weight + bias, CELLS) for one in cells[~seen]]
            logits[own.folds == fold] = torch.cat(found).numpy()
            print(f"fold {fold} of {FOLDS}", flush=True)
        rows = zip(own.names, own.folds.tolist(), own.exudates.tolist(), logits.tolist(), strict=True)
        fields = ("file", "fold", "exudates", "logit")
        partial = results.with_suffix(".partial")
        partial.write_text(json.dumps([dict(zip(fields, row, strict=True)) for row in rows], indent=1))
        partial.rename(results)
    print(accuracy_table(results_of(arguments.folder), own))


if __name__ == "__main__":
    main()
