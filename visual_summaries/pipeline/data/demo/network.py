"""The small classifier of the demo set."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor, nn

from visual_summaries.pipeline.data.demo.scenes import NETWORK_CLASS_NAMES

DEMO_MEAN: tuple[float, float, float] = (0.6, 0.6, 0.56)
DEMO_STD: tuple[float, float, float] = (0.22, 0.2, 0.2)
WEIGHTS_FILE = Path(__file__).with_name("network.safetensors")


class PowerMean(nn.Module):
    """Pools [B,C,H,W] of nonnegative values to [B,C] by the mean of fourth powers, fourth root taken.

    Between the mean, in which a small region drowns, and the maximum, whose gradient sees one position only.
    """

    def forward(self, features: Tensor) -> Tensor:
        return (features.square().square().mean(dim=(2, 3)) + 1e-6).sqrt().sqrt()


class DemoNetwork(nn.Module):
    """Convolutions with ReLU that see 25×25 pixels, a pooling over the picture, two fully connected layers.

    Input float32 [B,3,H,W] in [0,1] normalized with DEMO_MEAN and DEMO_STD (trained at 128×128); output logits
    [B, len(NETWORK_CLASS_NAMES)]. `batch_norm` puts a batch normalization after every convolution, for training only.
    """

    def __init__(self, classes: int, batch_norm: bool = False) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_block(3, 16, 5, 2, batch_norm),
            *_block(16, 32, 3, 2, batch_norm),
            *_block(32, 40, 3, 1, batch_norm),
            *_block(40, 64, 3, 2, batch_norm),
            *_block(64, 80, 1, 1, batch_norm),
        )
        self.pool = PowerMean()
        self.hidden = nn.Linear(80, 64)
        self.activation = nn.ReLU()
        self.output = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.output(self.activation(self.hidden(self.pool(self.features(images)))))


def demo_network() -> nn.Module:
    """The architecture with untrained weights."""
    return DemoNetwork(len(NETWORK_CLASS_NAMES))


def load_demo_network() -> nn.Module:
    """The network with the packaged weights, in evaluation mode."""
    network = demo_network()
    network.load_state_dict(load_file(WEIGHTS_FILE), strict=True)
    return network.eval()


def fold_batch_norm(trained: DemoNetwork) -> nn.Module:
    """The same function without batch normalization (trained must be in evaluation mode)."""
    folded = DemoNetwork(trained.output.out_features).eval()
    layers = list(trained.features)
    convolutions = [layer for layer in folded.features if isinstance(layer, nn.Conv2d)]
    sources = [
        nn.utils.fuse_conv_bn_eval(layer, following)
        for layer, following in zip(layers, layers[1:], strict=False)
        if isinstance(layer, nn.Conv2d)
    ]
    for convolution, source in zip(convolutions, sources, strict=True):
        convolution.load_state_dict(source.state_dict())
    folded.hidden.load_state_dict(trained.hidden.state_dict())
    folded.output.load_state_dict(trained.output.state_dict())
    return folded


def _block(channels_in: int, channels_out: int, kernel: int, stride: int, batch_norm: bool) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, bias=not batch_norm)]
    if batch_norm:
        layers.append(nn.BatchNorm2d(channels_out))
    return [*layers, nn.ReLU()]
