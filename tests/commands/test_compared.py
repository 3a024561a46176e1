"""What two runs have and lack of each other, on drawn masks: against loops over pixels, and in the photographs."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from visual_summaries.pipeline.commands.compare import paired
from visual_summaries.pipeline.commands.compared import ClassOfRun, Run, compared_class
from visual_summaries.pipeline.evaluate.paired import paired_accuracy
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.report.compared import (
    ComparedPair,
    ComparedSummary,
    Disagreement,
    alone,
    disagreements,
    states_counted,
)
from visual_summaries.pipeline.report.comparison import short_names, verdict
from visual_summaries.pipeline.summarize.regions import encode_run_length
from visual_summaries.schemas import EDGES

SIDE, PHOTOGRAPHS = 24, 14
WHOLE = Preprocessing(resize_side=SIDE, crop_side=SIDE)


class Drawn:
    """A store of tables in memory."""

    def __init__(self, **tables: list[dict]) -> None:
        self._tables = tables

    def read_all(self, table: str, columns: list[str], label: str) -> pa.Table:
        rows = [{name: row.get(name) for name in columns} for row in self._tables[table]]
        return pa.Table.from_pylist(rows, schema=None) if rows else pa.table({name: [] for name in columns})


def drawn_run(
    masks: dict[str, np.ndarray],
    boxes: dict[int, dict[str, list[int]]],
    right: dict[str, bool],
    preprocessing: Preprocessing = WHOLE,
    side: int = SIDE,
) -> Run:
    """A run with one salient region a photograph and these summaries; `side` of the photographs in pixels."""
    images = [
        {"image_id": image_id, "uri": f"{image_id}.png", "width": side, "height": side, "class_index": 0,
         "prediction": int(not is_right), "prediction_name": "its own" if is_right else "another",
         "prediction_score": 0.8, "score": 0.1}
        for image_id, is_right in right.items()
    ]  # fmt: skip
    maps = [{"image_id": image_id, "saliency_shape": [1, *mask.shape]} for image_id, mask in masks.items()]
    regions = [
        {"image_id": image_id, "region": 0, "run_length": encode_run_length(mask).tolist()}
        for image_id, mask in masks.items()
    ]
    members = [
        {"cluster": 10 + number, "image_id": image_id, **dict(zip(EDGES, map(float, box), strict=True)), "rank": rank,
         "kept": True, "regions": [0], "hull": []}
        for number, own in boxes.items()
        for rank, (image_id, box) in enumerate(own.items())
    ]  # fmt: skip
    summaries = [
        {"cluster": 10 + number, "summary": number, "kept": True, "members": len(own), "support": 0.1 * (number + 1)}
        for number, own in boxes.items()
    ]
    store = Drawn(images=images, maps=maps, regions=regions, members=members, summaries=summaries)
    return Run(store, SimpleNamespace(summaries=SimpleNamespace(resamples=10)), preprocessing)


def some_run(seed: int, explained: list[str]) -> tuple[Run, dict, dict, dict]:
    generator = np.random.default_rng(seed)

    def rectangle() -> list[int]:
        x, y = generator.integers(0, 14, 2)
        return [int(x), int(y), int(x + generator.integers(5, 10)), int(y + generator.integers(5, 10))]

    masks = {}
    for image_id in explained:
        mask = np.zeros((SIDE, SIDE), bool)
        for _ in range(3):
            x0, y0, x1, y1 = rectangle()
            mask[y0:y1, x0:x1] = True
        masks[image_id] = mask
    boxes = {
        number: {image_id: rectangle() for image_id in explained if generator.random() < 0.7} for number in range(5)
    }
    right = {f"p{number:02d}": bool(generator.random() < 0.6) for number in range(PHOTOGRAPHS)}
    return drawn_run(masks, boxes, right), masks, boxes, right


@pytest.mark.parametrize("seed", range(4))
def test_what_only_one_run_looks_at_is_what_a_loop_over_pixels_finds(seed: int) -> None:
    names = [f"p{number:02d}" for number in range(PHOTOGRAPHS)]
    first, second = some_run(2 * seed, names[:11]), some_run(2 * seed + 1, names[3:])
    found = compared_class([ClassOfRun(run, "c") for run in (first[0], second[0])])
    (pair,) = found.pairs
    assert found.answers == tuple((sum(right.values()), PHOTOGRAPHS) for *_, right in (first, second))
    assert pair.explained == 8
    for found, own, other in ((pair.first, first, second), (pair.second, second, first)):
        assert [one.number for one in found] == list(range(5))
        for one in found:
            photographs = looked = 0
            area, elsewhere, seen = [], [], []
            for image_id, (x0, y0, x1, y1) in own[2][one.number].items():
                if image_id not in other[1]:
                    continue
                pixels = [(y, x) for y in range(y0, y1) for x in range(x0, x1) if own[1][image_id][y, x]]
                covered = [place for place in pixels if other[1][image_id][place]]
                photographs += 1
                seen.append(image_id)
                if pixels and 2 * len(covered) >= len(pixels):
                    looked += 1
                else:
                    elsewhere.append(image_id)
                area.append(other[1][image_id].mean())
            assert (one.photographs, one.looked) == (photographs, looked)
            assert one.shown == [*elsewhere, *seen][0]
            assert one.chance == pytest.approx(np.mean(area))
            if one.counterpart is None:
                assert one.state == ("alone" if looked < photographs / 2 else "looked at")
    apart = {one.image_id: one.right for one in pair.disagreements}
    assert apart == {name: int(second[3][name]) for name in names if first[3][name] != second[3][name]}
    assert {one.called for one in pair.disagreements} == {"another"}
    assert pair.both == sum(first[3][name] and second[3][name] for name in names)
    assert pair.neither == sum(not (first[3][name] or second[3][name]) for name in names)
    accuracy = paired([pair, pair])
    assert (accuracy.first, accuracy.second) == tuple(2 * sum(right.values()) for *_, right in (first, second))
    assert accuracy.neither == 2 * pair.neither and accuracy.images == 2 * PHOTOGRAPHS


def test_networks_that_see_other_parts_of_a_photograph_are_compared_in_the_photograph() -> None:
    # Of 64 pixels the first network sees all, the second the middle 42.7: the same 20 are 10 to the one, 15 to the
    # other, whose boxes would overlap by less than half.
    other = Preprocessing(resize_side=48, crop_side=32)
    first, second = np.zeros((32, 32), bool), np.zeros((32, 32), bool)
    first[10:20, 10:20] = True
    second[7:22, 7:22] = True
    names = ["a", "b", "c"]
    right = dict.fromkeys(names, True)
    runs = [
        drawn_run(dict.fromkeys(names, mask), {0: dict.fromkeys(names, box)}, right, preprocessing, 64)
        for mask, box, preprocessing in (
            (first, [10, 10, 20, 20], Preprocessing(resize_side=32, crop_side=32)),
            (second, [7, 7, 22, 22], other),
        )
    ]
    found = compared_class([ClassOfRun(run, "c") for run in runs])
    assert found.shared == (((0, 0),),) and found.overlaps == ((1.0,),)
    (pair,) = found.pairs
    assert [(one.counterpart, one.looked) for one in (*pair.first, *pair.second)] == [(0, 3), (0, 3)]


def summary(number: int, evidence: float, looked: int, counterpart: int | None = None) -> ComparedSummary:
    return ComparedSummary(number, "in some", evidence, counterpart, 0.2, 10, looked, 0.1)


def test_most_evidence_and_surest_mistakes_come_first() -> None:
    a = ComparedPair([summary(0, 0.2, 1), summary(1, 0.6, 4), summary(2, 0.9, 9)], [summary(0, 0.5, 0, counterpart=2)])
    b = ComparedPair(
        [summary(0, 0.4, 0)],
        [],
        disagreements=[Disagreement(name, "u", "b", name != "q", "x", score, None) for name, score in
                       (("q", 0.5), ("r", 0.6), ("s", None), ("t", 0.9))],
    )  # fmt: skip
    pairs = [("a", a), ("b", b)]
    assert [(label, one.number) for label, one in alone(pairs, 0)] == [("a", 1), ("b", 0), ("a", 0)]
    assert alone(pairs, 1) == []
    assert [one.image_id for one in disagreements(pairs, 1)] == ["t", "r", "s"]
    states = states_counted(a.first)
    assert (states.total, states.counterpart, states.looked_at, states.alone) == (3, 0, 1, 2)
    assert (b.only(0), b.only(1)) == (1, 3) and a.apart == (pytest.approx(0.8), 0)


def test_the_sentence_at_the_top() -> None:
    close = paired_accuracy(2, 1, 1, 0)
    pairs = [ComparedPair([summary(0, 0.5, 1), summary(1, 0.5, 1, counterpart=0)], [summary(0, 0.5, 9, counterpart=1)])]
    text = verdict("A", "B", close, pairs)
    assert text.startswith("On the 4 photographs that both could read, A is right in 3 and B in 3, too close to tell")
    assert text.endswith(
        "of their 2 and 1 summaries 1 pair shows the same part, 1 shows one that only A looks at and 0 parts that only "
        "B looks at."
    )
    better = paired_accuracy(10, 0, 30, 0)
    assert "in 10 and B in 40, which makes B better by 75.0 points (95% interval" in verdict("A", "B", better, [])
    assert verdict("A", "B", better, []).endswith("neither has a summary.")
    same = verdict("A", "B", paired_accuracy(20, 0, 0, 0), [])
    assert "A is right in 20 and B in 20, the same ones (95% interval −16.1 to 16.1 points)" in same
    nothing = verdict("A", "B", paired_accuracy(0, 0, 0, 0), [])
    assert nothing == "A and B have no photograph in common; neither has a summary."


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["torchvision:a grad-cam", "torchvision:b grad-cam"], ["a", "b"]),
        (["torchvision:a grad-cam", "torchvision:a crisp:fast"], ["a grad-cam", "a crisp:fast"]),
        (["timm:a glas", "torchvision:a glas"], ["timm:a", "torchvision:a"]),
        (["demo x", "demo x"], ["demo x", "demo x"]),
        (["demo", "x:y demo"], ["demo", "x:y demo"]),
    ],
)
def test_names_lose_what_all_have_and_stay_apart(names: list[str], short: list[str]) -> None:
    assert short_names(names) == short
