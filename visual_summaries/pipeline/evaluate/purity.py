"""Does a summary show one part? Entropy of the landmarks in its members' boxes against boxes drawn at random.

What is counted: every landmark that lies in a member's box counts once for its kind, whether or not others lie in that
box; the counts of all members are added up, and the entropy is that of their distribution over the kinds. A box without
a landmark adds nothing, neither here nor among the random boxes; their shares are given beside the entropy, because
few landmarks make any distribution look pure.

Shapes: m members, one to an image, L kinds of landmarks, H by W pixels of the analyzed image. A place (x, y) counts
pixels from the image's top left edge; boxes are half-open x0, y0, x1, y1.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PartPurity:
    """One summary's figures.

    Attributes:
        counts: `[L]` int64, landmarks of each kind in the members' boxes.
        entropy: of them, bits, 0 to log2 L, lower is purer; NaN without a landmark.
        random_entropy: mean over the draws that hold a landmark; NaN if none does.
        empty: share of the members' boxes without a landmark.
        random_empty: the same of the random boxes, over all draws.
    """

    counts: np.ndarray
    entropy: float
    random_entropy: float
    empty: float
    random_empty: float

    @property
    def difference(self) -> float:
        """Bits by which the summary is purer than random boxes; NaN where an entropy is."""
        return self.random_entropy - self.entropy


def part_purity(
    boxes: np.ndarray, landmarks: np.ndarray, salient: np.ndarray, seed: int = 0, draws: int = 100
) -> PartPurity:
    """Compare a summary's boxes with random ones of the same sizes in the salient regions of the same images.

    Args:
        boxes: `[m,4]`, at least one, inside the images.
        landmarks: `[m,L,2]` places in each member's image; NaN where a kind is not visible.
        salient: `[m,H,W]` bool, salient pixels of each member's image.
        seed, draws: of the random boxes, `draws` for each member.

    Raises:
        ValueError: shapes do not fit, or an image has no salient pixel.
    """
    boxes, landmarks = np.asarray(boxes, dtype=np.float64), np.asarray(landmarks, dtype=np.float64)
    if landmarks.ndim != 3 or landmarks.shape[2] != 2 or not len(boxes) == len(landmarks) == len(salient) > 0:
        raise ValueError(f"boxes must be [m,4], landmarks [m,L,2], got {boxes.shape} and {landmarks.shape}")
    inside = landmarks_inside(boxes, landmarks)
    others = landmarks_inside(random_boxes(boxes, salient, seed, draws), landmarks)
    counts = inside.sum(axis=0)
    entropies = entropy(others.sum(axis=1))
    known = entropies[~np.isnan(entropies)]
    return PartPurity(
        counts=counts,
        entropy=float(entropy(counts)),
        random_entropy=float(known.mean()) if len(known) else float("nan"),
        empty=float(1 - inside.any(axis=-1).mean()),
        random_empty=float(1 - others.any(axis=-1).mean()),
    )


def landmarks_inside(boxes: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Which landmarks `[m,L,2]` lie in each member's box `[…,m,4]`: `[…,m,L]` bool, never one that is NaN."""
    boxes = boxes[..., None, :]
    return ((boxes[..., :2] <= landmarks) & (landmarks < boxes[..., 2:])).all(axis=-1)


def entropy(counts: np.ndarray) -> np.ndarray:
    """Entropy in bits of the distributions that counts `[…,L]` stand for: `[…]` float64; NaN where all are 0."""
    counts = np.asarray(counts, dtype=np.float64)
    total = counts.sum(axis=-1, keepdims=True)
    shares = np.divide(counts, total, out=np.full_like(counts, np.nan), where=total > 0)
    # 0·log 0 is 0; adding 0 turns −0 into 0.
    return -(shares * np.log2(np.where(shares == 0, 1, shares))).sum(axis=-1) + 0.0


def random_boxes(boxes: np.ndarray, salient: np.ndarray, seed: int = 0, draws: int = 100) -> np.ndarray:
    """Boxes `[draws,m,4]` float64 as large as `boxes` `[m,4]`, each around a random salient pixel of its image.

    Every salient pixel `[m,H,W]` of an image is as likely to be the middle; a box that would leave the image is shifted
    into it. It may reach beyond the salient region, as a member's box may.

    Raises:
        ValueError: shapes do not fit, a box is larger than its image, or an image has no salient pixel.
    """
    boxes, salient = np.asarray(boxes, dtype=np.float64), np.asarray(salient, dtype=bool)
    if salient.ndim != 3 or boxes.shape != (len(salient), 4) or draws < 1:
        raise ValueError(f"boxes must be [m,4] and salient [m,H,W]: {boxes.shape}, {salient.shape}; draws {draws}")
    numbers = salient.sum(axis=(1, 2))
    room = np.array(salient.shape[:0:-1])
    sizes = boxes[:, 2:] - boxes[:, :2]
    if not numbers.all() or (sizes > room).any():
        raise ValueError("an image has no salient pixel, or a box is larger than its image")
    _, rows, columns = np.nonzero(salient)
    places = np.stack([columns, rows], axis=1) + 0.5
    # np.nonzero lists the pixels image by image.
    firsts = np.cumsum(numbers) - numbers
    chosen = firsts + (np.random.default_rng(seed).random((draws, len(boxes))) * numbers).astype(np.int64)
    corners = np.clip(places[chosen] - sizes / 2, 0, room - sizes)
    return np.concatenate([corners, corners + sizes], axis=-1)
