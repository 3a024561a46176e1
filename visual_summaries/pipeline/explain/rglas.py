"""RGLAS: GLAS again and again, each time on an image darkened where it has looked, until no evidence is left ("Salient
Explanation for Fine-Grained Classification", §III-B, Algorithm 1).

Shapes: B images, H by W pixels, P search points.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from visual_summaries.pipeline.explain.glas import GlasSettings, SearchPoints, glas_settings, probe, spread
from visual_summaries.pipeline.explain.interface import Classified, Explanation, target_scores, validate_batch
from visual_summaries.pipeline.explain.passes import normalized


@dataclass(frozen=True)
class Recursion:
    """What is known after a round.

    Attributes:
        fused: `[B,1,H,W]` the sum of the normalized maps so far, normalized.
        scores: P(y | I) `[B]` of the images darkened so far.
        passes: `[B]` int64, forward passes so far.
        rounds: `[B]` int64, maps that went into `fused`.
        over: `[B]` bool, images that are done.
    """

    fused: Tensor
    scores: Tensor
    passes: Tensor
    rounds: Tensor
    over: Tensor


class RecursiveGlas:
    """Finds the evidence for a class, and its instances, one after the other, the most salient first.

    A round removes the search points at which the round's normalized map S exceeds `saliency_threshold` (the paper's
    t1) and darkens the image, I ← I⊙(1 − S). It is the last one if √(mean S / P(y | I)) of the darkened image exceeds
    `stop_threshold` (the paper's t2), if no search point is left, if no light shows anything, or if it is number
    `rounds`. The paper's Algorithm 1 drops the last round's map, which leaves an image with one instance without a map;
    here it counts, because the image that it was made of still held evidence.

    Saliency `[B,1,H,W]` is the sum of the rounds' normalized maps, moved and scaled to [0,1]. `score_after` is the
    score of the image darkened by all rounds. `iterations` counts forward passes. Diagnostics: `rounds`.
    """

    def __init__(
        self,
        preset: str | GlasSettings = "localize",
        grid: int | None = None,
        light: float | None = None,
        shadow: float | None = None,
        spatial: float | None = None,
        mode: str | None = None,
        saliency_threshold: float = 0.8,
        stop_threshold: float = 5.0,
        rounds: int = 5,
        memory: int | None = None,
    ) -> None:
        """Settings as of `Glas`, then t1, t2 and the most rounds.

        Raises:
            ValueError: unknown preset or mode, or a number out of range.
        """
        self.settings = glas_settings(
            preset, grid=grid, light=light, shadow=shadow, spatial=spatial, mode=mode, memory=memory
        )
        if not 0 <= saliency_threshold <= 1 or stop_threshold <= 0 or rounds < 1:
            raise ValueError("saliency_threshold must lie in [0, 1], stop_threshold be positive and rounds at least 1")
        self.saliency_threshold, self.stop_threshold, self.rounds = saliency_threshold, stop_threshold, rounds

    @property
    def passes(self) -> int:
        return 1 + self.rounds * (1 + self.settings.grid**2 * (2 if self.settings.mode == "fusion" else 1))

    @torch.no_grad()
    def explain(
        self,
        classifier: Classified,
        images: Tensor,
        targets: Tensor,
        generators: Sequence[torch.Generator] | None = None,
    ) -> Explanation:
        """As `Explainer.explain`, of any classifier, also a plain function; no random numbers are drawn.

        Raises:
            ValueError: shapes, dtypes or ranges do not fit.
        """
        before = target_scores(classifier, images, targets)
        *_, last = self.recursions(classifier, images, targets)
        return Explanation(
            saliency=last.fused,
            score_before=before,
            score_after=last.scores,
            iterations=last.passes,
            diagnostics={"rounds": last.rounds.float()},
        )

    @torch.no_grad()
    def recursions(self, classifier: Classified, images: Tensor, targets: Tensor) -> Iterator[Recursion]:
        """The state of all images after each round, until the last image is done (Fig. 10, Table 4).

        Raises:
            ValueError: shapes, dtypes or ranges do not fit.
        """
        validate_batch(images, targets)
        points = SearchPoints.grid(self.settings.grid, images.shape[-2:], images.device)
        nearest = points.positions.round().long()
        darkened = images.clone()
        scores = target_scores(classifier, images, targets)
        left = torch.ones(len(images), len(nearest), dtype=torch.bool, device=images.device)
        total = torch.zeros(len(images), *images.shape[-2:], dtype=torch.float64, device=images.device)
        passes = torch.ones_like(targets)
        rounds = torch.zeros_like(targets)
        over = torch.zeros_like(left[:, 0])
        for _ in range(self.rounds):
            rows = (~over).nonzero()[:, 0]
            used = left[rows]
            probes = probe(classifier, darkened[rows], targets[rows], scores[rows], points, self.settings, used)
            raw = spread(probes.light * probes.shadow, points, self.settings.spatial, used)
            saliency = normalized(raw)
            lit = saliency.amax(dim=(1, 2)) > 0
            total[rows] += saliency
            rounds[rows] += lit
            left[rows] = used & (saliency[:, nearest[:, 0], nearest[:, 1]] <= self.saliency_threshold)
            darkened[rows] *= (1 - saliency[:, None]).to(images)
            scores[rows] = target_scores(classifier, darkened[rows], targets[rows])
            passes[rows] += probes.passes + 1
            mean = saliency.mean(dim=(1, 2))
            stop = mean > self.stop_threshold**2 * scores[rows].double()
            over[rows] = stop | ~lit | ~left[rows].any(dim=1)
            yield Recursion(
                fused=normalized(total)[:, None].to(images),
                scores=scores.clone(),
                passes=passes.clone(),
                rounds=rounds.clone(),
                over=over.clone(),
            )
            if over.all():
                return
