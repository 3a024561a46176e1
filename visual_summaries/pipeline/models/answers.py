"""What a network answers on fixed images: tells a network from another with the same weights but other code.

Sums are ordered differently on other processors, so answers are compared, never hashed.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from visual_summaries.pipeline.models.classifier import Classifier, ClassifierError

TOLERANCE = 1e-3
LOGITS_KEPT = 512
GRADIENT_CELLS = 7


def answers(classifier: Classifier) -> np.ndarray:
    """Logits on two fixed images, and the gradient of a fixed sum of them in the pixels.

    Args:
        classifier: on any device; random numbers that it draws begin from one seed.

    Returns:
        `[2·min(K, 512) + 2·3·49]` float32: of more classes every so many; gradients as means over 7 × 7 cells, zeros
        where the network passes none.

    Raises:
        ClassifierError: it fails on an image of its own input size.
    """
    images = _images(classifier.input_size).to(classifier.device).requires_grad_()
    devices = [classifier.device] if classifier.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices), torch.enable_grad():
            torch.manual_seed(0)
            logits = classifier.logits(images)
            gradient = _gradient(logits, images)
    except ClassifierError:
        raise
    except Exception as error:  # A person's own network may raise anything.
        raise ClassifierError(
            f"{classifier.name} fails on an image of {classifier.input_size} × {classifier.input_size} pixels: "
            f"{type(error).__name__}: {error}"
        ) from error
    step = -(-logits.shape[1] // LOGITS_KEPT)
    cells = functional.adaptive_avg_pool2d(gradient, GRADIENT_CELLS)
    return torch.cat([logits.detach()[:, ::step].flatten(), cells.flatten()]).float().cpu().numpy()


def same_answers(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two networks answer the same up to rounding: logits and gradients each within 1e-3 of their largest."""
    if first.shape != second.shape:
        return False
    cells = 2 * 3 * GRADIENT_CELLS**2
    return all(
        bool(np.allclose(one, other, rtol=0, atol=TOLERANCE * _largest(one), equal_nan=True))
        for one, other in ((first[:-cells], second[:-cells]), (first[-cells:], second[-cells:]))
    )


def _images(side: int) -> Tensor:
    """Two images `[2,3,S,S]` in [0,1]: waves of many lengths, and their squares; without random numbers."""
    place = torch.arange(3 * side * side, dtype=torch.float64).view(1, 3, side, side)
    wave = (torch.sin(place * 0.7) + torch.sin(place * 0.013) + torch.sin(place.square() * 1e-4)) / 6 + 0.5
    return torch.cat([wave, wave.square()]).float()


def _gradient(logits: Tensor, images: Tensor) -> Tensor:
    if not logits.requires_grad:
        return torch.zeros_like(images)
    weights = torch.cos(torch.arange(logits.shape[1], dtype=logits.dtype, device=logits.device))
    (gradient,) = torch.autograd.grad((logits * weights).sum(), images, allow_unused=True)
    return torch.zeros_like(images) if gradient is None else gradient


def _largest(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(np.abs(finite).max(initial=0.0))
