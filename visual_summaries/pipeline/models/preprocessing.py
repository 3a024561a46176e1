"""From a decoded image to the square that the network sees, and the statistics it is normalized with."""

from __future__ import annotations

import math
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

CHANNELS = ("rgb", "bgr")
INTERPOLATIONS = ("nearest", "nearest-exact", "bilinear", "bicubic")


@dataclass(frozen=True)
class Preprocessing:
    """How a network wants its input; the same steps as torchvision's classification presets.

    The shorter side is resized to `resize_side` pixels and the central `crop_side` × `crop_side` is kept;
    with `squash` the whole image is resized straight to that square instead, whatever its aspect, or, where
    `squash_side` is given, to a square of that side of which the center is kept. What lies half a pixel off the
    center begins at the even pixel, as torchvision's does, or with `floor_crop` at the one before. `mean` and `std`
    (in units of pixel values scaled to [0, 1]) are applied by the classifier, not here. There are as many as the
    network has channels: red, green and blue, or one for a network of gray images; see `normalized`. After them the
    classifier puts three channels in the order `channels`, in which the network wants them.

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
    squash_side: int | None = None
    floor_crop: bool = False
    channels: str = "rgb"

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
        if self.squash_side is not None and self.squash_side < self.crop_side:
            raise ValueError(
                f"preprocessing: squash_side {self.squash_side} is less than crop_side {self.crop_side}; "
                "the crop would reach outside the image"
            )
        if self.channels not in CHANNELS:
            raise ValueError(f"preprocessing: channels {self.channels!r} are not one of {', '.join(CHANNELS)}")
        if not len(self.mean) == len(self.std) >= 1:
            raise ValueError(
                "preprocessing: mean and std need as many values as the network has channels: three, for red, green "
                f"and blue, or one for gray; there are {len(self.mean)} and {len(self.std)}"
            )
        if self.channels != CHANNELS[0] and len(self.mean) != 3:
            raise ValueError(
                f"preprocessing: channels {self.channels!r} are of red, green and blue, but mean has {len(self.mean)} "
                "values"
            )
        if min(self.std) <= 0:
            raise ValueError(f"preprocessing: std is {self.std}; every value must be positive")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"preprocessing: interpolation {self.interpolation!r} is not one of {', '.join(INTERPOLATIONS)}"
            )

    @property
    def baseline(self) -> tuple[float, float, float]:
        """The RGB color that is zero after normalization."""
        return self.mean[:3] if len(self.mean) >= 3 else self.mean[:1] * 3

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

    def ordered(self, normalized: Tensor) -> Tensor:
        """Normalized images `[B,3,H,W]` in RGB with their channels in the order that the network wants."""
        return normalized.flip(1) if self.channels == "bgr" else normalized

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
            side = self.squash_side or self.crop_side
            resized = functional.resize(channels_first, [side, side], interpolation=mode, antialias=self.antialias)
            return self._center(resized, margin)
        middle = _middle(channels_first)
        resized = functional.resize(middle, [self.resize_side], interpolation=mode, antialias=self.antialias)
        return self._center(resized, margin)

    def analyzed_box(self, height: int, width: int) -> tuple[float, float, float, float]:
        """Where the analyzed image lies in an original of `height` × `width` pixels.

        Returns:
            (left, top, right, bottom) in pixels of the original, edges of pixels (0 is the image's left
            edge); the analyzed image shows exactly this rectangle.
        """
        if self.squash:
            side = self.squash_side or self.crop_side
            before = self._before(side)
            first, last = before / side, (before + self.crop_side) / side
            return first * width, first * height, last * width, last * height
        kept_height, kept_width = _middle_size(height, width), _middle_size(width, height)
        shorter, longer = min(kept_height, kept_width), max(kept_height, kept_width)
        resized_longer = int(self.resize_side * longer / shorter)
        resized_height = self.resize_side if kept_height == shorter else resized_longer
        resized_width = self.resize_side if kept_width == shorter else resized_longer
        top = self._before(resized_height) * kept_height / resized_height
        left = self._before(resized_width) * kept_width / resized_width
        top += (height - kept_height) // 2
        left += (width - kept_width) // 2
        return (
            left,
            top,
            left + self.crop_side * kept_width / resized_width,
            top + self.crop_side * kept_height / resized_height,
        )

    def _before(self, size: int) -> int:
        """Pixels before the central square along an edge of `size`."""
        beside = (size - self.crop_side) / 2.0
        return math.floor(beside) if self.floor_crop else round(beside)

    def _center(self, image: Tensor, margin: int) -> Tensor:
        """The central square with `margin` more on every side, mirrored where the image ends."""
        side = self.crop_side
        top, left = (self._before(size) for size in image.shape[-2:])
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
