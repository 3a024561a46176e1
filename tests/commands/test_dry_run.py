"""A dry run writes nothing; and what can be noticed cheaply is noticed before a network is loaded."""

from collections.abc import Callable
from pathlib import Path

import pytest

from visual_summaries.jobs.summarize import main
from visual_summaries.pipeline.stages import inputs
from visual_summaries.pipeline.stages.inputs import DEMO


def contents(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_dry_run_of_the_demo_writes_nothing(tmp_path, capsys) -> None:
    output = tmp_path / "out"
    arguments = ["--images", DEMO, "--model", DEMO, "--output", str(output), "data.demo_images_per_class=2"]
    assert main([*arguments, "--dry-run"]) == 0
    assert "8 classes, 16 images" in capsys.readouterr().out and not output.exists()


def test_a_dry_run_over_what_is_there_leaves_it_as_it_is(whole_run, demo_folder, capsys) -> None:
    output, _ = whole_run
    before = contents(output)
    assert main(["--images", str(demo_folder), "--model", DEMO, "--output", str(output), "--dry-run"]) == 0
    assert contents(output) == before


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("--images", "{folder}/nothing"), "nothing does not exist"),
        (("--manifest", "{folder}/nothing.csv"), "nothing.csv: cannot read the manifest"),
        (("--images", "{demo}", "data.parts={folder}/nothing.csv"), "cannot read the part boxes"),
        (("--images", "{demo}", "data.boxes={folder}/nothing.csv"), "cannot read the boxes"),
        (("--images", "{demo}", "data.landmarks={folder}/nothing.csv"), "cannot read the landmarks"),
        (("--images", "{demo}", "data.class_map={folder}/nothing.json"), "cannot read the class map"),
        (("--images", "{demo}", "model.labels={folder}/nothing.txt"), "model.labels: there is no file"),
        (("--images", "{demo}", "--weights", "{folder}/nothing.pt"), "model.weights: there is no file"),
        (
            ("--images", "{demo}", "explain.explainer=feature-cam", "explain.cam.edges={folder}/nothing.pt"),
            "explain.cam.edges: there is no file",
        ),
    ],
)
def test_a_missing_file_is_noticed_before_the_network_is_loaded(
    settings: tuple[str, ...], said: str, demo_folder, tmp_path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(*_: object) -> Callable[..., None]:
        raise AssertionError("the network was loaded first")

    monkeypatch.setattr(inputs, "classifier_of", loaded)
    given = [one.format(folder=tmp_path, demo=demo_folder) for one in settings]
    assert main([*given, "--model", "own:network", "--dry-run", "--output", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
