"""FGVis: fine-grained maps, one value per pixel and color, of the evidence for a class ("Interpretable and Fine-Grained
Visual Explanations for Convolutional Neural Networks", CVPR 2019, §3).

The explanation e = m·x + (1 − m)·r of a mask m replaces what it does not keep by the baseline r, the color that the
classifier normalizes to zero (the data mean), so that in the network's own units e = m·x.

Shapes: B images, n of them entering or leaving the batch, H by W pixels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from visual_summaries.pipeline.explain.engine import OptimizingExplainer
from visual_summaries.pipeline.explain.fgvis_following import GoalFollowing
from visual_summaries.pipeline.explain.fgvis_games import FGVisMethod
from visual_summaries.pipeline.explain.fgvis_scales import CoarseToFine
from visual_summaries.pipeline.explain.fgvis_settings import GAMES, FGVisSettings


class FGVis(OptimizingExplainer):
    """Optimizes, for each image, the sparsest mask of pixels and colors that keeps or removes a class's evidence.

    Saliency `[B,3,H,W]` is the mask m where evidence is kept (preservation, generation) and 1 − m where it is removed
    (deletion, repression): larger is more important in every game. `score_after` is the target's score on the
    explanation e. Diagnostics: `reached`, 1 where the goal was reached, else 0 and the map is that of the smallest λ
    tried, or, in a search that is a single run, the one that came nearest to it; `sparsity_weight`, the λ of the map;
    `top`, 1 where the target is the most likely class of e; `filtered`, calls of nonlinearities in a forward pass
    whose gradients are filtered. No random numbers are drawn.

    The classifier must have `baseline`, the color that it normalizes to zero, and for the filter `module`, the
    network that its `logits` calls: a `PreparedClassifier`, in float32.
    """

    def __init__(
        self, settings: str | FGVisSettings = "deletion", similarity: str | None = None, search: str | None = None
    ) -> None:
        """Choose a game by name, with a similarity metric or the usual cross-entropy, and a search for λ or the game's
        own; or give all settings.

        Raises:
            ValueError: unknown game, similarity metric or search.
        """
        if isinstance(settings, str):
            settings = FGVisSettings(game=settings, similarity=similarity or "cross-entropy", search=search)
        self.settings = settings

    @property
    def passes(self) -> int:
        return sum(len(stage.learning_rates) for stage in self.method().stages)

    def method(self) -> FGVisMethod:
        methods = {"trials": FGVisMethod, "following": GoalFollowing, "scales": CoarseToFine}
        search = "trials" if self.settings.sparsity_weight is not None else self.settings.search
        return methods[search](self.settings)


def explanation_images(images: Tensor, masks: Tensor, baseline: Tensor) -> Tensor:
    """Explanations e = m·x + (1 − m)·r (eq. 1) `[B,3,H,W]` in [0,1], Fig. 2 c; of 1 − m, Fig. 2 e.

    Args:
        images: x `[B,3,H,W]` float in [0,1].
        masks: m `[B,3,H,W]` or `[B,1,H,W]` in [0,1].
        baseline: r `[3]` or `[3,1,1]`, the color in [0,1] that the classifier normalizes to zero.
    """
    # Exact for m = 0 and m = 1.
    return torch.lerp(baseline.to(images).view(3, 1, 1).expand_as(images), images, masks.expand_as(images))


@dataclass(frozen=True)
class Views:
    """The visualization types of Fig. 2, all float in [0,1].

    Attributes:
        mask: b, m `[B,3,H,W]`.
        explanation: c, e = m·x `[B,3,H,W]`.
        complementary_mask: d, 1 − m `[B,3,H,W]`.
        complementary_explanation: e, x·(1 − m) `[B,3,H,W]`.
        mean_mask: f, the saliency averaged over colors: of m, or of 1 − m in deletion and repression `[B,1,H,W]`.
        evidence: the important evidence: `explanation`, or `complementary_explanation` in deletion and repression.
    """

    mask: Tensor
    explanation: Tensor
    complementary_mask: Tensor
    complementary_explanation: Tensor
    mean_mask: Tensor
    evidence: Tensor


def views(game: str, images: Tensor, saliency: Tensor, baseline: Tensor) -> Views:
    """What Fig. 2 shows of the maps `saliency` `[B,3,H,W]` of a game; other arguments as `explanation_images`.

    Raises:
        ValueError: unknown game.
    """
    if game not in GAMES:
        raise ValueError(f"unknown game {game!r}; known: {', '.join(GAMES)}")
    keeps = GAMES[game].keeps
    mask, complement = (saliency, 1 - saliency) if keeps else (1 - saliency, saliency)
    explanation = explanation_images(images, mask, baseline)
    complementary = explanation_images(images, complement, baseline)
    return Views(
        mask=mask,
        explanation=explanation,
        complementary_mask=complement,
        complementary_explanation=complementary,
        mean_mask=saliency.mean(dim=1, keepdim=True),
        evidence=explanation if keeps else complementary,
    )
