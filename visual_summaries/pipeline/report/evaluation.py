"""Figures of experiments as Markdown and as plots; a paper's tables beside ours."""

import re
import string
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from visual_summaries.pipeline.report.robustness_plots import (
    draw_stability,
    draw_transfer,
    stability_figures,
    transfer_figures,
)

# What each paper says of a figure: (study, variant) → (its table, explainer → published value or values).
# Other networks on other images: the order and size of effects, not figures to be met.
PUBLISHED: dict[str, dict[tuple[str, str], tuple[str, dict[str, str]]]] = {
    "fgvis": {
        ("adversarial", "filter off"): ("Table 1: evidence generated", {"": "100 %"}),
        ("adversarial", "filter on"): ("Table 1: evidence generated", {"": "0 to 0.2 %"}),
        ("faithfulness", "deletion"): (
            "Table 2: deletion metric, lower is better; ResNet-50, VGG16",
            {
                "grad-cam": ".1232, .1087",
                "occlusion": ".1421, .1158",
                "lime": ".1217, .1014",
                "rise": ".1076, .0980",
                "fgvis": ".0644, .0636",
            },
        ),
        ("color bias", "channels RBG"): ("§4.3: still predicted correctly", {}),
        ("color bias", "channels GRB"): ("§4.3: still predicted correctly", {}),
    },
    "glas": {
        ("localization", "pointing game, glas"): (
            "Table 3: pointing game, ResNet-50",
            {
                "gradient": ".773",
                "grad-cam": ".901",
                "lime": ".766",
                "rise": ".907",
                "meaningful-perturbation": ".841",
                "glas": ".912",
            },
        ),
        ("localization", "pointing game, glas, small objects"): (
            "Table 3: small objects",
            {
                "gradient": ".604",
                "grad-cam": ".754",
                "lime": ".645",
                "rise": ".787",
                "meaningful-perturbation": ".711",
                "glas": ".792",
            },
        ),
        ("localization", "pointing game, torchray"): ("its other protocol: mean of the classes' accuracies", {}),
        ("localization", "pointing game, torchray, small objects"): ("its other protocol: small objects", {}),
        ("localization", "overlap above 0.5"): (
            "Table 4: intersection over union at 0.5, one round to adaptive",
            {"glas": ".40", "rglas": ".55"},
        ),
    },
    "feature-cam": {
        ("explanation maps", "right"): (
            "Table 2: explanation map still classified as the image; Inception V3, VGG16, NasNet Mobile",
            {
                "grad-cam": "93, 52, 85 %",
                "grad-cam++": "95, 80, 75 %",
                "smooth-grad-cam++": "97, 80, 73 %",
                "feature-cam": "95, 86, 93 % (Ours 2 on Grad-CAM++)",
            },
        ),
        ("explanation maps", "confidence"): (
            "Table 3: confidence on the explanation map; Inception V3, VGG16, NasNet Mobile",
            {
                "grad-cam": "97, 82, 78 %",
                "grad-cam++": "96, 88, 73 %",
                "smooth-grad-cam++": "96, –, 75 %",
                "feature-cam": "97, 89, 85 % (Ours 2 on Grad-CAM++)",
            },
        ),
    },
    "visual-summaries": {
        ("faithfulness", "drop"): (
            "Table 2: score drop",
            {
                "meaningful-perturbation": "99.738 % (smooth)",
                "thresholded-perturbation": "97.704 %",
                "crisp": "99.96 %",
            },
        ),
        ("specialists", "right before"): ("§4.4: accuracy of the network alone", {}),
        ("specialists", "right after"): ("§4.4: accuracy together with the specialists", {}),
        ("specialists", "gained"): ("§4.4: the difference; published: +1.08 % for AlexNet on ImageNet", {}),
        ("coherence", "distance of tags of whole images within the summary"): (
            "Fig. 4, as the paper has it: μ_S, smaller than μ_R",
            {},
        ),
        ("coherence", "distance of tags of whole images within random images of the class"): ("Fig. 4: μ_R", {}),
        ("coherence", "distance of tags of crops within the summary"): ("Fig. 4 on members' crops: μ_S", {}),
        ("coherence", "distance of tags of crops within random members of the class"): (
            "Fig. 4 on members' crops: μ_R",
            {},
        ),
        ("summaries", "distance of tags within the summary"): (
            "Fig. 4 on members' crops, tagged by the network itself: μ_S, smaller than μ_R",
            {},
        ),
        ("summaries", "distance of tags within random members of the class"): (
            "Fig. 4 on members' crops, tagged by the network itself: μ_R",
            {},
        ),
    },
}


# What the figures of a study say, above its table.
MEANINGS = {
    "map stability": "The run's map of an image against the map made anew of the image hardly changed, the change "
    "undone: overlap is the intersection over union of the salient pixels, rank correlation Spearman's of the maps. "
    "Both are 1 where a map stays; what moves with a re-encoded file or a shift of 3 px is no property of the picture.",
    "wholeness": "How the salient pixels hang together: a map of a part is one region or a few, a map of specks none.",
    "transfer": "How much of the class's score is lost without the salient pixels (blurred, over photographs that the "
    "network named puts into the class), and without those of another image's map. What is evidence for the class, and "
    "not for the run's network alone, is missed by every network, and much more than the other image's.",
    "coherence": "Are a summary's members more alike than random ones of their class, to a network that is not the one "
    "explained? Mean distance of two of them, Jaccard's of the tagger's best labels and cosine of its features. Whole "
    "images against random images of the class are the visual summaries paper's figure; members' crops against random "
    "members' crops ours. Random ones less the summary's: above 0 where the summary is more alike.",
    "truth": "How far the summaries are the parts that make each class, whose true boxes are known: precision is the "
    "share of the summaries that show a part which no other shows, recall the share of the parts that are shown. Means "
    "over classes; the figures of all classes taken together are in the table metrics and on the report's first page.",
}
INTERVALS = "Intervals of 95 % over what n counts: Wilson's for what either happens or does not, otherwise bootstrap."
# Studies that compare classes: (study, what the first column is sorted by).
BY_CLASS = {"color bias": "classes that depend most on color first"}


def escaped(text: str) -> str:
    """Text from data as it is, in a cell of a Markdown table."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return re.sub(f"([{re.escape(string.punctuation)}])", r"\\\1", printable)


def number(value: float) -> str:
    """Three decimals; NaN as a dash."""
    return "–" if value != value else f"{value:.3f}"


def all_figures(found: Sequence[Any]) -> str:
    """Every figure over all classes, a table for each study (Markdown); `found` are `Figure`s."""
    lines = ["# All figures", "", f"{INTERVALS} Classes: in the CSV and Parquet files beside this."]
    for study in dict.fromkeys(figure.study for figure in found):
        chosen = [figure for figure in found if figure.study == study and not figure.label]
        meaning = [MEANINGS[study], ""] if study in MEANINGS else []
        lines += ["", f"## {escaped(study)}", "", *meaning, *_table(chosen)]
    return "\n".join(lines) + "\n"


def _table(chosen: Iterable[Any]) -> list[str]:
    lines = ["| network | explainer | figure | n | mean | 95 % interval |", "|---|---|---|--:|--:|--:|"]
    for figure in chosen:
        names = (figure.model, figure.explainer, figure.variant)
        cells = [*map(escaped, names), f"{figure.n} {figure.of}", number(figure.mean)]
        lines.append(f"| {' | '.join(cells)} | {number(figure.low)} – {number(figure.high)} |")
    return lines


def paper_tables(paper: str, found: Sequence[Any]) -> str:
    """Our figures beside a paper's (Markdown)."""
    lines = [
        f"# {paper}",
        "",
        f"Ours: the network named on the images given, all classes together. {INTERVALS}",
        "Published: other networks on other images; they set the expected order and size of effects.",
    ]
    told = [
        (name, where, published, [f for f in found if (f.study, f.variant, f.label) == (study, name, "")])
        for (study, variant), (where, published) in PUBLISHED[paper].items()
        for name in _named(variant, (f.variant for f in found if f.study == study))
    ]
    for name, where, published, chosen in told:
        lines += ["", f"## {escaped(name)}", "", where, ""]
        lines += ["| network | explainer | n | ours | 95 % interval | published |", "|---|---|--:|--:|--:|--:|"]
        for f in sorted(chosen, key=lambda one: -one.mean):
            theirs = published.get(f.explainer.split(":")[0], "–")
            cells = [escaped(f.model), escaped(f.explainer), f"{f.n} {f.of}", number(f.mean)]
            lines.append(f"| {' | '.join(cells)} | {number(f.low)} – {number(f.high)} | {theirs} |")
    for study, order in BY_CLASS.items():
        chosen = [f for f in found if f.study == study and f.label]
        if study in {study for study, _ in PUBLISHED[paper]} and chosen:
            lines += ["", f"## {escaped(study)} of each class, {order}", "", *_class_table(chosen)]
    return "\n".join(lines) + "\n"


def _named(variant: str, variants: Iterable[str]) -> list[str]:
    """Of the variants this one, and those that say of it by which network, each once, in order."""
    return [name for name in dict.fromkeys(variants) if name == variant or name.startswith(f"{variant}, by ")]


def _class_table(chosen: Sequence[Any]) -> list[str]:
    """A line for each class, a column for each variant, the smallest first."""
    variants = list(dict.fromkeys(f.variant for f in chosen))
    classes: dict[str, dict[str, Any]] = {}
    for f in chosen:
        classes.setdefault(f.label, {})[f.variant] = f
    lines = [f"| class | images | {' | '.join(map(escaped, variants))} |", "|---|--:|" + "--:|" * len(variants)]
    for label in sorted(classes, key=lambda label: (sum(f.mean for f in classes[label].values()), label)):
        own = classes[label]
        cells = [
            f"{number(own[name].mean)} ({number(own[name].low)} – {number(own[name].high)})" for name in variants
        ]
        lines.append(f"| {escaped(label)} | {own[variants[0]].n} | {' | '.join(cells)} |")
    return lines


def panels(curves: Sequence[Any], found: Sequence[Any]) -> list[Callable[[Any], None]]:
    """What is better seen than read: functions that draw on an axes; `curves` are `Curve`s, `found` `Figure`s."""
    drawn: list[Callable[[Any], None]] = [
        partial(_draw_curves, curves=[one for one in curves if one.variant == variant], first=number == 0)
        for number, variant in enumerate(dict.fromkeys(curve.variant for curve in curves))
    ]
    for draw, chosen in ((draw_stability, stability_figures(found)), (draw_transfer, transfer_figures(found))):
        drawn += [partial(draw, chosen=chosen)] if chosen else []
    return drawn


def plot_panels(drawn: Sequence[Callable[[Any], None]], file: Any) -> None:
    """Panels side by side, as a PNG."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(5.2 * len(drawn), 3.8), dpi=150, layout="constrained")
    for draw, axes in zip(drawn, np.ravel(canvas.subplots(1, len(drawn))), strict=True):
        draw(axes)
    canvas.savefig(file)


def _draw_curves(axes: Any, curves: Sequence[Any], first: bool) -> None:
    """Deletion or insertion curves with the band of the middle half of the images."""
    for curve in curves:
        share = np.linspace(0, 1, len(curve.mean))
        (line,) = axes.plot(share, curve.mean, label=f"{curve.explainer} ({curve.n} images)")
        axes.fill_between(share, curve.low, curve.high, color=line.get_color(), alpha=0.15, linewidth=0)
    variant = curves[0].variant
    done = "deleted" if variant == "deletion" else "shown"
    axes.set(title=variant, xlabel=f"share of pixels {done}, most salient first", ylim=(0, 1), xlim=(0, 1))
    axes.set_ylabel("score of the class: mean, and the middle\nhalf of the images" if first else "")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
