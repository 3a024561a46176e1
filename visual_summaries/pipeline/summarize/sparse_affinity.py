"""Affinity propagation over a sparse graph, O(edges) a step (Frey and Dueck, Science 315, 2007, eqs. 1 to 3).

Most pairs of a class's parts have no score. The dense algorithm keeps two messages even for each of these; here one
*null candidate* per point stands in for all the exemplars to which it has no edge.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# Edges worked on at a time: the temporaries of so many stay in a core's cache.
BLOCK_EDGES = 32_768
# Relative to a similarity. With symmetric similarities the two points of a pair are tied. Frey and Dueck break ties by
# noise in the last digit, which takes so many steps that both points may settle as exemplars first. Distinct float32
# scores differ by at least 6e-8 of their size, so this noise does not change their order.
_NOISE = 1e-9


@dataclass(frozen=True)
class Clustering:
    """Which point stands for which.

    Attributes:
        exemplar: `[n]` int64, for each point the number of its cluster's exemplar; an exemplar's is its own, that of
            noise, a point in no cluster, is −1.
        preference: the preference used, on the scale of the similarities given to the algorithm.
        net_similarity: sum of the similarities of points to their exemplars, of the exemplars' preferences and, for
            each noise point, of what an absent similarity is worth.
        converged: whether the exemplars were stable for the required number of steps.
        iterations: message-passing steps.
    """

    exemplar: np.ndarray
    preference: float
    net_similarity: float
    converged: bool
    iterations: int


def sparse_affinity_propagation(
    rows: np.ndarray,
    columns: np.ndarray,
    similarity: np.ndarray,
    count: int,
    preference: float,
    null: float = 0.0,
    damping: float = 0.9,
    maximum_iterations: int = 1000,
    stable_iterations: int = 100,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> Clustering:
    """Exemplars of `count` points whose similarities are known for some pairs (Frey and Dueck, Science 315, 2007).

    Responsibilities are r(i,k) = s(i,k) − max(null, max over k' ≠ k of a(i,k') + s(i,k')), eq. 1 with the null
    candidate; the rest is as in the paper. At the end the exemplar of each cluster is exchanged for the member with the
    largest sum of similarities, absent ones counting as `null`, and every point goes to the exemplar to which it is
    most similar. A point worth more outside every cluster is noise, or stands alone where the preference is not below
    `null`.

    Adding a constant to all similarities, to `preference` and to `null` adds `count` times it to the net similarity
    and changes nothing else. Ties are broken by tiny noise from a generator with `seed`; neither it nor the result
    depends on the order of the edges.

    Args:
        rows, columns: `[e]` integers in [0, count): point `rows[j]` may choose point `columns[j]` as its exemplar at
            `similarity[j]`. Edges from a point to itself are ignored.
        similarity: `[e]` real, finite or −∞ (never).
        preference: similarity of every point to itself, finite.
        null: similarity of pairs without an edge, finite or −∞: then no point is noise.
        damping: share of the old message in the new one, in [0.5, 1).
        maximum_iterations: steps after which the last state is taken, with `converged` false.
        stable_iterations: steps for which the exemplars, at least one, must not change.
        progress: called after each step.

    Raises:
        ValueError: arrays of different lengths; an index out of range; an edge given twice; a similarity, the
            preference or `null` NaN or infinite where it may not be; damping out of range.
    """
    rows, columns = edge_indices(rows, columns, count)
    similarity = np.asarray(similarity)
    _check(rows, similarity, preference, null, damping)
    messages = Messages(rows, columns, similarity, count, preference, null, damping, seed)
    if not messages.blocks:
        chosen, iterations, converged = np.zeros(count, dtype=bool), 0, True
    else:
        chosen, iterations, converged = _pass_messages(messages, maximum_iterations, stable_iterations, progress)
    del messages
    edges = (rows, columns, similarity)
    exemplar, _ = _assign(edges, chosen, preference, null)
    exemplar, worth = _assign(edges, _refined(edges, exemplar, null), preference, null)
    return Clustering(exemplar, float(preference), float(worth.sum()), converged, iterations)


def edge_indices(rows: np.ndarray, columns: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of `[e]` edges as integer arrays.

    Raises:
        ValueError: they are not `[e]` integers in [0, count).
    """
    ends = []
    for name, end in (("rows", rows), ("columns", columns)):
        end = np.asarray(end)
        if end.ndim != 1 or (end.size and not np.issubdtype(end.dtype, np.integer)):
            raise ValueError(f"{name} must be a list of integers, not of shape {end.shape} and type {end.dtype}")
        if end.size and (end.min() < 0 or end.max() >= count):
            raise ValueError(f"{name} must lie in [0, {count}), not in [{end.min()}, {end.max()}]")
        ends.append(end if end.size else end.astype(np.int64))
    if ends[0].shape != ends[1].shape:
        raise ValueError(f"{len(ends[0])} rows, but {len(ends[1])} columns")
    return ends[0], ends[1]


def sorted_edges(rows: np.ndarray, columns: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Order of the edges by row, then column, `[e]` int64, and their numbers row · count + column in that order.

    Raises:
        ValueError: an edge is given twice.
    """
    keys = rows.astype(np.int64)
    keys *= count
    keys += columns
    order = np.argsort(keys)
    keys = keys[order]
    repeated = np.flatnonzero(keys[1:] == keys[:-1])
    if len(repeated):
        first, second = order[repeated[0] : repeated[0] + 2]
        raise ValueError(f"edges {min(first, second)} and {max(first, second)} join the same two points")
    return order, keys


def _check(rows: np.ndarray, similarity: np.ndarray, preference: float, null: float, damping: float) -> None:
    if similarity.shape != rows.shape:
        raise ValueError(f"{len(rows)} edges, but similarities of shape {similarity.shape}")
    if np.isnan(similarity).any():
        raise ValueError("a similarity is NaN")
    if np.isposinf(similarity).any():
        raise ValueError("a similarity is infinite")
    if not np.isfinite(preference):
        raise ValueError(f"the preference must be finite, not {'NaN' if np.isnan(preference) else preference}")
    if np.isnan(null) or null == np.inf:
        raise ValueError(f"null must be finite or -inf, not {'NaN' if np.isnan(null) else null}")
    if not 0.5 <= damping < 1:
        raise ValueError(f"damping must lie in [0.5, 1), not {damping}")


def _pass_messages(
    messages: "Messages", maximum: int, stable: int, progress: Callable[[], None]
) -> tuple[np.ndarray, int, bool]:
    """Step until the exemplars settle: which points are exemplars `[n]` bool, steps, whether they settled."""
    chosen, unchanged = messages.exemplars(), 0
    for iteration in range(1, maximum + 1):
        messages.step()
        progress()
        before, chosen = chosen, messages.exemplars()
        unchanged = unchanged + 1 if np.array_equal(before, chosen) else 1
        if unchanged >= stable and chosen.any():
            return chosen, iteration, True
    return chosen, maximum, False


@dataclass(frozen=True)
class Block:
    """Edges of some points of about the same number of edges, a line per point, filled up with edges to nowhere.

    Attributes:
        points: their places in the order by number of edges, a slice of p places.
        columns: `[p,w]` int32 or int64, places of the exemplars; the number of all points for an edge to nowhere.
        similarity: `[p,w]` float64, −∞ for an edge to nowhere.
        availability, responsibility: `[p,w]` float64, the messages.
    """

    points: slice
    columns: np.ndarray
    similarity: np.ndarray
    availability: np.ndarray
    responsibility: np.ndarray


class Noise:
    """Tiny noise against ties, for similarities of at most `largest` in size."""

    def __init__(self, largest: float, seed: int) -> None:
        self._least = np.finfo(np.float64).eps * largest
        self._generator = np.random.default_rng(seed)

    def added_to(self, similarity: np.ndarray) -> np.ndarray:
        """Similarities `[m]` float64 with noise; those of further calls get the noise that follows."""
        return similarity + (_NOISE * similarity + self._least) * self._generator.standard_normal(similarity.shape)


class Messages:
    """The two messages of every edge, and of every point with itself.

    Lines of equal length let every operation be one over a whole block, without indices from edge to point.

    Attributes:
        order: `[n]` int64, the points by number of edges; the arrays below are in this order.
        blocks: the edges.
        similarity: `[n]` float64, of the points with themselves: the preference.
        responsibility, availability: `[n]` float64, messages of the points to themselves.
    """

    def __init__(
        self,
        rows: np.ndarray,
        columns: np.ndarray,
        similarity: np.ndarray,
        count: int,
        preference: float,
        null: float,
        damping: float,
        seed: int,
    ) -> None:
        used = (rows != columns) & ~np.isneginf(similarity)
        degree = np.bincount(rows, used, count).astype(np.int64)
        self.order = np.argsort(degree, kind="stable")
        place = np.empty(count, dtype=np.int64)
        place[self.order] = np.arange(count)
        order, keys = sorted_edges(place[rows], place[columns], count)
        used = used[order]
        if not used.all():
            order, keys = order[used], keys[used]
        keys %= max(count, 1)
        noise = Noise(max(abs(preference), float(np.abs(similarity[order]).max(initial=0))), seed)
        self.similarity = noise.added_to(np.full(count, preference, dtype=np.float64))
        self.responsibility, self.availability = np.zeros(count), np.zeros(count)
        self.blocks = _blocks(order, keys, similarity, degree[self.order], noise)
        self._null, self._damping = null, damping
        # r(k,k) + Σ over i' ≠ k of max(0, r(i',k)) for every candidate k; the last entry is for the edges to nowhere.
        self._received = np.zeros(count + 1)
        largest = max((block.columns.size for block in self.blocks), default=0)
        self._work, self._positive = np.empty(largest), np.empty(largest)

    def step(self) -> None:
        """Update all messages once. With damping λ, a message becomes λ · message + (1 − λ) · its right-hand side:

        (1) r(i,k) ← s(i,k) − max(null, max over k' ≠ k of a(i,k') + s(i,k')), for k = i too
        (2) a(i,k) ← min(0, r(k,k) + Σ over i' ∉ {i,k} of max(0, r(i',k))), for k ≠ i
        (3) a(k,k) ← Σ over i' ≠ k of max(0, r(i',k))

        (2) of a step is computed at the start of the next one, right before (1) reads it, so that every edge passes
        through the cache once a step, not twice.
        """
        change = 1 - self._damping
        # A point's candidates without an edge: itself, a(i,i) + s(i,i), and null.
        alone = self.availability + self.similarity
        floor = np.maximum(alone, self._null)
        best = np.full(len(alone), self._null, dtype=np.float64)
        received = np.zeros_like(self._received)
        for block in self.blocks:
            size = block.columns.size
            work, positive = (array[:size].reshape(block.columns.shape) for array in (self._work, self._positive))
            flat = self._work[:size]
            # (2): received is r(k,k) + Σ over i' ≠ k, of which i's own share is taken away again.
            np.take(self._received, block.columns, out=work, mode="clip")
            np.maximum(block.responsibility, 0, out=positive)
            work -= positive
            np.minimum(work, 0, out=work)
            work -= block.availability
            work *= change
            np.add(block.availability, work, out=block.availability)

            # The largest a(i,k) + s(i,k), at k*, and the second largest, what k* itself competes with.
            np.add(block.availability, block.similarity, out=work)
            largest = work.argmax(axis=1)
            largest += np.arange(0, size, work.shape[1])
            first = flat[largest]
            flat[largest] = -np.inf
            second = np.maximum(work.max(axis=1), floor[block.points])
            np.maximum(first, self._null, out=best[block.points])
            np.maximum(first, floor[block.points], out=first)

            # (1), at first with the largest for every k; at k* it is s − second, by first − second more.
            responsibility = block.responsibility
            np.subtract(block.similarity, first[:, None], out=work)
            work *= change
            responsibility *= self._damping
            responsibility += work
            responsibility.reshape(-1)[largest] += change * (first - second)
            np.maximum(responsibility, 0, out=positive)
            # Σ over i' ≠ k of max(0, r(i',k)), for (3) now and for (2) in the next step.
            np.add.at(received, block.columns.reshape(-1), self._positive[:size])
        # (1) of the points with themselves, then (3).
        self.responsibility *= self._damping
        self.responsibility += change * (self.similarity - best)
        self.availability *= self._damping
        self.availability += change * received[:-1]
        received[:-1] += self.responsibility
        received[-1] = 0
        self._received = received

    def exemplars(self) -> np.ndarray:
        """Which points are exemplars now, `[n]` bool, in the numbering of the caller."""
        chosen = np.empty(len(self.order), dtype=bool)
        chosen[self.order] = self.availability + self.responsibility > 0
        return chosen


def _blocks(
    order: np.ndarray, columns: np.ndarray, similarity: np.ndarray, degree: np.ndarray, noise: Noise
) -> list[Block]:
    """Blocks of at most `BLOCK_EDGES` edges, of which at most one in nine leads nowhere, or of a single point."""
    blocks = []
    starts = np.concatenate([[0], np.cumsum(degree)])
    place = int(np.searchsorted(degree, 1))
    kind = np.int32 if len(degree) < np.iinfo(np.int32).max else np.int64
    while place < len(degree):
        fitting = int(np.searchsorted(degree, degree[place] + degree[place] // 8, side="right"))
        sizes = degree[place:fitting] * np.arange(1, fitting - place + 1)
        stop = place + max(1, int(np.searchsorted(sizes, BLOCK_EDGES, side="right")))
        inside = np.arange(degree[stop - 1]) < degree[place:stop, None]
        edges = slice(starts[place], starts[stop])
        candidates, worth = np.full(inside.shape, len(degree), dtype=kind), np.full(inside.shape, -np.inf)
        candidates[inside] = columns[edges]
        worth[inside] = noise.added_to(similarity[order[edges]].astype(np.float64))
        blocks.append(Block(slice(place, stop), candidates, worth, np.zeros(inside.shape), np.zeros(inside.shape)))
        place = stop
    return blocks


def _assign(
    edges: tuple[np.ndarray, np.ndarray, np.ndarray], chosen: np.ndarray, preference: float, null: float
) -> tuple[np.ndarray, np.ndarray]:
    """For every point its exemplar among the `chosen` and what that is worth; of equals, the lowest number."""
    rows, columns, similarity = edges
    used = np.flatnonzero(chosen[columns] & ~chosen[rows])
    used = used[(similarity[used] >= null) & ~np.isneginf(similarity[used])]
    used = used[np.lexsort((columns[used], -similarity[used].astype(np.float64), rows[used]))]
    joining, first = np.unique(rows[used], return_index=True)
    outside = -1 if preference < null else np.arange(len(chosen))
    exemplar = np.where(chosen, np.arange(len(chosen)), outside)
    worth = np.where(chosen, preference, max(preference, null)).astype(np.float64)
    exemplar[joining], worth[joining] = columns[used[first]], similarity[used[first]]
    return exemplar, worth


def _refined(edges: tuple[np.ndarray, np.ndarray, np.ndarray], exemplar: np.ndarray, null: float) -> np.ndarray:
    """The best member of every cluster, `[n]` bool; of equals, the exemplar, then the lowest number."""
    rows, columns, similarity = edges
    count = len(exemplar)
    own = exemplar[rows]
    within = np.flatnonzero((own >= 0) & (own == exemplar[columns]) & (rows != columns))
    within = within[~np.isneginf(similarity[within])]
    size = np.bincount(exemplar[exemplar >= 0], minlength=count)
    if np.isneginf(null):
        total = np.bincount(columns[within], similarity[within], count).astype(np.float64)
        total[np.bincount(columns[within], minlength=count) < size[exemplar] - 1] = -np.inf
    else:
        total = np.bincount(columns[within], np.maximum(similarity[within], null) - null, count).astype(np.float64)
    members = np.flatnonzero(exemplar >= 0)
    current = exemplar[members] == members
    members = members[np.lexsort((members, ~current, -total[members], exemplar[members]))]
    chosen = np.zeros(count, dtype=bool)
    chosen[members[np.unique(exemplar[members], return_index=True)[1]]] = True
    return chosen
