"""Robust crisp masks: what the network goes by in an image however it is shifted, mirrored, stored or hidden.

The crisp masks of "Understanding Deep Architectures by Visual Summaries", §3.1, eq. 2, look for the fewest pixels whose
blurring destroys a class score. Many smallest masks do, and which of them is found depends on the last bit of the
image. Here a soft mask is found first that has one solution, and the crisp one stays as near to it as the score allows:

1. "evidence": a soft mask s of 28×28 cells that minimizes score(s) + w·mean s², in a picture with noise that is
   shifted, mirrored, and hidden behind another baseline from step to step. The square makes the solution unique and
   spreads it over all evidence instead of a smallest part of it; the mean over the last steps is kept.
2. "boundary": its level set, drawn just large enough to hide the class, as the field z of a mask sigmoid(k·z). A
   correction δ of z, smooth and pulled to zero, minimizes score + area in the shifted pictures.
3. "detail": a finer correction, on the picture as it is, until the score is destroyed, the mask is crisp and it no
   longer moves; what pulls the correction to zero yields where the score is not destroyed. Most images leave at once.

Shifts, baselines and noise are the same fixed sequences for every image: no random numbers are drawn. Lengths are
settings in pixels of a 224-px image. Shapes: B images, n of them entering or leaving, H by W pixels, h by w cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from visual_summaries.pipeline.explain.blur import bilinear_matrix, gaussian_matrix
from visual_summaries.pipeline.explain.crisp import CrispMasks, binarization_error, odds_of_share
from visual_summaries.pipeline.explain.engine import Method, OptimizingExplainer, Stage, State
from visual_summaries.pipeline.explain.interface import Explanation, LogitsFunction, odds_of, scores_of, target_scores
from visual_summaries.pipeline.explain.lengths import pixels
from visual_summaries.pipeline.explain.perturbation import PERTURBATIONS, heavy_blur
from visual_summaries.pipeline.explain.pieces import large_pieces
from visual_summaries.pipeline.explain.updates import Adam, falling_rates
from visual_summaries.pipeline.explain.views import noise_tile, view_of_step

EVIDENCE, BOUNDARY, DETAIL = 0, 1, 2


@dataclass(frozen=True)
class FieldSettings:
    """One stage: steps, learning rates (falling linearly), and the parameter's cells.

    Attributes:
        cells: cells of the parameter along the image's shorter side.
        smoothing: σ of the Gaussian that smooths the enlarged parameter, pixels of a 224-px image.
        pull: weight of mean δ² (of mean s² in the first stage), which keeps the solution unique.
        area: weight of the mask's area, mean s.
    """

    iterations: int
    learning_rate: float
    final_learning_rate: float
    cells: int
    smoothing: float
    pull: float
    area: float = 0.0

    @property
    def learning_rates(self) -> tuple[float, ...]:
        return falling_rates(self.learning_rate, self.final_learning_rate, self.iterations)


@dataclass(frozen=True)
class RobustSettings:
    """Settings of the three stages; how they were chosen: docs/reference/measurements/robust-masks.md.

    Attributes:
        averaged: last steps of the first stage whose mean is its mask.
        score_weight: of d²/2, d = softplus(log-odds of the score − log-odds of `destroyed` × the image's score).
        shifts: largest shift of the picture in the first and in the second stage, pixels of a 224-px image.
        noise: standard deviation of the noise on the picture in the first stage, in units of pixel values in [0, 1];
            less, by the share of the score that it leaves, for an image whose score does not survive it.
        context: σ of the Gaussian whose mean of the soft mask weights it, so that the evidence of large salient
            surroundings comes before that of an isolated spot; pixels of a 224-px image.
        isolation: how much more of the area a salient pixel counts as that has no salient surroundings (the same
            Gaussian's), so that the mask is in few pieces.
        least_piece: share of the image below which a connected piece of the second stage's mask is given up.
        shares: smallest and largest share of the image that the first level set may cover.
        usual_share: its share where none within `shares` hides the class.
        hidden: drop of the score that the first level set is to reach.
        slopes: k of sigmoid(k·z) at the start and end of the second stage and from `ramp` steps of the third on.
        goal: drop of the score at which the third stage ends,
        crisp: if mean 4s(1 − s) is at most this
        moved: and at most this share of the salient pixels changed sides in the last step.
        yields: at each step of the third stage without the goal, a hold of 1 loses this factor, and regains it at each
            step with the goal. Area and pull are multiplied by it, the last slope's part beyond the second by its
            fourth root, because steep slopes have no gradient but at the outline,
        largest_rate: and the learning rate by its inverse root, up to this.
    """

    evidence: FieldSettings = field(default_factory=lambda: FieldSettings(80, 0.1, 0.03, 28, 8.0, pull=1.4))
    boundary: FieldSettings = field(default_factory=lambda: FieldSettings(15, 0.05, 0.02, 56, 6.0, 0.1, area=0.07))
    detail: FieldSettings = field(default_factory=lambda: FieldSettings(60, 0.03, 0.03, 112, 2.0, 0.1, area=0.07))
    averaged: int = 40
    destroyed: float = 2e-4
    score_weight: float = 0.0045
    shifts: tuple[float, float] = (16.0, 8.0)
    noise: float = 0.07
    context: float = 16.0
    isolation: float = 2.0
    least_piece: float = 0.01
    shares: tuple[float, float] = (0.04, 0.25)
    usual_share: float = 0.12
    hidden: float = 0.95
    slopes: tuple[float, float, float] = (6.0, 14.0, 40.0)
    ramp: int = 4
    goal: float = 0.995
    crisp: float = 0.03
    moved: float = 0.05
    yields: float = 0.8
    largest_rate: float = 0.3


SHARE_STEPS = 6
# Weighted evidence of a pixel, at most 1, that counts as none.
EMPTY = 1e-9
# A forward pass costs about a third of a forward and backward one.
SHARE_PASSES = SHARE_STEPS // 3


class RobustMasks(OptimizingExplainer):
    """Crisp masks that stay where they are when the photograph is stored, shifted or mirrored.

    Saliency is s `[B,1,H,W]`, near 0 or 1; `score_after` is taken with it and the authors' blur, without shift or
    noise. `iterations` counts optimization steps and two passes for the search of the first level set. Diagnostics:
    `area_of_evidence`, the share of the image in that level set. No random numbers are drawn.
    """

    def __init__(self, settings: RobustSettings | None = None) -> None:
        """`settings`: default those of the preset `robust`."""
        self.settings = settings or RobustSettings()

    @property
    def passes(self) -> int:
        stages = (self.settings.evidence, self.settings.boundary, self.settings.detail)
        return sum(stage.iterations for stage in stages) + SHARE_PASSES

    def method(self) -> "RobustMethod":
        return RobustMethod(self.settings)


def crisp_masks(preset: str = "robust", blur: str | None = None) -> OptimizingExplainer:
    """The crisp masks of a preset: `robust`, or one of those of `CrispMasks`; `blur` overrides its perturbation.

    Raises:
        ValueError: unknown preset or blur, or a blur that the preset cannot use.
    """
    if preset != "robust":
        return CrispMasks(preset, blur)
    if blur not in (None, "authors"):
        raise ValueError(f"the preset robust measures with the authors' blur; for the blur {blur!r} choose another")
    return RobustMasks()


class RobustMethod(Method):
    """The three stages for the engine, each moving the parameter of its name."""

    update = Adam()
    can_converge = True

    def __init__(self, settings: RobustSettings) -> None:
        self.settings = settings
        self.perturbation = PERTURBATIONS["authors"]
        self.fields = (settings.evidence, settings.boundary, settings.detail)
        names = ("evidence", "boundary", "detail")
        self.stages = [
            Stage(name, stage.learning_rates) for name, stage in zip(names, self.fields, strict=True)
        ]
        self._prepared_for: tuple[int, int] | None = None
        self._classifier: LogitsFunction | None = None

    def start(
        self,
        classifier: LogitsFunction,
        images: Tensor,
        targets: Tensor,
        generators: Sequence[torch.Generator] | None,
    ) -> State:
        self._prepare(images)
        self._classifier = classifier
        height, width = images.shape[-2:]
        logits = classifier.logits(images)
        score = scores_of(classifier, logits, targets)
        odds = odds_of(classifier, logits, targets)
        parameters = {
            stage.parameter: images.new_zeros(len(images), 1, rows.shape[1], columns.shape[1])
            for stage, (rows, columns) in zip(self.stages, self._enlarging, strict=True)
        }
        empty = images.new_zeros(len(images), 1, height, width)
        return parameters | {
            "evidence": parameters["evidence"] + 1,
            "evidence sum": parameters["evidence"].clone(),
            "field": empty,
            "previous": empty.bool(),
            "target": targets,
            "image": images,
            "heavy": heavy_blur(images),
            "color": images.mean(dim=(2, 3), keepdim=True),
            "score_before": score,
            "floor": odds_of_share(self.settings.destroyed, score, odds),
            "goal": odds_of_share(1 - self.settings.goal, score, odds),
            "noise": self.settings.noise * self._left_by_noise(classifier, images, targets, score),
            "hold": torch.ones_like(score),
            "done": torch.zeros_like(targets).bool(),
            "share": torch.full_like(score, torch.nan),
        } | self.perturbation.prepare(images)

    def objective(self, classifier: LogitsFunction, state: State, present: frozenset[int]) -> Tensor:
        count = len(state["target"])
        salient, regular, shown = [], [], []
        owner = []
        for stage in sorted(present):
            rows = (state["stage"] == stage).nonzero().squeeze(1) if len(present) > 1 else slice(None)
            part = {name: value[rows] for name, value in state.items()}
            masks, terms, pictures = self._stage_views(part, stage)
            salient.append(masks)
            regular.append(terms)
            shown.append(pictures)
            owner.append(torch.arange(count, device=state["target"].device)[rows])
        order = torch.cat(owner).argsort()
        pictures, terms = torch.cat(shown)[order], torch.cat(regular)[order]
        odds = odds_of(classifier, classifier.logits(pictures), state["target"])
        left = functional.softplus(odds - state["floor"])
        if DETAIL in present:
            self._judge(state, odds.detach(), torch.cat(salient)[order].detach())
        return self.settings.score_weight * left.square() / 2 + terms

    def _stage_views(self, state: State, stage: int) -> tuple[Tensor, Tensor, Tensor]:
        """Masks `[n,1,H,W]` of images that are in `stage`, their regularization `[n]`, and the pictures to look at."""
        settings, step = self.fields[stage], state["step"]
        parameter = state[self.stages[stage].parameter]
        rows, columns = self._enlarging[stage]
        if stage == DETAIL:
            slope = self._slope(DETAIL, step, state["hold"])
            masks = torch.sigmoid(slope * (state["field"] + rows @ parameter @ columns.T))
            pictures = self.perturbation.apply(state, 1 - masks)
        else:
            height, width = state["image"].shape[-2:]
            reach = round(pixels(self.settings.shifts[stage], height, width))
            view = view_of_step(step, height, width, reach)
            # Enlarging and smoothing are linear: their rows in another order are the shifted, mirrored field.
            field_ = rows[view.rows] @ parameter.squeeze(1) @ columns[view.columns].mT
            if stage == EVIDENCE:
                masks = field_[:, None].clamp(0, 1)
                baseline = self._baseline(state, view.turn)
            else:
                slope = self._slope(BOUNDARY, step, state["hold"])
                masks = torch.sigmoid(slope * (view.of(state["field"]) + field_[:, None]))
                baseline = state["blurred"]
            image = view.of(state["image"])
            pictures = image + masks * (view.of(baseline) - image)
            if stage == EVIDENCE:
                pictures = pictures + state["noise"].view(-1, 1, 1, 1) * view.noise(self._noise)
        if stage == EVIDENCE:
            return masks, settings.pull * masks.square().mean(dim=(1, 2, 3)), pictures
        rows, columns = self._context
        company = rows @ masks.detach() @ columns.T
        area = (masks * (1 + self.settings.isolation * (1 - company))).mean(dim=(1, 2, 3))
        terms = settings.area * area + settings.pull * parameter.square().mean(dim=(1, 2, 3))
        # A copy, because the hold changes before the backward pass.
        return masks, terms * state["hold"].clone(), pictures

    def _left_by_noise(
        self, classifier: LogitsFunction, images: Tensor, targets: Tensor, scores: Tensor
    ) -> Tensor:
        """The share `[n]` of the scores that noise leaves on the images and their mirror images, at most 1."""
        noise = self.settings.noise * self._noise
        pairs = [target_scores(classifier, view + noise, targets) for view in (images, images.flip(-1))]
        return torch.where(scores > 0, sum(pairs) / (2 * scores), 0).clamp(0, 1)

    def _baseline(self, state: State, turn: Tensor) -> Tensor:
        """What pixels are hidden behind: the authors' blur, a heavy one, and the image's mean color, in turn."""
        turn = (turn % 3).view(-1, 1, 1, 1)
        return torch.where(turn == 0, state["blurred"], torch.where(turn == 1, state["heavy"], state["color"]))

    def _slope(self, stage: int, step: Tensor, hold: Tensor) -> Tensor:
        first, middle, last = self.settings.slopes
        if stage == BOUNDARY:
            share = step / max(1, self.settings.boundary.iterations - 1)
            slope = first + (middle - first) * share
        else:
            slope = middle + (last - middle) * (step / self.settings.ramp).clamp_max(1) * hold.pow(0.25)
        return slope.to(self._enlarging[0][0].dtype).view(-1, 1, 1, 1)

    def _judge(self, state: State, odds: Tensor, masks: Tensor) -> None:
        """Which images of the third stage are done, and how firmly the others are held to the first two stages."""
        here = state["stage"] == DETAIL
        reached = odds <= state["goal"]
        salient = masks > 0.5
        changed = (salient ^ state["previous"]).float().mean(dim=(1, 2, 3))
        rests = changed <= self.settings.moved * salient.float().mean(dim=(1, 2, 3))
        crisp = binarization_error(masks) <= self.settings.crisp
        steep = state["step"] >= self.settings.ramp
        state["done"].copy_(here & reached & crisp & rests & steep)
        change = torch.where(reached, 1 / self.settings.yields, self.settings.yields)
        moving = here & ~state["done"]
        state["hold"].copy_(torch.where(moving, (state["hold"] * change).clamp_max(1), state["hold"]))
        state["previous"].copy_(salient)

    def rates(self, state: State, scheduled: Tensor) -> Tensor:
        faster = (scheduled * state["hold"].double().rsqrt()).clamp_max(self.settings.largest_rate)
        rates = torch.where(state["stage"] == DETAIL, faster, scheduled)
        # The mask that was judged is the one that leaves.
        return torch.where(state["done"], 0.0, rates)

    def project(self, state: State, stage: int) -> None:
        if stage != EVIDENCE:
            return
        state["evidence"].clamp_(0, 1)
        last = self.settings.evidence.iterations - self.settings.averaged
        counts = (state["stage"] == EVIDENCE) & (state["step"] >= last)
        state["evidence sum"].add_(state["evidence"] * counts.view(-1, 1, 1, 1))

    def converged(self, state: State) -> Tensor:
        return state["done"]

    def enter(self, state: State, stage: int) -> State:
        if stage == DETAIL:
            rows, columns = self._enlarging[BOUNDARY]
            field_ = state["field"] + rows @ state["boundary"] @ columns.T
            # What small pieces hide, the third stage finds again at the outlines of the large ones.
            small = (field_ > 0) & ~large_pieces(field_ > 0, self.settings.least_piece)
            field_ = torch.where(small, -field_, field_)
            return {"field": field_, "previous": field_ > 0}
        rows, columns = self._enlarging[EVIDENCE]
        averaged = min(self.settings.averaged, self.settings.evidence.iterations)
        soft = rows @ (state["evidence sum"] / averaged) @ columns.T
        smooth_rows, smooth_columns = self._context
        weighted = soft * (smooth_rows @ soft @ smooth_columns.T)
        field_, share = self._level_set(state, weighted)
        return {"field": field_, "share": share, "passes": state["passes"] + SHARE_PASSES}

    def _level_set(self, state: State, soft: Tensor) -> tuple[Tensor, Tensor]:
        """A field `[n,1,H,W]` that is positive in the smallest level set of soft masks that hides the class; its share.

        One unit of the field is the step from that level to the one that 2 % of the pixels exceed.
        """
        ordered = soft.flatten(1).sort(dim=1, descending=True).values

        def level(share: Tensor) -> Tensor:
            place = (share * ordered.shape[1]).long().clamp(0, ordered.shape[1] - 1)
            return ordered.gather(1, place[:, None]).view(-1, 1, 1, 1)

        least, most = (torch.full_like(state["score_before"], share) for share in self.settings.shares)
        found = torch.zeros_like(least).bool()
        for _ in range(SHARE_STEPS):
            middle = (least + most) / 2
            pictures = self.perturbation.apply(state, 1 - (soft > level(middle)).to(soft))
            score = target_scores(self._classifier, pictures, state["target"])
            hides = score <= (1 - self.settings.hidden) * state["score_before"]
            found |= hides
            most, least = torch.where(hides, middle, most), torch.where(hides, least, middle)
        share = torch.where(found, most, self.settings.usual_share)
        cut = level(share)
        unit = (level(torch.full_like(share, 0.02)) - cut).clamp_min(EMPTY)
        # Where there is no evidence at all, nothing is salient, however large the share.
        return torch.where(soft > EMPTY, ((soft - cut) / unit).clamp(-1, 1), -1.0), share

    def finish(self, classifier: LogitsFunction, state: State) -> Explanation:
        rows, columns = self._enlarging[DETAIL]
        # An image that is done leaves with the mask that was judged, the others with the full slope.
        hold = torch.where(state["done"], state["hold"], 1)
        slope = self._slope(DETAIL, torch.full_like(state["step"], self.settings.ramp), hold)
        saliency = torch.sigmoid(slope * (state["field"] + rows @ state["detail"] @ columns.T))
        after = target_scores(classifier, self.perturbation.apply(state, 1 - saliency), state["target"])
        return Explanation(
            saliency=saliency,
            score_before=state["score_before"],
            score_after=torch.where(state["failed"], torch.nan, after),
            iterations=state["passes"],
            diagnostics={"area_of_evidence": state["share"]},
        )

    def _prepare(self, images: Tensor) -> None:
        """The matrices of the stages, once for all images of a stream."""
        height, width = images.shape[-2:]
        if self._prepared_for == (height, width):
            return
        self._prepared_for = (height, width)

        def smoothing(side: int, sigma: float) -> Tensor:
            return gaussian_matrix(side, pixels(sigma, height, width, least=1), padding="edge", dtype=torch.float64)

        def enlarging(side: int, settings: FieldSettings) -> Tensor:
            cells = max(1, round(settings.cells * side / min(height, width)))
            return (smoothing(side, settings.smoothing) @ bilinear_matrix(min(cells, side), side)).to(images)

        self._enlarging = [(enlarging(height, stage), enlarging(width, stage)) for stage in self.fields]
        self._noise = noise_tile(height, width).to(images)
        self._context = [smoothing(side, self.settings.context).to(images) for side in (height, width)]
