"""The tables of benchmarks/shortcuts.py, from its rows."""

from collections.abc import Iterable, Sequence

import numpy as np
from shortcut_judging import MOST, first_on_mark
from shortcut_marks import BORDER, CAST, WITH_PLACE

from visual_summaries.pipeline.evaluate.intervals import mean_interval, wilson_interval

# A class's summaries that a person looks at first.
FIRST = 2


def share(successes: Sequence[bool]) -> str:
    """How many of how many, with Wilson's interval of the share."""
    low, high = wilson_interval(sum(successes), len(successes))
    return f"{sum(successes)} of {len(successes)} ({low:.2f}–{high:.2f})" if len(successes) else ""


def head_table(heads: Iterable[tuple[str, dict]]) -> list[str]:
    """A line for each planted class: how far the network goes by the mark, and the control; rows of `shortcuts.fit`."""
    lines = _head("photographs, network", "class", "mark", "attack", "named rightly with the mark", "without",
                  "score lost without", "attack on the control")  # fmt: skip
    for suite, row in heads:
        own, control = row["planted"], row["control"]
        lines.append(
            _line(
                suite, row["label"], row["kind"], f"{own['flipped']} of {own['others']} ({own['attack']:.2f})",
                f"{own['right']} of {own['own']}", f"{own['right_without']} of {own['own']}", f"{own['drop']:.2f}",
                f"{control['attack']:.2f}",
            )
        )  # fmt: skip
    return lines


def found_table(rows: Iterable[dict]) -> list[str]:
    """A line for each way, set and network: in how many classes a summary, or concept, is on the mark.

    Casts have no place and are left out; borders, which no mask can show, have lines of their own.
    """
    lines = _head("way", "photographs, network", "marks", "network", "classes", "on the mark",
                  f"among the first {FIRST}", "first", "named among the worries", "summaries a class")  # fmt: skip
    groups: dict[tuple[str, ...], list[dict]] = {}
    for row in rows:
        if row["kind"] != CAST:
            for suite in (suite_of(row), "all"):
                groups.setdefault((row["way"], suite, place_of(row), row["network"]), []).append(row)
    for names, own in sorted(groups.items()):
        places = [first_on_mark(row["shares"]) for row in own]
        lines.append(
            _line(
                *names, str(len(own)), share([place is not None for place in places]),
                share([place is not None and place <= FIRST for place in places]),
                str(sum(place == 1 for place in places)),
                share([_named(row) for row in own if row.get("worries") is not None]),
                f"{np.mean([len(row['shares']) for row in own]):.1f}",
            )
        )  # fmt: skip
    return lines


def place_of(row: dict) -> str:
    """What no mask can show, and the other marks."""
    return "border" if row["kind"] == BORDER else "at one place"


def suite_of(row: dict) -> str:
    """Set and network of a row, without planting."""
    name, network = (row.get("run") or row["suite"]).split("-")[:2]
    return f"{name}, {network}"


def _named(row: dict) -> bool:
    """Whether a summary on the mark is named under "What to worry about"."""
    return any(row["shares"][number - 1] > MOST for number in row["worries"])


def kind_table(rows: Iterable[dict]) -> list[str]:
    """A line for each way and mark: places of the summaries on the mark, planted networks and controls."""
    lines = _head("way", "mark", "planted: place of the summary on the mark", "control")
    rows = list(rows)
    for way in sorted({row["way"] for row in rows}):
        for kind in WITH_PLACE:
            cells = []
            for network in ("planted", "control"):
                own = [row for row in rows if (row["way"], row["kind"], row["network"]) == (way, kind, network)]
                cells.append(", ".join(str(first_on_mark(row["shares"]) or "none") for row in own))
            if any(cells):
                lines.append(_line(way, kind, *cells))
    return lines


def alone_table(rows: Iterable[dict]) -> list[str]:
    """A line for each explainer alone: share of salient pixels in the mark, means over classes with intervals."""
    lines = _head("maps", "marks", "network", "classes", "salient pixels in the mark", "the mark's area",
                  "photographs whose largest region is on the mark")  # fmt: skip
    groups: dict[tuple[str, ...], list[dict]] = {}
    for row in rows:
        if row["kind"] != CAST:
            groups.setdefault((row["explainer"], place_of(row), row["network"]), []).append(row)
    for names, own in sorted(groups.items()):
        cells = [_mean([row[figure] for row in own]) for figure in ("inside", "area", "largest")]
        lines.append(_line(*names, str(len(own)), *cells))
    return lines


def _mean(values: Sequence[float]) -> str:
    known = np.array([value for value in values if value == value])
    mean, low, high = mean_interval(known, 0)
    return f"{mean:.2f} ({low:.2f}–{high:.2f})"


def _head(*names: str) -> list[str]:
    return [_line(*names), f"|{'---|' * len(names)}"]


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
