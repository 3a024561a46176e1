"""The self-check with the demo network and its pictures: what is said, where, and that it neither delays nor stops."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from visual_summaries.jobs.summarize import main
from visual_summaries.pipeline.config import RunConfig, load_config
from visual_summaries.pipeline.data.catalog import CatalogClass, CatalogEntry, load_catalog
from visual_summaries.pipeline.data.decode import read_image
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.loading import load_classifier
from visual_summaries.pipeline.stages import self_check
from visual_summaries.pipeline.stages.self_check import NOTHING_TRIED, checked, spread

CONFIG = RunConfig()


@pytest.fixture
def demo() -> Classifier:
    return load_classifier("demo")


@pytest.fixture(scope="module")
def classes(demo_folder: Path) -> tuple[CatalogClass, ...]:
    return load_catalog(images=demo_folder, class_names=load_classifier("demo").class_names).classes


class Around(nn.Module):
    """The network behind a layer."""

    def __init__(self, first: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.first, self.network = first, network

    def forward(self, images: Tensor) -> Tensor:
        return self.network(self.first(images))


class DropoutAsAFunction(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.dropout(images)


def test_of_the_demo_nothing_is_said_but_that_all_are_right(demo: Classifier, classes: Sequence[CatalogClass]) -> None:
    before = demo.preprocessing
    verdict = checked(CONFIG, demo, classes)
    assert (verdict.line, verdict.plain) == ("", "14 of 14 right") and demo.preprocessing == before


def test_what_is_configured_wrongly_is_said(demo: Classifier, classes: Sequence[CatalogClass]) -> None:
    demo.preprocessing = replace(demo.preprocessing, resize_side=400)
    said = checked(CONFIG, demo, classes).line
    assert said.startswith("0 of 14 right: right with ") and "14 of 14 right; set model." in said
    for config in (load_config(None, ["model.self_check=false"]), load_config(None, ["model.weights=random"])):
        assert checked(config, demo, classes) == NOTHING_TRIED


def test_a_dropout_that_never_ends(demo: Classifier, classes: Sequence[CatalogClass]) -> None:
    torch.manual_seed(0)
    demo.module = Around(DropoutAsAFunction(), demo.module).eval()
    assert "a layer works as in training" in checked(CONFIG, demo, classes).line


def test_batch_norms_with_the_statistics_of_another_network(demo: Classifier, classes: Sequence[CatalogClass]) -> None:
    norm = nn.BatchNorm2d(3)
    norm.running_mean.fill_(4)
    demo.module = Around(norm, demo.module).eval()
    state = {name: tensor.clone() for name, tensor in demo.module.state_dict().items()}
    said = checked(CONFIG, demo, classes).line
    assert "right with mean and variance of these photographs in its batch norms" in said and "running_mean" in said
    assert all(torch.equal(tensor, state[name]) for name, tensor in demo.module.state_dict().items())
    assert not any(layer.training for layer in demo.module.modules())


def test_photographs_and_networks_that_fail_stop_nothing(
    demo: Classifier, classes: Sequence[CatalogClass], monkeypatch: pytest.MonkeyPatch
) -> None:
    demo.preprocessing = replace(demo.preprocessing, resize_side=400)
    lost = tuple(
        replace(group, entries=(replace(group.entries[0], uri="/nowhere.jpg"), *group.entries[1:])) for group in classes
    )
    assert checked(CONFIG, demo, lost).line.startswith("0 of 12 right: ")
    assert checked(CONFIG, demo, [replace(group, entries=group.entries[:4]) for group in classes]) == NOTHING_TRIED
    monkeypatch.setattr(self_check, "TRYING_SECONDS", 0.0)
    assert "right with" not in checked(CONFIG, demo, classes).line
    read = []
    monkeypatch.setattr(self_check, "READING_SECONDS", 0.0)
    monkeypatch.setattr(self_check, "read_image", lambda uri: (read.append(uri), read_image(uri))[1])
    checked(CONFIG, demo, classes)
    assert len(read) == len({*read}) == 10
    monkeypatch.setattr(self_check, "LONGEST_READING_SECONDS", 0.0)
    assert checked(CONFIG, demo, classes) == NOTHING_TRIED and len(read) == 10
    demo.module.forward = None
    assert checked(CONFIG, demo, classes) == NOTHING_TRIED


def test_photographs_are_spread_over_the_classes() -> None:
    def group(name: str, count: int) -> CatalogClass:
        return CatalogClass(name, 0, tuple(CatalogEntry(f"{name}{at:02}", name, 0, "fit") for at in range(count)))

    def chosen(*classes: CatalogClass) -> list[str]:
        return [entry.uri for entry in spread(classes, 32, 16)]

    assert chosen() == chosen(group("a", 0)) == []
    assert chosen(group("a", 3), group("b", 0)) == ["a00", "a01", "a02"]
    two = chosen(group("a", 64), group("b", 64))
    assert len(two) == 32 and two[:4] == ["a00", "b00", "a04", "b04"] and two[-1] == "b60"
    many = chosen(*(group(f"{at:03} ", 9) for at in range(160)))
    assert len(many) == 32 and many[:3] == ["000 00", "010 00", "020 00"] and many[16] == "000 04"
    single = chosen(*(group(f"{at:03} ", 1) for at in range(64)))
    assert len(single) == len({*single}) == 32


def test_a_dry_run_says_it_in_a_line(demo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = ["--images", str(demo_folder), "--model", "demo", "--output", str(tmp_path / "out"), "--dry-run"]
    assert main([*arguments, "model.resize=400"]) == 0
    assert "Self-check: 0 of 14 right: right with" in " ".join(capsys.readouterr().out.split())
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "Self-check: 14 of 14 right.\n" in said and "without --dry-run makes the run" in said
    assert main([*arguments, "model.resize=400", "model.self_check=false"]) == 0
    assert "Self-check" not in capsys.readouterr().out
