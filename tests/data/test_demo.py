import csv

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from visual_summaries.pipeline.data.demo.network import (
    DEMO_MEAN,
    DEMO_STD,
    WEIGHTS_FILE,
    DemoNetwork,
    demo_network,
    fold_batch_norm,
    load_demo_network,
)
from visual_summaries.pipeline.data.demo.scenes import (
    CLASS_NAMES,
    NETWORK_CLASS_NAMES,
    discriminative_parts,
    render,
    write_demo_set,
)
from visual_summaries.pipeline.data.demo.train import draw_picture, main, spoil

PAIRS = [
    ("crested bird", "fan-tailed bird"),
    ("steam locomotive", "electric locomotive"),
]
UNSEEN = 7_000_000


def normalized(images: np.ndarray) -> torch.Tensor:
    batch = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return (batch - torch.tensor(DEMO_MEAN).view(1, 3, 1, 1)) / torch.tensor(DEMO_STD).view(1, 3, 1, 1)


def sharp_boxes_blurred(scene) -> np.ndarray:
    """The picture with the authors' blur in the boxes of the discriminative parts, by OpenCV."""
    cv2 = pytest.importorskip("cv2")
    blurred = cv2.GaussianBlur(scene.image, (11, 11), 10, borderType=cv2.BORDER_REFLECT_101)
    image = scene.image.copy()
    for part in scene.parts:
        if part.discriminative:
            x0, y0, x1, y1 = part.box.astype(int)
            image[y0:y1, x0:x1] = blurred[y0:y1, x0:x1]
    return image


@pytest.mark.parametrize("class_name", CLASS_NAMES)
def test_the_seed_decides_every_byte(class_name):
    first, again, other = render(class_name, 3), render(class_name, 3), render(class_name, 4)
    assert first.image.dtype == np.uint8 and first.image.shape == (128, 128, 3)
    assert first.image.tobytes() == again.image.tobytes()
    assert first.part_map.tobytes() == again.part_map.tobytes()
    assert first.image.tobytes() != other.image.tobytes()


@pytest.mark.parametrize("class_name", CLASS_NAMES)
def test_leaving_a_part_out_changes_all_of_it_and_nothing_else(class_name):
    for seed in range(3):
        whole = render(class_name, seed)
        for number, part in enumerate(whole.parts, start=1):
            x0, y0, x1, y1 = part.box.astype(int)
            assert (part.box == (x0, y0, x1, y1)).all() and part.box.dtype == np.float32
            assert 0 <= x0 < x1 <= 128 and 0 <= y0 < y1 <= 128
            without = render(class_name, seed, without=[part.name])
            assert part.name not in [other.name for other in without.parts]
            changed = (whole.image != without.image).any(axis=2)
            rows, columns = np.nonzero(changed)
            assert x0 <= columns.min() and columns.max() < x1 and y0 <= rows.min() and rows.max() < y1
            if part.discriminative:
                assert changed[whole.part_map == number].mean() > 0.8
                # Foreground flowers may cover an edge; otherwise the box is tight.
                assert np.abs(part.box - [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]).max() <= 2


@pytest.mark.parametrize("class_name", CLASS_NAMES)
def test_discriminative_parts_are_of_a_size_that_can_be_found(class_name):
    for seed in range(8):
        for part in render(class_name, seed).parts:
            if part.discriminative:
                x0, y0, x1, y1 = part.box
                assert min(x1 - x0, y1 - y0) >= 12 and max(x1 - x0, y1 - y0) <= 64, part


def test_every_class_has_its_own_discriminative_parts():
    kinds = {name: {p.name: p.discriminative for p in render(name, 0).parts} for name in CLASS_NAMES}
    telling = {name: {part for part, own in kinds[name].items() if own} for name in CLASS_NAMES}
    assert telling == {name: set(discriminative_parts(name)) for name in CLASS_NAMES}
    in_a_pair = {name for pair in PAIRS for name in pair}
    for name in CLASS_NAMES:
        assert len(telling[name]) == 1 if name in in_a_pair else 2 <= len(telling[name]) <= 3
        for other in CLASS_NAMES:
            assert name == other or not telling[name] & kinds[other].keys()
    for first, second in PAIRS:
        assert kinds[first].keys() ^ kinds[second].keys() == telling[first] | telling[second]
    assert len(CLASS_NAMES) >= 6 and NETWORK_CLASS_NAMES[:-1] == CLASS_NAMES


def test_parts_are_the_same_whatever_the_seed():
    for name in CLASS_NAMES:
        assert len({tuple((p.name, p.discriminative) for p in render(name, seed).parts) for seed in range(10)}) == 1


def test_unknown_class_and_part_are_refused_by_name():
    with pytest.raises(ValueError, match="unknown demo class 'zebra'.*crested bird"):
        render("zebra", 0)
    with pytest.raises(ValueError, match="'butterfly' has no part crest"):
        render("butterfly", 0, without=["crest"])


def test_written_set_holds_the_rendered_pictures_and_their_truth(tmp_path):
    write_demo_set(tmp_path / "one", 2, seed=5)
    write_demo_set(tmp_path / "two", 2, seed=5)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert len(files) == 2 * len(CLASS_NAMES) + 1
    assert sorted(path.name for path in (tmp_path / "one").iterdir() if path.is_dir()) == sorted(CLASS_NAMES)
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    with (tmp_path / "one" / "parts.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    scene = render("saxophone", 5 * 1_000_003 + 1, mirrored=False)
    name = "saxophone/001.png"
    assert (np.array(Image.open(tmp_path / "one" / name)) == scene.image).all()
    read = [row for row in rows if row["file"] == name]
    assert [row["part"] for row in read] == [part.name for part in scene.parts]
    for row, part in zip(read, scene.parts, strict=True):
        assert [float(row[key]) for key in ("x0", "y0", "x1", "y1")] == part.box.tolist()
        assert row["class"] == "saxophone" and (row["discriminative"] == "true") == part.discriminative


def test_packaged_weights_are_small_and_fit():
    network = load_demo_network()
    assert not network.training
    assert WEIGHTS_FILE.stat().st_size < 2_000_000
    assert sum(parameter.numel() for parameter in network.parameters()) < 500_000
    assert network(torch.zeros(2, 3, 128, 128)).shape == (2, len(NETWORK_CLASS_NAMES))
    assert demo_network().state_dict().keys() == network.state_dict().keys()


def test_packaged_network_sees_what_is_there_and_only_that():
    """Complete pictures belong to their class; without the discriminative parts, left out or blurred, to none."""
    network = load_demo_network()
    scenes = [render(name, UNSEEN + number) for name in CLASS_NAMES for number in range(12)]
    truth = torch.arange(len(CLASS_NAMES)).repeat_interleave(12)
    bare = [
        render(scene.class_name, UNSEEN + number % 12, discriminative_parts(scene.class_name))
        for number, scene in enumerate(scenes)
    ]
    with torch.no_grad():
        complete = network(normalized(np.stack([scene.image for scene in scenes]))).softmax(1)
        without = network(normalized(np.stack([scene.image for scene in bare]))).argmax(1)
        blurred = network(normalized(np.stack([sharp_boxes_blurred(scene) for scene in scenes]))).softmax(1)
    assert (complete.argmax(1) == truth).float().mean() >= 0.95
    score = complete.gather(1, truth[:, None])
    assert score.median() > 0.999
    assert (without == len(CLASS_NAMES)).float().mean() >= 0.95
    assert ((score - blurred.gather(1, truth[:, None])) / score).mean() > 0.95


@pytest.mark.parametrize(
    "class_name", [name for name in CLASS_NAMES if "bird" not in name and "locomotive" not in name]
)
def test_each_discriminative_part_alone_is_enough(class_name):
    network, index = load_demo_network(), CLASS_NAMES.index(class_name)
    own = discriminative_parts(class_name)
    for kept in own:
        others = [name for name in own if name != kept]
        images = np.stack([render(class_name, UNSEEN + number, others).image for number in range(10)])
        with torch.no_grad():
            assert (network(normalized(images)).argmax(1) == index).float().mean() >= 0.9, kept


def test_folding_batch_normalization_keeps_the_function():
    torch.manual_seed(0)
    trained = DemoNetwork(5, batch_norm=True)
    for module in trained.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.normal_(module.bias)
    trained.eval()
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(fold_batch_norm(trained)(images), trained(images), rtol=1e-4, atol=1e-4)


def test_spoiled_pictures_say_what_can_still_be_seen():
    """A brute-force count of sharp pixels in the parts agrees with the label; doubtful pictures stay untouched."""
    images, maps = (np.stack(arrays) for arrays in zip(*(draw_picture(4, seed) for seed in range(32)), strict=True))
    before = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    generator = torch.Generator().manual_seed(1)
    labels = torch.full((32,), 4)
    after, shown = spoil(before, torch.from_numpy(maps)[:, None], labels, generator)
    seen = {"class": 0, "none": 0}
    for number in range(32):
        same = (after[number] - before[number]).abs().amax(0).numpy() < 0.02
        part = maps[number] > 0
        share = same[part].mean() if part.any() else 0.0
        if shown[number] == 4:
            assert share > 0.05
            seen["class"] += 1
        else:
            assert shown[number] == len(CLASS_NAMES) and share < 0.3
            seen["none"] += 1
    assert min(seen.values()) >= 5


def test_training_command_writes_loadable_weights_and_repeats(tmp_path):
    options = ["--images-per-class", "8", "--epochs", "1", "--workers", "1", "--test-images-per-class", "1"]
    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for file in files:
        main(["--output", str(file), *options])
    first, second = (load_file(file) for file in files)
    demo_network().load_state_dict(first, strict=True)
    assert all(torch.equal(first[name], second[name]) for name in first)
