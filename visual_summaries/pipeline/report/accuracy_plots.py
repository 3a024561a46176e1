"""Plots of kept summaries against accuracy, class by class and run by run."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from visual_summaries.pipeline.report.comparison import ComparedRun
from visual_summaries.pipeline.report.content import ClassCard
from visual_summaries.pipeline.report.drawing import (
    ACCENT,
    BOTTOM,
    INK,
    LABEL_SIZE,
    SERIES,
    TOP,
    Label,
    Plot,
    counted,
    draw,
    inner,
    left_out,
    nothing,
    percent,
    placed_labels,
    rows,
    shortened,
    unscaled,
)

POINTS = 400
"""Classes that are shown as a point each; more are counted in cells."""

NAMED = 15
"""Classes that are named beside their points; more show their names under the mouse."""

_ROWS = 20
_SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
_HEIGHT = 280
_INNER = _HEIGHT - TOP - BOTTOM


def summaries_against_accuracy(cards: Sequence[ClassCard]) -> Plot:
    """Kept summaries of each class against its accuracy; beyond `POINTS` classes, how many classes a cell holds."""
    title = "Summaries against accuracy"
    known = [card for card in cards if card.accuracy is not None and math.isfinite(card.accuracy)]
    if not known:
        return nothing(title, "no class has an accuracy" if cards else "the run has no classes")
    counts = np.array([card.summaries for card in known])
    accuracies = np.array([card.accuracy for card in known])
    chart, how = _class_points(known) if len(known) <= POINTS else _class_cells(counts, accuracies)
    of = counted(len(known), "classes")
    between = f"{percent(accuracies.min())} to {percent(accuracies.max())}"
    said = (
        f"{of}: accuracy {between}, mean {percent(accuracies.mean())}; {counts.min():,} to {counts.max():,} kept "
        f"summaries a class, mean {counts.mean():.1f}."
    )
    caption = f"{of}. {how} Accuracy: share of a class’s decoded photographs whose highest score is their own class."
    correlation = _rank_correlation(counts, accuracies)
    if correlation is not None:
        told = f" Spearman’s rank correlation of the two: {correlation:.2f}.".replace("-", "−")
        said, caption = said + told, caption + told
    return draw(chart, _HEIGHT, said, title, caption + left_out(len(cards) - len(known), "classes"))


def _class_points(cards: Sequence[ClassCard]) -> tuple[Any, str]:
    """A point for each class; those that would hide each other move apart, up and down."""
    import altair

    low, high = _span([card.accuracy for card in cards])
    most = max(card.summaries for card in cards)
    unit = _INNER / (most + 1)
    size, step = (45, 9) if len(cards) <= 100 else (22, 6)
    crowds = defaultdict(list)
    for card in sorted(cards, key=lambda card: (card.class_name, card.label)):
        crowds[card.summaries, round((card.accuracy - low) / (high - low) * inner() / 8)].append(card)
    points = []
    for (count, _), crowd in crowds.items():
        apart = min(step / unit, 0.6 / max(1, len(crowd) - 1))
        for place, card in enumerate(crowd):
            name = card.class_name or card.label
            said = f"{shortened(name, 80)}: {counted(card.summaries, 'summaries')}, accuracy {percent(card.accuracy)}"
            up = count + apart * (place - (len(crowd) - 1) / 2)
            # ImageNet's names go on with synonyms after a comma. In a crowd nobody could tell whose name it is.
            own = shortened(name.split(",")[0], 22) if len(crowd) == 1 else ""
            points.append({"accuracy": card.accuracy, "summaries": up, "said": said, "name": own})
    x, y = _accuracy_axis(low, high), _summaries_axis(most)
    chart = altair.Chart(rows(points)).mark_point(
        aria=True, filled=True, fill=ACCENT, fillOpacity=0.75, opacity=1, size=size
    )
    chart = chart.encode(x=x, y=y, description="said:N")
    how, labels = "A point is a class", []
    if len(crowds) < len(points):
        how += "; classes of the same place stand a little above and below each other"
    if len(points) <= NAMED:
        at_x, at_y = _placer(low, high, inner()), _placer(most + 0.5, -0.5, _INNER)
        places = [(at_x(point["accuracy"]), at_y(point["summaries"])) for point in points]
        labels = placed_labels(places, [point["name"] for point in points], inner(), _INNER)
        chart += _labels(labels)
    return chart, how + (". Pointing at one tells its name." if len(labels) < len(points) else ".")


def _class_cells(counts: np.ndarray, accuracies: np.ndarray) -> tuple[Any, str]:
    """A circle for each cell of accuracy and summaries, its area the number of classes there."""
    import altair

    low, high = _span(accuracies)
    step = math.ceil((int(counts.max()) + 1) / _ROWS)
    width = 0.025 if high - low < 0.55 else 0.05
    last = round((high - low) / width) - 1
    columns = np.clip((accuracies - low) / width + 1e-9, 0, last).astype(int).tolist()
    cells = Counter(zip(columns, (counts // step).tolist(), strict=True))
    largest = max(cells.values())
    side = min(inner() / (last + 1), _INNER * step / (int(counts.max()) + 1)) - 1
    points = []
    for (column, row), count in sorted(cells.items()):
        across = f"{percent(low + column * width)} to {percent(low + (column + 1) * width)}"
        up = f"{row * step} to {row * step + step - 1} summaries" if step > 1 else counted(row, "summaries")
        points.append(
            {
                "accuracy": low + (column + 0.5) * width,
                "summaries": row * step + (step - 1) / 2,
                "size": max(4, count / largest * side**2),
                "said": f"{counted(count, 'classes')}: {up}, accuracy {across}",
            }
        )
    chart = altair.Chart(rows(points)).mark_point(aria=True, filled=True, fill=ACCENT, opacity=1)
    chart = chart.encode(
        x=_accuracy_axis(low, high),
        y=_summaries_axis(int(counts.max())),
        size=altair.Size("size:Q", scale=None, legend=None),
        description="said:N",
    )
    ranges = "" if step == 1 else f" and {step} summaries"
    return chart, (
        f"The area of a circle, at least a dot, is the number of classes in a range of {100 * width:g}% accuracy"
        f"{ranges}; the largest stands for {largest:,}."
    )


def compared_counts(runs: Sequence[ComparedRun]) -> Plot:
    """Summaries a class against accuracy, a point for each run, with both intervals of 95 %."""
    import altair

    title = "Runs compared"
    known = [run for run in runs if math.isfinite(run.accuracy) and math.isfinite(run.mean)]
    if not known:
        return nothing(title, "no run has an accuracy and summaries")
    points = []
    for place, run in enumerate(known):
        low, high = _interval(run.accuracy, run.low, run.high)
        down, up = _interval(run.mean, run.mean_low, run.mean_high)
        said = (
            f"{shortened(run.name, 80)}: {run.mean:.2f} kept summaries a class ({down:.2f} to {up:.2f}), accuracy "
            f"{percent(run.accuracy)} ({percent(low)} to {percent(high)}) of {counted(run.images, 'photographs')}"
        )
        values = {"accuracy": run.accuracy, "low": low, "high": high, "mean": run.mean, "down": down, "up": up}
        look = {"color": SERIES[place % len(SERIES)], "shape": _SHAPES[(place + place // len(SERIES)) % len(_SHAPES)]}
        points.append(values | look | {"name": shortened(run.name, 54), "said": said, "key": 18 * (place - len(known))})
    ends = _span([point[end] for point in points for end in ("low", "high")])
    bottom = math.floor(min(point["down"] for point in points))
    top = max(math.ceil(max(point["up"] for point in points)), bottom + 2)
    axis = altair.Axis(title="kept summaries a class", tickCount=5)
    look = {"scale": altair.Scale(domain=[bottom, top], nice=False), "axis": axis}
    color = altair.Color("color:N", scale=None, legend=None)
    shape = altair.Shape("shape:N", scale=None, legend=None)
    chart = altair.Chart(rows(points)).encode(color=color)
    at = {"x": _accuracy_axis(*ends), "y": altair.Y("mean:Q", **look)}
    marks = {"filled": True, "opacity": 1, "size": 80}
    drawn = chart.mark_rule().encode(x=_accuracy_axis(*ends, "low"), x2="high:Q", y=at["y"])
    drawn += chart.mark_rule().encode(x=at["x"], y=altair.Y("down:Q", **look), y2="up:Q")
    drawn += chart.mark_point(aria=True, **marks).encode(**at, shape=shape, description="said:N")
    key = chart.encode(y=unscaled("Y", "key"))
    drawn += key.mark_point(xOffset=5, yOffset=-26, **marks).encode(x=altair.value(0), shape=shape)
    drawn += key.mark_text(align="left", color=INK, dx=16, dy=-26, fontSize=LABEL_SIZE).encode(
        x=altair.value(0), color=altair.value(INK), text="name:N"
    )
    said = "; ".join(point["said"] for point in points) + "."
    caption = (
        f"{counted(len(known[0].counts), 'classes')} that all runs have. Accuracy: over all their decoded photographs, "
        "with Wilson’s interval of 95%. Kept summaries: mean over classes, with the bootstrap interval of 95% over "
        "classes."
    )
    above = 18 * len(points) + 8
    return draw(
        drawn, _HEIGHT + above, said, title, caption + left_out(len(runs) - len(known), "runs"), top=TOP + above
    )


def _interval(value: float, low: float, high: float) -> tuple[float, float]:
    """The ends of an interval; where it does not exist, the value itself."""
    return (low, high) if math.isfinite(low) and math.isfinite(high) else (value, value)


def _labels(labels: Sequence[Label]) -> Any:
    """Names beside their points."""
    import altair

    chart = altair.Chart(rows([{"name": label.text, "x": label.x, "y": label.y} for label in labels]))
    texts = chart.mark_text(align="left", color=INK, fontSize=LABEL_SIZE)
    return texts.encode(x=unscaled("X", "x"), y=unscaled("Y", "y"), text="name:N")


def _placer(start: float, end: float, length: float) -> Callable[[float], float]:
    """From a value to units of the plot, where the axis goes from `start` to `end`."""
    return lambda value: (value - start) / (end - start) * length


def _span(values: Any) -> tuple[float, float]:
    """Ends of an axis of shares: full steps of 5 % around the values, at least 10 % apart."""
    low, high = math.floor(20 * min(values) + 1e-9), math.ceil(20 * max(values) - 1e-9)
    while high - low < 2:
        low, high = max(0, low - 1), min(20, high + 1)
    return low / 20, high / 20


def _accuracy_axis(low: float, high: float, field: str = "accuracy") -> Any:
    """With its ends for each layer: one without them would draw the axis down to zero."""
    import altair

    axis = altair.Axis(title="accuracy", format=".0%", tickCount=5)
    return altair.X(f"{field}:Q", scale=altair.Scale(domain=[low, high], nice=False), axis=axis)


def _summaries_axis(most: int) -> Any:
    import altair

    values = list(range(0, most + 1, math.ceil((most + 1) / 7)))
    axis = altair.Axis(title="kept summaries", values=values, format="d")
    return altair.Y("summaries:Q", scale=altair.Scale(domain=[-0.5, most + 0.5], nice=False), axis=axis)


def _rank_correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Spearman's coefficient, ties with their mean rank; None of fewer than 3 pairs or where one does not vary."""
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    ranks = []
    for values in (one, other):
        _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[places])
    return float(np.corrcoef(ranks)[0, 1])
