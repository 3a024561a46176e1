"""Does a run's summary lie on the planted mark, and which of the class's summaries is it?

A member is *on the mark* where its pixels and the mark's overlap by `OVERLAP` (intersection over union), or at least
`WITHIN` of its pixels are the mark's. A summary is on the mark where most of its members are.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.stages.members import member_pixels
from visual_summaries.pipeline.stages.regions import salient_mask
from visual_summaries.pipeline.store.tables import TableStore

OVERLAP, WITHIN, MOST = 0.3, 0.5, 0.5


def on_mark(pixels: np.ndarray, mark: np.ndarray) -> bool:
    """Whether a member's pixels `[H,W]` bool lie on a mark's `[H,W]` bool; without pixels they do not."""
    common, own = int((pixels & mark).sum()), int(pixels.sum())
    return own > 0 and (common >= OVERLAP * int((pixels | mark).sum()) or common >= WITHIN * own)


def box_on_mark(box: Sequence[float], mark: np.ndarray) -> bool:
    """The same of a whole box x0, y0, x1, y1, which counts as well where its middle lies in the mark.

    Boxes of a fixed size cannot be as small as a mark is.
    """
    x0, y0, x1, y1 = np.rint(box).astype(int)
    pixels = np.zeros_like(mark)
    pixels[y0:y1, x0:x1] = True
    return bool(mark[min((y0 + y1) // 2, len(mark) - 1), min((x0 + x1) // 2, len(mark) - 1)]) or on_mark(pixels, mark)


def first_on_mark(shares: Sequence[float]) -> int | None:
    """Place, from 1, of the first summary of which more than `MOST` of the members are on the mark, or None.

    `shares`: of the members that are, of the class's kept summaries in their order.
    """
    return next((place for place, share in enumerate(shares, 1) if share > MOST), None)


@dataclass(frozen=True)
class ClassFound:
    """What a run found in a class whose photographs carry a mark.

    Attributes:
        label: of the class.
        explained: photographs with a map.
        shares: share of the members that are on the mark, of each kept summary in their order.
        salient: mean share of the salient pixels that lie in the mark, over photographs.
        area: mean share of the picture that the mark covers.
        others: reasons of candidates on the mark that are no kept summaries, each once.
        worries: numbers, from 1, of the summaries that the overview names under "What to worry about".
    """

    label: str
    explained: int
    shares: tuple[float, ...]
    salient: float
    area: float
    others: tuple[str, ...]
    worries: tuple[int, ...] = ()

    @property
    def place(self) -> int | None:
        return first_on_mark(self.shares)


def judge_run(folder: Path, config: RunConfig, mark_of: Callable[[str], np.ndarray]) -> list[ClassFound]:
    """What a finished run found, class by class.

    Args:
        folder: of the run.
        config: that it was made with.
        mark_of: a photograph's address → its mark's pixels `[S,S]` bool in the square that the network sees.
    """
    store = TableStore(folder)
    uris = {row["image_id"]: row["uri"] for row in _rows(store, "images", ["image_id", "uri"])}
    worries = worried_about(folder)
    maps: dict[str, dict[str, np.ndarray]] = {}
    for row in _rows(store, "maps", ["label", "image_id", "saliency", "saliency_shape"]):
        maps.setdefault(row["label"], {})[row["image_id"]] = salient_mask(row, config)
    found = []
    for label, salient in sorted(maps.items()):
        marks = {image: mark_of(uris[image]) for image in salient}
        members = _rows(store, "members", None, label)
        kept = [row for row in _rows(store, "summaries", None, label) if row["kept"]]
        shares = [
            share_on_mark([row for row in members if row["cluster"] == one["cluster"] and row["kept"]], salient, marks)
            for one in sorted(kept, key=lambda row: row["summary"])
        ]
        inside = [(own & marks[one]).sum() / own.sum() for one, own in salient.items() if own.any()]
        area = float(np.mean([mark.mean() for mark in marks.values()]))
        others = _others(store, label, {one["cluster"] for one in kept}, salient, marks)
        figures = float(np.mean(inside)) if inside else 0.0, area
        found.append(ClassFound(label, len(salient), tuple(shares), *figures, others, worries.get(label, ())))
    return found


def worried_about(folder: Path) -> dict[str, tuple[int, ...]]:
    """Class → numbers, from 1, of its summaries that the report of a run names under "What to worry about"."""
    cards = [json.loads(file.read_text())["card"] for file in sorted(folder.glob("report/classes/*/card.json"))]
    return {card["label"]: tuple(one["number"] for one in card.get("worries", ())) for card in cards}


def share_on_mark(
    members: Sequence[Mapping[str, Any]], salient: Mapping[str, np.ndarray], marks: Mapping[str, np.ndarray]
) -> float:
    """Share of members, rows of `members` or of `candidates`, that are on their photograph's mark; both by image id."""
    judged = [on_mark(member_pixels(row, salient[row["image_id"]]), marks[row["image_id"]]) for row in members]
    return float(np.mean(judged)) if judged else 0.0


def _others(
    store: TableStore, label: str, kept: set[int], salient: Mapping[str, np.ndarray], marks: Mapping[str, np.ndarray]
) -> tuple[str, ...]:
    if not store.listed("candidates"):
        return ()
    members: dict[int, list[dict[str, Any]]] = {}
    for row in _rows(store, "candidates", None, label):
        members.setdefault(row["candidate"], []).append(row)
    reasons = {
        own[0]["reason"] or "pruned"
        for number, own in members.items()
        if number not in kept and share_on_mark(own, salient, marks) > MOST
    }
    return tuple(sorted(reasons))


def _rows(store: TableStore, table: str, columns: list[str] | None, label: str | None = None) -> list[dict[str, Any]]:
    return store.read_all(table, columns, label).to_pylist()
