"""Networks of known quality, the photographs that all of them name rightly, and a run of the program with each.

Two suites. `photos`: the four ImageNet networks on the photographs of twelve classes. `birds`: MobileNetV2 with heads
for 20 species, fitted to its frozen features of 1, 3 and 10 crops a species. All networks of a suite explain the same
photographs, the first ones of each class that all of them name rightly: a worse network would otherwise have fewer, and
of fewer photographs come fewer summaries.
"""

import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from photographs import NETWORKS, data_directory, network

from visual_summaries.pipeline.commands.evaluate import needed_stages
from visual_summaries.pipeline.config import load_config
from visual_summaries.pipeline.data.decode import read_image
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.stages.studies import STUDIES, StudiesStage

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "stages"))

from in_process import run_in_process  # noqa: E402
from shortcut_networks import CLEAN, Example, body, fit_head, photographs, save_network  # noqa: E402

STUDY = STUDIES["coherence"]
SUITES = ("photos", "birds")
# Training crops of a species.
SHOTS = (1, 3, 10)
TAGGER, OTHER_TAGGER = "efficientnet_lite0", "mobilenet_v2"


@dataclass(frozen=True)
class Network:
    """A network of a suite.

    Attributes:
        name: in tables and folders.
        right, of: held-out photographs that it names rightly, and all.
    """

    name: str
    right: int
    of: int

    @property
    def accuracy(self) -> float:
        return self.right / self.of


@cache
def classifier(name: str) -> Classifier:
    return network(name)


def names_rightly(name: str, paths: Sequence[Path], targets: Sequence[int]) -> np.ndarray:
    """Whether an ImageNet network names each photograph as its class: `[N]` bool."""
    found, own = [], classifier(name)
    for start in range(0, len(paths), 16):
        images = [own.preprocessing.analyzed_image(read_image(str(path)).image) for path in paths[start : start + 16]]
        with torch.inference_mode():
            found.append(own.logits(torch.stack(images).float() / 255).argmax(dim=1).numpy())
    return np.concatenate(found) == np.asarray(targets)


def photo_networks(folder: Path) -> list[Network]:
    """The ImageNet networks with their accuracy on the 650 validation photographs."""
    file = folder / "photos-accuracy.json"
    found = json.loads(file.read_text()) if file.exists() else {}
    with open(data_directory() / "imagenet/val.csv", newline="") as lines:
        rows = list(csv.DictReader(lines))
    paths = [data_directory() / "imagenet/val" / row["file"] for row in rows]
    targets = [int(row["class_index"]) for row in rows]
    for name in NETWORKS:
        if name not in found:
            found[name] = [int(names_rightly(name, paths, targets).sum()), len(paths)]
            file.write_text(json.dumps(found))
    return sorted((Network(name, *found[name]) for name in NETWORKS), key=lambda one: one.accuracy)


def photo_choice(folder: Path, images: int) -> dict[str, list[str]]:
    """Class → its first photographs that all four networks name rightly; every second class first."""
    file = folder / f"photos-{images}.json"
    if not file.exists():
        with open(data_directory() / "photos/classes.csv", newline="") as lines:
            classes = {row["folder"]: int(row["class_index"]) for row in csv.DictReader(lines)}
        found = {}
        for label, target in classes.items():
            chosen: list[str] = []
            for path in sorted((data_directory() / "photos" / label).iterdir()):
                # The strongest last: most that are not named rightly are known by then.
                if len(chosen) < images and all(names_rightly(name, [path], [target])[0] for name in NETWORKS):
                    chosen.append(str(path))
            if len(chosen) == images:
                found[label] = chosen
        labels = sorted(found)
        file.write_text(json.dumps({label: found[label] for label in [*labels[::2], *labels[1::2]]}, indent=1))
    return json.loads(file.read_text())


def bird_networks(folder: Path) -> list[Network]:
    """MobileNetV2 with each of the heads, their files written; accuracy on every second crop, which no head saw."""
    own, given, held_out = photographs("birds"), bird_features(folder), ~photographs("birds").training
    found = []
    for shots, head in bird_heads(folder).items():
        file = folder / "heads" / f"{bird_name(shots)}.safetensors"
        if not file.exists():
            save_network("mobilenet_v2", head, file)
            (folder / "heads/birds.txt").write_text("\n".join(own.names) + "\n")
        right = head.predict(given[held_out]) == own.labels[held_out]
        found.append(Network(bird_name(shots), int(right.sum()), int(held_out.sum())))
    return found


def bird_name(shots: int) -> str:
    return f"birds-{shots}"


def bird_features(folder: Path) -> np.ndarray:
    file = folder / "birds-features.npy"
    if not file.exists():
        own = photographs("birds")
        module, preprocessing = body("mobilenet_v2")
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
        found = []
        for numbers in torch.arange(len(own.paths)).split(16):
            pictures = np.stack([own.picture(int(number)) for number in numbers])
            with torch.inference_mode():
                found.append(module((torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255 - mean) / std))
        np.save(file, torch.cat(found).numpy())
    return np.load(file)


def bird_training(shots: int) -> list[int]:
    """The first so many training crops of each species, those of fewer among those of more."""
    own = photographs("birds")
    return [
        int(number)
        for label in range(len(own.names))
        for number in np.flatnonzero(own.training & (own.labels == label))[:shots]
    ]


def bird_heads(folder: Path) -> dict:
    own, given = photographs("birds"), {CLEAN: bird_features(folder)}
    return {
        shots: fit_head(given, [Example(number, CLEAN, int(own.labels[number])) for number in bird_training(shots)])
        for shots in SHOTS
    }


def bird_choice(folder: Path, images: int) -> dict[str, list[str]]:
    """Species → its first crops that no head was fitted to and all name rightly, held-out ones first."""
    own, given = photographs("birds"), bird_features(folder)
    right = np.all([head.predict(given) == own.labels for head in bird_heads(folder).values()], axis=0)
    right[bird_training(max(SHOTS))] = False
    found = {}
    for label, name in enumerate(own.names):
        mine = np.flatnonzero(right & (own.labels == label))
        mine = mine[np.argsort(own.training[mine], kind="stable")][:images]
        if len(mine) == images:
            found[name] = [str(own.paths[number]) for number in mine]
    return found


def networks(suite: str, folder: Path) -> list[Network]:
    return photo_networks(folder) if suite == "photos" else bird_networks(folder)


def choice(suite: str, folder: Path, images: int) -> dict[str, list[str]]:
    return photo_choice(folder, images) if suite == "photos" else bird_choice(folder, images)


def model_settings(suite: str, name: str, folder: Path) -> dict[str, Any]:
    """The section `model` that names the network."""
    if suite == "birds":
        heads = folder / "heads"
        own = {"name": "torchvision:mobilenet_v2", "weights": str(heads / f"{name}.safetensors")}
        return own | {"labels": str(heads / "birds.txt"), "squash": True, "resize": 224}
    weights = data_directory() / "weights" / f"{name}.safetensors"
    model = "efficientnet_lite:lite0" if name == "efficientnet_lite0" else f"torchvision:{name}"
    return {"name": model, "weights": str(weights), "labels": "imagenet"}


def tagger_of(name: str) -> str:
    """The strongest network that is not the one under study."""
    return OTHER_TAGGER if name == TAGGER else TAGGER


def run_folder(suite: str, name: str, folder: Path, images: int, settings: Sequence[str]) -> Path:
    kind = "+".join(setting.rpartition(".")[2].replace("=", "-") for setting in settings) or "default"
    return folder / "runs" / f"{suite}-{name}-{images}-{kind}"


def summarized(suite: str, name: str, folder: Path, images: int, classes: int, settings: Sequence[str] = ()) -> Path:
    """The program's run of a network on the first classes of its suite, with its coherence by the tagger.

    Without Ray, in this process; what is there is not made again.
    """
    output = run_folder(suite, name, folder, images, settings)
    chosen = dict(list(choice(suite, folder, images).items())[:classes])
    manifest = output.with_suffix(".csv")
    manifest.parent.mkdir(parents=True, exist_ok=True)
    rows = ["uri,label", *(f"{path},{label}" for label, paths in chosen.items() for path in paths)]
    manifest.write_text("\n".join(rows) + "\n")
    values = {
        "model": model_settings(suite, name, folder),
        "evaluation": {"taggers": [model_settings("photos", tagger_of(name), folder)]},
        "data": {"manifest": str(manifest), "held_out": 0, "test": 0},
        # They say how often a summary is found again, and change none.
        "summaries": {"resamples": 0},
        "output": str(output),
    }
    run_in_process(load_config(None, settings, values), [*needed_stages(STUDY.reads), StudiesStage([STUDY])])
    return output
