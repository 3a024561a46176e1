"""What every explainer receives and returns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from visual_summaries.pipeline.models import heads
from visual_summaries.pipeline.models.errors import ClassifierError


class LogitsFunction(Protocol):
    """The part of a classifier that an explainer needs.

    One whose classes do not exclude each other says so by an attribute `independent` that is true. The functions below
    look at it; what a logit is worth is never computed anywhere else.
    """

    def logits(self, images: Tensor) -> Tensor:
        """Images `[B,3,H,W]` float in [0,1], RGB, to logits `[B,K]`; normalization is the classifier's own."""
        ...


ScoreFunction = Callable[[Tensor], Any]
"""A classifier as a plain function, perhaps a remote service, without gradients: images `[B,3,H,W]` float in [0,1],
RGB, to the scores `[B,K]` of the classes, in [0,1], as a tensor or an array."""

Classified = LogitsFunction | ScoreFunction
"""What a black-box explainer explains."""


@dataclass(frozen=True)
class Explanation:
    """Saliency maps of a batch, image by image what single runs give.

    Attributes:
        saliency: `[B,1,H,W]` or `[B,3,H,W]` float32 in [0,1], larger = more salient.
        score_before: `[B]` float32, score of the target on the image: of the softmax, or its sigmoid.
        score_after: `[B]` float32, score of the target on the image perturbed by its own map; None if the
            method perturbs no image by its map.
        iterations: `[B]` int64, optimization steps taken.
        diagnostics: further figures, each `[B]` float32, by name.
    """

    saliency: Tensor
    score_before: Tensor
    score_after: Tensor | None
    iterations: Tensor
    diagnostics: dict[str, Tensor] = field(default_factory=dict)

    def rows(self, first: int, end: int) -> "Explanation":
        """The explanations of images `first` to `end` − 1 of the batch."""
        return Explanation(
            saliency=self.saliency[first:end],
            score_before=self.score_before[first:end],
            score_after=None if self.score_after is None else self.score_after[first:end],
            iterations=self.iterations[first:end],
            diagnostics={name: values[first:end] for name, values in self.diagnostics.items()},
        )

    @classmethod
    def joined(cls, parts: "Sequence[Explanation]") -> "Explanation":
        """The explanations of several batches as one."""
        after = [part.score_after for part in parts]
        return cls(
            saliency=torch.cat([part.saliency for part in parts]),
            score_before=torch.cat([part.score_before for part in parts]),
            score_after=None if any(part is None for part in after) else torch.cat(after),
            iterations=torch.cat([part.iterations for part in parts]),
            diagnostics={name: torch.cat([part.diagnostics[name] for part in parts]) for name in parts[0].diagnostics},
        )


class Explainer(Protocol):
    """A method that says which pixels of an image a classifier's score rests on.

    Attributes:
        passes: passes through the network for an image, at most.
    """

    passes: int

    def explain(
        self,
        classifier: LogitsFunction,
        images: Tensor,
        targets: Tensor,
        generators: Sequence[torch.Generator] | None = None,
    ) -> Explanation:
        """Explain `targets` `[B]` int64 in `images` `[B,3,H,W]` float in [0,1].

        `generators` holds one generator per image, seeded by (run seed, image id), for methods that draw
        random numbers, so that a map depends on neither batch, order nor worker.
        """
        ...


def target_scores(classifier: Classified, images: Tensor, targets: Tensor) -> Tensor:
    """Score `[B]` in [0,1] of each image's own target class; errors as `scores_of_images`."""
    return scores_of_images(classifier, images).gather(1, targets[:, None]).squeeze(1)


def scores_of_images(classifier: Classified, images: Tensor) -> Tensor:
    """Scores `[B,K]` in [0,1] of the classes for images `[B,…]`.

    Raises:
        ValueError: a plain function does not return one score in [0,1] for each image and class.
    """
    if hasattr(classifier, "logits"):
        return class_scores(classifier, classifier.logits(images))
    return _checked(torch.as_tensor(classifier(images), device=images.device), len(images))


def _checked(scores: Tensor, count: int) -> Tensor:
    if scores.ndim != 2 or len(scores) != count or not scores.is_floating_point():
        raise ValueError(
            f"the classifier's function must return floating-point scores [{count}, classes], "
            f"got {scores.dtype} {list(scores.shape)}"
        )
    if scores.numel() and not (scores.amin() >= 0 and scores.amax() <= 1 + 1e-4):
        raise ValueError(
            "the classifier's function must return scores in [0, 1]: apply softmax to its logits, or a sigmoid to each"
        )
    return scores


def class_scores(classifier: LogitsFunction, logits: Tensor) -> Tensor:
    """The scores `[B,K]` in [0,1] of the classes, from the classifier's logits `[B,K]`."""
    return heads.scores(logits, _independent(classifier))


def scores_of(classifier: LogitsFunction, logits: Tensor, targets: Tensor) -> Tensor:
    """The score `[B]` in [0,1] of each image's own target, from the classifier's logits `[B,K]`."""
    return class_scores(classifier, logits).gather(1, targets[:, None]).squeeze(1)


def odds_of(classifier: LogitsFunction, logits: Tensor, targets: Tensor) -> Tensor:
    """log(p / (1 − p)) `[B]` of the target's score p, from logits `[B,K]`; exact also where p is near 1."""
    return heads.log_odds(logits, targets, _independent(classifier))


def predicts(classifier: LogitsFunction, logits: Tensor, targets: Tensor) -> Tensor:
    """Whether each image is predicted as its target, `[B]` bool, from logits `[B,K]`: it is the class of the highest
    score, or has a score of at least ½ where classes do not exclude each other."""
    return heads.predicts(logits, targets, _independent(classifier))


def _independent(classifier: LogitsFunction) -> bool:
    return getattr(classifier, "independent", False)


def baseline_color(classifier: LogitsFunction, images: Tensor) -> Tensor:
    """The color `[3,1,1]`, in [0,1], that the classifier normalizes to zero: the mean of its training data.

    Raises:
        ValueError: the classifier does not say it.
    """
    baseline = getattr(classifier, "baseline", None)
    if baseline is None:
        raise ValueError(
            "the classifier has no attribute `baseline`, the RGB color in [0, 1] that it normalizes to zero; "
            "give a PreparedClassifier"
        )
    return torch.as_tensor(baseline, dtype=images.dtype, device=images.device).view(3, 1, 1)


def hidden_color(classifier: Classified, images: Tensor) -> Tensor:
    """The color `[3,1,1]` that tells the classifier nothing: `baseline_color`, or else the middle gray."""
    if getattr(classifier, "baseline", None) is None:
        return images.new_full((3, 1, 1), 0.5)
    return baseline_color(classifier, images)


def require_gradient(classifier: LogitsFunction, image: Tensor) -> None:
    """Raise ClassifierError where no gradient gets from the scores to the image `[1,3,H,W]`, nor to noise like it."""
    if _has_gradient(classifier, image):
        return
    noise = torch.rand(image.shape, generator=torch.Generator().manual_seed(0)).to(image)
    if not _has_gradient(classifier, noise):
        raise ClassifierError(
            "no gradient gets from the network's scores to the image (rounding, comparisons or no_grad on the way), so "
            "nothing can be learned from gradients: take an explainer that needs scores alone, as occlusion"
        )


def _has_gradient(classifier: LogitsFunction, image: Tensor) -> bool:
    image = image.detach().requires_grad_()
    with torch.enable_grad():
        logits = classifier.logits(image)
        if not logits.requires_grad:
            return False
        weights = torch.arange(logits.shape[1], dtype=logits.dtype, device=logits.device).cos()
        (gradient,) = torch.autograd.grad((logits * weights).sum(), image, allow_unused=True)
    return gradient is not None and bool(gradient.any())


def validate_batch(images: Tensor, targets: Tensor) -> None:
    """Raise ValueError unless images are `[B,3,H,W]` float in [0,1] and targets `[B]` int64."""
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ValueError(f"images must be float [B,3,H,W], got {images.dtype} {tuple(images.shape)}")
    if targets.shape != images.shape[:1] or targets.dtype != torch.int64:
        raise ValueError(
            f"targets must be int64 [{images.shape[0]}], got {targets.dtype} {tuple(targets.shape)}"
        )
    if images.numel() and (images.amin() < 0 or images.amax() > 1):
        raise ValueError("images must lie in [0, 1]; normalization belongs to the classifier")
