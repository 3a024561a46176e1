"""Classes whose parts are known, drawn straight into the grid of features: every part is a small pattern of features,
the same in all images but for noise, everything else is noise."""

from dataclasses import dataclass

import numpy as np

from visual_summaries.pipeline.summarize.candidates import Candidate, candidate_of_cells, cell_shares

GRID, DEPTH, CELL = 20, 24, 4


@dataclass
class Drawn:
    features: np.ndarray
    masks: np.ndarray
    truth: dict[str, np.ndarray]

    @property
    def shares(self) -> np.ndarray:
        return cell_shares(self.masks, GRID)

    def candidate(self, *parts: str) -> Candidate:
        cells = np.any([self.truth[part] for part in parts], axis=0)
        return candidate_of_cells("+".join(parts), cells, self.masks)

    def found(self, candidate: Candidate, *parts: str) -> float:
        """Median overlap of the members' cells with true parts."""
        truth = np.any([self.truth[part] for part in parts], axis=0)[candidate.images]
        both = (truth & candidate.segments).sum(axis=(1, 2))
        return float(np.median(both / (truth | candidate.segments).sum(axis=(1, 2))))


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def draw(
    patterns: dict[str, np.ndarray], count: int, moving: int, seed: int = 0, noise: float = 0.4, mirrored: bool = True
) -> Drawn:
    """`count` images with all the patterns `[h,w,D]` side by side, each shifted up or down by up to `moving` cells.

    Half of the images are mirrored. The salient cells are those of the parts.
    """
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, GRID, GRID, DEPTH))
    truth = {name: np.zeros((count, GRID, GRID), dtype=bool) for name in patterns}
    width = sum(pattern.shape[1] for pattern in patterns.values())
    for n in range(count):
        column = int(random.integers(0, GRID - width + 1))
        top = int(random.integers(moving, GRID - moving - max(p.shape[0] for p in patterns.values()) + 1))
        for name, pattern in patterns.items():
            row = top + int(random.integers(-moving, moving + 1))
            high, wide = pattern.shape[:2]
            noisy = pattern + noise / 3 * random.normal(size=pattern.shape)
            features[n, row : row + high, column : column + wide] = noisy
            truth[name][n, row : row + high, column : column + wide] = True
            column += wide
        if mirrored and random.random() < 0.5:
            features[n] = features[n, :, ::-1]
            for cells in truth.values():
                cells[n] = cells[n, :, ::-1]
    salient = np.any(list(truth.values()), axis=0)
    masks = salient.repeat(CELL, axis=1).repeat(CELL, axis=2)
    return Drawn(unit(features).astype(np.float32), masks, truth)


def pattern(seed: int, high: int, wide: int, spread: float = 0.5) -> np.ndarray:
    """One feature, varied a little from cell to cell: `[high,wide,D]`."""
    random = np.random.default_rng(1000 + seed)
    return unit(random.normal(size=DEPTH)) + spread * unit(random.normal(size=(high, wide, DEPTH)))
