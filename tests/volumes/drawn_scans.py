"""Drawn scans of 12 × 12 × 12 voxels, an atlas of 27 cubes, and networks that see one of them alone."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

SIDE, PLANTED = 12, 16
NAMES = {PLANTED: "the planted one", 3: "another"}


def cubes() -> np.ndarray:
    """Labels 1 to 27, int64 `[12,12,12]`."""
    d, h, w = np.indices((SIDE,) * 3) // 4
    return 1 + d + 3 * h + 9 * w


class Planted(nn.Module):
    """Logits of absent and present: nothing but one cube decides, through random convolutions."""

    def __init__(self, planted: int = PLANTED) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(planted)
        self.register_buffer("cube", torch.from_numpy(cubes() == planted).float())
        self.register_buffer("weights", torch.rand(4, 1, 3, 3, 3, generator=generator))

    def forward(self, volumes: Tensor) -> Tensor:
        found = torch.nn.functional.conv3d(volumes * self.cube, self.weights, padding=1).mean(dim=(1, 2, 3, 4))
        return torch.stack([torch.zeros_like(found), 60 * (found - 0.15)], dim=1)


def scores(volumes: Tensor) -> Tensor:
    """The same as a plain function."""
    return Planted()(volumes).softmax(dim=1)


def with_color(volumes: Tensor) -> Tensor:
    """Scores of volumes of two channels, of which the second decides."""
    if volumes.shape[1] != 2:
        raise ValueError("two channels are needed")
    return Planted()(volumes[:, 1:]).softmax(dim=1)


def broken(volumes: Tensor) -> Tensor:
    """Fails as soon as a volume is brighter than any that it is tried with."""
    if volumes.amax() > 100:
        raise RuntimeError("too bright")
    return scores(volumes)


def never_present(volumes: Tensor) -> Tensor:
    """Scores of a classifier that says absent of everything."""
    return torch.tensor([[1.0, 0.0]]).expand(len(volumes), 2)


def logits(volumes: Tensor) -> Tensor:
    """What has no softmax."""
    return Planted()(volumes)


def one_score(volumes: Tensor) -> Tensor:
    """One number a volume."""
    return volumes.mean(dim=(1, 2, 3, 4))


def scan(seed: int, present: bool) -> np.ndarray:
    """Noise, float32 `[12,12,12]` in [0,1]; brighter in the planted cube where it is present."""
    values = np.random.default_rng(seed).uniform(0.1, 0.3, (SIDE,) * 3)
    values[cubes() == PLANTED] += 0.5 * present
    return values.astype(np.float32)


def write_set(folder: Path, count: int = 3) -> None:
    """`scans/absent`, `scans/present` of so many scans each, `atlas.npy` and `names.csv`."""
    np.save(folder / "atlas.npy", cubes().astype(np.int16))
    rows = "".join(f"{label},{name}\n" for label, name in NAMES.items())
    (folder / "names.csv").write_text(f"label,name\n{rows}")
    for place, label in enumerate(("absent", "present")):
        (folder / "scans" / label).mkdir(parents=True)
        for number in range(count):
            np.save(folder / "scans" / label / f"{number}.npy", scan(10 * place + number, label == "present"))
