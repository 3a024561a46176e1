"""Does a map show parts or specks? How much of what is salient hangs together."""

from dataclasses import dataclass

import numpy as np

from visual_summaries.pipeline.summarize.regions import salient_regions

# The smallest region that is something to see: this share of the image's pixels.
LEAST = 0.01


@dataclass(frozen=True)
class Wholeness:
    """How the salient pixels of an image hang together.

    Attributes:
        area: share of the image's pixels that are salient, in 0..1.
        whole: share of the salient pixels that lie in connected regions (8 neighbors) of at least `LEAST` of the image,
            in 0..1; NaN where nothing is salient.
        regions: number of such regions.
    """

    area: float
    whole: float
    regions: int


def wholeness(salient: np.ndarray, least: float = LEAST) -> Wholeness:
    """Measure a mask `[H,W]` bool; a region counts from `least` of the image's pixels on, in 0..1.

    Raises:
        ValueError: the mask is not bool `[H,W]`.
    """
    salient = np.asarray(salient)
    if salient.ndim != 2 or salient.dtype != np.bool_:
        raise ValueError(f"a mask must be bool [H,W], got {salient.dtype} {list(salient.shape)}")
    count = int(salient.sum())
    regions = salient_regions(salient.astype(np.float32), minimum_area=least)
    inside = sum(region.area for region in regions)
    return Wholeness(count / max(1, salient.size), inside / count if count else float("nan"), len(regions))
