"""Panels of the evaluation's picture: do the maps stay, and do they mean something to other networks?"""

from collections.abc import Sequence
from typing import Any

# What the studies call their figures: the first before the name of the change, the others around the network's.
OVERLAP = "overlap, "
DROP, CONTROL, BEYOND = "drop on ", ", another image's map", ", beyond another image's map"
GAP = 0.16


def stability_figures(found: Sequence[Any]) -> list[Any]:
    """The overlaps under each change, over all classes; `found` are `Figure`s."""
    return [f for f in found if f.study == "map stability" and not f.label and f.variant.startswith(OVERLAP)]


def transfer_figures(found: Sequence[Any]) -> list[Any]:
    """The drops on each network, own map and control, over all classes."""
    return [f for f in found if f.study == "transfer" and not f.label and not f.variant.endswith(BEYOND)]


def draw_stability(axes: Any, chosen: Sequence[Any]) -> None:
    """Overlap of the salient pixels under each change, a row; a color for each explainer."""
    rows = list(dict.fromkeys(f.variant for f in chosen))
    explainers = list(dict.fromkeys(f.explainer for f in chosen))
    for number, explainer in enumerate(explainers):
        own = {f.variant: f for f in chosen if f.explainer == explainer}
        shift = (number - (len(explainers) - 1) / 2) * GAP
        places = [(rows.index(variant) + shift, figure) for variant, figure in own.items()]
        _points(axes, places, f"C{number}", explainer)
    _rows(axes, [row.removeprefix(OVERLAP) for row in rows])
    axes.set(title="map stability", xlabel="overlap of the salient pixels\nwith those of the map made anew")
    _legend(axes)


def draw_transfer(axes: Any, chosen: Sequence[Any]) -> None:
    """Drop on each network, a row: of the explainer's own maps, filled, and of other images' maps, hollow."""
    rows = list(dict.fromkeys(f.variant.removesuffix(CONTROL) for f in chosen))
    explainers = list(dict.fromkeys(f.explainer for f in chosen))
    for number, explainer in enumerate(explainers):
        shift = (number - (len(explainers) - 1) / 2) * GAP
        for control in (False, True):
            places = [
                (rows.index(f.variant.removesuffix(CONTROL)) + shift, f)
                for f in chosen
                if f.explainer == explainer and f.variant.endswith(CONTROL) == control
            ]
            label = f"{explainer}{CONTROL}" if control else explainer
            _points(axes, places, f"C{number}", label, filled=not control)
    # The weights file on a line of its own.
    _rows(axes, [row.removeprefix(DROP).replace(" (", "\n(") for row in rows])
    axes.set(title="transfer", xlabel="drop of the class's score\nwithout the salient pixels")
    _legend(axes)


def _points(axes: Any, places: Sequence[tuple[float, Any]], color: str, label: str, filled: bool = True) -> None:
    if not places:
        return
    heights = [height for height, _ in places]
    means = [figure.mean for _, figure in places]
    below = [figure.mean - figure.low for _, figure in places]
    above = [figure.high - figure.mean for _, figure in places]
    axes.errorbar(
        means,
        heights,
        xerr=[below, above],
        fmt="o",
        color=color,
        markerfacecolor=color if filled else "white",
        capsize=3,
        linewidth=1,
        label=label,
    )


def _legend(axes: Any) -> None:
    """Below, where it hides no point."""
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.24))


def _rows(axes: Any, names: Sequence[str]) -> None:
    """A row for each name, the first on top, from 0 to 1 or as far as there are points."""
    # Names come from data: a dollar sign is no formula.
    axes.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
    axes.set_ylim(len(names) - 0.5, -0.5)
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0), max(high, 1.02))
    axes.spines[["top", "right"]].set_visible(False)
