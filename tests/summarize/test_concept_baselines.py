"""The programs of `benchmarks/concept_methods.py` and the figures of `benchmarks/concept_baselines.py`."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from visual_summaries.pipeline.models.classifier import Classifier, ClassifierError
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.summarize.candidates import Candidate

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import concept_baselines as baselines  # noqa: E402
import concept_methods as methods  # noqa: E402

SIDE = 32


class Colors(nn.Module):
    """Maps of what is red, green and blue beyond a half, of 4-pixel cells; two layers behind their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.AvgPool2d(4)
        self.features = nn.ReLU()
        self.output = nn.Linear(3, 2)
        with torch.no_grad():
            self.output.weight.copy_(torch.tensor([[3.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
            self.output.bias.zero_()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.output(self.features(self.cells(images) - 0.5).mean(dim=(2, 3)))


@pytest.fixture
def classifier() -> Classifier:
    preprocessing = Preprocessing(resize_side=SIDE, crop_side=SIDE, mean=(0, 0, 0), std=(1, 1, 1))
    return Classifier(Colors(), preprocessing, ["warm", "cold"])


def painted(boxes: list[dict[int, tuple[int, int, int, int]]]) -> torch.Tensor:
    """Images `[N,3,S,S]` with a box of full color in some channels."""
    images = torch.zeros(len(boxes), 3, SIDE, SIDE, dtype=torch.uint8)
    for image, own in zip(images, boxes, strict=True):
        for channel, (x0, y0, x1, y1) in own.items():
            image[channel, y0:y1, x0:x1] = 255
    return images


# Red in three corners in turn, green opposite to it and not in the last.
CORNERS = [(0, 0, 16, 16), (16, 0, 32, 16), (0, 16, 16, 32), (16, 16, 32, 32)]
RED = [CORNERS[number] for number in (0, 1, 2, 0, 1, 2)]
GREEN = [CORNERS[number] for number in (3, 2, 1, 3, 2)]
PICTURES = painted([{0: red} | ({1: GREEN[number]} if number < 5 else {}) for number, red in enumerate(RED)])


def test_factors_that_do_not_overlap_are_recovered() -> None:
    random = np.random.default_rng(0)
    directions = np.kron(np.eye(3), np.ones(4)) * random.uniform(0.5, 1, 12)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    coefficients = random.exponential(size=(80, 3)) * (random.random((80, 3)) < 0.6)
    found, axes = methods.factorize(coefficients @ directions, 3, 0)
    order = (axes @ directions.T).argmax(axis=0)
    np.testing.assert_allclose(axes[order], directions, atol=0.02)
    np.testing.assert_allclose(found[:, order], coefficients, atol=0.1)


def test_crops_reach_from_border_to_border() -> None:
    assert methods.patch_boxes(10, 4, 3).tolist() == [
        [x, y, x + 4, y + 4] for y in (0, 3, 6) for x in (0, 3, 6)
    ]
    assert methods.patch_boxes(10, 10, 8).tolist() == [[0, 0, 10, 10]]


def test_total_indices_of_a_product_equal_their_closed_form() -> None:
    # Sobol's g function: variances V_i = 1/3 / (1 + a_i)², total index V_i ∏_{j≠i}(1 + V_j) / (∏(1 + V_j) − 1).
    a = np.array([0.0, 1.0, 4.5, 9.0])
    own = 1 / 3 / (1 + a) ** 2
    every = np.prod(1 + own)
    expected = own * every / (1 + own) / (every - 1)

    def function(points: np.ndarray) -> np.ndarray:
        values = np.prod((np.abs(4 * points - 2) + a) / (1 + a), axis=1)
        return np.stack([values, np.zeros(len(points))], axis=1)

    found = methods.total_sobol(function, 4, 4096, seed=0)
    np.testing.assert_allclose(found[:, 0], expected, atol=0.02)
    assert (found[:, 1] == 0).all()


def test_importance_for_a_linear_head_is_the_share_of_the_variance(classifier: Classifier) -> None:
    head = methods.Head(classifier, torch.rand(1, 3, SIDE, SIDE))
    images = torch.rand(5, 3, SIDE, SIDE)
    np.testing.assert_allclose(head.logits(head.latents(images)), classifier.logits(images).numpy(), rtol=1e-5)
    coefficients = np.array([[1.0, 1.0, 1.0], [0.0, 2.0, 1.0]])
    # Logit 0 is 3·red + green: shares 9/10 and 1/10, then 0 and 1.
    found = head.importance(coefficients, np.eye(3), 0, seed=0, designs=1024)
    np.testing.assert_allclose(found, [0.45, 0.55, 0], atol=0.02)
    with pytest.raises(ClassifierError, match="no fully connected layer"):
        bare = nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        methods.Head(Classifier(bare, classifier.preprocessing, ["a", "b"]), torch.rand(1, 3, SIDE, SIDE))
    classifier.module.features = nn.Identity()
    with pytest.raises(ClassifierError, match="non-negative"):
        methods.Head(classifier, torch.zeros(1, 3, SIDE, SIDE))


def test_the_best_crop_of_each_image_shows_a_concept() -> None:
    coefficients = np.array([[4.0, 1], [5, 0], [0, 2], [1, 6], [1, 0.5], [0, 0]])
    images = np.array([0, 0, 1, 1, 2, 2])
    boxes = np.arange(24).reshape(6, 4) + [0, 0, 9, 9]
    first, second = methods.crop_concepts(coefficients, images, boxes, SIDE, 0.25, "crops")
    assert first.images.tolist() == [0] and first.boxes.tolist() == [boxes[1].tolist()]
    assert second.images.tolist() == [1] and second.boxes.tolist() == [boxes[3].tolist()]
    weak, _ = methods.crop_concepts(coefficients, images, boxes, SIDE, 0.2, "crops")
    assert weak.images.tolist() == [0, 2]
    # What shows nothing shows no concept.
    assert not len(methods.crop_concepts(np.zeros((2, 1)), images[:2], boxes[:2], SIDE, 0.0, "crops")[0])


def test_craft_finds_the_two_colors_the_more_important_first(classifier: Classifier) -> None:
    rerun = methods.craft(classifier, PICTURES, 0, patch=0.5, step=1.0, k=2)
    red, green = rerun(np.arange(6), 0)
    assert red.images.tolist() == [0, 1, 2, 3, 4, 5] and red.boxes.tolist() == [list(box) for box in RED]
    assert green.images.tolist() == [0, 1, 2, 3, 4] and green.boxes.tolist() == [list(box) for box in GREEN]
    # Of some images only: the numbers count these.
    part = rerun(np.array([2, 5]), 0)[0]
    assert part.images.tolist() == [0, 1] and part.boxes.tolist() == [list(RED[2]), list(RED[5])]
    assert len(methods.craft(classifier, PICTURES, 0, patch=0.5, step=1.0, k=2, most=1)(np.arange(6), 0)) == 1


def test_factors_of_maps_find_the_colors_where_they_are(classifier: Classifier) -> None:
    layers = methods.non_negative_layers(classifier, torch.rand(1, 3, SIDE, SIDE))
    assert [(layer.name, layer.shape) for layer in layers] == [("features", (3, 8, 8))]
    red, green = methods.factorized_maps(classifier, PICTURES, 0, k=2, cut=0.5)(np.arange(6), 0)
    # Enlarged, a map falls to a half on the border of its cells; a pixel there may count or not.
    np.testing.assert_allclose(red.boxes, RED, atol=1)
    np.testing.assert_allclose(green.boxes, GREEN, atol=1)
    assert green.images.tolist() == [0, 1, 2, 3, 4]
    faint = PICTURES.clone()
    faint[0, 1] = (faint[0, 1] > 0) * 140
    green = methods.factorized_maps(classifier, faint, 0, k=2)(np.arange(6), 0)[1]
    assert green.images.tolist() == [1, 2, 3, 4]


def test_layers_without_negative_values_are_found_by_their_size() -> None:
    flipped = nn.Conv2d(3, 3, 1, bias=False)
    nn.init.constant_(flipped.weight, -1)
    parts = (nn.AvgPool2d(2), nn.ReLU(), flipped, nn.AvgPool2d(2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    preprocessing = Preprocessing(resize_side=SIDE, crop_side=SIDE, mean=(0, 0, 0), std=(1, 1, 1))
    network = Classifier(nn.Sequential(*parts), preprocessing, ["a", "b", "c"])
    found = methods.non_negative_layers(network, torch.rand(1, 3, SIDE, SIDE) + 0.1)
    assert [(layer.name, layer.shape[-1]) for layer in found] == [("4", 8), ("1", 16)]


def test_the_box_of_a_map_is_that_of_its_largest_piece() -> None:
    maps = np.zeros((3, 8, 8))
    maps[0, 1:3, 4:7], maps[0, 6, 0] = 0.8, 1.0
    maps[1, 5, 5], maps[1, 1, 1:4] = 1.0, 0.4
    boxes = methods.map_boxes(maps, 8, 0.5)
    assert boxes[:2].tolist() == [[4, 1, 7, 3], [5, 5, 6, 6]] and np.isnan(boxes[2]).all()
    assert methods.map_boxes(maps, 8, 0.3)[1].tolist() == [1, 1, 4, 2]


def test_grad_cam_gives_one_box_an_image(classifier: Classifier) -> None:
    pictures = torch.cat([PICTURES, painted([{2: (0, 0, 8, 8)}])])
    (found,) = methods.grad_cam_box(classifier, pictures, 0, cut=0.5)(np.arange(7), 0)
    # Red weighs three times as much as green; what is blue says nothing.
    assert found.images.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(found.boxes, RED, atol=1)
    (part,) = methods.grad_cam_box(classifier, pictures, 0, cut=0.5)(np.array([2, 4, 6]), 0)
    assert part.images.tolist() == [0, 1]
    np.testing.assert_allclose(part.boxes, [RED[2], RED[4]], atol=1)


def test_scores_of_parts_and_their_intervals() -> None:
    counts = np.array([[4, 2, 2], [1, 2, 1], [0, 1, 0]])
    np.testing.assert_allclose(baselines.part_scores(counts), [3 / 5, 3 / 5, 3 / 5])
    found = baselines.part_intervals(counts)
    assert found.shape == (3, 3) and (found[:, 1] <= found[:, 0]).all() and (found[:, 0] <= found[:, 2]).all()
    # Every class alike: no draw differs.
    alike = baselines.part_intervals(np.array([[4, 2, 1]] * 5))
    np.testing.assert_allclose(alike[:, 1:], [[0.25] * 2, [0.5] * 2, [1 / 3] * 2])


def test_figures_of_a_method(classifier: Classifier, monkeypatch: pytest.MonkeyPatch) -> None:
    masks = np.zeros((6, SIDE, SIDE), bool)
    masks[:, 4:28, 4:28] = True
    marks = [{"red": (x0 + 8.0, y0 + 8.0), "left blue": (16.0, 16.0)} for x0, y0, _, _ in RED]
    own = baselines.ClassImages("warm", 0, [Path(f"{number}.png") for number in range(6)], marks, PICTURES, masks)
    boxes = np.array(RED, dtype=np.float32)
    segments = np.ones((6, 4, 4), bool)

    asked = []

    def method(*_: object) -> baselines.Rerun:
        def rerun(numbers: np.ndarray, seed: int) -> list[Candidate]:
            asked.append(len(numbers))
            # The second summary is another one with every seed but the first.
            second = np.array([0, 0, 8, 8], np.float32) + 8 * (seed > 0)
            rows = np.arange(len(numbers))
            return [
                Candidate("a", rows, boxes[numbers], segments[numbers]),
                Candidate("b", rows[:3], np.tile(second, (3, 1)), segments[:3]),
            ]

        return rerun

    figures = baselines.measure(method, classifier, own, None, 2)
    assert (figures["summaries"], figures["landmarks"]) == (2, 2)
    assert figures["area"] == pytest.approx((1 / 4 + 1 / 16) / 2) and figures["support"] == pytest.approx(0.75)
    assert figures["other seed"] == figures["80 %"] == pytest.approx(0.5) and asked == [6, 6, 5, 5]
    told = {6: (0.8, 0.3, "crown"), 3: (float("nan"), float("nan"), "")}
    monkeypatch.setattr(baselines, "purity_gain", lambda _own, one: told[len(one)])
    figures = baselines.measure(method, classifier, own, None, 1)
    assert (figures["purity"], figures["gain"], figures["landmarks"]) == (0.8, pytest.approx(0.5), 1)
    truth = {f"warm/{number}.png": {("warm", "red"): (list(box), True)} for number, box in enumerate(RED)}
    figures = baselines.measure(method, classifier, own, truth, 1)
    assert (figures["parts"], figures["found"]) == (1, 1)


def test_an_interrupted_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], classifier: Classifier
) -> None:
    calls = []

    def measured(_method: object, _classifier: object, own: SimpleNamespace, *_: object) -> dict[str, float]:
        if len(calls) == 1:
            raise KeyboardInterrupt
        calls.append(own.label)
        return {"summaries": 3, "parts": 2, "found": 2 if own.label == "a" else 1, "seconds": 0.5, "80 %": float("nan")}

    def classes(*_: object) -> list[SimpleNamespace]:
        return [SimpleNamespace(label=label, paths=[], landmarks=[]) for label in ("a", "b")]

    for name, stand_in in (
        ("measure", measured), ("demo_classes", classes), ("load_classifier", lambda _name: classifier),
        ("read_parts", lambda _path: {}), ("look_at", lambda *_, **__: None), ("with_evidence", lambda _own: None),
    ):
        monkeypatch.setattr(baselines, name, stand_in)
    options = ["--masks", "none", "--methods", "Grad-CAM box", "--results", str(tmp_path / "results.jsonl")]
    monkeypatch.setattr(sys, "argv", ["concept_baselines.py", "demo", *options])
    with pytest.raises(KeyboardInterrupt):
        baselines.main()
    calls[:] = ["again", "again"]
    baselines.main()
    assert calls == ["again", "again", "b"]
    cells = [cell.strip() for cell in capsys.readouterr().out.splitlines()[-1].strip("|").split("|")]
    line = dict(zip(baselines.COLUMNS, cells, strict=True))
    assert line["method"] == "Grad-CAM box" and line["classes"] == "2" and line["80 %"] == ""
    assert line["seconds"] == "0.50"
    assert line["precision"].startswith("0.50 (0.33–0.67") and line["recall"].startswith("0.75")


def test_large_batches_of_crops_are_those_of_the_pictures() -> None:
    boxes = methods.patch_boxes(SIDE, 16, 16)
    images = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8)
    crops = methods._crops(images, boxes)
    x0, y0, x1, y1 = boxes[3]
    large = functional.interpolate(images[1:, :, y0:y1, x0:x1].float() / 255, size=(SIDE, SIDE), mode="bilinear")
    torch.testing.assert_close(crops[4 + 3], large[0])
