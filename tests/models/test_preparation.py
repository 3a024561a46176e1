"""A prepared classifier is the same function: against the classifier itself, with batch norms that do something."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.loading import load_classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier
from visual_summaries.pipeline.models.preprocessing import Preprocessing

ROOT = Path(__file__).parents[2]


def unsettled(module: nn.Module) -> nn.Module:
    """The network with batch norms far from the identity, each channel its own."""
    torch.manual_seed(7)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.3)
            layer.running_var.uniform_(0.3, 3)
            with torch.no_grad():
                layer.weight.uniform_(-0.4, 1.6)
                layer.bias.normal_(0, 0.2)
    return module


def classifier_of(module: nn.Module, classes: int, side: int = 64) -> Classifier:
    preprocessing = Preprocessing(resize_side=side, crop_side=side)
    return Classifier(module, preprocessing, [str(number) for number in range(classes)])


def logits_and_gradient(classifier: Classifier | PreparedClassifier, images: Tensor) -> tuple[Tensor, Tensor]:
    images = images.clone().requires_grad_(True)
    logits = classifier.logits(images)
    return logits.detach(), torch.autograd.grad(logits[:, 3].sum(), images)[0]


@pytest.mark.parametrize(("name", "norms"), [("resnet18", 20), ("mobilenet_v2", 52), ("googlenet", 57)])
def test_folded_network_is_the_same_function(name: str, norms: int) -> None:
    options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    # In double precision: a gradient jumps where an activation is within rounding of zero, or of another in a maximum.
    torch.manual_seed(0)
    classifier = classifier_of(unsettled(torchvision.models.get_model(name, num_classes=10, **options)), 10)
    double = classifier_of(copy.deepcopy(classifier.module).double(), 10)
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    expected = logits_and_gradient(double, images)
    prepared = PreparedClassifier(classifier, "float64")
    assert prepared.folded == norms
    for found, wanted in zip(logits_and_gradient(prepared, images), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))
    single, wanted = PreparedClassifier(classifier).logits(images.float()), expected[0].float()
    torch.testing.assert_close(single, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))
    # The classifier itself still has them.
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in classifier.module.modules()) == norms


class Forked(nn.Module):
    """A convolution that feeds a batch norm and something else: folding would change the other."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 4)

    def forward(self, images: Tensor) -> Tensor:
        values = self.convolution(images)
        return self.head((self.norm(values) + values).mean(dim=(2, 3)))


class Untraceable(Forked):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images if images.mean() > 0 else -images)


class Reread(Forked):
    """The graph shows a convolution that feeds its batch norm alone; only a pass shows that its weights are read."""

    def forward(self, images: Tensor) -> Tensor:
        return self.head((self.norm(self.convolution(images)) * self.convolution.weight.sum()).mean(dim=(2, 3)))


@pytest.mark.parametrize("network", [Forked, Untraceable, Reread])
def test_what_cannot_be_folded_exactly_is_left(network: type[nn.Module]) -> None:
    classifier = classifier_of(unsettled(network()), 4, side=32)
    images = torch.rand(3, 3, 32, 32)
    expected = logits_and_gradient(classifier, images)
    prepared = PreparedClassifier(classifier)
    assert prepared.folded == 0
    for found, wanted in zip(logits_and_gradient(prepared, images), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_half_precision_is_close_and_gives_float32(data_directory) -> None:  # noqa: ANN001
    classifier = load_classifier("torchvision:squeezenet1_1", data_directory / "weights/squeezenet1_1.safetensors")
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    expected = classifier.logits(images)
    found = PreparedClassifier(classifier, "bfloat16").logits(images)
    assert found.dtype == torch.float32
    difference = (found - expected).abs().max() / expected.abs().max()
    assert 1e-6 < difference < 0.05
    with pytest.raises(ValueError, match="float32, tf32, bfloat16"):
        PreparedClassifier(classifier, "float16")


def test_double_precision_leaves_the_classifier_as_it_is() -> None:
    """Logits of its own copy, in the images' precision."""
    torch.manual_seed(3)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 30 * 30, 5))
    classifier = classifier_of(unsettled(module).eval(), 5, side=32)
    images = torch.rand(2, 3, 32, 32)
    prepared = PreparedClassifier(classifier, "float64")
    assert prepared.logits(images).dtype == torch.float32
    found = prepared.logits(images.double())
    assert {parameter.dtype for parameter in classifier.module.parameters()} == {torch.float32}
    expected = classifier_of(module.double(), 5, side=32).logits(images.double())
    # Folding happens in single precision.
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_normalization_is_the_classifiers() -> None:
    preprocessing = Preprocessing(resize_side=32, crop_side=32, mean=(0.1, 0.5, 0.9), std=(0.2, 0.3, 0.4))
    classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)), preprocessing, ["a", "b"])
    images = torch.rand(4, 3, 32, 32)
    torch.testing.assert_close(PreparedClassifier(classifier).logits(images), classifier.logits(images))


PAGES = """
import resource, sys, torch
from visual_summaries.pipeline.models.preparation import keep_freed_memory

def pages_taken():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "keep":
    keep_freed_memory()
# 64 MB are 16,384 pages; a small tensor that comes to lie in the way may cost them once more.
print(sorted(pages_taken() for _ in range(7))[3])
"""


def test_freed_memory_is_kept() -> None:
    """A large tensor freed and taken again costs no new pages (where glibc has the say)."""
    if not sys.platform.startswith("linux"):
        pytest.skip("only glibc is told to keep memory")
    pages = [
        int(subprocess.run([sys.executable, "-c", PAGES, how], cwd=ROOT, capture_output=True, check=True).stdout)
        for how in ("keep", "give back")
    ]
    assert pages[0] < 1000 < pages[1]
