"""Several runs side by side, as Markdown and as a plot."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from visual_summaries.pipeline.evaluate.intervals import wilson_interval
from visual_summaries.pipeline.evaluate.paired import PairedAccuracy
from visual_summaries.pipeline.report.compared import ComparedPair, states_counted
from visual_summaries.pipeline.report.evaluation import escaped, number
from visual_summaries.pipeline.report.rendering import count

# Visual summaries, Table 3: summaries a class, accuracy on ImageNet.
PUBLISHED = (("AlexNet", 5.0, 0.571), ("VGG16", 5.5, 0.724), ("GoogLeNet", 6.0, 0.745), ("ResNet-50", 6.33, 0.762))


SHARED_METHOD = (
    "Summaries count as the same where at least half of the images of both, of those that both runs explained, show "
    "the same part (boxes with intersection over union of at least 0.5), one to one."
)


@dataclass(frozen=True)
class ComparedRun:
    """One run.

    Attributes:
        images: over which its accuracy is, with Wilson's 95 % interval.
        counts: kept summaries of each class.
        mean, mean_low, mean_high: of the counts, with the 95 % bootstrap interval over classes.
    """

    name: str
    images: int
    accuracy: float
    low: float
    high: float
    counts: tuple[int, ...]
    mean: float
    mean_low: float
    mean_high: float


@dataclass(frozen=True)
class ComparedClass:
    """One class.

    Attributes:
        pairs: for each run but the first, what that and the first have and lack of each other.
        summaries: numbers of each run's kept summaries.
        answers: of each run, how many photographs it gets right, and how many it could read.
        shared: for each run but the first, pairs (summary of the first run, summary of this one) that show the same
            part in at least half of their images, of those that both runs explained.
        overlaps: for each run but the first, for each of its summaries the largest share of images in which it shows
            the same part as a summary of the first run.
        again: for each run but the first, for each summary of the first run with a member among the images that both
            explained, whether one of its summaries shows the same part in at least half of the images that both have.
    """

    label: str
    summaries: tuple[tuple[int, ...], ...]
    shared: tuple[tuple[tuple[int, int], ...], ...]
    overlaps: tuple[tuple[float, ...], ...]
    again: tuple[tuple[bool, ...], ...]
    answers: tuple[tuple[int, int], ...] = ()
    pairs: tuple[ComparedPair, ...] = ()


def comparison_text(
    runs: Sequence[ComparedRun], classes: Sequence[ComparedClass], accuracies: Sequence[PairedAccuracy] = ()
) -> str:
    """Which run is right more often, what only one of two uses, summaries against accuracy (visual summaries, Table
    3), and what the runs share (Markdown).

    Args:
        accuracies: of the first run and each other one, over all classes.
    """
    lines = ["# Runs side by side", ""]
    for other, accuracy in enumerate(accuracies):
        first, second = map(escaped, short_names([runs[0].name, runs[other + 1].name]))
        lines += [verdict(first, second, accuracy, [one.pairs[other] for one in classes]), ""]
    lines += [
        "Accuracy: top-1 over all readable images of the classes that all runs have, 95 % Wilson interval. Summaries:",
        "kept ones a class, mean over classes, 95 % bootstrap interval over classes.",
        "",
        "| run | images | accuracy | 95 % interval | summaries a class | 95 % interval |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for run in sorted(runs, key=lambda run: run.accuracy):
        lines.append(
            f"| {escaped(run.name)} | {run.images} | {number(run.accuracy)} | {number(run.low)} – {number(run.high)} | "
            f"{run.mean:.2f} | {run.mean_low:.2f} – {run.mean_high:.2f} |"
        )
    told = ", ".join(f"{name} {count:g} at {accuracy:.1%}" for name, count, accuracy in PUBLISHED)
    lines += ["", f"Published (Table 3, other images): {told}."]
    for other, run in enumerate(runs[1:]):
        lines += [
            "",
            f"## {escaped(runs[0].name)} and {escaped(run.name)}",
            "",
            f"{SHARED_METHOD} Overlap: of a summary of the second with the nearest one",
            "of the first, mean over the class.",
            "",
            "| class | shared | only in the first | only in the second | overlap |",
            "|---|--:|--:|--:|--:|",
        ]
        lines += [_shared_row(one, other) for one in classes]
        every = [overlap for one in classes for overlap in one.overlaps[other]]
        lines.append(f"| all {len(every)} of the second | | | | {_mean(every)} |")
        lines += ["", _found_again([found for one in classes for found in one.again[other]])]
    return "\n".join(lines) + "\n"


def verdict(first: str, second: str, accuracy: PairedAccuracy, pairs: Sequence[ComparedPair]) -> str:
    """What a comparison of two runs comes to, as a sentence.

    Args:
        first, second: names of the runs, as they are to stand in it.
        pairs: of all classes.
    """
    parts = []
    if accuracy.images:
        parts.append(
            f"on the {count(accuracy.images, 'photograph')} that both could read, {first} is right in "
            f"{accuracy.first:,} and {second} in {accuracy.second:,}, {_better(first, second, accuracy)}"
        )
    else:
        parts.append(f"{first} and {second} have no photograph in common")
    own = states_counted([one for pair in pairs for one in pair.first])
    others = states_counted([one for pair in pairs for one in pair.second])
    if not own.total and not others.total:
        parts.append("neither has a summary")
    else:
        same = "no pair shows" if not own.counterpart else f"{count(own.counterpart, 'pair')} show"
        same += "s" if own.counterpart == 1 else ""
        parts.append(
            f"of their {own.total:,} and {others.total:,} summaries {same} the same part, {own.alone:,} "
            f"{'shows one' if own.alone == 1 else 'show parts'} that only {first} looks at and {others.alone:,} "
            f"{'one' if others.alone == 1 else 'parts'} that only {second} looks at"
        )
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def isolated(name: str) -> str:
    """A name that does not turn the text around it, even if it is written from right to left."""
    return f"\N{FIRST STRONG ISOLATE}{name}\N{POP DIRECTIONAL ISOLATE}"


def short_names(names: Sequence[str]) -> list[str]:
    """Names of runs, model and explainer, without the words at their end and the library at their beginning that all
    of them have; as they are where that would leave too little to tell them apart."""
    words = [name.split(" ") for name in names]
    while all(len(own) > 1 for own in words) and len({own[-1] for own in words}) == 1:
        words = [own[:-1] for own in words]
    short = [" ".join(own) for own in words]
    libraries = {name.partition(":")[0] for name in short if ":" in name}
    if len(libraries) == 1 and all(":" in name for name in short):
        short = [name.partition(":")[2] for name in short]
    return short if len(set(short)) == len(names) and all(short) else list(names)


def points(share: float) -> str:
    """A difference of shares in percentage points."""
    return f"{round(100 * share, 1) + 0.0:.1f}".replace("-", "\N{MINUS SIGN}")


def _better(first: str, second: str, accuracy: PairedAccuracy) -> str:
    sign = -1 if accuracy.difference < 0 else 1
    low, high = sorted((sign * accuracy.low, sign * accuracy.high))
    interval = f"95% interval {points(low)} to {points(high)}"
    ahead = f"{second if sign < 0 else first} by {points(sign * accuracy.difference)} points"
    if low > 0:
        return f"which makes {ahead.replace(' by', ' better by', 1)} ({interval})"
    if not accuracy.only_first and not accuracy.only_second:
        return f"the same ones ({interval} points)"
    if not accuracy.difference:
        return f"too close to tell which is better ({interval} points)"
    return f"too close to tell which is better ({ahead}, {interval})"


def _found_again(found: Sequence[bool]) -> str:
    """How many of the first run's summaries are there again, in words."""
    low, high = wilson_interval(sum(found), len(found))
    return (
        f"Found again in the second: {sum(found)} of {len(found)} summaries of the first, {_mean(found)} "
        f"({number(low)} – {number(high)}, 95 % Wilson interval), by one that shows the same part in at least half of "
        "the images in which both have a member."
    )


def _shared_row(one: ComparedClass, other: int) -> str:
    pairs = one.shared[other]
    first = [number for number in one.summaries[0] if number not in {a for a, _ in pairs}]
    second = [number for number in one.summaries[other + 1] if number not in {b for _, b in pairs}]

    def told(values: Sequence[Any]) -> str:
        return ", ".join(map(str, values)) or "–"

    both = told([f"{a} = {b}" for a, b in pairs])
    mean = _mean(one.overlaps[other])
    return f"| {escaped(one.label)} | {both} | {told(first)} | {told(second)} | {mean} |"


def _mean(values: Sequence[float]) -> str:
    return number(sum(values) / len(values)) if values else "–"


def plot_counts(runs: Sequence[ComparedRun], file: Any) -> None:
    """Summaries a class against accuracy (visual summaries, Fig. 5), as a PNG."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(5.2, 3.8), dpi=150, layout="constrained")
    axes = canvas.subplots()
    for run in runs:
        across = [[run.accuracy - run.low], [run.high - run.accuracy]]
        up = [[run.mean - run.mean_low], [run.mean_high - run.mean]]
        axes.errorbar(run.accuracy, run.mean, xerr=across, yerr=up, fmt="o", capsize=3, linewidth=1, label=run.name)
    axes.set(xlabel="accuracy (Wilson's 95 %)", ylabel="kept summaries a class (bootstrap, 95 %)")
    axes.spines[["top", "right"]].set_visible(False)
    canvas.legend(loc="outside lower center", frameon=False, fontsize=8)
    canvas.savefig(file)
