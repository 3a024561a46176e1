"""Forward passes of perturbed images, packed over images and perturbations alike, in bounded memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

# Of the perturbed images in one forward pass, bytes. On a processor more gains nothing.
PASS_MEMORY = 16 * 2**20
# Where a library counts images instead.
PASS_IMAGES = 32


def in_passes(count: int, image_bytes: int, memory: int, run: Callable[[int, int], None]) -> None:
    """Call `run(first, end)` for consecutive pieces of `count` perturbed images, each of at most `memory` bytes.

    A piece that runs out of the device's memory is tried again in halves; it must not have had an effect.

    Args:
        image_bytes: of one perturbed image, and what is made beside it.
        memory: bytes, a bound for the perturbed images alone; the network's own need comes on top.

    Raises:
        ValueError: `memory` is not positive.
        torch.OutOfMemoryError: a single image does not fit.
    """
    if memory < 1:
        raise ValueError(f"memory must be at least 1 byte, got {memory}")
    size = max(1, memory // max(1, image_bytes))
    start = 0
    while start < count:
        end = min(start + size, count)
        try:
            run(start, end)
        except torch.OutOfMemoryError:
            if end - start == 1:
                raise
            size = (end - start) // 2
            torch.cuda.empty_cache()
        else:
            start = end


def normalized(maps: Tensor) -> Tensor:
    """Maps `[B,…]` float moved and scaled to [0,1], each by its own least and largest value; a constant one to 0."""
    flat = maps.flatten(1)
    least = flat.amin(dim=1, keepdim=True)
    spread = flat.amax(dim=1, keepdim=True) - least
    return torch.where(spread > 0, (flat - least) / spread, 0).view(maps.shape)


def relative(maps: Tensor) -> Tensor:
    """Maps `[B,…]` float, at least 0, each divided by its own largest value; one without any stays 0."""
    largest = maps.flatten(1).amax(dim=1).view(-1, *[1] * (maps.ndim - 1))
    return torch.where(largest > 0, maps / largest, 0)


@contextmanager
def seeded(generator: torch.Generator | None, device: torch.device) -> Iterator[None]:
    """Let a library that draws from torch's global generator draw an image's own random numbers, of seed 0 without one.

    The global generator is left as it was.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        seed = 0
        if generator is not None:
            seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        torch.manual_seed(seed)
        yield
