"""Which visual summaries a photograph shows, by their specialists (visual summaries paper §4.4): also of photographs
that have no map, as those that are called something else.

Shapes: N images, D features, S summaries.
"""

import numpy as np

from visual_summaries.pipeline.summarize.specialists import Specialist, SpecializedClasses


def decisions(features: np.ndarray, machines: list[Specialist]) -> np.ndarray:
    """Decision values `[N,S]` float64 of S specialists on images with features `[N,D]`; above 0 the image shows the
    summary."""
    if not len(features):
        return np.zeros((0, len(machines)))
    return SpecializedClasses([[machine] for machine in machines]).decisions(features)


def shown(values: np.ndarray, numbers: list[int]) -> list[list[int]]:
    """For each image the numbers of the summaries that it shows, the surest first, from decision values `[N,S]`."""
    return [[numbers[at] for at in np.argsort(-row, kind="stable") if row[at] > 0] for row in values]
