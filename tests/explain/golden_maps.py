"""What every explainer gives on two images, by a network of closed formula, stored in `golden/`.

`test_golden_maps.py` compares.

    python tests/explain/golden_maps.py [explainer …]

writes the values anew, of all explainers or of those that are named. It refuses where they differ from what is stored
under the same version: raise the method's version in `visual_summaries/pipeline/explain/registry.py` first.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from visual_summaries.pipeline.config import load_config
from visual_summaries.pipeline.explain.engine import Item, explain_stream
from visual_summaries.pipeline.explain.registry import EXPLAINERS, make_explainer
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.stages.explain import own_settings

FOLDER = Path(__file__).parent / "golden"
SIDE = 32
# What is stored is rounded to 1/255. The network is in double precision, so that another processor's rounding shows up
# in a pixel here and there at most; a change of what is computed, in all.
MOST_MEAN, MOST_CHANGED, MOST_SCORE = 0.25, 0.01, 1e-3
# Settings of an explainer that its maps are stored with, where its own are not all.
FEW = ("explain.rise.masks=300", "explain.rise.cells=5", "explain.glas.grid=7", "explain.cam.copies=3")
FEW += ("explain.sampling={steps: 10, noisy_copies: 5, lime: 80, superpixel: 40}",)
PRESETS = tuple(f"preset={name}" for name in ("fast", "authors", "paper"))
VARIANTS: dict[str, tuple[str, ...]] = {
    "crisp": ("preset=robust", *PRESETS, "preset=fast blur=paper"),
    "fgvis": (
        *(f"game={name}" for name in ("deletion", "preservation", "generation", "repression")),
        "game=generation similarity=score",
        "game=deletion search=scales",
        "game=repression search=trials",
    ),
    "glas": ("glas.preset=localize", "glas.preset=fine-grained", "glas.mode=light", "glas.mode=shadow"),
    "meaningful-perturbation": PRESETS,
    "thresholded-perturbation": PRESETS[:1],
    "rise": ("", "rise.hidden=black", "rise.divisor=expected"),
    "feature-cam": ("cam.version=F2+", "cam.version=F1*", "cam.version=F3'", "cam.version=F1+ cam.localizer=cam"),
}


@dataclass(frozen=True)
class Maps:
    """Of two images: saliency `[2,C,S,S]` uint8; scores `[2,2]` float64 before and after, NaN where there is none; and
    steps `[2]`."""

    saliency: np.ndarray
    scores: np.ndarray
    iterations: np.ndarray


def variants(name: str) -> tuple[str, ...]:
    """Settings, apart by blanks, that an explainer's maps are stored with; "" for its own."""
    return VARIANTS.get(name, ("",))


def waves(count: int, side: int, *frequencies: float) -> Tensor:
    """`[count,side,side]` float64 in [−1,1], each a wave in another direction."""
    axis = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    angles = torch.arange(count, dtype=torch.float64) * torch.pi / count
    along = angles.cos()[:, None, None] * axis + angles.sin()[:, None, None] * axis[:, None]
    return sum((frequency * along + number).cos() for number, frequency in enumerate(frequencies)) / len(frequencies)


def network() -> nn.Sequential:
    """Three convolutions by closed formula, to which the direction and color of fine stripes are a class."""
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(8, 10, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(10, 12, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 4),
    ).double()
    stripes = waves(8, 5, 2.0)
    stripes = stripes - stripes.mean(dim=(1, 2), keepdim=True)
    colors = torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.6, 0.3], [0.3, 0.1, 0.6], [0.4, 0.4, 0.2]], dtype=torch.float64)
    with torch.no_grad():
        layers[0].weight.copy_(0.5 * stripes[:, None] * colors[torch.arange(8) % 4][:, :, None, None])
        layers[0].bias.fill_(0.05)
        for number in (2, 4, 8):
            weight = layers[number].weight
            places = torch.arange(weight.numel(), dtype=torch.float64).view_as(weight)
            weight.copy_((1.7 * places + number).sin() * 1.2 / weight[0].numel() ** 0.5)
            layers[number].bias.zero_()
        # Without the stripes the class is unlikely, so that a mask can destroy it.
        layers[8].weight.mul_(650)
        layers[8].bias[0] = -4
    return layers


def classifier() -> PreparedClassifier:
    preprocessing = Preprocessing(SIDE, SIDE, (0.45, 0.5, 0.4), (0.25, 0.25, 0.25))
    return PreparedClassifier(Classifier(network(), preprocessing, ("a", "b", "c", "d")), "float64")


def images() -> Tensor:
    """`[2,3,S,S]` float64 in [0,1]: smooth colors, with a square of fine stripes and a smaller one of checks."""
    smooth = 0.5 + 0.25 * waves(6, SIDE, 0.11, 0.23).view(2, 3, SIDE, SIDE)
    fine = waves(6, SIDE, 2.0).view(2, 3, SIDE, SIDE)
    smooth[0, :, 5:17, 14:27] += 0.25 * fine[0, :, 5:17, 14:27]
    smooth[1, :, 15:29, 3:17] += 0.3 * fine[1, :, 15:29, 3:17]
    smooth[1, :, 3:10, 20:28] += 0.25 * fine[0, :, 3:10, 20:28]
    return smooth.clamp(0, 1)


def made(name: str, variant: str) -> Maps:
    """An explainer's maps with the settings of a variant."""
    own = [f"explain.{one}" for one in variant.split()]
    settings = load_config(None, [f"explain.explainer={name}", *FEW, *own]).explain
    shown, target = images(), classifier()
    targets = target.logits(shown).argmax(dim=1).tolist()
    seeded = [torch.Generator().manual_seed(number) for number in range(len(shown))]
    items = [Item(number, image, targets[number], seeded[number]) for number, image in enumerate(shown)]
    explainer = make_explainer(name, *own_settings(settings))
    if name == "fgvis":
        explainer.settings = replace(explainer.settings, trials=2)
    found = dict(explain_stream(explainer, target, iter(items), torch.device("cpu"), 2))
    rows = [found[number] for number in range(len(shown))]
    after = [float("nan") if row.score_after is None else float(row.score_after) for row in rows]
    return Maps(
        np.stack([row.saliency[0].mul(255).round().byte().numpy() for row in rows]),
        np.array([[float(row.score_before) for row in rows], after]).T,
        np.array([int(row.iterations) for row in rows]),
    )


def differences(found: Maps, stored: Maps) -> Iterator[str]:
    """What is not the same but for rounding."""
    if found.saliency.shape != stored.saliency.shape:
        yield f"maps {list(found.saliency.shape)} instead of {list(stored.saliency.shape)}"
        return
    distance = np.abs(found.saliency.astype(int) - stored.saliency)
    mean, changed = distance.mean(), (distance > 1).mean()
    if mean > MOST_MEAN or changed > MOST_CHANGED:
        yield f"maps that differ by {mean:.2f}/255 on average, in {changed:.1%} of the pixels"
    if not np.allclose(found.scores, stored.scores, rtol=MOST_SCORE, atol=MOST_SCORE / 10, equal_nan=True):
        yield f"scores {found.scores.tolist()} instead of {stored.scores.tolist()}"
    if not np.allclose(found.iterations, stored.iterations, rtol=0.02):
        yield f"{found.iterations.tolist()} steps instead of {stored.iterations.tolist()}"


def file_of(name: str) -> Path:
    return FOLDER / f"{name}.npz"


def read(name: str) -> tuple[int, dict[str, Maps]]:
    """The version at which an explainer's maps were stored, and these by variant."""
    with np.load(file_of(name)) as arrays:
        names = sorted({one.rpartition("|")[0] for one in arrays.files if "|" in one})
        kinds = ("saliency", "scores", "iterations")
        return int(arrays["version"]), {one: Maps(*(arrays[f"{one}|{kind}"] for kind in kinds)) for one in names}


def complaints(name: str) -> Iterator[str]:
    """What speaks against an explainer's maps, and what to do about it."""
    again = f"run `python tests/explain/golden_maps.py {name}` and commit tests/explain/golden"
    if not file_of(name).exists():
        yield f"no maps of the explainer {name} are stored: {again}"
        return
    version, stored = read(name)
    if version != EXPLAINERS[name].version:
        yield f"{name} is at version {EXPLAINERS[name].version}, the stored maps at {version}: {again}"
    if set(stored) != set(variants(name)):
        yield f"{name} is stored with {sorted(stored)}, and should be with {sorted(variants(name))}: {again}"
    for variant in stored.keys() & set(variants(name)):
        for difference in differences(made(name, variant), stored[variant]):
            yield (
                f"{name} ({variant or 'its own settings'}) gives {difference}. If that is meant, raise its version in "
                f"pipeline/explain/registry.py, so that the maps of earlier runs are made anew, and {again}"
            )


def write(name: str) -> None:
    """Store an explainer's maps.

    Raises:
        SystemExit: others are stored under the same version.
    """
    version = EXPLAINERS[name].version
    found = {variant: made(name, variant) for variant in variants(name)}
    if file_of(name).exists():
        before, stored = read(name)
        new = [
            f"{variant or 'its own settings'}: {difference}"
            for variant in found.keys() & stored.keys()
            for difference in differences(found[variant], stored[variant])
        ]
        if new and version <= before:
            raise SystemExit(
                f"{name} gives other maps than those stored under version {before} ({'; '.join(new)}): raise its "
                "version in pipeline/explain/registry.py, so that the maps of earlier runs are made anew, and run this "
                "again"
            )
        if not new and version == before and found.keys() == stored.keys():
            return
    arrays = {
        f"{variant}|{kind}": getattr(maps, kind)
        for variant, maps in found.items()
        for kind in ("saliency", "scores", "iterations")
    }
    FOLDER.mkdir(exist_ok=True)
    np.savez_compressed(file_of(name), version=version, **arrays)
    print(f"{file_of(name).relative_to(FOLDER)}: version {version}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for one in sys.argv[1:] or EXPLAINERS:
        if one not in EXPLAINERS:
            raise SystemExit(f"unknown explainer {one!r}; known: {', '.join(EXPLAINERS)}")
        write(one)
