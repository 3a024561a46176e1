"""The command line: verbs, frozen options, configuration and plan printed without computing."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from visual_summaries.jobs import clean, cluster, compare, evaluate, export, report, review, summarize, volumes
from visual_summaries.jobs.command import main, run_command
from visual_summaries.pipeline.commands.evaluate import PAPERS
from visual_summaries.pipeline.commands.submission import named_files
from visual_summaries.pipeline.config import load_config
from visual_summaries.pipeline.store.tables import StoreError

ROOT = Path(__file__).parents[2]
OPTIONS = {
    "--help",
    "--config",
    "--images",
    "--manifest",
    "--model",
    "--weights",
    "--preset",
    "--output",
    "--address",
    "--submit",
    "--send",
    "--print-config",
}

NETWORK_OPTIONS = {"--other-model", "--other-weights", "--tagger", "--tagger-weights"}
VOLUMES = {"--help", "--scans", "--atlas", "--names", "--model", "--weights", "--labels", "--class-map", "--output"}
VOLUMES |= {"--light", "--shadow", "--mode", "--dark", "--error-tolerance", "--address", "--workers"}


@pytest.mark.parametrize(
    ("job", "options"),
    [
        (summarize, OPTIONS | {"--dry-run"}),
        (evaluate, OPTIONS | {"--paper", "--run", "--study", *NETWORK_OPTIONS}),
        (report, {"--help", "--run", "--submit", "--send"}),
        (clean, {"--help", "--run", "--remove", "--force"}),
        (cluster, {"--help", "--address"}),
        (compare, {"--help", "--run", "--output"}),
        (export, {"--help", "--run", "--format", "--output"}),
        (review, {"--help", "--run", "--host", "--port", "--export"}),
        (volumes, VOLUMES),
    ],
)
def test_options_are_a_promise(job, options: set[str]) -> None:  # noqa: ANN001
    actions = job.build_parser()._actions
    assert {text for action in actions for text in action.option_strings if text.startswith("--")} == options


def test_papers_are_those_that_the_stages_know() -> None:
    assert evaluate.PAPERS == tuple(PAPERS)


def test_verbs(capsys) -> None:
    assert main([]) == 2 and "summarize" in capsys.readouterr().out
    assert main(["--help"]) == 0
    assert main(["sumarize"]) == 2
    said = capsys.readouterr().err
    assert "unknown verb 'sumarize'; known: summarize, " in said and said.endswith("; did you mean summarize?\n")
    assert main(["demo"]) == 2
    assert "the demo is: visual-summaries summarize --images demo --model demo" in capsys.readouterr().err
    with pytest.raises(SystemExit) as status:
        main(["summarize", "--help"])
    assert status.value.code == 0 and "section.key=value" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "meant"),
    [
        ("export --run x --output y --format coc", "coco"),
        ("export --run x --output y --format DuckDB", "duckdb"),
        ("evaluate --paper glass", "glas"),
        ("cluster log x", "logs"),
        ("evaluate --images demo --model demo --output {output} --study faithfullness", "faithfulness"),
        ("evaluate --images demo --model demo --output {output} --study explanation-maps", "explanation maps"),
        ("summarize --preset papers --output {output}", "paper"),
        ("summarize explain.explainer=grad_cam --output {output}", "grad-cam"),
        ("evaluate --paper fgvis evaluation.explainers=[oclusion] --output {output}", "occlusion"),
        ("summarize --dry-run --images {demo} --model torchvison:resnet18 --output {output}", "torchvision:resnet18"),
        ("summarize --dry-run --images {demo} --model dem --output {output}", "demo"),
        ("summarize --images {demo} --model demo --dry-run --output {output} data.classes=[cresteds]", "crested bird"),
    ],
)
def test_a_misspelled_name_is_recognized(command: str, meant: str, capsys, demo_folder, tmp_path) -> None:
    try:
        status = main(command.format(output=tmp_path / "out", demo=demo_folder).split())
    except SystemExit as ended:
        status = ended.code
    assert status == 2 and f"did you mean {meant}?" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_the_console_script_is_the_job(tmp_path) -> None:
    script = Path(sys.executable).with_name("visual-summaries")
    if not script.exists():
        pytest.skip("the package is not installed here: no console script")
    result = subprocess.run([script, "summarize", "--print-config", "seed=7"], capture_output=True, text=True)
    assert yaml.safe_load(result.stdout)["seed"] == 7


def test_printed_configuration_can_be_read_again(tmp_path, capsys) -> None:
    assert main(["summarize", "--print-config", "--images", "x", "matching.score=phm"]) == 0
    path = tmp_path / "run.yaml"
    path.write_text(capsys.readouterr().out)
    assert main(["summarize", "--print-config", "--config", str(path)]) == 0
    assert capsys.readouterr().out == path.read_text()


def test_other_networks_are_printed_and_read_again(tmp_path, capsys) -> None:
    given = ["--other-model", "torchvision:resnet18", "--other-weights", "r.pt", "--other-model", "a:b"]
    given += ["--tagger", "c:d", "--tagger-weights", "t.pt"]
    assert main(["evaluate", "--print-config", *given]) == 0
    path = tmp_path / "run.yaml"
    path.write_text(capsys.readouterr().out)
    others = yaml.safe_load(path.read_text())["evaluation"]["other_models"]
    names = [("torchvision:resnet18", "r.pt"), ("a:b", None)]
    assert [(other["name"], other["weights"]) for other in others] == names
    taggers = yaml.safe_load(path.read_text())["evaluation"]["taggers"]
    assert [(tagger["name"], tagger["weights"]) for tagger in taggers] == [("c:d", "t.pt")]
    assert main(["evaluate", "--print-config", "--config", str(path)]) == 0
    assert capsys.readouterr().out == path.read_text()
    files = named_files(load_config(path))
    assert files["evaluation.other_models.0.weights"] == "r.pt"
    assert files["evaluation.other_models.1.weights"] is None
    assert files["evaluation.taggers.0.weights"] == "t.pt"


def test_settings_and_options_may_be_mixed(capsys) -> None:
    assert main(["summarize", "seed=3", "--print-config", "--output", "x", "data.test=0", "matching.score=nam"]) == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert (config["seed"], config["output"], config["data"]["test"]) == (3, "x", 0)
    assert config["matching"]["score"] == "nam"


def test_dry_run_plans_and_computes_nothing(tmp_path, capsys) -> None:
    from visual_summaries.pipeline.data.demo.scenes import CLASS_NAMES, write_demo_set

    write_demo_set(tmp_path / "set", 3, seed=0)
    output = tmp_path / "out"
    arguments = ["summarize", "--images", str(tmp_path / "set"), "--model", "demo", "--output", str(output)]
    assert main([*arguments, "--dry-run", "data.test=0.34", "data.held_out=0"]) == 0
    printed = capsys.readouterr().out
    assert f"{len(CLASS_NAMES)} classes, {3 * len(CLASS_NAMES)} images" in printed
    assert "later" in printed and "core-minutes" in printed and "saxophone" in printed
    assert not output.exists()


def test_foreseeable_mistakes_are_one_line(capsys) -> None:
    assert main(["summarize", "--images", "a", "--manifest", "b"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("visual-summaries: ") and "either --images" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("--labels names.txt", "--labels; settings are written without dashes: model.labels=…\n"),
        ("--class-map=map.csv", "--class-map=map.csv; settings are written without dashes: data.class_map=…\n"),
        ("--batch-size 3", "model.batch_size=…, or explain.batch_size\n"),
        ("--unheard-of", "unrecognized arguments: --unheard-of\n"),
    ],
)
def test_an_option_that_is_a_setting_says_so(written: str, said: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        main(["summarize", "--images", "demo", *written.split()])
    assert capsys.readouterr().err.endswith(said)


def test_a_network_must_be_named(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    assert main(["summarize", "--images", "demo", "--output", str(tmp_path / "out"), "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert "name the network: --model torchvision:<name>" in error and error.endswith("is --model demo\n")


def test_a_message_does_not_act_on_the_terminal(capsys: pytest.CaptureFixture) -> None:
    def fails(console: object) -> None:
        raise StoreError("ä bad \x1b]0;owned\x07 name\nand\u202e more")

    assert run_command(fails) == 1
    assert capsys.readouterr().err == "visual-summaries: ä bad \\x1b]0;owned\\x07 name\nand\\u202e more\n"
