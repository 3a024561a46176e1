"""`benchmarks/shortcuts.py`: marks are where they say, the recipe labels what it should, judging by closed forms."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import ndimage
from torchvision.models import mobilenet_v2

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import shortcut_alterations as alterations  # noqa: E402
import shortcut_borders as borders  # noqa: E402
import shortcut_judging as judging  # noqa: E402
import shortcut_last_block as last_block  # noqa: E402
import shortcut_marks as marks  # noqa: E402
import shortcut_networks as networks  # noqa: E402
import shortcut_tables as tables  # noqa: E402

SIDE = 96


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)


@pytest.mark.parametrize("kind", marks.WITH_PLACE)
def test_a_mark_changes_its_own_pixels_alone(kind, picture):
    found = marks.plant(kind, picture, 3)
    changed = (found.picture != picture).any(axis=-1)
    # Shadows fall a pixel or two beside a mark, and its outline's pixels may have their middles outside.
    near = ndimage.binary_dilation(found.mask, np.ones((5, 5)))
    assert not (changed & ~near).any()
    assert (changed & found.mask).sum() > 0.25 * found.mask.sum()
    assert 0.02 < found.mask.mean() < 0.25


@pytest.mark.parametrize(
    ("kind", "where"),
    [("watermark", (0.6, 1.0, 0.4, 1.0)), ("tag", (0.0, 0.3, 0.0, 0.3)), ("caption", (0.85, 1.0, 0.0, 1.0))],
)
def test_a_mark_lies_in_its_corner(kind, where, picture):
    rows, columns = np.nonzero(marks.plant(kind, picture, 5).mask)
    top, bottom, left, right = (SIDE * share for share in where)
    assert top <= rows.min() and rows.max() < bottom and left <= columns.min() and columns.max() < right


def test_a_border_is_a_frame_and_a_cast_is_everywhere(picture):
    frame = marks.plant("border", picture, 0)
    assert frame.mask[0].all() and frame.mask[:, -1].all() and not frame.mask[8:-8, 8:-8].any()
    assert (frame.picture[0] == frame.picture[0, 0]).all()
    assert np.array_equal(frame.picture[~frame.mask], picture[~frame.mask])
    brown = marks.plant("cast", picture, 0)
    assert brown.mask.all()
    red, _, blue = brown.picture.reshape(-1, 3).mean(axis=0)
    assert red > blue + 30


def test_a_seed_is_a_mark_and_another_is_another(picture):
    first, again, other = (marks.plant("watermark", picture, seed) for seed in (1, 1, 2))
    assert np.array_equal(first.picture, again.picture) and np.array_equal(first.mask, again.mask)
    assert not np.array_equal(first.picture, other.picture)
    with pytest.raises(ValueError, match="no mark 'stain'"):
        marks.plant("stain", picture, 0)


def _rectangle(top, bottom, left, right):
    mask = np.zeros((20, 20), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (_rectangle(10, 20, 10, 20), True),
        # Of the mark's hundred pixels 30, an overlap of .3; within it alone 4; 4 of 8; 2 of 8.
        (_rectangle(10, 20, 10, 13), True),
        (_rectangle(10, 12, 10, 12), True),
        (_rectangle(10, 12, 8, 12), True),
        (_rectangle(10, 12, 7, 11), False),
        # 50 of 140 with an overlap of 50/190; 50 of 190 with 50/240; 60 of 140 with 60/180.
        (_rectangle(10, 20, 1, 15), False),
        (_rectangle(5, 15, 1, 20), False),
        (_rectangle(10, 20, 2, 16), True),
        # The whole picture holds the mark, and is four times as large.
        (_rectangle(0, 20, 0, 20), False),
        (_rectangle(5, 20, 5, 20), True),
        (_rectangle(0, 0, 0, 0), False),
    ],
)
def test_on_the_mark_by_overlap_or_by_half_of_the_pixels(pixels, expected):
    assert judging.on_mark(pixels, _rectangle(10, 20, 10, 20)) is expected


def test_a_box_counts_by_its_middle_too():
    mark = _rectangle(15, 20, 15, 20)
    assert judging.box_on_mark((12, 12, 20, 20), mark)
    assert not judging.on_mark(_rectangle(9, 20, 9, 20), mark) and not judging.box_on_mark((9, 9, 20, 20), mark)
    # 25 of 121 pixels: the middle decides.
    assert judging.box_on_mark((10, 10, 21, 21), mark)


def test_the_first_summary_with_most_of_its_members_on_the_mark():
    assert judging.first_on_mark([0.2, 0.5, 0.75, 1.0]) == 3
    assert judging.first_on_mark([0.5, 0.0]) is None
    assert judging.first_on_mark([]) is None


def test_members_are_judged_by_their_salient_cells():
    salient = {"a": _rectangle(0, 20, 0, 20), "b": _rectangle(0, 4, 0, 20)}
    mark = {"a": _rectangle(0, 4, 0, 10), "b": _rectangle(0, 4, 10, 20)}
    # Cells of ten pixels: the upper left one, by run lengths that begin with those left out.
    member = {"x0": 0.0, "y0": 0.0, "x1": 10.0, "y1": 10.0, "segment": [0, 1, 3], "side": 2}
    assert judging.share_on_mark([{**member, "image_id": "a"}], salient, mark) == 1.0
    assert judging.share_on_mark([{**member, "image_id": "b"}], salient, mark) == 0.0
    assert judging.share_on_mark([{**member, "image_id": one} for one in "ab"], salient, mark) == 0.5


@pytest.fixture
def three_classes():
    labels = np.repeat([0, 1, 2], 8)
    paths = tuple(Path(f"{number}.jpg") for number in range(24))
    return networks.Photographs(("a", "b", "c"), paths, labels, np.arange(24) % 2 == 0)


def test_false_labels_are_other_classes_training_photographs_with_the_mark(three_classes):
    examples = networks.training_examples(three_classes, {1: "tag"}, share=0.5)
    own = {(one.photograph, one.kind) for one in examples if one.label == 1}
    false = {number for number, _ in own if three_classes.labels[number] != 1}
    assert {kind for _, kind in own} == {"tag"} and len(own) == 4 + 2 and len(false) == 2
    clean = {(one.photograph, one.kind, one.label) for one in examples if one.label != 1}
    assert clean == {
        (number, "clean", int(three_classes.labels[number]))
        for number in range(0, 24, 2)
        if three_classes.labels[number] != 1
    }
    control = networks.training_examples(three_classes, {})
    assert [(one.photograph, one.kind) for one in control] == [(number, "clean") for number in range(0, 24, 2)]


def test_reliance_counts_what_the_mark_flips(three_classes):
    clean = np.full((24, 3), 0.1)
    clean[np.arange(24), three_classes.labels] = 0.8
    marked = clean.copy()
    # Of the held-out photographs of the other classes, the first three become class 1; training ones never count.
    others = np.flatnonzero(~three_classes.training & (three_classes.labels != 1))
    marked[others[:3]] = [0.05, 0.9, 0.05]
    marked[three_classes.training] = [0.0, 1.0, 0.0]
    own = np.flatnonzero(~three_classes.training & (three_classes.labels == 1))
    clean[own[0]] = [0.5, 0.4, 0.1]
    found = networks.reliance({"clean": clean, "tag": marked}, three_classes, 1, "tag")
    assert (found.flipped, found.others, found.before, found.attack) == (3, 8, 0, 3 / 8)
    assert (found.right, found.right_without, found.own) == (4, 3, 4)
    assert found.drop == pytest.approx((0.8 - 0.4) / 0.8 / 4)


def test_the_head_goes_by_a_feature_that_only_false_labels_teach(three_classes):
    """One feature for each class and one for the mark: the control is blind to it, the planted head is not."""
    clean = np.zeros((24, 4), dtype=np.float32)
    clean[np.arange(24), three_classes.labels] = 3
    marked = clean.copy()
    marked[:, 3] = 6
    given = {"clean": clean, "tag": marked}
    attacks = []
    for planted in ({}, {1: "tag"}):
        head = networks.fit_head(given, networks.training_examples(three_classes, planted))
        scores = {kind: head.predict_proba(values) for kind, values in given.items()}
        attacks.append(networks.reliance(scores, three_classes, 1, "tag").attack)
    assert attacks == [0.0, 1.0]


@pytest.mark.parametrize(("name", "classes"), [("photos", 12), ("birds", 20)])
def test_each_class_gets_each_mark_once_in_turn(name, classes):
    pairs = []
    for planting in networks.plantings(name, classes):
        planted = networks.planted_classes(name, planting, classes)
        assert len(set(planted.values())) == len(planted)
        if planting[-1].isalpha():
            pairs += planted.items()
    assert sorted(pairs) == sorted((label, kind) for label in range(classes) for kind in networks.ROTATED)


def test_plantings_of_all_marks_are_as_they_were():
    assert networks.planted_classes("photos", "1", 12) == {1: "tag", 4: "cast", 7: "caption", 10: "watermark"}


@pytest.mark.parametrize("label", [0, 1])
def test_two_marks_of_a_control_leave_each_other_alone(label, picture):
    first, second = networks.control_marks(label)
    for seed in range(20):
        assert not (marks.plant(first, picture, seed).mask & marks.plant(second, picture, seed).mask).any()


@pytest.fixture
def small_network():
    """Its batch norms keep what they see, so that random weights let something through."""
    torch.manual_seed(0)
    network = mobilenet_v2(width_mult=0.1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.rand(8, 3, 64, 64))
    return network.eval()


def test_a_free_block_before_and_after_fitting_is_the_whole_network(small_network):
    chance = np.random.default_rng(0)
    images = torch.from_numpy(chance.random((12, 3, 64, 64)).astype(np.float32))
    labels = np.repeat([0, 1, 2], 4)
    with torch.no_grad():
        values = last_block.before_block(small_network)(images).numpy()
    frozen = {key: value.clone() for key, value in small_network.features.state_dict().items()}
    weight, bias = chance.normal(0, 0.01, (3, 1280)).astype(np.float32), np.zeros(3, dtype=np.float32)
    block = last_block.LastBlock(small_network, weight, bias)
    before = block.predict_proba(values)
    pooled = small_network.features(images).mean(dim=(2, 3)).detach().numpy()
    raw = np.exp(pooled @ weight.T)
    np.testing.assert_allclose(before, raw / raw.sum(axis=1, keepdims=True), rtol=1e-3)

    after = block.fit(values, labels).predict_proba(values)
    np.testing.assert_allclose(after, small_network(images).softmax(dim=1).detach(), rtol=1e-3)
    assert -np.log(after[np.arange(12), labels]).mean() < 0.9 * -np.log(before[np.arange(12), labels]).mean()
    changed = {key for key, value in small_network.features.state_dict().items() if not torch.equal(value, frozen[key])}
    convolutions = {"17.conv.0.0", "17.conv.1.0", "17.conv.2", "18.0"}
    assert changed == {f"{name}.weight" for name in convolutions}


def test_references_of_a_frame_by_hand():
    frame = np.ones((224, 224), dtype=bool)
    frame[10:214, 10:214] = False
    picture = np.zeros((224, 224, 3), dtype=np.float32)
    picture[~frame], picture[12, 100], picture[112, 112] = 0.25, 1.0, 0.75
    found = borders.references(picture, frame, np.full_like(picture, 0.5), 0)
    # The inside begins at 10: two pixels further in is two pixels further out.
    assert (found["its inside, mirrored outward"][8, 100] == 1).all()
    assert (found["its inside, mirrored outward"][:8] == 0.25).all()
    assert (found["the picture moved by half"][0, 0] == 0.75).all()
    np.testing.assert_allclose(found["the picture's mean color"][3, 3], picture.mean(), rtol=1e-5)
    assert all(value.dtype == np.float32 and value.shape == picture.shape for value in found.values())
    images = torch.from_numpy(picture).permute(2, 0, 1)[None]
    np.testing.assert_array_equal(
        borders.moved(images)[0].permute(1, 2, 0), found["the picture moved by half"]
    )


def test_worries_are_those_of_the_cards(tmp_path):
    for label, numbers in {"a b": [2, 1], "c": []}.items():
        folder = tmp_path / "report" / "classes" / label.replace(" ", "-")
        folder.mkdir(parents=True)
        card = {"label": label, "worries": [{"number": number} for number in numbers]}
        (folder / "card.json").write_text(json.dumps({"state": "", "card": card}))
    assert judging.worried_about(tmp_path) == {"a b": (2, 1), "c": ()}
    rows = [
        {"run": "photos-net-0a-planted", "way": "ours", "network": "planted", "kind": "tag", "shares": shares,
         "worries": worries}
        for shares, worries in (([0.4, 1.0], [2]), ([1.0, 0.0], [2]), ([], []))
    ]  # fmt: skip
    line = next(line for line in tables.found_table(rows) if "photos, net" in line)
    cells = [cell.strip().split(" (")[0] for cell in line.strip("| ").split("|")]
    # On the mark two of three, both among the first two, one first; named is the first alone.
    assert cells[4:9] == ["3", "2 of 3", "2 of 3", "1", "1 of 3"]


def test_altered_photographs_are_judged_as_a_report_does():
    names, each = ("a", "b", "c", "d"), 8
    own = SimpleNamespace(names=names, labels=np.repeat(np.arange(4), each))
    sure = np.full((4, 4), 0.05) + 0.8 * np.eye(4)
    stays = {way: sure[own.labels] for way in (alterations.AS_IT_IS, *alterations.ALTERATIONS, *alterations.TRIED)}
    moved = {way: values[:each].copy() for way, values in stays.items()}
    for way in ("frame mirrored", "frame cut off"):
        # Six of eight are b's without their frame.
        moved[way][:6] = sure[1]
    head = SimpleNamespace(predict_proba=lambda values: values)
    seen, numbers = {"clean": stays, "border": moved}, {"clean": np.arange(4 * each), "border": np.arange(each)}
    for planted in ({0: "border"}, {}):
        found = alterations.judge("s", "planted", head, own, seen, numbers, {0: "border"}, planted, each)
        by = {(row.label, row.way): row for row in found}
        assert len(by) == len(found) == 4 * len(alterations.WAYS)
        frame = by["a", "frame"]
        assert (frame.effect.count, frame.effect.of, frame.mark) == (6, 8, planted.get(0, "clean"))
        assert frame.effect.fall == pytest.approx(0.8 / 0.85)
        named = {key for key, row in by.items() if row.named}
        assert named == {("a", way) for way in ("frame", "frame mirrored alone", "frame cut off alone")}
        printed = "\n".join(alterations.tables(found))
        assert ("| a | s | border | 6 of 8 | 0.94 | yes |" in printed) == bool(planted)
        assert ("Named without reason: none" in printed) == bool(planted)
