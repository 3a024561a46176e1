"""Members of summaries as the classifier sees them alone: its scores and features of their crops."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torchvision.transforms.v2 import functional

from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.labels import Labels
from visual_summaries.pipeline.runtime.units import Output, Unit
from visual_summaries.pipeline.stages.context import WorkerContext, apart, chunks
from visual_summaries.pipeline.summarize.tags import Tags, label_tags
from visual_summaries.schemas import EDGES


def described_crops(
    worker: WorkerContext,
    stage: str,
    unit: Unit,
    members: Sequence[Mapping[str, Any]],
    output: Output,
    network: Classifier | None = None,
) -> tuple[list[Mapping[str, Any]], np.ndarray, np.ndarray]:
    """Members whose images can be read, with class scores `[n,K]` and features `[n,D]` of their crops.

    `members`: rows of `members` with their boxes in the analyzed square. `network`: who describes them, on the worker's
    device; default: the run's classifier. What cannot be read goes to the errors of `output`.
    """
    side = network.input_size if network else worker.setup.preprocessing.crop_side
    network = network or worker.classifier
    photographs = worker.photographs(unit)
    described, scores, features = [], [], []
    by_image = defaultdict(list)
    for member in members:
        by_image[member["image_id"]].append(member)
    for ids in chunks(sorted(by_image), worker.config.model.batch_size):
        crops = []
        for image_id in ids:
            with apart(stage, unit, photographs[image_id], output):
                image, own = worker.analyzed_image(photographs[image_id]), []
                for member in by_image[image_id]:
                    x0, y0, x1, y1 = (round(member[edge]) for edge in EDGES)
                    own.append(functional.resize(image[:, y0:y1, x0:x1], [side, side], antialias=True))
                crops += own
                described += by_image[image_id]
        for several in chunks(crops, worker.config.model.batch_size):
            batch = worker.model_input(several)
            with torch.no_grad():
                scores.append(network.logits(batch).cpu().numpy())
                features.append(network.features(batch).cpu().numpy())
    if not described:
        return [], np.zeros((0, len(network.class_names)), np.float32), np.zeros((0, 1), np.float32)
    return described, np.concatenate(scores), np.concatenate(features)


def tags_of(
    worker: WorkerContext, scores: np.ndarray, network: Classifier | None = None, count: int | None = None
) -> Tags:
    """A network's best labels of each crop, from its scores `[n,K]`; fewer where it knows few classes.

    `network`: default: the run's classifier. `count`: default: as many as the setting `evaluation.tags` says.
    """
    network = network or worker.classifier
    labels = Labels(network.class_names, network.wordnet_ids)
    return label_tags(scores, labels, min(count or worker.config.evaluation.tags, max(1, len(labels.names) // 2)))
