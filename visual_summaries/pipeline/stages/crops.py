"""Members of summaries as the classifier sees them alone: its scores and features of their crops."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torchvision.transforms.v2 import functional

from visual_summaries.pipeline.models.labels import Labels
from visual_summaries.pipeline.runtime.units import Output, Unit
from visual_summaries.pipeline.stages.context import WorkerContext, apart, chunks
from visual_summaries.pipeline.summarize.tags import Tags, label_tags
from visual_summaries.schemas import EDGES


def described_crops(
    worker: WorkerContext, stage: str, unit: Unit, members: Sequence[Mapping[str, Any]], output: Output
) -> tuple[list[Mapping[str, Any]], np.ndarray, np.ndarray]:
    """Members whose images can be read, with class scores `[n,K]` and features `[n,D]` of their crops.

    `members`: rows of `members` with their boxes. What cannot be read goes to the errors of `output`.
    """
    photographs = worker.photographs(unit)
    side = worker.setup.preprocessing.crop_side
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
                scores.append(worker.classifier.logits(batch).cpu().numpy())
                features.append(worker.classifier.features(batch).cpu().numpy())
    if not described:
        return [], np.zeros((0, len(worker.classifier.class_names)), np.float32), np.zeros((0, 1), np.float32)
    return described, np.concatenate(scores), np.concatenate(features)


def tags_of(worker: WorkerContext, scores: np.ndarray) -> Tags:
    """The classifier's own best labels of each crop, from its scores `[n,K]`; fewer where it knows few classes."""
    labels = Labels(worker.classifier.class_names, worker.classifier.wordnet_ids)
    return label_tags(scores, labels, min(worker.config.evaluation.tags, max(1, len(labels.names) // 2)))
