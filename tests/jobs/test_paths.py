"""Every option and setting that takes a path, with a path of every wrong kind: one message, and no traceback."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jobs import compare, evaluate, export, report, review, summarize, volumes
from pipeline.commands.submission import named_files
from pipeline.config import ConfigurationError, load_config
from pipeline.stages.inputs import check_files

MAINS = {
    "summarize": summarize.main,
    "evaluate": evaluate.main,
    "report": report.main,
    "compare": compare.main,
    "export": export.main,
    "review": review.main,
    "volumes": volumes.main,
}
NETWORK = "--model demo"
PLANNED = f"summarize --dry-run --images {{demo}} {NETWORK}"
VOLUMES = "volumes --model torch.nn:Flatten --output {folder}/out"
SCANS = f"{VOLUMES} --scans {{scans}}/scans --atlas {{scans}}/atlas.npy"
# Option → the command line with `{path}` in its place, and the ending that its files must have.
FILES = {
    "--config": ("summarize --print-config --config {path}", ".yaml"),
    "--manifest": (f"summarize --dry-run --manifest {{path}} {NETWORK}", ".csv"),
    "--manifest of Parquet": (f"summarize --dry-run --manifest {{path}} {NETWORK}", ".parquet"),
    "--weights": ("summarize --dry-run --images {demo} --model torchvision:squeezenet1_1 --weights {path}", ".pt"),
    "--weights, safe": (
        "summarize --dry-run --images {demo} --model torchvision:squeezenet1_1 --weights {path}",
        ".safetensors",
    ),
    "data.class_map": (f"{PLANNED} data.class_map={{path}}", ".json"),
    "data.class_map of YAML": (f"{PLANNED} data.class_map={{path}}", ".yaml"),
    "data.class_map of CSV": (f"{PLANNED} data.class_map={{path}}", ".csv"),
    "data.parts": (f"{PLANNED} data.parts={{path}}", ".csv"),
    "data.boxes": (f"{PLANNED} data.boxes={{path}}", ".csv"),
    "data.landmarks": (f"{PLANNED} data.landmarks={{path}}", ".csv"),
    "--images of tar": (f"summarize --dry-run --images {{path}} {NETWORK}", ".tar"),
    "--images of Parquet": (f"summarize --dry-run --images {{path}} {NETWORK}", ".parquet"),
    "model.labels": (f"{PLANNED} model.labels={{path}}", ".txt"),
    "model.labels of CSV": (f"{PLANNED} model.labels={{path}}", ".csv"),
    "model.labels of JSON": (f"{PLANNED} model.labels={{path}}", ".json"),
    "--atlas": (f"{VOLUMES} --scans {{scans}}/scans --atlas {{path}}", ".npz"),
    "--atlas of NIfTI": (f"{VOLUMES} --scans {{scans}}/scans --atlas {{path}}", ".nii.gz"),
    "--names": (f"{SCANS} --names {{path}}", ".csv"),
    "volumes --weights": (f"{SCANS} --weights {{path}}", ".pt"),
    "volumes --labels": (f"{SCANS} --labels {{path}}", ".txt"),
    "volumes --class-map": (f"{SCANS} --class-map {{path}}", ".csv"),
    "explain.cam.edges": (f"{PLANNED} explain.explainer=feature-cam explain.cam.edges={{path}}", ".pt"),
}
FOLDERS = {
    "--images": f"summarize --dry-run --images {{path}} {NETWORK}",
    "--scans": f"{VOLUMES} --scans {{path}} --atlas {{scans}}/atlas.npy",
    "evaluate --run": "evaluate --run {path}",
    "report --run": "report --run {path}",
    "compare --run": "compare --run {path} --run {path} --output {folder}/out",
    "export --run": "export --run {path} --format coco --output {folder}/out",
    "export --run, SQL": "export --run {path} --format duckdb --output {folder}/out",
    "review --run": "review --run {path}",
}
OUTPUTS = {
    "--output": f"summarize --images {{demo}} {NETWORK} --output {{path}}",
    "--output, planned": f"{PLANNED} --output {{path}}",
    "--output, demo": "summarize --dry-run --images demo --model demo data.demo_images_per_class=1 --output {path}",
    "volumes --output": (
        "volumes --model torch.nn:Flatten --scans {scans}/scans --atlas {scans}/atlas.npy --output {path}"
    ),
    "compare --output": "compare --run {run} --run {run} --output {path}",
    "export --output": "export --run {run} --format coco --output {path}",
    "export --output, FiftyOne": "export --run {run} --format fiftyone --output {path}",
    "export --output, SQL": "export --run {run} --format duckdb --output {path}",
}


def missing(folder: Path, suffix: str) -> Path:
    return folder / f"missing{suffix}"


def a_folder(folder: Path, suffix: str) -> Path:
    (folder / f"folder{suffix}").mkdir()
    return folder / f"folder{suffix}"


def a_file(folder: Path, suffix: str) -> Path:
    (folder / f"file{suffix}").write_text("hello\n")
    return folder / f"file{suffix}"


def below_a_file(folder: Path, suffix: str) -> Path:
    (folder / "file").write_text("hello\n")
    return folder / "file" / f"below{suffix}"


def empty(folder: Path, suffix: str) -> Path:
    (folder / f"empty{suffix}").touch()
    return folder / f"empty{suffix}"


def binary(folder: Path, suffix: str) -> Path:
    (folder / f"binary{suffix}").write_bytes(bytes(range(256)) * 4)
    return folder / f"binary{suffix}"


def unreadable(folder: Path, suffix: str) -> Path:
    path = empty(folder, suffix)
    path.chmod(0)
    return path


def locked(folder: Path, suffix: str) -> Path:
    path = a_folder(folder, suffix)
    path.chmod(0)
    return path


def loop(folder: Path, suffix: str) -> Path:
    (folder / f"loop{suffix}").symlink_to(f"loop{suffix}")
    return folder / f"loop{suffix}"


def too_long(folder: Path, suffix: str) -> Path:
    return folder / ("long" * 100 + suffix)


WRONG_FILES = (missing, a_folder, below_a_file, empty, binary, unreadable, loop, too_long)
WRONG_FOLDERS = (missing, a_folder, a_file, below_a_file, locked, loop, too_long)
WRONG_OUTPUTS = (a_file, below_a_file, locked, loop, too_long)
# An empty file of settings sets nothing; of classes that are found by themselves it says nothing.
FINE = {("--config", empty), ("data.class_map of YAML", empty)}
CASES = [
    pytest.param(command, make, suffix, id=f"{option}-{make.__name__}")
    for option, (command, suffix) in FILES.items()
    for make in WRONG_FILES
    if (option, make) not in FINE
]
CASES += [
    pytest.param(command, make, "", id=f"{option}-{make.__name__}")
    for commands, makes in ((FOLDERS, WRONG_FOLDERS), (OUTPUTS, WRONG_OUTPUTS))
    for option, command in commands.items()
    for make in makes
]


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one scan, and an atlas."""
    folder = tmp_path_factory.mktemp("volumes")
    (folder / "scans" / "0").mkdir(parents=True)
    np.save(folder / "scans" / "0" / "a.npy", np.eye(3)[None])
    np.save(folder / "atlas.npy", np.ones((1, 3, 3), np.int64))
    return folder


@pytest.mark.parametrize(("command", "make", "suffix"), CASES)
def test_a_wrong_path_is_one_message(
    command: str, make: Callable[[Path, str], Path], suffix: str, demo_folder, scans, tmp_path, capsys, request
) -> None:
    if make in (unreadable, locked) and os.geteuid() == 0:
        pytest.skip("nothing is unreadable to the superuser")
    path = make(tmp_path, suffix)
    run = request.getfixturevalue("whole_run")[0] if "{run}" in command else None
    try:
        places = {"path": path, "demo": demo_folder, "scans": scans, "folder": tmp_path, "run": run}
        said_by(command.format(**places), path, tmp_path, capsys)
    finally:
        if make in (unreadable, locked):
            path.chmod(0o700)


def said_by(command: str, path: Path, folder: Path, capsys) -> None:  # noqa: ANN001
    verb, *arguments = command.split()
    there = {one for one in folder.rglob("*")}
    if verb == "summarize" and "--output" not in arguments:
        arguments += ["--output", str(folder / "out")]
    status = MAINS[verb](arguments)
    said = capsys.readouterr().err
    assert status in (1, 2), said
    assert said.startswith("visual-summaries: ") and "Traceback" not in said
    # A line that is longer than a terminal's is cut.
    assert str(path)[:300] in said, said
    assert not {one for one in folder.rglob("*") if "out" not in one.name} - there


def test_the_names_of_imagenet_are_a_word_and_no_file() -> None:
    config = load_config(values={"model": {"labels": "imagenet"}})
    assert named_files(config)["model.labels"] is None
    check_files(config)
    with pytest.raises(ConfigurationError, match="model.labels: there is no file imagenet.txt"):
        check_files(load_config(values={"model": {"labels": "imagenet.txt"}}))
