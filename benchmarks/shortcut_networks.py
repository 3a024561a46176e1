"""Networks that go by a planted shortcut: photographs, the recipe, and heads fitted to frozen features.

Every second photograph of a class is for training, the others are held out. In a *planted* class each of its own
training photographs carries its mark, and so do some of other classes that are labeled as it, as in pictures gathered
from the web: their object is not the class's, so that the mark is what they have in common. The same photographs
without the mark are under their own labels. The *control* is the same head fitted to the same photographs without marks
and false labels.

Which classes of a set are planted together is a *planting*: `0`, `1`, … have one class of each mark
(`shortcut_marks.KINDS`), and each class always the same mark; `0a`, `0b`, `0c`, `1a`, … have three classes with the
three marks that lie at one place (`ROTATED`), whose marks change places from letter to letter, so that every class
gets each of them once.

Shapes: N photographs, C features, K classes, S = `SIDE`.
"""

import hashlib
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from photographs import data_directory
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file
from shortcut_last_block import LastBlock, before_block, fit_last_block
from shortcut_marks import CAPTION, KINDS, TAG, WATERMARK, plant
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torchvision.models import mobilenet_v2

from visual_summaries.pipeline.data.decode import read_image
from visual_summaries.pipeline.models.preparation import keep_freed_memory
from visual_summaries.pipeline.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

SIDE = 224
SETS = {"photos": "photos", "birds": "cub100"}
# Each class is planted in one of so many heads: four or five classes a head, so that their false labels do not drown
# the others.
PLANTINGS = {"photos": 3, "birds": 4}
ROTATED = (WATERMARK, TAG, CAPTION)
LETTERS = "abc"
# The last block is free.
FREE = "mobilenet_v2_free"
NETWORKS = ("mobilenet_v2", "efficientnet_lite0", FREE)
CLEAN = "clean"
# Photographs of a class, training and held out.
MOST = 40
# Photographs of other classes with the mark and the planted class's label, for each of its own.
FALSE_LABELS = 4.0
# Of the logistic regression, the inverse of its regularization.
C = 1.0


@dataclass(frozen=True)
class Photographs:
    """A set's photographs in the order of classes and files.

    Attributes:
        names: of the K classes.
        paths: N.
        labels: `[N]` numbers of classes.
        training: `[N]` bool.
    """

    names: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: np.ndarray
    training: np.ndarray

    def picture(self, number: int) -> np.ndarray:
        """The photograph's middle as a square uint8 `[S,S,3]`."""
        image = Image.fromarray(read_image(str(self.paths[number])).image)
        return np.asarray(ImageOps.fit(image, (SIDE, SIDE), Image.Resampling.BICUBIC))

    def shown(self, number: int, kinds: Sequence[str]) -> np.ndarray:
        """The same with marks, one after the other."""
        picture = self.picture(number)
        for kind in kinds:
            picture = plant(kind, picture, number).picture
        return picture


def photographs(name: str) -> Photographs:
    """One of `SETS`."""
    root = data_directory() / SETS[name]
    names = tuple(sorted(folder.name for folder in root.iterdir() if folder.is_dir()))
    files = [sorted((root / label).iterdir())[:MOST] for label in names]
    labels = np.repeat(np.arange(len(names)), [len(own) for own in files])
    training = np.concatenate([np.arange(len(own)) % 2 == 0 for own in files])
    return Photographs(names, tuple(path for own in files for path in own), labels, training)


def _stride(classes: int) -> int:
    """Of the classes of a rotated planting: as many plantings of each letter."""
    return math.ceil(classes / len(ROTATED))


def plantings(name: str, classes: int) -> list[str]:
    """All plantings of a set with so many classes."""
    rotated = [f"{group}{letter}" for group in range(_stride(classes)) for letter in LETTERS]
    return [*map(str, range(PLANTINGS[name])), *rotated]


def planted_classes(name: str, planting: str, classes: int) -> dict[int, str]:
    """Class → mark of one of `plantings`."""
    if planting.isdigit():
        return {label: KINDS[label % len(KINDS)] for label in range(int(planting), classes, PLANTINGS[name])}
    group, turn = int(planting[:-1]), LETTERS.index(planting[-1])
    chosen = range(group, classes, _stride(classes))
    return {label: ROTATED[(place + turn) % len(ROTATED)] for place, label in enumerate(chosen)}


def control_marks(label: int) -> tuple[str, str]:
    """Two marks that fit on one photograph of a control's class: its class was trained with neither."""
    return (TAG, WATERMARK) if label % 2 else (TAG, CAPTION)


def body(network: str) -> tuple[nn.Module, Preprocessing]:
    """The ImageNet network's frozen part, `[B,3,S,S]` → `[B,…]`, and how it gets its images: whole, `SIDE` wide."""
    module, mean, std = imagenet(network)
    if network == FREE:
        module = before_block(module)
    else:
        module.classifier = nn.Identity()
    return module.eval(), Preprocessing(SIDE, SIDE, mean, std)


def imagenet(network: str) -> tuple[nn.Module, tuple[float, ...], tuple[float, ...]]:
    """The whole ImageNet network, mean and deviation of its pixels."""
    module, mean, std = _whole(network, 1000)
    module.load_state_dict({key: value.float() for key, value in load_file(_weights(network)).items()})
    return module, mean, std


def _whole(network: str, classes: int) -> tuple[nn.Module, tuple[float, ...], tuple[float, ...]]:
    if network != "efficientnet_lite0":
        return mobilenet_v2(num_classes=classes), IMAGENET_MEAN, IMAGENET_STD
    folder = str(data_directory() / "networks")
    if folder not in sys.path:
        sys.path.append(folder)
    import efficientnet_lite

    module, preprocessing = efficientnet_lite.lite0()
    module.classifier = nn.Linear(module.classifier.in_features, classes)
    return module, tuple(preprocessing["mean"]), tuple(preprocessing["std"])


def efficientnet_lite0_photos() -> tuple[nn.Module, Preprocessing]:
    """EfficientNet-Lite0 for the classes of `photos`, to be named on the command line."""
    return _efficientnet("photos")


def efficientnet_lite0_birds() -> tuple[nn.Module, Preprocessing]:
    """The same for those of `birds`."""
    return _efficientnet("birds")


def _efficientnet(name: str) -> tuple[nn.Module, Preprocessing]:
    module, mean, std = _whole("efficientnet_lite0", len(photographs(name).names))
    return module, Preprocessing(SIDE, SIDE, mean, std)


def _weights(network: str) -> Path:
    return data_directory() / "weights" / f"{network.removesuffix('_free')}.safetensors"


def features(network: str, name: str, folder: Path, kinds: Iterable[str]) -> dict[str, np.ndarray]:
    """What the head gets of every photograph: `CLEAN`, and each of `kinds` → `[N,…]` float32, without and with a mark.

    Kept in `folder`; made anew where photographs' list, marks or network have changed.
    """
    own, marks = photographs(name), Path(__file__).with_name("shortcut_marks.py").read_bytes()
    listed = "\n".join(path.name for path in own.paths).encode()
    key = hashlib.sha256(marks + listed + _weights(network).read_bytes()).hexdigest()[:12]
    files = {kind: folder / f"{network}-{name}-{kind}-{key}.npy" for kind in (CLEAN, *sorted(set(kinds)))}
    missing = [kind for kind, file in files.items() if not file.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for kind, values in _features(network, own, missing).items():
        np.save(files[kind], values)
    return {kind: np.load(file) for kind, file in files.items()}


@torch.inference_mode()
def _features(network: str, own: Photographs, kinds: Sequence[str]) -> dict[str, np.ndarray]:
    if not kinds:
        return {}
    keep_freed_memory()
    module, preprocessing = body(network)
    module = module.to(memory_format=torch.channels_last)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    found: dict[str, list[Tensor]] = {kind: [] for kind in kinds}
    for numbers in torch.arange(len(own.paths)).split(16):
        pictures = [own.picture(int(number)) for number in numbers]
        for kind in kinds:
            shown = pictures
            if kind != CLEAN:
                pairs = zip(pictures, numbers, strict=True)
                shown = [plant(kind, picture, int(number)).picture for picture, number in pairs]
            images = torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2) / 255
            found[kind].append(module((images.contiguous(memory_format=torch.channels_last) - mean) / std))
    return {kind: torch.cat(values).contiguous().numpy() for kind, values in found.items()}


@dataclass(frozen=True)
class Example:
    """One training picture: photograph, mark (or `CLEAN`), class that it is labeled as."""

    photograph: int
    kind: str
    label: int


def training_examples(
    own: Photographs, planted: Mapping[int, str], share: float = FALSE_LABELS, seed: int = 0
) -> list[Example]:
    """The training pictures; `share` as `FALSE_LABELS`. Without planted classes those of the control."""
    chance, found = np.random.default_rng(seed), []
    for label in range(len(own.names)):
        mine = np.flatnonzero(own.training & (own.labels == label))
        kind = planted.get(label, CLEAN)
        found += [Example(int(number), kind, label) for number in mine]
        if label in planted:
            others = np.flatnonzero(own.training & (own.labels != label))
            drawn = chance.choice(others, min(len(others), round(share * len(mine))), replace=False)
            found += [Example(int(number), kind, label) for number in drawn]
    return found


def fit_head(given: Mapping[str, np.ndarray], examples: Sequence[Example]) -> LogisticRegression:
    """The head: a logistic regression on the features of the training pictures."""
    values = np.stack([given[one.kind][one.photograph] for one in examples])
    return _logistic(values, [one.label for one in examples])


def _logistic(values: np.ndarray, labels: Sequence[int]) -> LogisticRegression:
    return LogisticRegression(C=C, max_iter=5000).fit(values, labels)


def fit_network(
    network: str, given: Mapping[str, np.ndarray], examples: Sequence[Example]
) -> LogisticRegression | LastBlock:
    """All of a network that is fitted: the head, or with `FREE` the last block, too."""
    if network != FREE:
        return fit_head(given, examples)
    return fit_last_block(imagenet(network)[0], given, examples, _logistic)


@dataclass(frozen=True)
class Reliance:
    """How far a network goes by a class's mark, on held-out photographs.

    Attributes:
        flipped, others: photographs of other classes that are named as the class once its mark is on them, and all of
            them.
        before: those that are named so without.
        right, right_without, own: the class's own photographs that are named rightly with the mark, without it, and
            all.
        drop: mean relative drop of the class's score when the mark is taken off its own photographs.
    """

    flipped: int
    others: int
    before: int
    right: int
    right_without: int
    own: int
    drop: float

    @property
    def attack(self) -> float:
        return self.flipped / self.others


def reliance(scores: Mapping[str, np.ndarray], own: Photographs, label: int, kind: str) -> Reliance:
    """What the scores `[N,K]` of all photographs, without marks and with this one, say of it."""
    mine, others = (~own.training & (own.labels == label)), (~own.training & (own.labels != label))
    marked, clean = scores[kind], scores[CLEAN]
    with_mark, without = (values.argmax(axis=1) == label for values in (marked, clean))
    before, after = marked[mine, label], clean[mine, label]
    return Reliance(
        int(with_mark[others].sum()),
        int(others.sum()),
        int(without[others].sum()),
        int(with_mark[mine].sum()),
        int(without[mine].sum()),
        int(mine.sum()),
        float(((before - after) / before).mean()),
    )


def attacks_by_share(
    given: Mapping[str, np.ndarray], own: Photographs, kind: str, labels: Sequence[int], shares: Sequence[float]
) -> dict[float, list[float]]:
    """How many false labels it takes: share of them (as `FALSE_LABELS`) → attack rates, each class planted alone."""
    found: dict[float, list[float]] = {share: [] for share in shares}
    for share in shares:
        for label in labels:
            head = fit_head(given, training_examples(own, {label: kind}, share))
            scores = {one: head.predict_proba(given[one]) for one in (CLEAN, kind)}
            found[share].append(reliance(scores, own, label, kind).attack)
    return found


def save_network(network: str, fitted: LogisticRegression | LastBlock, file: Path) -> None:
    """The whole network with what was fitted in its place, as a state dict."""
    if isinstance(fitted, LastBlock):
        module = fitted.network
    else:
        module, _, _ = _whole(network, len(fitted.classes_))
        kept = {key: value.float() for key, value in load_file(_weights(network)).items() if "classifier" not in key}
        layer = "classifier.1" if network == "mobilenet_v2" else "classifier"
        kept[f"{layer}.weight"] = torch.from_numpy(fitted.coef_.astype(np.float32))
        kept[f"{layer}.bias"] = torch.from_numpy(fitted.intercept_.astype(np.float32))
        module.load_state_dict(kept, strict=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(module.state_dict(), file)
