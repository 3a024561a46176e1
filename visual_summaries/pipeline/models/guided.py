"""Guided backpropagation through ReLUs however they are called: only what is positive of a gradient gets through one
(Springenberg et al., "Striving for Simplicity: The All Convolutional Net", 2015)."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from visual_summaries.pipeline.models.classifier import ClassifierError
from visual_summaries.pipeline.models.flow import Activation
from visual_summaries.pipeline.models.nonlinearities import Interception

RECTIFIERS = frozenset({"clamp", "clamp_min", "clip", "hardtanh", "relu", "relu6"})
# They weigh channels or places, and pass on the sign of what they weigh.
GATES = frozenset({"hardsigmoid", "sigmoid", "special_expit"})


@contextmanager
def guided(module: nn.Module) -> Iterator[None]:
    """Let gradients of forward passes run within the context go through ReLUs as guided backpropagation has it.

    Args:
        module: a network in evaluation mode with frozen parameters; left as found.

    Raises:
        ClassifierError: the network has no ReLU, or a nonlinearity beside ReLUs and sigmoid gates, for which the rule
            says nothing; otherwise as `nonlinearities.filtering`.
    """
    guide = _Guide(module)
    with guide.attached():
        yield
    if not guide.rectifiers:
        raise ClassifierError(f"guided backpropagation: the network has no ReLU; {ADVICE}")


ADVICE = "the method is about ReLUs alone: take gradient, smoothgrad or integrated-gradients"


class _Guide(Interception):
    filters = True

    def __init__(self, module: nn.Module) -> None:
        super().__init__(module)
        self.rectifiers = 0

    def intercepted(self, activation: Activation) -> None:
        if activation.name in RECTIFIERS and activation.nonnegative:
            self.rectifiers += 1
            activation.changes.append(_positive)
        elif activation.name not in GATES:
            raise ClassifierError(
                f"guided backpropagation: the network calls {activation.name}, which is no ReLU of torch's; {ADVICE}"
            )


def _positive(gradient: Tensor) -> Tensor:
    return gradient.clamp_min(0)
