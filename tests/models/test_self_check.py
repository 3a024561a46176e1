"""Deliberate mistakes on real photographs, each to be named; of right configurations nothing is to be said."""

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from visual_summaries.pipeline.data.decode import read_image
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.loading import load_classifier
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.models.self_check import Variant, Verdict, check, label_orders, variants

NUMBER = 32


class Tried:
    """A network on the same photographs, each of them once with each preprocessing."""

    def __init__(self, classifier: Classifier, images: list[np.ndarray], targets: np.ndarray) -> None:
        self.classifier, self.images, self.targets = classifier, images, targets
        self.found: dict[tuple[Preprocessing, int], np.ndarray] = {}
        self.asked = 0

    def logits(self, preprocessing: Preprocessing, indices: np.ndarray) -> np.ndarray:
        self.asked += len(indices)
        new = [index for index in indices.tolist() if (preprocessing, index) not in self.found]
        if new:
            self.classifier.preprocessing = preprocessing
            squares = torch.stack([preprocessing.analyzed_image(self.images[index]) for index in new])
            with torch.no_grad():
                answers = self.classifier.logits(squares.float() / 255).numpy()
            self.found |= {(preprocessing, index): answer for index, answer in zip(new, answers, strict=True)}
        return np.array([self.found[preprocessing, index] for index in indices.tolist()])

    def verdict(self, configured: Preprocessing, targets: np.ndarray | None = None, **others: object) -> Verdict:
        def ask(variant: Variant, indices: np.ndarray) -> np.ndarray:
            if variant.batch_statistics:
                return np.zeros((len(indices), len(self.classifier.class_names)))
            return self.logits(variant.preprocessing, indices)

        targets = self.targets if targets is None else targets
        logits = self.logits(configured, np.arange(len(self.images)))
        return check(targets, logits, variants(configured), ask, self.classifier.class_names, **others)


def validation(folder: Path) -> Iterator[tuple[np.ndarray, int]]:
    with (folder / "imagenet" / "val.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows[:: len(rows) // NUMBER][:NUMBER]:
        yield read_image(str(folder / "imagenet" / "val" / row["file"])).image, int(row["class_index"])


def photographs(folder: Path) -> Iterator[tuple[np.ndarray, int]]:
    with (folder / "imagenet" / "classes.csv").open(newline="") as file:
        indices = {row["wnid"]: int(row["index"]) for row in csv.DictReader(file)}
    classes = sorted(one for one in (folder / "photos").iterdir() if one.is_dir())
    for at in range(NUMBER):
        group = classes[at % len(classes)]
        yield read_image(str(sorted(group.iterdir())[at // len(classes)])).image, indices[group.name]


@pytest.fixture(scope="module")
def make(data_directory: Path) -> Callable[[str, Callable], Tried]:
    def one(network: str, source: Callable) -> Tried:
        classifier = load_classifier(f"torchvision:{network}", data_directory / "weights" / f"{network}.safetensors")
        images, targets = zip(*source(data_directory), strict=True)
        return Tried(classifier, list(images), np.array(targets))

    return one


@pytest.fixture(scope="module")
def squeezenet(make: Callable) -> Tried:
    return make("squeezenet1_1", validation)


@pytest.fixture(scope="module")
def mobilenet(make: Callable) -> Tried:
    return make("mobilenet_v2", photographs)


RIGHT = Preprocessing()
PLANTED = {
    "blue first": ("squeezenet", {"channels": "bgr"}, "right with RGB.*; set model.channels=rgb$"),
    "not normalized": (
        "squeezenet",
        {"mean": (0, 0, 0), "std": (1, 1, 1)},
        r"right with ImageNet's mean and deviation.*; set model.mean=\[0.485, 0.456, 0.406\] model.std=\[0.229",
    ),
    "values up to 255": ("mobilenet", {"mean": (0, 0, 0), "std": (1 / 255,) * 3}, "right with ImageNet's mean and"),
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_a_mistake_in_the_preprocessing_is_named_with_what_mends_it(
    mistake: str, request: pytest.FixtureRequest
) -> None:
    network, changes, said = PLANTED[mistake]
    found = request.getfixturevalue(network).verdict(replace(RIGHT, **changes))
    assert found.mended >= 1.25 * found.right and found.photographs == NUMBER
    assert found.line.startswith(f"{found.right} of 32 right: ") and f"{found.mended} of 32 right" in found.line
    assert re.search(said, found.line), found.line


def named(tried: Tried, targets: np.ndarray, outputs: np.ndarray, **others: object) -> Verdict:
    """The verdict on a network whose outputs are in another order: those of `outputs`, one after the other."""
    logits = tried.logits(RIGHT, np.arange(NUMBER))[:, outputs]

    def ask(*_: object) -> np.ndarray:
        raise AssertionError("the labels explain it: nothing else need be tried")

    return check(targets, logits, variants(RIGHT), ask, **others)


def test_labels_that_are_shifted(squeezenet: Tried) -> None:
    names = squeezenet.classifier.class_names
    right = int((squeezenet.logits(RIGHT, np.arange(NUMBER)).argmax(axis=1) == squeezenet.targets).sum())
    for step, said in ((-1, "an output more before the first"), (1, "an output less before the first")):
        found = named(squeezenet, squeezenet.targets + step, np.arange(1000), class_names=names)
        assert found.mended == right > 20 and found.right < 5
        assert f"the labels look shifted by one ({right} right with that)" in found.line and said in found.line


@pytest.mark.parametrize(
    "order", ["sorted as text, 10 before 2", "sorted by number, 2 before 10", "sorted by WordNet id"]
)
def test_labels_in_another_order(order: str, squeezenet: Tried) -> None:
    own = squeezenet.classifier
    numbered = [f"class {index}" for index in range(1000)]
    # For each output the class whose score it is, and the classes' names as they are configured.
    outputs, names, ids, targets = np.arange(1000), numbered, None, squeezenet.targets
    by_text = np.array(sorted(range(1000), key=lambda index: numbered[index]))
    if order == "sorted as text, 10 before 2":
        outputs = by_text
    elif order == "sorted by number, 2 before 10":
        names = [numbered[index] for index in by_text]
        targets = np.argsort(by_text)[targets]
    else:
        by_name = np.array(sorted(range(1000), key=lambda index: own.class_names[index]))
        names, ids = ([list[index] for index in by_name] for list in (own.class_names, own.wordnet_ids))
        targets = np.argsort(by_name)[targets]
    found = named(squeezenet, targets, outputs, class_names=names, orders=label_orders(names, ids))
    assert found.right < 5 and found.mended > 20 and f"the labels look {order} (" in found.line


def test_labels_that_are_permuted(mobilenet: Tried) -> None:
    outputs = np.random.default_rng(0).permutation(1000)
    found = named(mobilenet, mobilenet.targets, outputs, class_names=mobilenet.classifier.class_names)
    assert found.right < 5 and found.mended >= NUMBER / 2
    assert "the labels look permuted" in found.line and "data.class_map" in found.line


def test_two_classes_the_wrong_way_round() -> None:
    targets = np.arange(20) % 2
    found = check(targets, np.eye(2)[1 - targets], [], lambda *_: None, ["cat", "dog"])
    assert re.search("0 of 20 right.*permuted.*(cat as dog|dog as cat)", found.line)


def test_nothing_is_said_of_right_configurations(squeezenet: Tried, mobilenet: Tried) -> None:
    for tried in (squeezenet, mobilenet):
        tried.asked = 0
        names, ids = tried.classifier.class_names, tried.classifier.wordnet_ids
        found = tried.verdict(RIGHT, orders=label_orders(names, ids))
        assert found.line == "" and found.mended is None and found.right >= 20
        assert found.plain.startswith(f"{found.right} of {NUMBER} right")
        # Of what is tried only the photographs that are wrong are asked for.
        assert tried.asked <= 2 * NUMBER + len(variants(RIGHT)) * 8


def test_what_nothing_mends_may_be_the_network_itself() -> None:
    random = np.random.default_rng(0)
    targets = random.integers(0, 50, NUMBER)

    def ask(_: Variant, indices: np.ndarray) -> np.ndarray:
        return random.normal(size=(len(indices), 50))

    found = check(targets, random.normal(size=(NUMBER, 50)), variants(RIGHT), ask, [str(one) for one in range(50)])
    assert found.mended is None and "may be the network itself" in found.line
    # Half of them wrong is a network as many are.
    logits = np.eye(50)[np.where(np.arange(NUMBER) % 2, targets, 0)]
    assert check(targets, logits, variants(RIGHT), ask, [str(one) for one in range(50)]).line == ""


def test_two_classes_that_are_taken_for_each_other_are_no_mistake() -> None:
    """Neighbors among the outputs, and half of the photographs."""
    targets = np.array([4] * 16 + [10, 20] * 8)
    logits = np.eye(40)[np.where(targets == 4, 5, targets)]
    found = check(targets, logits, [], lambda *_: None, [str(one) for one in range(40)])
    assert found.right == 16 and found.line == ""
    # But it is said, since the two may have changed places in a list of names.
    assert found.plain.startswith("16 of 32 right (16 of 16 of 4 are taken for 5), and none of the usual mistakes")
    # Two of three are no rule.
    few = check(
        np.array([1, 1, 1, *range(2, 9)]), np.eye(9)[[1, 3, 3, *range(3, 9), 0]], [], lambda *_: None, "abcdefghi"
    )
    assert few.plain.startswith("1 of 10 right, and") and few.confused == ""


@pytest.mark.parametrize("classes", [2, 4])
def test_a_mistake_after_which_everything_gets_one_name(classes: int) -> None:
    """Of few classes one is always right then."""
    targets = np.arange(NUMBER) % classes
    collapsed = np.eye(classes)[np.full(NUMBER, classes - 1)]

    def ask(variant: Variant, indices: np.ndarray) -> np.ndarray:
        return 5 * np.eye(classes)[targets[indices]] if "from -1 to 1" in variant.words else collapsed[indices]

    found = check(targets, collapsed, variants(RIGHT), ask, [str(one) for one in range(classes)])
    assert found.mended == NUMBER and "set model.mean=[0.5, 0.5, 0.5]" in found.line
    never = check(targets, collapsed, variants(RIGHT), lambda *_: None, [str(one) for one in range(classes)])
    assert never.mended is None and never.right == NUMBER // classes


def test_few_photographs_prove_nothing() -> None:
    targets = np.arange(9)
    assert check(targets, np.eye(20)[targets + 1], [], lambda *_: None, [str(one) for one in range(20)]) == Verdict(
        0, 0
    )
    assert Verdict(0, 0).plain == ""


def test_a_slightly_better_variant_is_not_named() -> None:
    """Three photographs of 32 more, however likely the labels become."""
    targets = np.arange(NUMBER)
    answers = np.where(np.arange(NUMBER) < 24, targets, 40)

    def ask(_: Variant, indices: np.ndarray) -> np.ndarray:
        return 9 * np.eye(50)[np.where(indices < 27, targets[indices], 40)]

    assert check(targets, np.eye(50)[answers], variants(RIGHT), ask, [str(one) for one in range(50)]).line == ""


def test_there_is_no_time_left() -> None:
    targets = np.arange(NUMBER)
    found = check(targets, np.eye(60)[targets + 20], variants(RIGHT), lambda *_: None, [str(n) for n in range(60)])
    assert found.right == 0 and "set model" not in found.line
