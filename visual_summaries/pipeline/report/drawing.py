"""Vega-Altair charts → small SVG for a page: no script, no font, no size of its own, the page's colors.

Colors are CSS variables from the start (`var(--ink)`): Vega hands them through, so a page in dark mode needs no other
plot. Vega's SVG describes every mark to screen readers; here the picture as a whole says what it shows, marks keep at
most a `<title>`, and what marks have in common stands once in their group.
"""

import html
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

INK, SOFT, RULE, ACCENT = "var(--ink)", "var(--soft)", "var(--rule)", "var(--accent)"
SERIES = tuple(f"var(--series-{number})" for number in range(1, 7))

WIDTH = 400
"""Width of every plot in its own units; text of 13 units stays readable where a phone shows 358 pixels of them."""

LEFT, RIGHT, TOP, BOTTOM = 44, 20, 32, 48
"""Room for axes and labels around the marks."""

FONT_SIZE = 13
LABEL_SIZE = 12

_NAMESPACE = "http://www.w3.org/2000/svg"
# What a group hands down to its marks.
_INHERITED = ("fill", "fill-opacity", "font-size", "stroke", "stroke-opacity", "stroke-width", "text-anchor")
_UNWANTED = ("class", "font-family", "pointer-events", "role", "stroke-miterlimit")
_DEFAULTS = (("opacity", "1"), ("transform", "translate(0,0)"))
_AXIS = {
    "aria": False,
    "domain": False,
    "domainColor": SOFT,
    "grid": False,
    "gridColor": RULE,
    "labelColor": SOFT,
    "labelFlush": False,
    "labelFontSize": LABEL_SIZE,
    "labelPadding": 6,
    "ticks": False,
    "tickColor": SOFT,
    "tickSize": 4,
    "title": None,
    "titleColor": INK,
    "titleFontSize": FONT_SIZE,
    "titleFontWeight": "normal",
    "titlePadding": 8,
}
# The vertical axis is named above its labels, so nobody has to turn the head.
_ABOVE = {"titleAngle": 0, "titleAlign": "left", "titleBaseline": "bottom", "titleX": 0, "titleY": -10}
_THEME = {
    "font": "sans-serif",
    "view": {"stroke": None},
    "mark": {"aria": False},
    "axis": _AXIS,
    "axisX": {"domain": True, "ticks": True},
    "axisY": {"grid": True, **_ABOVE},
    "legend": {"labelColor": INK, "labelFontSize": LABEL_SIZE, "title": None},
}


_SINGULAR = {
    "photographs": "photograph",
    "summaries": "summary",
    "kept summaries": "kept summary",
    "explained photographs": "explained photograph",
    "classes": "class",
    "curves": "curve",
    "runs": "run",
}


@dataclass(frozen=True)
class Plot:
    """A plot for a page.

    Attributes:
        svg: an `<svg>` element that holds no script, no id and no reference; safe inside HTML as it is.
        title: heading, plain text.
        caption: how it was computed, plain text.
        empty: whether there was nothing to show.
    """

    svg: str
    title: str
    caption: str
    empty: bool = False


def draw(
    chart: Any, height: int, said: str, title: str, caption: str, *,
    left: int = LEFT, right: int = RIGHT, top: int = TOP, bottom: int = BOTTOM,
) -> Plot:
    """Render an Altair chart of the width that `inner` gives.

    Args:
        height: of the whole plot, in its units.
        said: what the plot shows, in words and with its main figures, for those who cannot see it.
    """
    import vl_convert

    sizes = {"width": inner(left, right), "height": height - top - bottom, "autosize": "none"}
    padding = {"left": left, "right": right, "top": top, "bottom": bottom}
    specification = chart.to_dict() | sizes | {"padding": padding, "background": None, "config": _THEME}
    drawn = vl_convert.vegalite_to_svg(specification, allowed_base_urls=[])
    return Plot(_cleaned(drawn, f"0 0 {WIDTH} {height}", f"{title}. {said}"), title, caption)


def inner(left: int = LEFT, right: int = RIGHT) -> int:
    """Width between the margins, in units of the plot."""
    return WIDTH - left - right


def nothing(title: str, why: str) -> Plot:
    """What stands in place of a plot that has nothing to show; `why` ends the sentence."""
    text = printable(f"nothing to show: {why}")
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + len(word) > 54:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
    lines.append(line)
    rows = "".join(f'<text y="{20 * place + 15}">{html.escape(row)}</text>' for place, row in enumerate(lines))
    label = html.escape(printable(f"{title}: {text}"))
    box = f"0 0 {WIDTH} {20 * len(lines) + 5}"
    svg = f'<svg xmlns="{_NAMESPACE}" viewBox="{box}" role="img" aria-label="{label}">'
    return Plot(f'{svg}<g fill="{SOFT}" font-size="{FONT_SIZE}">{rows}</g></svg>', title, "", empty=True)


def printable(text: str) -> str:
    """Text from data without what XML cannot hold (control characters, lone surrogates)."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\N{REPLACEMENT CHARACTER}", text)


def shortened(text: str, length: int) -> str:
    """Text with its end left out."""
    text = printable(text)
    return text if len(text) <= length else f"{text[: length - 1].rstrip()}…"


def _cleaned(svg: str, box: str, label: str) -> str:
    """Vega's SVG without what a page does not need; fails where something is left that it must not hold."""
    root = ElementTree.fromstring(svg)
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{_NAMESPACE}}}")
    _clean_children(root)
    root.attrib.clear()
    root.attrib.update({"xmlns": _NAMESPACE, "viewBox": box, "role": "img", "aria-label": printable(label)})
    for element in root.iter():
        if element.tag not in ("svg", "g", "path", "line", "rect", "text", "title") or "id" in element.attrib:
            raise ValueError(f"a plot must not hold <{element.tag}> with {sorted(element.attrib)}")
    return ElementTree.tostring(root, encoding="unicode")


def _clean_children(parent: ElementTree.Element) -> None:
    for child in list(parent):
        _clean_children(child)
        told = child.attrib.get("aria-label") if child.attrib.get("role") == "graphics-symbol" else None
        kind = re.match(r"(mark-\w+) role-mark", child.attrib.get("class", ""))
        empty_path = child.tag == "path" and child.attrib.get("d", "") in ("", "M0,0h0v0h0Z")
        background = "background" in child.attrib.get("class", "") and "fill" not in child.attrib
        if "display" in child.attrib or empty_path or background or (child.tag in ("g", "defs") and not len(child)):
            parent.remove(child)
            continue
        child.attrib = {
            name: _rounded(value)
            for name, value in child.attrib.items()
            if not name.startswith("aria-") and name not in _UNWANTED and (name, value) not in _DEFAULTS
        }
        if child.attrib.get("stroke-width") and "stroke" not in child.attrib and child.tag != "g":
            del child.attrib["stroke-width"]
        if told and child.tag != "g":
            ElementTree.SubElement(child, "title").text = told
        if child.tag == "g":
            _lift_what_is_shared(child)
            if kind:
                child.attrib = {"class": kind[1], **child.attrib}
            if not child.attrib:
                place = list(parent).index(child)
                parent[place : place + 1] = list(child)


def _rounded(value: str) -> str:
    return re.sub(r"\d+\.\d{2,}", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), value)


def _lift_what_is_shared(group: ElementTree.Element) -> None:
    for name in _INHERITED:
        values = {child.attrib.get(name) for child in group}
        if len(group) > 1 and len(values) == 1 and None not in values:
            group.attrib[name] = values.pop()
            for child in group:
                del child.attrib[name]


@dataclass(frozen=True)
class Label:
    """A name with its left end and the middle of its height, in units of the plot, from the marks' top left corner."""

    text: str
    x: float
    y: float


def placed_labels(
    points: Sequence[tuple[float, float]], names: Sequence[str], width: float, height: float
) -> list[Label]:
    """Names beside their points, none over another one or over a point; a name without room is left out.

    Args:
        points: from the left and from the top, in units of the plot.
        names: one for each point, in the order in which they choose their places; an empty one takes none.
        width, height: where the names have to stay, but for a little.
    """
    size = LABEL_SIZE
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    labels = []
    for (x, y), name in zip(points, names, strict=True):
        # Letters as wide as in most fonts; Chinese and the like are square.
        long = sum(size if ord(letter) > 0x2E80 else 0.56 * size for letter in name)
        places = [(x + 8, y), (x - 8 - long, y), (x - long / 2, y - 13), (x - long / 2, y + 13)]
        places += [(x + 5, y - 11), (x + 5, y + 11), (x - 5 - long, y - 11), (x - 5 - long, y + 11)]
        for left, middle in places if name else []:
            box = (left - 2, middle - 0.6 * size, left + long + 2, middle + 0.6 * size)
            inside = box[0] >= -4 and box[2] <= width + 14 and box[1] >= -8 and box[3] <= height - 1
            if inside and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                labels.append(Label(name, left, middle))
                break
    return labels


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def percent(value: float) -> str:
    """In percent with a digit behind the point; near the whole with more, since only 1 is 100%."""
    digits = 1
    while digits < 6 and value < 1 and round(100 * value, digits) == 100:
        digits += 1
    return f"{100 * value:.{digits}f}%".replace("-", "−")


def unscaled(channel: str, field: str) -> Any:
    """A field that already is in units of the plot, from the left (`X`) or from the top (`Y`) of its marks."""
    import altair

    return getattr(altair, channel)(f"{field}:Q", scale=None, axis=None)


def rows(values: Sequence[Mapping[str, Any]]) -> Any:
    """Inline data of a chart; text without what XML cannot hold."""
    import altair

    return altair.Data(
        values=[
            {name: printable(value) if isinstance(value, str) else value for name, value in row.items()}
            for row in values
        ]
    )


def counted(count: int, of: str) -> str:
    """A number and what it counts, `of` in the plural: 1 class, 1,000 classes."""
    return f"{count:,} {_SINGULAR[of] if count == 1 else of}"


def left_out(count: int, of: str) -> str:
    """A sentence, after a space, about those without a value; nothing where there are none."""
    return f" {counted(count, of)} without a value {'is' if count == 1 else 'are'} left out." if count else ""
