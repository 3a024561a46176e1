"""HED, holistically-nested edge detection (Xie and Tu, 2015), with the names of its best-known PyTorch weights.

Shapes: B images, H by W pixels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

# Of the training data in 0…255, blue, green, red: nothing is scaled.
MEAN = (104.00698793, 116.66876762, 122.67891434)
# Name, channels and convolutions of VGG-16's five stages.
STAGES = (("One", 64, 2), ("Two", 128, 2), ("Thr", 256, 3), ("Fou", 512, 3), ("Fiv", 512, 3))


class Hed(nn.Module):
    """Images `[B,3,H,W]` float in [0,1], RGB, to edges `[B,1,H,W]` in [0,1]; H and W at least 16 pixels."""

    def __init__(self) -> None:
        super().__init__()
        inputs = 3
        for number, (name, channels, convolutions) in enumerate(STAGES):
            layers: list[nn.Module] = [nn.MaxPool2d(2)] if number else []
            for _ in range(convolutions):
                layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU()]
                inputs = channels
            self.add_module(f"netVgg{name}", nn.Sequential(*layers))
            self.add_module(f"netScore{name}", nn.Conv2d(channels, 1, 1))
        self.netCombine = nn.Sequential(nn.Conv2d(len(STAGES), 1, 1), nn.Sigmoid())

    def forward(self, images: Tensor) -> Tensor:
        values = images.flip(1) * 255 - images.new_tensor(MEAN).view(1, 3, 1, 1)
        sides = []
        for name, _, _ in STAGES:
            values = self.get_submodule(f"netVgg{name}")(values)
            side = self.get_submodule(f"netScore{name}")(values)
            sides.append(functional.interpolate(side, images.shape[-2:], mode="bilinear", align_corners=False))
        return self.netCombine(torch.cat(sides, dim=1))
