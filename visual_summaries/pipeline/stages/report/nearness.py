"""Where the summaries of all classes lie among each other, by what the classifier sees in their members' crops."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from visual_summaries.pipeline.evaluate.nearness import AT_ONCE, SHARED, Likeness, described, nearest, shared_evidence
from visual_summaries.pipeline.report.near import Near, Point
from visual_summaries.pipeline.runtime.stage import Plan
from visual_summaries.pipeline.store.tables import TableStore

LEAST_RECOGNIZED = 0.5
"""Share of the summaries whose members the classifier must know alone, or their likeness tells nothing of parts."""


def classes_near(
    plan: Plan, tags: Mapping[str, Sequence[str]], summaries: Mapping[str, Sequence[str]]
) -> dict[str, Near]:
    """For each label where its class is among the others; holds a few numbers of each summary.

    Args:
        tags, summaries: paths of the classes' shards by label.
    """
    labels = [group.label for group in plan.inputs.classes]
    keys: list[tuple[int, int]] = []
    evidence: list[float] = []
    members: list[int] = []
    recognized: list[bool] = []
    names = [plan.inputs.class_names[group.class_index] or group.label for group in plan.inputs.classes]
    for at, label in enumerate(labels):
        columns = ["summary", "kept", "added", "support", "members"]
        kept = {row["summary"]: row for row in _rows(plan.store, "summaries", summaries.get(label, ()), columns)
                if row["kept"]}  # fmt: skip
        for number, own_name in _described(plan.store, tags.get(label, ()), names[at]):
            keys.append((at, number))
            recognized.append(own_name)
            # Of clusters of proposals it is not known what they hold: how many photographs show them.
            row = kept.get(number, {"added": 0.0, "support": 0.0, "members": 1})
            members.append(max(1, row["members"]))
            evidence.append(row["support"] if row["added"] is None else max(0.0, row["added"]))
    summarized = described(lambda: _features(plan.store, [tags.get(label, ()) for label in labels]))
    if not keys:
        return {}
    classes = np.array([at for at, _ in keys])
    likeness = Likeness(summarized, classes, np.array(members))
    alike = nearest(likeness, len(keys))
    shared = shared_evidence(likeness, classes, np.array(evidence), len(labels))
    left, top = _spread(summarized.places)
    alone = sum(recognized) / len(recognized)
    told = alone >= LEAST_RECOGNIZED
    points: list[list[Point]] = [[] for _ in labels]
    for number, (at, summary) in enumerate(keys):
        place = {"number": summary + 1, "x": round(float(left[number]), 4), "y": round(float(top[number]), 4)}
        to = int(alike.at[number])
        if to >= 0:
            other, its = keys[to]
            place |= {"label": labels[other], "name": names[other], "other": its + 1}
            place["likeness"] = round(float(alike.likeness[number]), 4)
            place["shared"] = told and bool(alike.likeness[number] >= SHARED)
        points[at].append(Point(**place))
    found = {}
    for at, label in enumerate(labels):
        one = shared[at] if told else None
        beside = {} if one is None else {"label": labels[one.other], "name": names[one.other]}
        found[label] = Near(points[at], **beside, share=round(one.share, 4) if one else 0.0, least=SHARED,
                            recognized=alone)  # fmt: skip
    return found


def _spread(places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first two components `[S,k]`, each from 0 to 1."""
    both = np.zeros((len(places), 2))
    both[:, : min(2, places.shape[1])] = places[:, :2]
    low, high = both.min(axis=0), both.max(axis=0)
    scaled = np.where(high > low, (both - low) / np.where(high > low, high - low, 1), 0.5)
    return scaled[:, 0], 1 - scaled[:, 1]


def _described(store: TableStore, paths: Sequence[str], name: str) -> list[tuple[int, bool]]:
    """Number of each summary whose features are known, and whether no tag is more common than its own class's name."""
    rows = _rows(store, "tags", paths, ["summary", "rank", "tag", "share", "features"])
    best = {row["summary"]: row["share"] for row in rows if row["features"]}
    rows = [row for row in rows if row["summary"] in best]
    # Of several classes with one name each has its WordNet id behind it.
    own = {row["summary"] for row in rows if row["share"] == best[row["summary"]] and row["tag"].startswith(name)}
    return [(number, number in own) for number in best]


def _features(store: TableStore, paths: Sequence[Sequence[str]]) -> Iterator[np.ndarray]:
    waiting: list[np.ndarray] = []
    for own in paths:
        rows = _rows(store, "tags", own, ["features"])
        waiting += [np.frombuffer(row["features"], np.float16) for row in rows if row["features"]]
        if len(waiting) >= AT_ONCE:
            yield np.array(waiting)
            waiting = []
    if waiting:
        yield np.array(waiting)


def _rows(store: TableStore, table: str, paths: Sequence[str], columns: list[str]) -> list[dict]:
    return store.read(table, paths, columns).to_pylist() if paths else []
