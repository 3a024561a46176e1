"""A classifier made ready for many forward and backward passes: the same function, cheaper."""

from __future__ import annotations

import contextlib
import copy
import ctypes
import sys

import torch
from torch import Tensor, nn

from visual_summaries.pipeline.models.batch_norms import fold_batch_norms
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.preprocessing import normalized

PRECISIONS = ("float32", "tf32", "bfloat16", "float64")

# Folding changes no more than rounding; more than this share of the largest logit means it was not exact.
FOLDING_TOLERANCE = 1e-3


class PreparedClassifier:
    """Logits of a classifier, in channels-last memory, batch norms folded, in a chosen precision.

    The classifier itself is left as it is. The explainers' `LogitsFunction`.

    Attributes:
        module: the prepared network; it takes normalized images.
        unfolded: the network as it was loaded, with its batch norms.
        folded: batch norms that were folded into the convolution before them.
    """

    def __init__(self, classifier: Classifier, precision: str = "float32") -> None:
        """`precision`: `float32`; `tf32`, matrix products in TensorFloat-32 where the GPU has it; `bfloat16`, by
        autocast; `float64`, in which the size of a batch no longer changes a map by its rounding.

        Raises:
            ValueError: unknown precision.
        """
        if precision not in PRECISIONS:
            raise ValueError(f"unknown precision {precision!r}; known: {', '.join(PRECISIONS)}")
        self.precision = precision
        self.name, self.head = classifier.name, classifier.head
        self.module, self.folded = _folded(classifier)
        self.unfolded = classifier.module
        dtype = torch.float32
        if precision == "float64":
            dtype = torch.float64
            self.unfolded = copy.deepcopy(self.unfolded).double()
            self.module = copy.deepcopy(self.module).double() if self.folded else self.unfolded
        self.module.to(memory_format=torch.channels_last)
        mean, std = classifier.preprocessing.mean, classifier.preprocessing.std
        self._ordered = classifier.preprocessing.ordered
        # On the device once: a copy at every pass would make a GPU wait.
        self._mean = torch.tensor(mean, dtype=dtype, device=classifier.device).view(1, -1, 1, 1)
        self._std = torch.tensor(std, dtype=dtype, device=classifier.device).view(1, -1, 1, 1)
        self._baseline = torch.tensor(classifier.preprocessing.baseline, dtype=dtype, device=classifier.device)

    @property
    def device(self) -> torch.device:
        return self._mean.device

    @property
    def independent(self) -> bool:
        """Whether an image may be of several classes: a class's score is then the sigmoid of its logit."""
        return self.head.independent

    @property
    def baseline(self) -> Tensor:
        """The color `[3]`, in [0,1], that is zero after normalization: the mean of the training data."""
        return self._baseline

    def logits(self, images: Tensor) -> Tensor:
        """Images `[B,3,H,W]` float in [0,1] to logits `[B,K]` of the same precision, differentiable in the images."""
        inputs = self._ordered(normalized(images, self._mean, self._std))
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        with self._precision():
            logits = self.head.logits(self.module, inputs, self.name)
        return logits.to(images.dtype)

    def _precision(self) -> contextlib.AbstractContextManager:
        if self.precision == "bfloat16":
            return torch.autocast(self.device.type, dtype=torch.bfloat16)
        return contextlib.nullcontext()


def _folded(classifier: Classifier) -> tuple[nn.Module, int]:
    """A copy of the network as `fold_batch_norms` makes it, and how many were folded.

    The network itself where there is nothing to fold, it cannot be traced, or folding turns out not to be exact.
    """
    module = classifier.module
    if not any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules()):
        return module, 0
    try:
        folded, count = fold_batch_norms(module)
    except Exception:  # Whatever tracing runs into: control flow on data, *args, own tensor classes.
        return module, 0
    if not count:
        return module, 0
    side = classifier.input_size
    generator = torch.Generator().manual_seed(0)
    probe = torch.rand(2, 3, side, side, generator=generator).to(classifier.device)
    with torch.no_grad():
        expected = classifier.logits(probe)
        found = classifier.head.logits(folded, classifier.normalized(probe), classifier.name)
    exact = found.shape == expected.shape and (found - expected).abs().max() <= FOLDING_TOLERANCE * expected.abs().max()
    return (folded, count) if exact else (module, 0)


def use_precision(precision: str) -> None:
    """Let this process's GPU multiply float32 matrices in TensorFloat-32, or not (`float32`, `float64`).

    PyTorch by itself does so in convolutions. A backward pass looks at this setting when it runs, so that it
    belongs to the process and not to a pass.
    """
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision in ("tf32", "bfloat16")


def keep_freed_memory() -> None:
    """Let this process reuse the memory it frees instead of giving it back: on Linux, for glibc's allocator.

    The tensors of a pass are larger than what glibc reuses by itself, so that every pass would ask the system
    for fresh pages, and filling those takes up to half of the pass.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        trim_threshold, maximum_of_maps = -1, -4
        mallopt(maximum_of_maps, 0)
        mallopt(trim_threshold, 2**31 - 1)
