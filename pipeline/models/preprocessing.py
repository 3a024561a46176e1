"""From a decoded image to the square that the network sees, and the statistics it is normalized with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Only the middle of an image this many times longer than wide can reach the center crop; the rest is cut off
# before resizing, because resizing a line of 20,000 pixels to a height of 256 would take 4 GB.
LONGEST_ASPECT = 16

# Of red, green and blue in gray (ITU-R BT.601), as Pillow converts photographs.
LUMINANCE = (0.299, 0.587, 0.114)

INTERPOLATIONS = ("nearest", "nearest-exact", "bilinear", "bicubic")


@dataclass(frozen=True)
class Preprocessing:
    """How a network wants its input; the same steps as torchvision's classification presets.

    The shorter side is resized to `resize_side` pixels and the central `crop_side` × `crop_side` is kept;
    with `squash` the whole image is resized straight to that square instead, whatever its aspect. `mean` and
    `std` (in units of pixel values scaled to [0, 1]) are applied by the classifier, not here. There are as many
    as the network has channels: red, green and blue, or one for a network of gray images; see `normalized`.

    Raises:
        ValueError: a setting that no image could be prepared with.
    """

    resize_side: int = 256
    crop_side: int = 224
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    interpolation: str = "bilinear"
    antialias: bool = True
    squash: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(float(value) for value in self.mean))
        object.__setattr__(self, "std", tuple(float(value) for value in self.std))
        if self.crop_side < 1:
            raise ValueError(f"preprocessing: crop_side is {self.crop_side}; it must be at least 1 pixel")
        if not self.squash and self.resize_side < self.crop_side:
            raise ValueError(
                f"preprocessing: resize_side {self.resize_side} is less than crop_side {self.crop_side}; "
                "the crop would reach outside the image"
            )
        if not len(self.mean) == len(self.std) >= 1:
            raise ValueError(
                "preprocessing: mean and std need as many values as the network has channels: three, for red, green "
                f"and blue, or one for gray; there are {len(self.mean)} and {len(self.std)}"
            )
        if min(self.std) <= 0:
            raise ValueError(f"preprocessing: std is {self.std}; every value must be positive")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"preprocessing: interpolation {self.interpolation!r} is not one of {', '.join(INTERPOLATIONS)}"
            )

    @property
    def channels(self) -> int:
        """Of the network's input."""
        return len(self.mean)

    @property
    def baseline(self) -> tuple[float, float, float]:
        """The RGB color that is zero after normalization."""
        return self.mean[:3] if self.channels >= 3 else self.mean[:1] * 3

    @classmethod
    def from_torchvision(cls, weights: Any) -> Preprocessing:
        """The preprocessing that torchvision documents for a member of one of its weights enumerations."""
        preset = weights.transforms()
        return cls(
            resize_side=preset.resize_size[0],
            crop_side=preset.crop_size[0],
            mean=preset.mean,
            std=preset.std,
            interpolation=preset.interpolation.value,
            antialias=bool(preset.antialias),
        )

    def analyzed_image(self, image: Any, margin: int = 0) -> Tensor:
        """The part of an image that the network sees, before scaling and normalization.

        Args:
            image: uint8 [H, W, 3] RGB, an array or a tensor, of any height and width from 1 pixel.
            margin: pixels more on every side, less than `crop_side`: what lies beside the part that the network sees,
                mirrored where the image ends.

        Returns:
            uint8 [3, S, S] on the CPU, S = `crop_side` + 2 · `margin`.

        Raises:
            ValueError: the image is not uint8 [H, W, 3] or has no pixels.
        """
        if not isinstance(image, Tensor):
            flags = getattr(image, "flags", None)
            image = torch.as_tensor(image if flags is None or flags.writeable else image.copy())
        if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.numel() == 0:
            raise ValueError(
                f"an image must be uint8 [height, width, 3] with at least one pixel, "
                f"not {image.dtype} {list(image.shape)}"
            )
        channels_first = image.permute(2, 0, 1).contiguous()
        mode = InterpolationMode(self.interpolation)
        if self.squash:
            side = [self.crop_side, self.crop_side]
            resized = functional.resize(channels_first, side, interpolation=mode, antialias=self.antialias)
            return _center(resized, self.crop_side, margin)
        middle = _middle(channels_first)
        resized = functional.resize(middle, [self.resize_side], interpolation=mode, antialias=self.antialias)
        return _center(resized, self.crop_side, margin)

    def analyzed_box(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Where the analyzed image lies in an original of `height` × `width` pixels.

        Returns:
            (left, top, right, bottom) in pixels of the original, edges of pixels (0 is the image's left
            edge); the analyzed image shows exactly this rectangle.
        """
        if self.squash:
            return 0.0, 0.0, float(width), float(height)
        kept_height, kept_width = _middle_size(height, width), _middle_size(width, height)
        shorter, longer = min(kept_height, kept_width), max(kept_height, kept_width)
        resized_longer = int(self.resize_side * longer / shorter)
        resized_height = self.resize_side if kept_height == shorter else resized_longer
        resized_width = self.resize_side if kept_width == shorter else resized_longer
        top = round((resized_height - self.crop_side) / 2.0) * kept_height / resized_height
        left = round((resized_width - self.crop_side) / 2.0) * kept_width / resized_width
        top += (height - kept_height) // 2
        left += (width - kept_width) // 2
        return (
            left,
            top,
            left + self.crop_side * kept_width / resized_width,
            top + self.crop_side * kept_height / resized_height,
        )


def _center(image: Tensor, side: int, margin: int) -> Tensor:
    """The central square of `side` pixels with `margin` more on every side, mirrored where the image ends."""
    top, left = (round((size - side) / 2.0) for size in image.shape[-2:])
    bottom, right = image.shape[-2] - side - top, image.shape[-1] - side - left
    lacking = [max(0, margin - beside) for beside in (left, top, right, bottom)]
    if any(lacking):
        image = functional.pad(image, lacking, padding_mode="reflect")
    top, left = top - margin + lacking[1], left - margin + lacking[0]
    whole = side + 2 * margin
    return image[:, top : top + whole, left : left + whole].contiguous()


def normalized(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """RGB images `[B,3,H,W]` in [0,1] as a network of C channels gets them: (values − mean) / std `[B,C,H,W]`.

    A network of one channel gets the luminance. Channels that photographs have not, those after the first of a network
    of two and after the third of others, are zero: their mean.

    Args:
        images: float; the result is differentiable in them.
        mean: `[1,C,1,1]`.
        std: `[1,C,1,1]`.
    """
    channels = mean.shape[1]
    if channels == 3:
        return (images - mean) / std
    if channels < 3:
        images = (images * images.new_tensor(LUMINANCE).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    seen = images.shape[1]
    values = (images - mean[:, :seen]) / std[:, :seen]
    return torch.nn.functional.pad(values, (0, 0, 0, 0, 0, channels - seen))


def _middle_size(size: int, other: int) -> int:
    longest = LONGEST_ASPECT * other
    # The same number of pixels is cut off at both ends, so that the center stays the center.
    return size if size <= longest else longest + (size - longest) % 2


def _middle(image: Tensor) -> Tensor:
    height, width = image.shape[-2:]
    kept_height, kept_width = _middle_size(height, width), _middle_size(width, height)
    top, left = (height - kept_height) // 2, (width - kept_width) // 2
    return image[:, top : top + kept_height, left : left + kept_width]
