"""The report's plots: plain data in, inline SVG with its heading and its caption out.

Distributions come as counts, so a million photographs are as small as ten. What has no value is left out and counted
in the caption; where nothing is left, the plot says so instead. Altair is imported when the first plot is drawn.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from visual_summaries.pipeline.report.accuracy_plots import compared_counts, summaries_against_accuracy
from visual_summaries.pipeline.report.drawing import (
    ACCENT,
    INK,
    LABEL_SIZE,
    SERIES,
    SOFT,
    TOP,
    Plot,
    counted,
    draw,
    inner,
    left_out,
    nothing,
    percent,
    rows,
    shortened,
    unscaled,
)
from visual_summaries.pipeline.report.histogram import Histogram

__all__ = [
    "Histogram",
    "Plot",
    "compared_counts",
    "curves",
    "distribution",
    "summaries_against_accuracy",
    "support",
    "support_of_class",
]

BANDS = 4
"""Curves that are shown with a band; the bands of more hide each other."""

BARS = 60
"""Summaries of a class that are shown as bars."""

_NAMES = 92
# Distinguishable without color, too.
_DASHES = ([1, 0], [7, 3], [2, 2.5], [9, 3, 2, 3], [16, 4], [9, 2, 2, 2, 2, 2])


@dataclass(frozen=True)
class _Measure:
    title: str
    axis: str
    of: str
    means: str
    shares: bool = True


_MEASURES = {
    "drop": _Measure(
        "Score drop",
        "score drop",
        "photographs",
        "(score before − score after) / score before, when the salient pixels are removed",
    ),
    "area": _Measure("Area", "salient share of the photograph", "photographs", "mean saliency over all pixels"),
    "binarization_error": _Measure(
        "Binarization error",
        "binarization error, 0 is black and white",
        "photographs",
        "mean of 4m(1−m) over saliency m, 0 for a black-and-white mask, 1 for 0.5 everywhere",
        False,
    ),
    "support": _Measure(
        "Support",
        "share of the class’s photographs",
        "summaries",
        "photographs that a kept summary is found in / explained photographs of its class",
    ),
}


def distribution(histogram: Histogram, measure: str) -> Plot:
    """A histogram with its mean.

    Args:
        measure: `drop`, `area` or `binarization_error`, of photographs; `support`, of kept summaries.

    Raises:
        KeyError: another measure.
    """
    one = _MEASURES[measure]
    n, mean = histogram.n, histogram.mean
    if not n:
        return nothing(one.title, f"no {counted(1, one.of)[2:]} has a value of {one.title.lower()}")
    import altair

    figure = percent if one.shares else "{:.3f}".format
    # Few values in many bins look like a comb.
    counts = np.reshape(histogram.counts, (-1, 1 if n >= 200 else 2 if n >= 60 else 4)).sum(axis=1).tolist()
    edges = np.linspace(0, 1, len(counts) + 1).tolist()
    told = [f"{100 * edge:g}%" if one.shares else f"{edge:g}" for edge in edges]
    bars = [
        {"low": low, "high": high, "count": count, "said": f"{start} to {end}: {counted(count, one.of)}"}
        for low, high, start, end, count in zip(edges, edges[1:], told, told[1:], counts, strict=False)
        if count
    ]
    axis = altair.Axis(title=one.axis, format=".0%" if one.shares else ".1f", values=[0, 0.2, 0.4, 0.6, 0.8, 1])
    x = altair.X("low:Q", bin="binned", scale=altair.Scale(domain=[0, 1]), axis=axis)
    most = int(np.argmax(counts))
    drawn = altair.Chart(rows(bars)).mark_bar(color=ACCENT, binSpacing=1, aria=True)
    drawn = drawn.encode(x=x, x2="high:Q", y=_count_axis(counts[most], one.of), description="said:N")
    at = min(max(mean, 0), 1)
    marked = altair.Chart(rows([{"mean": at, "said": f"mean {figure(mean)}"}])).encode(x="mean:Q")
    line = marked.mark_rule(color=INK, strokeWidth=1.5, y=-14, y2="height")
    sides = {"align": "left", "dx": 5} if at < 0.5 else {"align": "right", "dx": -5}
    text = marked.mark_text(color=INK, y=-9, baseline="middle", fontSize=LABEL_SIZE, **sides).encode(text="said:N")
    said = (
        f"Histogram of {counted(n, one.of)} by {one.axis}: mean {figure(mean)}; the fullest range, {told[most]} to "
        f"{told[most + 1]}, holds {counts[most]:,}."
    )
    caption = (
        f"{one.title} of {counted(n, one.of)}: {one.means}. Each bar counts a range of {told[1]}; the line is the mean "
        f"of the values, {figure(mean)}."
    )
    for count, where, which in ((histogram.below, "below 0", "first"), (histogram.above, "above 1", "last")):
        if count:
            caption += f" {count:,} {where} {'is' if count == 1 else 'are'} counted in the {which} bar."
    caption += left_out(histogram.missing, one.of)
    return draw(drawn + line + text, 236, said, one.title, caption, top=46)


def support(histogram: Histogram) -> Plot:
    """How much of their classes the kept summaries cover: a histogram of shares, with its mean."""
    return distribution(histogram, "support")


def support_of_class(summaries: Sequence[tuple[int, int]], explained: int) -> Plot:
    """The summaries of one class, a bar each, the largest first.

    Args:
        summaries: number and kept members, in photographs, of each kept summary.
        explained: explained photographs of the class.
    """
    import altair

    title = "Support of each summary"
    if not summaries or explained < 1:
        return nothing(title, "this class has no kept summary")
    ranked = sorted(summaries, key=lambda one: (-one[1], one[0]))
    bars = [
        {"place": place, "name": f"Summary {number}", "share": members / explained, "count": f"{members:,}"}
        for place, (number, members) in enumerate(ranked[:BARS])
    ]
    step = 22 if len(bars) <= 20 else 17
    scale = altair.Scale(domain=[-0.5, len(bars) - 0.5], reverse=True, nice=False)
    y = altair.Y("place:Q", scale=scale, axis=None)
    of = f"the class’s {counted(explained, 'explained photographs')}"
    axis = altair.Axis(title=f"share of {of}", format=".0%", tickCount=5)
    x = altair.X("share:Q", scale=altair.Scale(domain=[0, 1]), axis=axis)
    chart = altair.Chart(rows(bars)).encode(y=y)
    drawn = chart.mark_bar(color=ACCENT, orient="horizontal", size=step - 8).encode(x=x)
    names = chart.mark_text(color=INK, align="right", x=-8, fontSize=LABEL_SIZE).encode(text="name:N")
    counts = chart.mark_text(color=SOFT, align="left", dx=6, fontSize=LABEL_SIZE).encode(x=x, text="count:N")
    (first, most), (last, least) = ranked[0], ranked[-1]
    number = counted(len(ranked), "kept summaries")
    said = f"{number}: summary {first} is found in {most:,} of {counted(explained, 'photographs')}"
    said += "." if len(ranked) == 1 else f", and so on down to summary {last} in {least:,}."
    which = "" if len(bars) == len(ranked) else f"; the largest {len(bars)} of {number}"
    caption = f"Kept members of each summary, in photographs, and their share of {of}{which}."
    height, room = step * len(bars) + 54, {"left": _NAMES, "right": 48, "top": 6, "bottom": 48}
    return draw(drawn + names + counts, height, said, title, caption, **room)


def curves(found: Sequence[Any]) -> list[Plot]:
    """Deletion and insertion curves, a plot for each variant, all explainers in it.

    Args:
        found: objects with `explainer`, `variant`, `n` (photographs) and `mean`, `low`, `high` (T values at equal steps
            from no pixel to all pixels), such as `pipeline.stages.studies.figures.curves` gives.
    """
    variants = list(dict.fromkeys(one.variant for one in found))
    if not variants:
        return [nothing("Deletion and insertion", "no curves were measured; the job evaluate measures them")]
    return [_curves_of(variant, [one for one in found if one.variant == variant]) for variant in variants]


def _curves_of(variant: str, found: Sequence[Any]) -> Plot:
    import altair

    title = variant.capitalize()
    known = [one for one in found if len(one.mean) > 1 and np.isfinite([one.mean, one.low, one.high]).all()]
    if not known:
        return nothing(title, "no photograph has such a curve")
    names = [shortened(one.explainer, 24) for one in known]
    points = [
        {"share": step / (len(one.mean) - 1), "mean": mean, "low": low, "high": high, "place": place}
        for place, one in enumerate(known)
        for step, (mean, low, high) in enumerate(np.array([one.mean, one.low, one.high], float).T.tolist())
    ]
    done = {"deletion": "deleted", "insertion": "shown"}.get(variant, "changed")
    places = list(range(len(known)))
    looks = [
        (SERIES[place % len(SERIES)], _DASHES[(place + place // len(SERIES)) % len(_DASHES)]) for place in places
    ]
    colors, dashes = [color for color, _ in looks], [dash for _, dash in looks]
    color = altair.Color("place:N", scale=altair.Scale(domain=places, range=colors), legend=None)
    dash = altair.StrokeDash("place:N", scale=altair.Scale(domain=places, range=dashes), legend=None)
    axis = altair.Axis(title=f"share of pixels {done}, most salient first", format=".0%", tickCount=5)
    x = altair.X("share:Q", scale=altair.Scale(domain=[0, 1]), axis=axis)
    most = max(1.0, *(max(point["high"], point["mean"]) for point in points))
    axis = altair.Axis(title="score of the class", tickCount=5)
    y = altair.Y("mean:Q", scale=altair.Scale(domain=[0, most]), axis=axis)
    chart = altair.Chart(rows(points))
    drawn = chart.mark_line(strokeWidth=2).encode(x=x, y=y, color=color, strokeDash=dash)
    banded = len(known) <= BANDS
    if banded:
        bands = chart.mark_area(fillOpacity=0.14, opacity=1).encode(x=x, y="low:Q", y2="high:Q", color=color)
        drawn = bands + drawn
    legend, above = _legend(names, looks)
    areas = ", ".join(
        f"{one.explainer} {np.trapezoid(one.mean) / (len(one.mean) - 1):.3f} ({one.n:,})" for one in known
    )
    told = f"Area under the mean curve (photographs): {areas}."
    said = f"Mean score of the class by share of pixels {done}, most salient first. {told}"
    caption = f"Mean over photographs at equal steps. {told}"
    caption += (
        " The band holds the middle half of the photographs, quartile to quartile, at each step."
        if banded
        else " The bands of so many explainers would hide each other and are left out."
    )
    caption += left_out(len(found) - len(known), "curves")
    return draw(drawn + legend, 250 + above, said, title, caption, top=TOP + above)


def _legend(names: Sequence[str], lines: Sequence[tuple[str, list[int]]]) -> tuple[Any, int]:
    """A line and a name for each curve, two in a row, above the plot; the chart and its height."""
    import altair

    height = 20 * math.ceil(len(names) / 2)
    entries = [
        {
            "name": name,
            "color": color,
            "dash": dash,
            "x": place % 2 * inner() / 2,
            "end": place % 2 * inner() / 2 + 26,
            "y": 20 * (place // 2) - height - 24,
        }
        for place, (name, (color, dash)) in enumerate(zip(names, lines, strict=True))
    ]
    chart = altair.Chart(rows(entries)).encode(x=unscaled("X", "x"), y=unscaled("Y", "y"))
    rules = chart.mark_rule(strokeWidth=2).encode(
        x2="end:Q",
        color=altair.Color("color:N", scale=None, legend=None),
        strokeDash=altair.StrokeDash("dash:N", scale=None, legend=None),
    )
    texts = chart.mark_text(dx=33, align="left", color=INK, fontSize=LABEL_SIZE).encode(text="name:N")
    return rules + texts, height


def _count_axis(most: int, of: str) -> Any:
    import altair

    # Above the row in which the mean is written.
    # 20k and 0 rather than 20,000, for which there is no room, or 0k.
    words = f"format(datum.value, '{'~s' if most >= 10_000 else ',d'}')"
    axis = altair.Axis(title=of, titleY=-24, labelExpr=words, tickCount=min(4, most), tickMinStep=1)
    return altair.Y("count:Q", scale=altair.Scale(domain=[0, most], nice=False), axis=axis)
