"""What several runs of a random grouping agree on: the modes among their candidates.

Each run cuts a class's evidence a little differently, so each has its own version of a part. A candidate is replaced by
the vote of all that overlap it, again and again, until nothing moves: mean shift (Cheng, "Mean Shift, Mode Seeking, and
Clustering", 1995) with intersection over union as the kernel. Versions of one part arrive at the same place, which
depends less on any run than each of them does.

Shapes: N images, G by G cells, K candidates of all runs together, U cells that any of them holds.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from visual_summaries.pipeline.summarize.candidates import largest_pieces

LEAST_OVERLAP = 0.35
MAJORITY = 0.5
ROUNDS = 4
SAME = 0.8
CHUNK = 1 << 16


def agreed(
    cells: Sequence[np.ndarray],
    shares: np.ndarray,
    weights: np.ndarray,
    gap: int = 0,
    least_overlap: float = LEAST_OVERLAP,
    rounds: int = ROUNDS,
) -> tuple[np.ndarray, np.ndarray]:
    """The places on which candidates agree, those with the most candidates around them first.

    Time and memory are linear in the images.

    Args:
        cells: K arrays `[N,G,G]` bool, the cells of each candidate.
        shares: `[N,G,G]` share of each cell's pixels that is salient.
        weights: `[N]` of the images.
        gap: cells that two pieces may lie apart in an image and still be one (`candidates.largest_pieces`).
        least_overlap: intersection over union, of salient pixels, from which two candidates vote for each other; each
            votes with its overlap, and a cell belongs to the mode with half of the votes.
        rounds: votes at most.

    Returns:
        M modes, no two of which overlap by .8 or more, `[M,N,G,G]` bool, at most one piece in an image; and which
        candidates overlap each by at least a half, `[M,K]` bool.

    Raises:
        ValueError: shapes do not fit.
    """
    if any(one.shape != shares.shape for one in cells) or len(weights) != len(shares):
        raise ValueError(f"cells must be {shares.shape}, as shares, and weights one an image")
    evidence = (shares * weights[:, None, None]).ravel()
    used = np.zeros(evidence.shape, dtype=bool)
    for one in cells:
        used |= one.ravel()
    used &= evidence > 0
    if not used.any():
        return np.zeros((0, *shares.shape), dtype=bool), np.zeros((0, len(cells)), dtype=bool)
    evidence = evidence[used].astype(np.float32)
    own = np.stack([one.ravel()[used] for one in cells])
    kept = own.any(axis=1)
    modes = own = own[kept]
    for _ in range(rounds):
        votes = _overlaps(modes, own, evidence)
        votes = np.where(votes >= least_overlap, votes, 0)
        moved = _distinct(_largest(row, used, shares, gap) for row in _voted(votes, own))
        still = moved.shape == modes.shape and bool((moved == modes).all())
        modes = moved
        if still:
            break
    near = _overlaps(modes, own, evidence) >= 0.5
    order = np.argsort(-near.sum(axis=1), kind="stable")
    between = _overlaps(modes, modes, evidence)
    chosen: list[int] = []
    for one in order:
        if all(between[one, other] < SAME for other in chosen):
            chosen.append(int(one))
    found = np.zeros((len(chosen), used.size), dtype=bool)
    found[:, used] = modes[chosen]
    around = np.zeros((len(chosen), len(cells)), dtype=bool)
    around[:, kept] = near[chosen]
    return found.reshape(-1, *shares.shape), around


def _overlaps(first: np.ndarray, second: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """Intersection over union `[A,B]` of sets of cells, bool `[A,U]` and `[B,U]`, each cell with its evidence `[U]`."""
    common = np.zeros((len(first), len(second)), dtype=np.float64)
    sizes = [np.zeros(len(sets), dtype=np.float64) for sets in (first, second)]
    for start in range(0, len(evidence), CHUNK):
        part = slice(start, start + CHUNK)
        a, b = first[:, part] * evidence[part], second[:, part].astype(np.float32)
        common += a @ b.T
        sizes[0] += a.sum(axis=1)
        sizes[1] += b @ evidence[part]
    return common / np.maximum(sizes[0][:, None] + sizes[1] - common, 1e-12)


def _voted(votes: np.ndarray, sets: np.ndarray) -> np.ndarray:
    """Cells `[A,U]` bool that have a majority of the votes `[A,K]` of the sets `[K,U]` bool."""
    shares = (votes / np.maximum(votes.sum(axis=1, keepdims=True), 1e-12)).astype(np.float32)
    won = np.empty((len(votes), sets.shape[1]), dtype=bool)
    for start in range(0, sets.shape[1], CHUNK):
        part = slice(start, start + CHUNK)
        # Rounding must not decide where exactly half of the votes are for a cell.
        won[:, part] = shares @ sets[:, part].astype(np.float32) >= MAJORITY - 1e-5
    return won


def _largest(row: np.ndarray, used: np.ndarray, shares: np.ndarray, gap: int) -> np.ndarray:
    cells = np.zeros(used.shape, dtype=bool)
    cells[used] = row
    return largest_pieces(cells.reshape(shares.shape), shares, gap).ravel()[used]


def _distinct(rows: Iterable[np.ndarray]) -> np.ndarray:
    """Rows without those that came before."""
    return np.stack(list({row.tobytes(): row for row in rows}.values()))
