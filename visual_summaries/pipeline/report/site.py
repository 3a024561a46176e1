"""The report's pages about a whole run: plain data in, HTML in a folder out.

    <directory>/index.html   overview: a card for each class
    <directory>/plots.html   distributions and curves
    <directory>/errors.html  what was left out, and why
    <directory>/worries.html what is suspicious, the most suspicious first
    <directory>/mistakes.html pairs of confused classes
    <directory>/map.html     all summaries by what the classifier sees in them
    <directory>/methods.html how each figure is computed, stages, settings, versions
    <directory>/style.css, icon.svg
    <directory>/classes/     see `class_pages`

The pages open from a disk and need nothing from another host; without scripts they lack search, sorting and keys. All
text is escaped. Each file is written beside its place and renamed, so a reader never sees half of one. The overview
comes last, from the cards that the class pages return.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from visual_summaries.pipeline.report.altered import most_reliant
from visual_summaries.pipeline.report.class_drawings import STRIP_COLUMNS, STRIP_GAP, STRIP_SIDE
from visual_summaries.pipeline.report.content import ClassCard, IndexContent
from visual_summaries.pipeline.report.drawing import Plot
from visual_summaries.pipeline.report.files import write_file
from visual_summaries.pipeline.report.mistake_views import PAIRS_AT_ONCE, run_mistakes
from visual_summaries.pipeline.report.near import map_view
from visual_summaries.pipeline.report.rendering import render, shared_files
from visual_summaries.pipeline.report.worries import most_suspicious, signs_in_words

ALL_ERRORS_SHOWN = 2000
"""Errors on the page of errors; it counts the others, and the table has them all."""

WORRIES_AT_ONCE = 5
"""Classes and summaries that the overview warns of; the page of worries has `WORRIES_SHOWN` of each."""

CLASSES_AT_ONCE = 3
"""Of these, classes at most where there are summaries too."""

WORRIES_SHOWN = 500

POOR = 0.5
"""Accuracy below which the overview names a class."""

POOR_AT_ONCE = 5
"""So many of them; the overview counts the others."""

GLANCE = 3
"""Plots that the overview shows at most; all are on their own page."""

GLANCE_BYTES = 150_000
"""Their size at most: the overview of a thousand classes shall stay below a megabyte."""


def write_site(
    directory: Path, content: IndexContent, write: Callable[[Path, bytes], Any] = write_file
) -> Path:
    """Write the pages about the run, the overview last.

    Args:
        write: writes a file, whole.

    Returns:
        The path of the overview.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for name, data in shared_files().items():
        write(directory / name, data)
    common: dict[str, Any] = {"content": content, "root": "", "previous": None, "next": None}
    write(directory / "plots.html", render("plots.html", **common))
    write(directory / "methods.html", render("methods.html", longest=_longest(content), **common))
    reasons = Counter((error.stage, error.reason) for error in content.errors)
    errors = {"reasons": reasons.most_common(), "errors": content.errors[:ALL_ERRORS_SHOWN]}
    hidden = max(0, len(content.errors) - ALL_ERRORS_SHOWN)
    write(directory / "errors.html", render("errors.html", errors_not_shown=hidden, **errors, **common))
    worries = [
        {**worry, "words": signs_in_words(worry["signs"])}
        for worry in most_suspicious([worry for card in content.classes for worry in card.worries])
    ]
    reliant = most_reliant(content.classes)
    shown = {"worries": worries[:WORRIES_SHOWN], "found": len(worries)}
    shown |= {"reliant": reliant[:WORRIES_SHOWN], "reliant_found": len(reliant)}
    write(directory / "worries.html", render("worries.html", **shown, **common))
    write(directory / "mistakes.html", render("mistakes.html", **run_mistakes(content.classes), **common))
    write(directory / "map.html", render("map.html", scripts=("map.js",), **map_view(content.classes), **common))
    cards = [{"card": card, "share": _strip_share(card), "search": _search_text(card)} for card in content.classes]
    common |= run_mistakes(content.classes, PAIRS_AT_ONCE)
    first = reliant[: max(CLASSES_AT_ONCE, WORRIES_AT_ONCE - len(worries))]
    then = worries[: WORRIES_AT_ONCE - len(first)]
    left = len(reliant) + len(worries) - len(first) - len(then)
    common |= {"reliant": first, "worries": then, "worries_not_shown": left}
    common |= {"poor": _named_poorly(content.classes), "poor_at_once": POOR_AT_ONCE}
    page = render("index.html", cards=cards, glance=_glance(content.plots), scripts=("overview.js",), **common)
    write(directory / "index.html", page)
    return directory / "index.html"


def _named_poorly(cards: Sequence[ClassCard]) -> list[ClassCard]:
    """Classes of which the network names less than half of the photographs rightly, the worst first."""
    known = [card for card in cards if card.accuracy is not None and card.accuracy < POOR]
    return sorted(known, key=lambda card: (card.accuracy, card.label))


def _glance(plots: Sequence[Plot]) -> list[Plot]:
    """The first plots that have something to show and are not too large."""
    chosen: list[Plot] = []
    for plot in plots:
        size = sum(len(other.svg) for other in (*chosen, plot))
        if len(chosen) < GLANCE and size <= GLANCE_BYTES and not plot.empty:
            chosen.append(plot)
    return chosen


def _longest(content: IndexContent) -> float:
    return max((stage.seconds for stage in content.stages), default=0.0)


def _search_text(card: ClassCard) -> str:
    """What the search looks in: each word of the names once, in lower case."""
    words = " ".join((card.class_name, card.label, *card.words)).casefold().split()
    return " ".join(dict.fromkeys(words))


def _strip_share(card: ClassCard) -> float:
    """Width of the card's strip in percent of a full one."""
    full = STRIP_COLUMNS * (STRIP_SIDE + STRIP_GAP) - STRIP_GAP
    return round(100.0 * card.strip_width / full, 2)
