"""How a network and its specialists decide together, and how strongly the specialists are heard.

Both ways share only the probability mass of the specialized classes among these; all other classes keep theirs, so
that a network of a thousand classes is not drawn towards the few that have specialists. Both have a strength that is
chosen on images set aside, 0 for the network alone.

Shapes: N images, K classes of the network, S specialized classes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


def pooled(probabilities: np.ndarray, decisions: np.ndarray, classes: np.ndarray, strength: float) -> np.ndarray:
    """Logarithmic opinion pool (Genest and Zidek, Combining probability distributions, 1986).

    p'_c = Σ_S p · p_c·exp(β·d_c) / Σ_k p_k·exp(β·d_k): the decision values are evidence that adds to the network's
    logits. The strength β is a temperature as well: it turns margins, which know no scale, into log odds.

    Args:
        probabilities: `[N,K]`, each row of sum 1.
        decisions: `[N,S]` decision values.
        classes: `[S]` class indices of the specialized set, distinct.
        strength: β ≥ 0.

    Returns:
        `[N,K]` float64. Where the network leaves the whole set nothing, it stays so.
    """
    result = probabilities.astype(np.float64)
    if not len(classes):
        return result
    own = result[:, classes]
    weighed = own * np.exp(strength * (decisions - decisions.max(axis=1, keepdims=True)))
    total = weighed.sum(axis=1, keepdims=True)
    there = total > 0
    result[:, classes] = np.where(there, weighed / np.where(there, total, 1) * own.sum(axis=1, keepdims=True), own)
    return result


def convex(probabilities: np.ndarray, decisions: np.ndarray, classes: np.ndarray, strength: float) -> np.ndarray:
    """The convex sum of the visual summaries paper (§4.4): p'_c = (1−β)·p_c + β·s_c·Σ_S p.

    The scores s are the softmax of `decisions`, which sums to one as in the paper, though decision values may be
    negative. Arguments and result as for `pooled`; the strength β = 1−α is in 0..1.
    """
    result = probabilities.astype(np.float64)
    if not len(classes):
        return result
    scores = np.exp(decisions - decisions.max(axis=1, keepdims=True))
    scores /= scores.sum(axis=1, keepdims=True)
    own = result[:, classes]
    result[:, classes] = (1 - strength) * own + strength * scores * own.sum(axis=1, keepdims=True)
    return result


def log_losses(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """−ln of the true class's probability, `[N]`; a probability counts as at least 10⁻¹²."""
    return -np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-12))


def mistakes(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """1 where another class than the true one has the highest probability, else 0: `[N]`."""
    return (probabilities.argmax(axis=1) != truth).astype(np.float64)


@dataclass(frozen=True)
class Mixture:
    """A way to decide together.

    Attributes:
        together: `pooled`, or a function of the same arguments.
        strengths: that are tried on images set aside, from 0.
        cost: what a strength costs on each of these images, whose sum is to be small.
    """

    together: Callable[[np.ndarray, np.ndarray, np.ndarray, float], np.ndarray]
    strengths: tuple[float, ...]
    cost: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def costs(
        self, probabilities: np.ndarray, decisions: np.ndarray, classes: np.ndarray, truth: np.ndarray
    ) -> np.ndarray:
        """Cost of each strength over images of the classes `truth` `[N]`: float64; sums over batches."""
        tried = (self.together(probabilities, decisions, classes, strength) for strength in self.strengths)
        return np.array([self.cost(one, truth).sum() for one in tried])

    def best(self, costs: np.ndarray) -> float:
        """The strength of the lowest cost, of what `costs` gave; of equals the first, nearest the network."""
        return self.strengths[int(np.argmin(costs))]


# No further than 8: where all photographs set aside are right the loss falls forever, and margins lie within some ±1,
# so that log odds of ±8 are more than a few hundred photographs can vouch for.
STRENGTHS = (0.0, *(2.0 ** (step / 2) for step in range(-12, 7)))
SHARES = tuple(step / 20 for step in range(21))
MIXTURES = {
    # By the loss: where a dozen images are wrong, one mistake more or less would decide.
    "logarithmic": Mixture(pooled, STRENGTHS, log_losses),
    "convex": Mixture(convex, SHARES, mistakes),
}
