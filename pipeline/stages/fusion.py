"""What the network says of the images set aside, alone and together with the summaries' specialists."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.runtime.units import Unit
from pipeline.stages.context import WorkerContext
from pipeline.summarize.specialists import Specialist, choose_alpha, class_scores, fuse, normalized

IMAGE_COLUMNS = ("image_id", "label", "class_index", "split", "probabilities", "features")


@dataclass(frozen=True)
class Fusion:
    """Predictions of n test images, which took part neither in the summaries nor in the choice of α.

    Attributes:
        image_ids, labels: `[n]`.
        truth, before, after: `[n]` int64 class indices: true, of the network, of α·network + (1−α)·specialists.
        deciding: `[n]`, of the class predicted after, the (label, summary) whose specialist is surest; None without.
        alpha: weight of the network.
        held_out: images that α was chosen on.
    """

    image_ids: list[str]
    labels: np.ndarray
    truth: np.ndarray
    before: np.ndarray
    after: np.ndarray
    deciding: list[tuple[str, int] | None]
    alpha: float
    held_out: int


def fused_predictions(worker: WorkerContext, unit: Unit, labels: Sequence[tuple[str, int]]) -> Fusion | None:
    """Read `images` and `specialists` of a unit; None where no image was set aside as a test.

    Args:
        labels: (label, class index) of the run's classes.
    """
    index_of = dict(labels)
    # By class index: several labels may mean one class.
    machines: dict[int, list[Specialist]] = defaultdict(list)
    names: dict[int, list[tuple[str, int]]] = defaultdict(list)
    columns = ["label", "summary", "coefficients", "intercept", "fit_accuracy"]
    for row in worker.read(unit, "specialists", columns):
        coefficients = np.frombuffer(row["coefficients"], np.float32)
        index = index_of[row["label"]]
        machines[index].append(Specialist(coefficients, row["intercept"], row["fit_accuracy"]))
        names[index].append((row["label"], row["summary"]))
    rows = [
        row
        for path in unit.inputs["images"]
        for row in worker.store.read("images", [path], IMAGE_COLUMNS).to_pylist()
        if row["split"] != "fit" and row["features"] is not None
    ]
    splits = {name: [row for row in rows if row["split"] == name] for name in ("held-out", "test")}
    if not splits["test"]:
        return None
    classes = np.array(sorted(machines), dtype=int)

    def arrays(chosen: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        probabilities = np.stack([np.frombuffer(row["probabilities"], np.float32) for row in chosen])
        features = np.stack([np.frombuffer(row["features"], np.float16) for row in chosen])
        scores = class_scores(features, [machines[index] for index in classes])
        return probabilities, scores, np.array([row["class_index"] for row in chosen]), features

    alpha = 1.0
    if splits["held-out"] and machines:
        probabilities, scores, truth, _ = arrays(splits["held-out"])
        alpha = choose_alpha(probabilities, scores, classes, truth)
    probabilities, scores, truth, features = arrays(splits["test"])
    after = fuse(probabilities, scores, classes, alpha).argmax(axis=1)
    return Fusion(
        [row["image_id"] for row in splits["test"]],
        np.array([row["label"] for row in splits["test"]]),
        truth,
        probabilities.argmax(axis=1),
        after,
        [_surest(image, machines[index], names[index]) for image, index in zip(features, after.tolist(), strict=True)],
        alpha,
        len(splits["held-out"]),
    )


def _surest(
    features: np.ndarray, machines: Sequence[Specialist], names: Sequence[tuple[str, int]]
) -> tuple[str, int] | None:
    """The summary whose specialist has the highest decision value."""
    if not machines:
        return None
    image = normalized(features[None])[0]
    return names[int(np.argmax([image @ machine.coefficients + machine.intercept for machine in machines]))]
