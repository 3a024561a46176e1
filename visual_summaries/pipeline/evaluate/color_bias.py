"""Does the classifier know a class by its color? The channel swaps of FGVis (§4.3).

The paper swaps the channels of BGR images to RBG or GRB: the two orders in which no channel stays in its place.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from visual_summaries.pipeline.explain.interface import LogitsFunction, predicts

# Which channel (0 red, 1 green, 2 blue) comes to stand for red, green and blue.
SWAPS = {"RBG": (1, 2, 0), "GRB": (2, 0, 1)}


@dataclass(frozen=True)
class ColorBias:
    """What became of each image's prediction.

    Attributes:
        correct: `[B]` bool, the image is predicted as its label.
        kept: by name of the swap, `[B]` bool: the swapped image is too, and the image itself was.
    """

    correct: Tensor
    kept: dict[str, Tensor]

    def by_class(self, labels: Tensor) -> dict[int, tuple[int, float]]:
        """For each label `[B]` with correct images: how many, and the share that is kept, mean over the swaps."""
        found = {}
        for label in labels.unique().tolist():
            chosen = self.correct & (labels == label)
            count = int(chosen.sum())
            if count:
                shares = [float(kept[chosen].double().mean()) for kept in self.kept.values()]
                found[label] = (count, sum(shares) / len(shares))
        return found


@torch.no_grad()
def color_bias(classifier: LogitsFunction, images: Tensor, labels: Tensor, batch_size: int = 16) -> ColorBias:
    """Predict images `[B,3,H,W]` float in [0,1], RGB, with labels `[B]` int64, as they are and with channels swapped.

    `batch_size`: images in one forward pass.
    """

    def correct(order: tuple[int, int, int]) -> Tensor:
        parts = zip(images.split(batch_size), labels.split(batch_size), strict=True)
        return torch.cat([predicts(classifier, classifier.logits(part[:, order]), own) for part, own in parts])

    unchanged = correct((0, 1, 2))
    return ColorBias(unchanged, {name: unchanged & correct(order) for name, order in SWAPS.items()})
