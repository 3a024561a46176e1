"""COCO's run-length encoding of masks, and its text form, as pycocotools reads them.

Source: common/maskApi.c of https://github.com/cocodataset/cocoapi: runs go down the columns, zeros first; the text
holds each count (from the fourth on its difference to the one two before) in groups of five bits, the lowest first.
"""

import numpy as np

BITS, SIGN, MORE, FIRST_CHARACTER = 0x1F, 0x10, 0x20, 48
DIFFERENCES_FROM, DISTANCE = 3, 2


def counts_of_runs(starts: np.ndarray, ends: np.ndarray, size: int) -> np.ndarray:
    """Lengths of the runs of zeros and ones in turn, zeros first, from where the runs of ones start and end.

    Args:
        starts, ends: int64 [R], half-open, ascending, not overlapping; runs that touch are joined.
        size: number of pixels in all.

    Returns:
        int64 [counts], which sum to `size`; the last run may be one of ones.
    """
    apart = starts[1:] != ends[:-1]
    starts = starts[np.concatenate([[True], apart])] if len(starts) else starts
    ends = ends[np.concatenate([apart, [True]])] if len(ends) else ends
    edges = np.stack([starts, ends], axis=1).ravel()
    counts = np.diff(np.concatenate([[0], edges, [size]]))
    return counts[:-1] if counts[-1] == 0 and len(counts) > 1 else counts


def compressed_counts(counts: np.ndarray) -> str:
    """COCO's text of run lengths `[counts]`, as `rleToString` makes it."""
    values = np.asarray(counts, dtype=np.int64).copy()
    values[DIFFERENCES_FROM:] -= np.asarray(counts, dtype=np.int64)[DIFFERENCES_FROM - DISTANCE : -DISTANCE]
    groups, used = [], []
    unfinished = np.ones(len(values), dtype=bool)
    while unfinished.any():
        bits = values & BITS
        values >>= 5
        # The sign bit of the last group says what fills the rest, so that a group more may be needed for it alone.
        goes_on = np.where(bits & SIGN, values != -1, values != 0)
        groups.append(np.where(goes_on, bits | MORE, bits) + FIRST_CHARACTER)
        used.append(unfinished.copy())
        unfinished &= goes_on
    if not groups:
        return ""
    return np.stack(groups, axis=1)[np.stack(used, axis=1)].astype(np.uint8).tobytes().decode("ascii")
