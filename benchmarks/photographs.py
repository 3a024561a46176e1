"""Photographs and classifiers for the benchmarks, from the folder that VISUAL_SUMMARIES_DATA names."""

import csv
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from visual_summaries.pipeline.data.decode import read_image
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.loading import load_classifier

NETWORKS = ("squeezenet1_1", "mobilenet_v2", "squeezenet1_0", "efficientnet_lite0")
# Classes with many flat backgrounds: sky, water, out-of-focus green.
FLAT = ("n01531178", "n02690373", "n02317335")


@dataclass(frozen=True)
class Photograph:
    """A labeled photograph that the network classifies correctly.

    Attributes:
        image: `[3,S,S]` float32 in [0,1], what the network sees.
    """

    name: str
    target: int
    image: torch.Tensor


def data_directory() -> Path:
    """The folder of photographs and weights; the program ends with one line where there is none."""
    value = os.environ.get("VISUAL_SUMMARIES_DATA")
    if not value or not (Path(value) / "weights").is_dir():
        sys.exit("set VISUAL_SUMMARIES_DATA to the folder of real photographs and weights")
    return Path(value).resolve()


def network(name: str, squash: bool | None = None) -> Classifier:
    """One of the ImageNet classifiers; `squash` as for `load_classifier`. EfficientNet-Lite is code beside the data."""
    data = data_directory()
    model = f"torchvision:{name}"
    if name == "efficientnet_lite0":
        model = "efficientnet_lite:lite0"
        if str(data / "networks") not in sys.path:
            sys.path.insert(0, str(data / "networks"))
    return load_classifier(model, data / "weights" / f"{name}.safetensors", squash=squash)


def correct_photographs(
    classifier: Classifier, validation: int, flat: int = 0, half: int | None = None
) -> list[Photograph]:
    """The first correctly classified photographs: `validation` of ImageNet's, then `flat` of each of `FLAT`.

    `half` 0 or 1 takes every second photograph, from the first or from the second.
    """
    data = data_directory()
    with open(data / "imagenet/val.csv", newline="") as file:
        labeled = [(data / "imagenet/val" / row["file"], int(row["class_index"])) for row in csv.DictReader(file)]
    with open(data / "photos/classes.csv", newline="") as file:
        indices = {row["folder"]: int(row["class_index"]) for row in csv.DictReader(file)}
    groups = [(labeled, validation)]
    groups += [([(path, indices[name]) for path in sorted((data / "photos" / name).iterdir())], flat) for name in FLAT]
    chosen = []
    for rows, count in groups:
        rows = rows if half is None else rows[half::2]
        chosen += _first_correct(classifier, rows, count)
    return chosen


def _first_correct(classifier: Classifier, rows: list[tuple[Path, int]], count: int) -> list[Photograph]:
    found: list[Photograph] = []
    for path, target in rows:
        if len(found) == count:
            break
        image = classifier.preprocessing.analyzed_image(read_image(str(path)).image).float().div(255)
        with torch.no_grad():
            if int(classifier.logits(image[None]).argmax()) == target:
                found.append(Photograph(path.name, target, image))
    return found


def machine() -> str:
    """The processor in words."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = next((line.split(":")[1].strip() for line in info.splitlines() if line.startswith("model name")), "unknown")
    return f"{model}, {os.cpu_count()} cores, PyTorch {torch.__version__}"


def reset_peak_memory() -> None:
    """Let `peak_memory` count from now on (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """Most resident memory of this process since the last reset, bytes (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
