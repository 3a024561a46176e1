"""The exemplars' images meet all others of a class of which only neighbors were matched.

A pair of images that was not matched has score 0, so that a part cannot join an exemplar whose image is not a neighbor
of its own. The exemplars' images are few: to match them with all others costs a few pairs an image, whatever the size
of the class.
"""

import numpy as np
import pyarrow as pa

from visual_summaries.pipeline.runtime.units import Unit
from visual_summaries.pipeline.stages.context import WorkerContext, chunks
from visual_summaries.pipeline.stages.image_proposals import read_proposals
from visual_summaries.pipeline.summarize.pair_scores import Matching, match_pairs
from visual_summaries.pipeline.summarize.similarity import Edges, ImageProposals, block_edges

IMAGES_AT_ONCE = 64


def exemplar_edges(
    worker: WorkerContext, unit: Unit, parts: pa.Table, exemplar: np.ndarray, complete: set[str]
) -> Edges | None:
    """Scores of the pairs of an exemplar's image with any other that have not been matched; None if there is none.

    Args:
        parts: the class's n parts, image_id and proposal, in order.
        exemplar: `[n]` int64, the exemplar of each part, −1 for none.
        complete: images that have met all others in an earlier round; those of this one are added.
    """
    ids, image = np.unique(parts.column("image_id").to_numpy(), return_inverse=True)
    chosen = np.unique(image[np.unique(exemplar[exemplar >= 0])])
    missing = _missing(worker, unit, ids, chosen[~np.isin(ids[chosen], list(complete))], complete)
    complete |= set(ids[chosen].tolist())
    if not len(missing):
        return None
    proposals = parts.column("proposal").to_numpy()
    starts = np.searchsorted(image, np.arange(len(ids) + 1))
    found = []
    side = float(worker.setup.preprocessing.crop_side)
    settings = worker.config.matching
    others = np.setdiff1d(np.arange(len(ids)), chosen)

    def moved(pairs: int) -> None:
        worker.step()

    among_chosen = np.isin(missing, chosen).all(axis=1)
    for number, several in enumerate(chunks(others, IMAGES_AT_ONCE) or [others]):
        here = np.sort(np.concatenate([chosen, several]))
        # Pairs of two exemplars' images are matched with the first piece.
        wanted = np.isin(missing, several).any(axis=1) | (among_chosen & (number == 0))
        place = {own: position for position, own in enumerate(here.tolist())}
        pairs = [(place[a], place[b]) for a, b in missing[wanted].tolist()]
        images = [
            _with_parts(image_of, proposals[starts[own] : starts[own + 1]])
            for own, image_of in zip(here, read_proposals(worker, unit, ids[here].tolist()), strict=True)
        ]
        how = Matching(settings.score, settings.mode, side)
        blocks = match_pairs(images, pairs, how, device=worker.device, strengths=False, progress=moved).blocks
        found += [(a, b, block) for (a, b), block in zip(missing[wanted].tolist(), blocks, strict=True)]
    return block_edges(found, starts)


def _missing(
    worker: WorkerContext, unit: Unit, ids: np.ndarray, chosen: np.ndarray, complete: set[str]
) -> np.ndarray:
    """Pairs (a, b), a < b, of an image of `chosen` and any other that have not been matched, `[P,2]`, in order."""
    met = np.zeros((len(ids), len(chosen)), dtype=bool)
    met[chosen, np.arange(len(chosen))] = True
    met[np.isin(ids, list(complete))] = True
    rows = worker.store.read("pairs", unit.inputs["pairs"], ["image_a", "image_b"])
    # Images without a part are in no pair that counts.
    sides = [_numbers(rows.column(name).to_numpy(), ids) for name in ("image_a", "image_b")]
    for a, b in (sides, sides[::-1]):
        place = _numbers(b, chosen)
        known = (a >= 0) & (place >= 0)
        met[a[known], place[known]] = True
    other, column = np.nonzero(~met)
    pairs = np.sort(np.stack([other, chosen[column]], axis=1), axis=1)
    return np.unique(pairs, axis=0)


def _numbers(values: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Places of values among sorted `ids`; −1 for those that are not there."""
    if not len(ids):
        return np.full(len(values), -1)
    place = np.minimum(np.searchsorted(ids, values), len(ids) - 1)
    return np.where(ids[place] == values, place, -1)


def _with_parts(image: ImageProposals, parts: np.ndarray) -> ImageProposals:
    """The image with its parts instead of all that lies on its mask."""
    is_part = np.zeros(len(image.boxes), dtype=bool)
    is_part[parts] = True
    return ImageProposals(image.boxes, image.features, is_part)
