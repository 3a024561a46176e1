"""Other ways to the concepts of a class, as short programs of our own: CRAFT, deep feature factorization, Grad-CAM.

- `craft`: the steps of Fel et al., "CRAFT: Concept Recursive Activation FacTorization for Explainability" (CVPR 2023),
  without the recursion into earlier layers: square crops of the class's images, each enlarged to the network's input;
  non-negative factorization of what the network pools before its head; total Sobol indices as importance.
- `factorized_maps`: Collins et al., "Deep Feature Factorization for Concept Discovery" (ECCV 2018): non-negative
  factorization of a layer's activations at all positions of the class's images.
- `grad_cam_box`: one box an image, around what Grad-CAM (Selvaraju et al., ICCV 2017) marks.

Each takes a classifier and a class's images and gives a function from some of these images and a seed to candidates:
what `resampling.found_again` needs. None of them sees the masks.

Shapes: N images `[N,3,S,S]` uint8, C channels, k concepts, K classes.
"""

import warnings
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from scipy.stats import qmc
from sklearn.decomposition import NMF
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn
from torch.nn import functional

from visual_summaries.pipeline.explain.cams import GradCam
from visual_summaries.pipeline.models.classifier import Classifier, ClassifierError
from visual_summaries.pipeline.models.dense_features import DenseLayer, dense_features, find_dense_layers
from visual_summaries.pipeline.models.preparation import PreparedClassifier
from visual_summaries.pipeline.summarize.candidates import Candidate, candidate_of_boxes
from visual_summaries.pipeline.summarize.regions import salient_regions
from visual_summaries.pipeline.summarize.resampling import Rerun

GRID = 28
BATCH = 32
# Crops that importance is estimated from, spread over all, and how many at once.
MOST_CROPS, CROPS_AT_ONCE = 128, 16


def factorize(values: np.ndarray, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Non-negative factors: values `[n,C]` ≥ 0 → coefficients `[n,k]` and directions `[k,C]` of unit length.

    Their product approximates `values`. Starts from the singular value decomposition, scikit-learn's default.
    """
    k = min(k, *values.shape)
    model = NMF(k, init="nndsvda", max_iter=200, tol=1e-3, random_state=seed)
    with warnings.catch_warnings():
        # To stop after so many steps is meant.
        warnings.simplefilter("ignore", ConvergenceWarning)
        coefficients = model.fit_transform(values)
    lengths = np.linalg.norm(model.components_, axis=1)
    return coefficients * lengths, model.components_ / np.maximum(lengths, 1e-12)[:, None]


def patch_boxes(side: int, patch: int, step: int) -> np.ndarray:
    """Square crops `[p,4]` int64 of an image of `side` pixels, about `step` apart, from border to border."""
    number = 1 + max(0, round((side - patch) / step))
    starts = np.linspace(0, side - patch, number).round().astype(np.int64)
    return np.array([(x, y, x + patch, y + patch) for y in starts for x in starts])


def total_sobol(function: Callable[[np.ndarray], np.ndarray], k: int, designs: int, seed: int) -> np.ndarray:
    """Total Sobol indices by Jansen's estimator, the inputs independent and uniform on [0,1].

    Args:
        function: inputs `[m,k]` float64 → outputs `[m,…]`.
        k: inputs.
        designs: points of the quasi-random design, a power of two; `function` sees (k + 1) times as many.
        seed: of the scrambling.

    Returns:
        `[k,…]` float64, at least 0; 0 where an output is constant.
    """
    points = qmc.Sobol(2 * k, seed=seed).random(designs)
    first, second = points[:, :k], points[:, k:]
    changed = np.repeat(first[None], k, axis=0)
    changed[np.arange(k), :, np.arange(k)] = second.T
    values = function(np.concatenate([first, *changed]))
    values = values.reshape(k + 1, designs, *values.shape[1:])
    squares = np.square(values[1:] - values[0]).mean(axis=1) / 2
    variance = np.broadcast_to(values[0].var(axis=0, ddof=1), squares.shape)
    return np.divide(squares, variance, out=np.zeros_like(squares), where=variance > 1e-12)


class Head:
    """What a network makes of its pooled features: the input of its first fully connected layer, which must be ≥ 0."""

    @torch.no_grad()
    def __init__(self, classifier: Classifier, image: Tensor) -> None:
        """`image`: `[1,3,S,S]` float in [0,1], to find the layer with."""
        self.classifier, self.image = PreparedClassifier(classifier), image
        called: list[tuple[str, Tensor]] = []
        handles = [
            layer.register_forward_pre_hook(lambda _layer, inputs, name=name: called.append((name, inputs[0])))
            for name, layer in self.classifier.module.named_modules()
            if isinstance(layer, nn.Linear)
        ]
        self.classifier.logits(image)
        for handle in handles:
            handle.remove()
        if not called or called[0][1].ndim != 2 or called[0][1].min() < 0:
            raise ClassifierError(f"{classifier.name} has no fully connected layer that gets pooled, non-negative maps")
        self.layer = self.classifier.module.get_submodule(called[0][0])

    @torch.no_grad()
    def latents(self, images: Tensor) -> np.ndarray:
        """Images `[B,3,S,S]` float in [0,1] → pooled features `[B,C]`."""
        found: list[Tensor] = []
        handle = self.layer.register_forward_pre_hook(lambda _layer, inputs: found.append(inputs[0].clone()))
        self.classifier.logits(images)
        handle.remove()
        return found[0].numpy()

    @torch.no_grad()
    def logits(self, latents: np.ndarray) -> np.ndarray:
        """Pooled features `[n,C]` → logits `[n,K]`."""
        given = torch.from_numpy(np.ascontiguousarray(latents, dtype=np.float32))
        handle = self.layer.register_forward_pre_hook(lambda _layer, _inputs: (given,))
        logits = self.classifier.logits(self.image)
        handle.remove()
        return logits.numpy()

    def importance(
        self, coefficients: np.ndarray, directions: np.ndarray, target: int, seed: int, designs: int = 32
    ) -> np.ndarray:
        """Mean over crops of the total Sobol index of each concept for the target's logit: `[k]`.

        Of very many crops `[n,k]` a spread of `MOST_CROPS` is taken.
        """
        k = len(directions)
        parts = []
        chosen = np.linspace(0, len(coefficients) - 1, min(len(coefficients), MOST_CROPS)).round().astype(int)
        coefficients = coefficients[chosen]
        for start in range(0, len(coefficients), CROPS_AT_ONCE):
            own = coefficients[start : start + CROPS_AT_ONCE]

            def function(shares: np.ndarray, own: np.ndarray = own) -> np.ndarray:
                latents = (shares[:, None] * own).reshape(-1, k) @ directions
                return self.logits(latents)[:, target].reshape(len(shares), len(own)).astype(np.float64)

            parts.append(total_sobol(function, k, designs, seed))
        return np.concatenate(parts, axis=1).mean(axis=1)


def crop_concepts(
    coefficients: np.ndarray, images: np.ndarray, boxes: np.ndarray, side: int, least: float, source: str
) -> list[Candidate]:
    """A candidate for each concept: the best crop of each image.

    A crop shows the concept with its largest coefficient, where that is at least `least` of the concept's largest.

    Args:
        coefficients: `[n,k]` of crops.
        images: `[n]` number of each crop's image.
        boxes: `[n,4]` pixels.
        side: of the image in pixels.

    Returns:
        k candidates, in the concepts' order; empty ones too.
    """
    shown = coefficients.argmax(axis=1)
    found = []
    for concept, values in enumerate(coefficients.T):
        members = np.flatnonzero((shown == concept) & (values > 0) & (values >= least * values.max()))
        # Of several boxes in an image the first is taken.
        members = members[np.argsort(-values[members], kind="stable")]
        found.append(candidate_of_boxes(source, images[members], boxes[members], (side, side), GRID))
    return found


def craft(
    classifier: Classifier,
    images: Tensor,
    target: int,
    patch: float = 64 / 224,
    step: float = 0.5,
    k: int = 10,
    least: float = 0.5,
    most: int | None = None,
) -> Rerun:
    """CRAFT's concepts, the most important first.

    Args:
        patch: side of a crop as a share of the image's, by default that of the authors' program.
        step: distance of crops as a share of their side; the authors' .8 finds fewer parts of the demo set.
        k: concepts.
        least: as for `crop_concepts`.
        most: keep so many of the most important concepts; all by default.
    """
    side = images.shape[-1]
    width = round(patch * side)
    step_pixels = round(step * width)
    boxes = patch_boxes(side, width, step_pixels)
    head, latents = _seen_crops(classifier, images, width, step_pixels)

    def rerun(numbers: np.ndarray, seed: int) -> list[Candidate]:
        coefficients, directions = factorize(latents[numbers].reshape(-1, latents.shape[-1]), k, seed)
        of_image = np.repeat(np.arange(len(numbers)), len(boxes))
        found = crop_concepts(coefficients, of_image, np.tile(boxes, (len(numbers), 1)), side, least, "craft")
        order = np.argsort(-head.importance(coefficients, directions, target, seed), kind="stable")[:most]
        return [found[concept] for concept in order if len(found[concept])]

    return rerun


@lru_cache(maxsize=1)
def _seen_crops(classifier: Classifier, images: Tensor, patch: int, step: int) -> tuple[Head, np.ndarray]:
    """The head, and the pooled features `[N,p,C]` of all crops; kept for the next variant on the same images."""
    boxes = patch_boxes(images.shape[-1], patch, step)
    head = Head(classifier, images[:1].float().div(255))
    parts = images.split(max(1, BATCH // len(boxes)))
    latents = np.concatenate([head.latents(_crops(part, boxes)) for part in parts])
    return head, latents.reshape(len(images), len(boxes), -1)


def _crops(images: Tensor, boxes: np.ndarray) -> Tensor:
    """All crops of images `[n,3,S,S]` uint8, enlarged: `[n·p,3,S,S]` float in [0,1]."""
    pictures = images.float().div(255)
    cut = torch.stack([pictures[:, :, y0:y1, x0:x1] for x0, y0, x1, y1 in boxes], dim=1)
    return functional.interpolate(cut.flatten(0, 1), size=images.shape[-2:], mode="bilinear", align_corners=False)


def map_boxes(maps: np.ndarray, side: int, cut: float) -> np.ndarray:
    """Boxes `[N,4]` around the largest piece in which a map exceeds `cut` of its own largest value; NaN if it is 0.

    Maps `[N,h,w]` ≥ 0 are enlarged bilinearly to `side` pixels first.
    """
    large = functional.interpolate(
        torch.from_numpy(maps[:, None].astype(np.float32)), size=(side, side), mode="bilinear", align_corners=False
    )[:, 0].numpy()
    found = np.full((len(maps), 4), np.nan)
    for number, one in enumerate(large):
        if one.max() > 0 and (regions := salient_regions(one / one.max(), cut, 0)):
            found[number] = regions[0].box
    return found


def factor_maps(values: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Maps of non-negative factors, those with most weight first: activations `[N,C,h,w]` ≥ 0 → `[k,N,h,w]`."""
    count, channels, height, width = values.shape
    coefficients, _ = factorize(values.transpose(0, 2, 3, 1).reshape(-1, channels), k, seed)
    order = np.argsort(-coefficients.sum(axis=0), kind="stable")
    return coefficients[:, order].T.reshape(-1, count, height, width)


@torch.no_grad()
def non_negative_layers(classifier: Classifier, image: Tensor) -> list[DenseLayer]:
    """The last layer without negative values of each size of map, the coarsest first; `image` `[1,3,S,S]`."""
    last: dict[int, str] = {}

    def note(name: str, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[-1] > 1 and output.min() >= 0:
            last[output.shape[-1]] = name

    handles = [
        layer.register_forward_hook(lambda _layer, _inputs, output, name=name: note(name, output))
        for name, layer in classifier.module.named_modules()
        if name
    ]
    classifier.logits(image)
    for handle in handles:
        handle.remove()
    names = [last[size] for size in sorted(last)]
    return list(find_dense_layers(classifier.module, classifier.normalized(image), names=names))


def factorized_maps(
    classifier: Classifier,
    images: Tensor,
    target: int,
    level: int = 0,
    k: int = 6,
    cut: float = 0.3,
    least: float = 0.25,
) -> Rerun:
    """Factors of whole maps: in each image the box of the largest piece of a factor's map.

    Args:
        target: not used; nothing in a factor says for which class it is.
        level: 0 takes the network's last map, 1 the next finer one.
        k: factors.
        cut: as for `map_boxes`.
        least: an image has a member where the factor's largest value is at least this share of that in any image.
    """
    layer = non_negative_layers(classifier, images[:1].float().div(255))[level]
    maps = [
        dense_features(classifier, part.float().div(255), [layer], grid=layer.shape[-1])[0]
        for part in images.split(BATCH)
    ]
    values, side = torch.cat(maps).clamp(min=0).numpy(), images.shape[-1]

    def rerun(numbers: np.ndarray, seed: int) -> list[Candidate]:
        found = []
        for one in factor_maps(values[numbers], k, seed):
            boxes, largest = map_boxes(one, side, cut), one.max(axis=(1, 2))
            members = np.flatnonzero(~np.isnan(boxes[:, 0]) & (largest >= least * largest.max()))
            found.append(candidate_of_boxes("maps", members, boxes[members], (side, side), GRID))
        return [one for one in found if len(one)]

    return rerun


def grad_cam_box(classifier: Classifier, images: Tensor, target: int, cut: float = 0.3) -> Rerun:
    """One candidate: the box around the largest piece of each image's Grad-CAM above `cut` of its largest value."""
    explainer, prepared, side = GradCam(), PreparedClassifier(classifier), images.shape[-1]
    maps = [
        explainer.explain(prepared, part.float().div(255), torch.full((len(part),), target)).saliency[:, 0]
        for part in images.split(BATCH)
    ]
    boxes = map_boxes(torch.cat(maps).numpy(), side, cut)

    def rerun(numbers: np.ndarray, seed: int) -> list[Candidate]:
        members = np.flatnonzero(~np.isnan(boxes[numbers, 0]))
        found = candidate_of_boxes("grad-cam", members, boxes[numbers][members], (side, side), GRID)
        return [found] if len(found) else []

    return rerun
