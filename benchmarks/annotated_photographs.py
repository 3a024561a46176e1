"""Photographs whose objects or parts are annotated, for the benchmarks of localization."""

import csv
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from photographs import data_directory, network
from torch import Tensor

from visual_summaries.pipeline.data.decode import read_image
from visual_summaries.pipeline.evaluate.parts import analyzed_boxes
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.loading import load_classifier

BIRDS = "mobilenet_v2_cub100"


@dataclass(frozen=True)
class Annotated:
    """A photograph as the network sees it: resized whole to a square, so that no object is cut off.

    Attributes:
        name: folder and file.
        label: its folder: the class.
        target: the class that the network should name.
        path: the file.
        boxes: `[n,4]` x0, y0, x1, y1 of the class's objects, in pixels of the square.
        landmarks: part → (x, y) in pixels of the square; visible ones.
    """

    name: str
    label: str
    target: int
    path: Path
    boxes: np.ndarray
    landmarks: dict[str, tuple[float, float]] = field(default_factory=dict)

    def image(self, classifier: Classifier) -> Tensor:
        """`[3,S,S]` float32 in [0,1]."""
        return classifier.preprocessing.analyzed_image(read_image(str(self.path)).image).float().div(255)


def whole_image_network(name: str) -> Classifier:
    """A classifier that resizes photographs whole: one of the ImageNet networks, or `BIRDS`."""
    data = data_directory()
    weights = data / "weights" / f"{name}.safetensors"
    if name == BIRDS:
        labels = data / "cub100" / "classes.csv"
        return load_classifier("torchvision:mobilenet_v2", weights, labels=labels, squash=True)
    return network(name, squash=True)


def photographs_with_boxes(side: int = 224) -> list[Annotated]:
    """All photographs of airliners, goldfinches and indigo buntings that have boxes, the classes in turn."""
    data = data_directory()
    with open(data / "photos/classes.csv", newline="") as file:
        indices = {row["folder"]: int(row["class_index"]) for row in csv.DictReader(file)}
    boxes = defaultdict(list)
    with open(data / "localization/photo_boxes.csv", newline="") as file:
        for row in csv.DictReader(file):
            boxes[row["folder"], row["file"]].append([float(row[edge]) for edge in ("x0", "y0", "x1", "y1")])
    found = defaultdict(list)
    for (folder, name), rows in sorted(boxes.items()):
        path = data / "photos" / folder / name
        height, width = read_image(str(path)).image.shape[:2]
        scaled = analyzed_boxes(np.array(rows), (0, 0, width, height), side)
        found[folder].append(Annotated(f"{folder}/{name}", folder, indices[folder], path, scaled))
    return _in_turn(found.values())


def birds(side: int = 224) -> list[Annotated]:
    """The test crops of `cub100`, the species in turn; the box is that of the visible landmarks."""
    data = data_directory() / "cub100"
    landmarks: dict[tuple[str, str, int], dict[str, tuple[float, float]]] = defaultdict(dict)
    with open(data / "landmarks.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["visible"] == "1":
                key = (row["species"], row["file"], int(row["class_index"]))
                landmarks[key][row["part"]] = (float(row["x"]), float(row["y"]))
    found = defaultdict(list)
    for (species, name, target), parts in sorted(landmarks.items()):
        path = data / species / name
        height, width = read_image(str(path)).image.shape[:2]
        scale = np.array([side / width, side / height])
        points = {part: tuple(np.array(point) * scale) for part, point in parts.items()}
        corners = np.array(list(points.values()))
        box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])[None]
        found[species].append(Annotated(f"{species}/{name}", species, target, path, box, points))
    return _in_turn(found.values())


def as_batch(classifier: Classifier, photographs: Sequence[Annotated]) -> tuple[Tensor, Tensor]:
    """Images `[B,3,S,S]` and target classes `[B]`."""
    images = torch.stack([photograph.image(classifier) for photograph in photographs])
    return images, torch.tensor([photograph.target for photograph in photographs])


def _in_turn(groups: Iterable[list[Annotated]]) -> list[Annotated]:
    return [entry for row in zip_longest(*groups) for entry in row if entry is not None]
