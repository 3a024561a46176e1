"""What a summary is worth, in a line of words, and how the evidence of a class is shared out among its summaries."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from visual_summaries.pipeline.report.rendering import percent


def in_words(summary: Mapping[str, Any], explained: int, resamples: int) -> str:
    """A summary's evidence as one line, without its name; what is not known is not said.

    Args:
        summary: the fields of a `SummaryContent`.
        explained: photographs of the class that were explained.
        resamples: of the photographs, in which the summary was sought again; 0 where it is not known how many.
    """
    parts = [f"in {summary['members_kept']:,} of {explained:,} photographs"]
    without, alone = summary["necessity"], summary["sufficiency"]
    told = []
    if _known(without):
        told.append(f"without it the score {_change(without)}")
    if _known(alone):
        told.append(f"alone it keeps {percent(alone, 0)}")
    if not told and _known(summary["drop"]):
        told.append(f"with its regions blurred the score {_change(summary['drop'])}")
    parts += [", ".join(told)] if told else []
    if _known(summary["found_again"]):
        parts.append(f"found again in {_resampled(summary['found_again'], resamples)} resamples")
    return "; ".join(parts)


def shares(summaries: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """Number of each kept summary with the share of the class's salient pixels that it adds to those before it.

    Empty where that is not known of all.
    """
    found = [(summary["number"], summary["added"]) for summary in summaries if summary["kept"]]
    return found if all(_known(share) for _, share in found) else []


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _change(share: float) -> str:
    if abs(share) < 0.005:
        return "stays the same"
    return f"falls by {percent(share, 0)}" if share > 0 else f"rises by {percent(-share, 0)}"


def _resampled(share: float, resamples: int) -> str:
    found = share * resamples
    # A resample that lacks the part's photographs does not count, so that the share may be of fewer.
    whole = resamples and abs(found - round(found)) < 1e-4
    return f"{round(found):,} of {resamples:,}" if whole else f"{percent(share, 0)} of the"
