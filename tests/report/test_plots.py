"""The report's plots, read back as XML: marks stand where the data says, text stays text, files stay small."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from visual_summaries.pipeline.report import drawing, plots
from visual_summaries.pipeline.report.accuracy_plots import NAMED, POINTS
from visual_summaries.pipeline.report.comparison import ComparedRun
from visual_summaries.pipeline.report.content import ClassCard
from visual_summaries.pipeline.report.histogram import BINS, Histogram
from visual_summaries.pipeline.report.plots import Plot

EVIL = "<script>alert(1)</script>\"&'"
STYLE = Path(plots.__file__).parent / "templates"


def card(name: str, summaries: int, accuracy: float | None) -> ClassCard:
    return ClassCard(name, name, 0, "", None, 0, 0, None, summaries, 0, 1, 1, accuracy, None, 0)


def curve(explainer: str, variant: str = "deletion", start: float = 0.9) -> SimpleNamespace:
    mean = np.linspace(start, 0.1, 29)
    return SimpleNamespace(explainer=explainer, variant=variant, n=40, mean=mean, low=mean - 0.1, high=mean + 0.1)


def run(name: str, accuracy: float, mean: float) -> ComparedRun:
    ends = (accuracy - 0.04, accuracy + 0.03)
    return ComparedRun(name, 400, accuracy, *ends, (3, 4, 5), mean, mean - 0.5, mean + 0.7)


class Drawn:
    """Marks of a plot by kind, in units of the plot; complains of what no page may hold."""

    def __init__(self, plot: Plot) -> None:
        assert plot.svg.startswith("<svg") and len(plot.svg.encode()) < 150_000
        self.root = ElementTree.fromstring(plot.svg)
        assert self.root.get("role") == "img" and self.root.get("aria-label").startswith(plot.title)
        assert self.root.get("viewBox").startswith(f"0 0 {drawing.WIDTH} ")
        assert not {"width", "height", "style"} & set(self.root.attrib)
        self.marks: dict[str, list[tuple[float, float, ElementTree.Element]]] = {}
        self._walk(self.root, 0.0, 0.0, "")
        tags = {element.tag.split("}")[1] for element in self.root.iter()}
        assert tags <= {"svg", "g", "path", "line", "rect", "text", "title"}
        # The only address is the namespace; the only colors are the page's.
        assert re.findall(r"https?://[^\"]*", self._without_text()) == ["http://www.w3.org/2000/svg"]
        style = "".join(path.read_text() for path in STYLE.glob("*.css"))
        for element in self.root.iter():
            assert not {"id", "href", "style", "font-family"} & set(element.attrib)
            assert not any(name.startswith("on") for name in element.attrib)
            for name in ("fill", "stroke"):
                color = element.get(name, "none")
                assert color == "none" or f"{color[4:-1]}:" in style and re.fullmatch(r"var\(--[a-z]+(-\d)?\)", color)

    def _without_text(self) -> str:
        return re.sub(r"aria-label=\"[^\"]*\"|>[^<]+<", "", ElementTree.tostring(self.root, encoding="unicode"))

    def _walk(self, element: ElementTree.Element, x: float, y: float, kind: str) -> None:
        moved = re.match(r"translate\(([-\d.]+),([-\d.]+)\)", element.get("transform", ""))
        x, y = (x + float(moved[1]), y + float(moved[2])) if moved else (x, y)
        kind = element.get("class", kind)
        if kind and "class" not in element.attrib and not element.tag.endswith("title"):
            self.marks.setdefault(kind, []).append((x, y, element))
        for child in element:
            self._walk(child, x, y, kind)

    @property
    def texts(self) -> list[str]:
        return [element.text or "" for element in self.root.iter("{http://www.w3.org/2000/svg}text")]

    @property
    def titles(self) -> list[str]:
        return [element.text for element in self.root.iter("{http://www.w3.org/2000/svg}title")]

    def bars(self) -> list[tuple[float, float]]:
        """Width and height of each bar; Vega writes M x,y h w v h h -w Z."""
        shapes = (element.get("d") for _, _, element in self.marks["mark-rect"])
        found = [re.fullmatch(r"M[-\d.]+,[-\d.]+h([\d.]+)v([\d.]+)h-[\d.]+Z", shape) for shape in shapes]
        return [(float(one[1]), float(one[2])) for one in found]


def points(drawn: Drawn) -> dict[str, tuple[float, float]]:
    """Where the points with a title stand."""
    return {element[0].text: (x, y) for x, y, element in drawn.marks["mark-symbol"] if len(element)}


@pytest.mark.parametrize("seed", range(3))
def test_histogram_is_numpys_however_it_is_merged(seed: int) -> None:
    values = np.random.default_rng(seed).beta(2, 5, 5000)
    values[:3] = 0, 1, 0.25
    expected, _ = np.histogram(values, BINS, (0, 1))
    merged = Histogram()
    for part in np.array_split(values, 7):
        merged = merged.merge(Histogram().add(part[::2]).add(part[1::2]))
    assert list(merged.counts) == expected.tolist() == list(Histogram().add(values).counts)
    assert merged.n == 5000 and merged.mean == pytest.approx(values.mean(), rel=1e-12)
    assert (merged.below, merged.above, merged.missing) == (0, 0, 0)


def test_histogram_counts_what_lies_outside_and_what_is_missing() -> None:
    found = Histogram().add([-0.5, -0.1, 0.2, 1.5, None, np.nan, np.inf])
    assert (found.counts[0], found.counts[8], found.counts[-1], found.n) == (2, 1, 1, 4)
    assert (found.below, found.above, found.missing) == (2, 1, 3)
    assert found.mean == pytest.approx(1.1 / 4)
    caption = plots.distribution(found, "drop").caption
    assert "2 below 0 are counted in the first bar" in caption and "1 above 1 is counted in the last bar" in caption
    assert "3 photographs without a value are left out" in caption
    assert np.isnan(Histogram().mean)


def test_bars_are_as_high_as_the_counts() -> None:
    histogram = Histogram().add(np.repeat([0.01, 0.33, 0.5, 0.99], [50, 100, 200, 25]))
    drawn = Drawn(plots.distribution(histogram, "area"))
    heights = [height for _, height in drawn.bars()]
    assert np.array(heights) / max(heights) == pytest.approx([0.25, 0.5, 1, 0.125], abs=1e-3)
    assert drawn.titles == [
        "0% to 2.5%: 50 photographs", "32.5% to 35%: 100 photographs", "50% to 52.5%: 200 photographs",
        "97.5% to 100%: 25 photographs",
    ]
    label = drawn.root.get("aria-label")
    assert "375 photographs" in label and "mean 42.2%" in label and "50% to 52.5%, holds 200" in label
    assert "mean 42.2%" in drawn.texts


@pytest.mark.parametrize(("value", "place"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0), (-3.0, 0.0)])
def test_mean_is_marked_where_it_is(value: float, place: float) -> None:
    drawn = Drawn(plots.distribution(Histogram().add([value] * 9), "binarization_error"))
    (at, _, _), = drawn.marks["mark-rule"]
    assert at - drawing.LEFT == pytest.approx(place * drawing.inner(), abs=1)
    assert f"mean {value:.3f}" in drawn.texts


def test_few_values_are_counted_in_wider_bars() -> None:
    for n, width in ((9, 4), (80, 2), (300, 1)):
        plot = plots.support(Histogram().add([0.5] * n))
        (bar, _), = Drawn(plot).bars()
        assert bar == pytest.approx(width * drawing.inner() / BINS, abs=1.5)
        assert f"a range of {2.5 * width:g}%" in plot.caption and f"{n} summaries" in plot.caption


def test_support_of_a_class_is_sorted_and_in_proportion() -> None:
    drawn = Drawn(plots.support_of_class([(1, 10), (2, 40), (3, 20)], 80))
    assert [text for text in drawn.texts if text.startswith("Summary")] == ["Summary 2", "Summary 3", "Summary 1"]
    widths = [width for width, _ in drawn.bars()]
    full = drawing.WIDTH - 92 - 48
    assert np.array(widths) / full == pytest.approx([0.5, 0.25, 0.125], abs=5e-3)
    label = drawn.root.get("aria-label")
    assert "summary 2 is found in 40 of 80 photographs, and so on down to summary 1 in 10" in label


def test_very_many_summaries_of_a_class_are_cut_and_counted() -> None:
    plot = plots.support_of_class([(number, 100 - number) for number in range(1, 71)], 100)
    assert len(Drawn(plot).bars()) == 60 and "the largest 60 of 70 kept summaries" in plot.caption


def test_points_of_classes_stand_where_the_figures_are() -> None:
    drawn = Drawn(plots.summaries_against_accuracy([card("a", 0, 0.5), card("b", 4, 0.75), card("c", 2, 1.0)]))
    found = points(drawn)
    (ax, ay), (bx, by), (cx, cy) = (found[name] for name in sorted(found))
    assert [ax, bx, cx] == pytest.approx(drawing.LEFT + np.array([0, 0.5, 1]) * drawing.inner(), abs=0.6)
    assert (ay - cy) == pytest.approx((ay - by) / 2, abs=0.1) and ay > cy > by
    assert sorted(found)[1] == "b: 4 summaries, accuracy 75.0%"
    assert {"a", "b", "c"} <= set(drawn.texts)
    assert "Rank correlation" not in drawn.root.get("aria-label")
    assert "rank correlation of the two: 0.50" in drawn.root.get("aria-label")


def test_classes_of_the_same_place_do_not_hide_each_other_and_always_move_alike() -> None:
    cards = [card(f"class {number}", 3, 0.8) for number in range(12)] + [card("alone", 2, 0.8)]
    plot = plots.summaries_against_accuracy(cards)
    heights = sorted(y for _, y in points(Drawn(plot)).values())
    assert len(heights) == 13 and np.diff(heights).min() > 1
    assert "above and below each other" in plot.caption
    assert plot == plots.summaries_against_accuracy(cards[::-1])
    assert "above and below" not in plots.summaries_against_accuracy(cards[-1:]).caption


def test_a_thousand_classes_are_counted_in_cells() -> None:
    generator = np.random.default_rng(0)
    cards = [
        card(EVIL * 40, int(count), float(accuracy))
        for count, accuracy in zip(generator.poisson(5, 1000), generator.uniform(0.4, 1, 1000), strict=True)
    ]
    plot = plots.summaries_against_accuracy(cards)
    drawn = Drawn(plot)
    assert len(plot.svg) < 60_000 and "alert" not in plot.svg
    assert sum(int(re.match(r"\d+", title)[0]) for title in drawn.titles) == 1000
    largest = max(drawn.titles, key=lambda title: int(title.split()[0]))
    radii = {e[0].text: float(re.match(r"M([\d.]+),0A", e.get("d"))[1]) for _, _, e in drawn.marks["mark-symbol"]}
    for title in drawn.titles:
        share = int(title.split()[0]) / int(largest.split()[0])
        assert radii[title] == pytest.approx(max(1, radii[largest] * share**0.5), rel=0.02)
    assert f"the largest stands for {largest.split()[0]}" in plot.caption
    huge = [card("c", int(count), 0.5) for count in generator.integers(0, 900, 500)]
    assert Drawn(plots.summaries_against_accuracy(huge)).titles


def test_as_many_classes_as_have_a_point_each_stay_small() -> None:
    cards = [card(f"{number} {EVIL}" + "x" * 300, number % 9, number / POINTS) for number in range(POINTS)]
    drawn = Drawn(plots.summaries_against_accuracy(cards))
    assert len(drawn.titles) == POINTS
    assert drawn.titles[0].startswith(f"0 {EVIL}xxx") and "…: 0 summaries" in drawn.titles[0]


def test_names_never_stand_on_each_other() -> None:
    generator = np.random.default_rng(1)
    places = [tuple(place) for place in generator.uniform((0, 0), (330, 190), (NAMED, 2)).tolist()]
    labels = drawing.placed_labels(places, ["Labrador retriever"] * NAMED, 338, 200)
    assert 3 <= len(labels) < NAMED
    width = 0.56 * drawing.LABEL_SIZE * len("Labrador retriever")
    for one in labels:
        assert -8 <= one.x and one.x + width <= 338 + 14
        for other in labels:
            apart = abs(one.x - other.x) > width or abs(one.y - other.y) > drawing.LABEL_SIZE
            assert one is other or apart


def test_curves_run_through_the_means() -> None:
    found = plots.curves([curve("crisp:fast"), curve("rise", start=0.5), curve("rise", "insertion")])
    assert [plot.title for plot in found] == ["Deletion", "Insertion"]
    drawn = Drawn(found[0])
    lines = [element for _, _, element in drawn.marks["mark-line"]]
    height = float(re.findall(r",([\d.]+)", lines[0].get("d"))[-1]) / 0.9
    for line, start in zip(lines, (0.9, 0.5), strict=True):
        pairs = np.array(re.findall(r"([\d.]+),([\d.]+)", line.get("d")), float)
        assert pairs[:, 0] == pytest.approx(np.linspace(0, drawing.inner(), 29), abs=0.01)
        assert 1 - pairs[:, 1] / height == pytest.approx(np.linspace(start, 0.1, 29), abs=1e-3)
    assert len(drawn.marks["mark-area"]) == 2 and {"crisp:fast", "rise"} <= set(drawn.texts)
    assert "crisp:fast 0.500 (40), rise 0.300 (40)" in drawn.root.get("aria-label")
    assert "quartile to quartile" in found[0].caption
    dashes = {line.get("stroke-dasharray") for line in lines}
    assert len(dashes) == 2


def test_many_explainers_are_told_apart_without_color() -> None:
    plot, = plots.curves([curve(f"explainer {number}", start=0.3 + number / 30) for number in range(16)])
    drawn = Drawn(plot)
    looks = [(e.get("stroke"), e.get("stroke-dasharray")) for _, _, e in drawn.marks["mark-line"]]
    assert len(set(looks)) == 16 and len({dash for _, dash in looks[:6]}) == 6
    assert "mark-area" not in drawn.marks and "left out" in plot.caption
    assert {f"explainer {number}" for number in range(16)} <= set(drawn.texts)


def test_compared_runs_stand_where_they_are_with_both_intervals() -> None:
    runs = [run("first", 0.6, 3.0), run("second", 0.7, 5.0), run("nameless", float("nan"), 1.0)]
    plot = plots.compared_counts(runs)
    drawn = Drawn(plot)
    found = points(drawn)
    (ax, ay), (bx, by) = (found[name] for name in sorted(found))
    unit_x, unit_y = (bx - ax) / 0.1, (ay - by) / 2
    rules = drawn.marks["mark-rule"]
    wide = [(float(e.get("x2", 0)), x) for x, y, e in rules if abs(y - ay) < 0.6 and e.get("x2", "0") != "0"]
    assert [abs(length) for length, _ in wide] == pytest.approx([0.07 * unit_x], abs=1)
    high = [float(e.get("y2", 0)) for x, y, e in rules if abs(x - ax) < 0.6 and e.get("y2", "0") != "0"]
    assert np.abs(high) == pytest.approx([1.2 * unit_y], abs=1)
    assert {"first", "second"} <= set(drawn.texts)
    assert "1 run without a value is left out" in plot.caption
    assert "second: 5.00 kept summaries a class (4.50 to 5.70), accuracy 70.0% (66.0% to 73.0%)" in sorted(found)[1]
    # Of one class there is no interval, and it has no length.
    lone = ComparedRun("one", 3, 1.0, 0.4, 1.0, (2,), 2.0, float("nan"), float("nan"))
    assert len(points(Drawn(plots.compared_counts([lone])))) == 1


HOSTILE: list[Callable[[str], Plot]] = [
    lambda text: plots.summaries_against_accuracy([card(text, 3, 0.5), card("b", 1, 0.9)]),
    lambda text: plots.curves([curve(text), curve("rise")])[0],
    lambda text: plots.compared_counts([run(text, 0.6, 3.0), run("b", 0.7, 3.0)]),
]


@pytest.mark.parametrize("plot", HOSTILE)
@pytest.mark.parametrize("text", [EVIL, "a\x00b\udcffc", "知更鳥", "</svg><b>", "", "&amp;", "a\nb"])
def test_text_is_never_markup(plot: Callable[[str], Plot], text: str) -> None:
    shown = plot(text)
    drawn = Drawn(shown)
    assert "<script" not in shown.svg and "<b>" not in shown.svg
    told = " ".join([*drawn.texts, *drawn.titles, drawn.root.get("aria-label")]).replace("\n", " ")
    assert drawing.printable(text)[:15].replace("\n", " ") in told


NOTHING: list[Callable[[], Plot]] = [
    lambda: plots.distribution(Histogram(), "drop"),
    lambda: plots.distribution(Histogram().add([None, float("nan")]), "binarization_error"),
    lambda: plots.support(Histogram()),
    lambda: plots.support_of_class([], 30),
    lambda: plots.support_of_class([(1, 0)], 0),
    lambda: plots.summaries_against_accuracy([]),
    lambda: plots.summaries_against_accuracy([card("a", 3, None), card("b", 3, float("nan"))]),
    lambda: plots.curves([])[0],
    lambda: plots.curves([SimpleNamespace(**vars(curve("a")) | {"mean": np.full(29, np.nan)})])[0],
    lambda: plots.curves([SimpleNamespace(**vars(curve("a")) | {"variant": EVIL, "mean": []})])[0],
    lambda: plots.compared_counts([]),
    lambda: plots.compared_counts([run("a", float("nan"), 3.0)]),
]


@pytest.mark.parametrize("plot", NOTHING)
def test_nothing_to_show_is_said(plot: Callable[[], Plot]) -> None:
    drawn = Drawn(plot())
    assert " ".join(drawn.texts).startswith("nothing to show: ") and not drawn.marks


def test_a_million_values_are_as_small_as_ten() -> None:
    values = np.random.default_rng(0).normal(0.8, 0.3, 1_000_000)
    plot = plots.distribution(Histogram().add(values), "drop")
    drawn = Drawn(plot)
    assert len(plot.svg) < 10_000 and "1,000,000 photographs" in plot.caption
    assert {"0", "100k", "200k"} <= set(drawn.texts)


def test_percentages_reach_the_whole_only_when_it_is_reached() -> None:
    assert [drawing.percent(value) for value in (1, 0.99996, 0.9951, 0.5, -0.031)] == [
        "100.0%", "99.996%", "99.5%", "50.0%", "−3.1%",
    ]


def test_what_a_page_must_not_hold_is_refused() -> None:
    picture = '<svg xmlns="http://www.w3.org/2000/svg"><image href="https://example.org/a.png"/></svg>'
    with pytest.raises(ValueError, match="must not hold <image>"):
        drawing._cleaned(picture, "0 0 1 1", "a picture")


def test_plots_need_neither_pandas_nor_pyarrow_and_altair_only_when_drawn() -> None:
    program = (
        "import sys\n"
        "class Refusing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('ray', 'pyarrow', 'pandas', 'torch', 'matplotlib'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Refusing())\n"
        "from visual_summaries.pipeline.report.plots import Histogram, distribution\n"
        "assert not {'altair', 'vl_convert'} & set(sys.modules)\n"
        "assert distribution(Histogram().add([0.5]), 'drop').svg.startswith('<svg')"
    )
    root = Path(plots.__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
