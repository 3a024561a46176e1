"""How many images are optimized together: a given number, or as many as memory allows, found while running."""

import os
from pathlib import Path

import torch

# Beyond these a larger batch gains nothing measurable; a processor's caches are small.
MOST_IMAGES = {"cpu": 16, "cuda": 512}
FIRST_IMAGES = {"cpu": 4, "cuda": 16}
# What may be used of the free memory: a processor's is shared with other workers.
SHARE = {"cpu": 0.25, "cuda": 0.9}


class Capacity:
    """The size of the batch.

    Attributes:
        size: images that may be in the batch now. Unless it was given, it doubles while steps at the full size
            leave memory for twice as many, and falls for good when memory runs out.
        growing: whether it still finds its size, so that it should be asked soon.
    """

    def __init__(self, device: torch.device, size: int | None = None) -> None:
        """`size`: a number of images ≥ 1, or `None` to find it."""
        self.device = device
        self.limit = size or MOST_IMAGES.get(device.type, MOST_IMAGES["cpu"])
        self.size = size or min(self.limit, FIRST_IMAGES.get(device.type, FIRST_IMAGES["cpu"]))
        self.growing = self.size < self.limit
        self._at_rest = 0 if size else self._peak()

    def observe(self, images: int) -> None:
        """After steps with this many images: grow if twice as many would fit."""
        if images < self.size or self.size >= self.limit:
            return
        needed = self._peak() - self._at_rest
        fits = needed <= SHARE.get(self.device.type, SHARE["cpu"]) * (self._free() + needed) - needed
        if fits:
            self.size = min(2 * self.size, self.limit)
        self.growing = fits and self.size < self.limit

    def shrink(self, images: int) -> None:
        """Memory ran out: from now on at most this many images."""
        self.size = self.limit = max(1, images)
        self.growing = False
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _peak(self) -> int:
        """Most memory that this process has held, bytes; 0 where that is not known."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return 1024 * _kilobytes(Path("/proc/self/status"), "VmHWM:")

    def _free(self) -> int:
        """Memory that this process could still take, bytes."""
        if self.device.type == "cuda":
            cached = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
            return torch.cuda.mem_get_info(self.device)[0] + cached
        available = 1024 * _kilobytes(Path("/proc/meminfo"), "MemAvailable:")
        return available or os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _kilobytes(path: Path, name: str) -> int:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        # Only Linux has these files.
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)
