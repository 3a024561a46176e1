"""PiDiNet, a small edge detector (Su et al., "Pixel Difference Networks for Efficient Edge Detection", 2021), in the
form whose difference convolutions have been converted to plain ones.

Names of submodules are those of the published weights, which are loaded strictly. Shapes: B images, H by W pixels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from visual_summaries.pipeline.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD

# Channels of the four stages, of the dilated convolutions and of their attention.
STAGES, DILATED, ATTENTION = (60, 120, 240, 240), 24, 4
# Radial differences, which become convolutions of 5 × 5; all others are of 3 × 3.
RADIAL = ("block1_2", "block2_3", "block3_3", "block4_3")


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, radial: bool, halves: bool) -> None:
        super().__init__()
        size = 5 if radial else 3
        self.conv1 = nn.Conv2d(inputs, inputs, size, padding=size // 2, groups=inputs, bias=False)
        self.conv2 = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if halves else None

    def forward(self, values: Tensor) -> Tensor:
        if self.shortcut is not None:
            values = functional.max_pool2d(values, 2)
        changed = self.conv2(functional.relu(self.conv1(values)))
        return changed + (values if self.shortcut is None else self.shortcut(values))


class _Dilated(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, DILATED, 1)
        for number, dilation in enumerate((5, 7, 9, 11), start=1):
            layer = nn.Conv2d(DILATED, DILATED, 3, dilation=dilation, padding=dilation, bias=False)
            self.add_module(f"conv2_{number}", layer)

    def forward(self, values: Tensor) -> Tensor:
        values = self.conv1(functional.relu(values))
        return self.conv2_1(values) + self.conv2_2(values) + self.conv2_3(values) + self.conv2_4(values)


class _Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(DILATED, ATTENTION, 1)
        self.conv2 = nn.Conv2d(ATTENTION, 1, 3, padding=1, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        return values * torch.sigmoid(self.conv2(self.conv1(functional.relu(values))))


class _Reduction(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(DILATED, 1, 1)

    def forward(self, values: Tensor) -> Tensor:
        return self.conv(values)


class PiDiNet(nn.Module):
    """Images `[B,3,H,W]` float in [0,1], RGB, to edges `[B,1,H,W]` in [0,1]; H and W at least 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.init_block = nn.Conv2d(3, STAGES[0], 3, padding=1, bias=False)
        inputs = STAGES[0]
        for stage, outputs in enumerate(STAGES, start=1):
            for number in range(1, 4 if stage == 1 else 5):
                name = f"block{stage}_{number}"
                halves = stage > 1 and number == 1
                self.add_module(name, _Block(inputs, outputs, name in RADIAL, halves))
                inputs = outputs
        self.dilations = nn.ModuleList(_Dilated(channels) for channels in STAGES)
        self.attentions = nn.ModuleList(_Attention() for _ in STAGES)
        self.conv_reduces = nn.ModuleList(_Reduction() for _ in STAGES)
        self.classifier = nn.Conv2d(len(STAGES), 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        mean, std = (images.new_tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        values = self.init_block((images - mean) / std)
        sides = []
        for stage in range(len(STAGES)):
            for number in range(1, 4 if stage == 0 else 5):
                values = self.get_submodule(f"block{stage + 1}_{number}")(values)
            seen = self.conv_reduces[stage](self.attentions[stage](self.dilations[stage](values)))
            sides.append(functional.interpolate(seen, images.shape[-2:], mode="bilinear", align_corners=False))
        return torch.sigmoid(self.classifier(torch.cat(sides, dim=1)))
