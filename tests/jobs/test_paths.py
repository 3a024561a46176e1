"""Every option and setting that takes a path, with a path of every wrong kind: one message, and no traceback."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from pydantic import BaseModel

from visual_summaries.jobs import clean, compare, evaluate, export, report, review, summarize, volumes
from visual_summaries.pipeline.commands.submission import named_files
from visual_summaries.pipeline.config import ConfigurationError, load_config
from visual_summaries.pipeline.runtime.settings import Location
from visual_summaries.pipeline.settings import RunConfig
from visual_summaries.pipeline.stages.inputs import check_files

MAINS = {
    "summarize": summarize.main,
    "evaluate": evaluate.main,
    "report": report.main,
    "compare": compare.main,
    "export": export.main,
    "review": review.main,
    "clean": clean.main,
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
    "model.labels of YAML": (f"{PLANNED} model.labels={{path}}", ".yaml"),
    "model.labels of Parquet": (f"{PLANNED} model.labels={{path}}", ".parquet"),
    "data.boxes of Parquet": (f"{PLANNED} data.boxes={{path}}", ".parquet"),
    "data.landmarks of JSON": (f"{PLANNED} data.landmarks={{path}}", ".json"),
    "--atlas": (f"{VOLUMES} --scans {{scans}}/scans --atlas {{path}}", ".npz"),
    "--atlas of NIfTI": (f"{VOLUMES} --scans {{scans}}/scans --atlas {{path}}", ".nii.gz"),
    "--names": (f"{SCANS} --names {{path}}", ".csv"),
    "volumes --weights": (f"{SCANS} --weights {{path}}", ".pt"),
    "volumes --labels": (f"{SCANS} --labels {{path}}", ".txt"),
    "volumes --class-map": (f"{SCANS} --class-map {{path}}", ".csv"),
    "explain.cam.edges": (f"{PLANNED} explain.explainer=feature-cam explain.cam.edges={{path}}", ".pt"),
}
DATA = ("class_map", "parts", "boxes", "landmarks")
# Another job reads them by the same functions, before it starts any worker.
FILES |= {
    f"{option}, evaluate": (command.replace("summarize --dry-run", "evaluate"), suffix)
    for option, (command, suffix) in FILES.items()
    if option in ("--manifest", "--weights", "model.labels", *(f"data.{one}" for one in DATA))
}
# Networks that a study compares with are loaded by the workers alone: before, it is seen that their files are there.
OTHER_FILES = {
    f"evaluation.{networks}.{name}": (
        f'{PLANNED} evaluation.{networks}=[{{{{"name":"demo","{name}":"{{path}}"}}}}]',
        suffix,
    )
    for networks in ("other_models", "taggers")
    for name, suffix in (("weights", ".pt"), ("labels", ".txt"))
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
    "clean --run": "clean --run {path}",
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
# An empty file of settings sets nothing.
FINE = {("--config", empty)}
CASES = [
    pytest.param(command, make, suffix, id=f"{option}-{make.__name__}")
    for option, (command, suffix) in FILES.items()
    for make in WRONG_FILES
    if (option, make) not in FINE
]
CASES += [
    pytest.param(command, make, suffix, id=f"{option}-{make.__name__}")
    for option, (command, suffix) in OTHER_FILES.items()
    for make in (missing, below_a_file, loop, too_long)
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
        said = said_by(command.format(**places), path, tmp_path, capsys)
        assert said.count("visual-summaries: ") == 1
    finally:
        if make in (unreadable, locked):
            path.chmod(0o700)


def said_by(command: str, path: Path | str, folder: Path, capsys) -> str:  # noqa: ANN001
    verb, *arguments = command.split()
    there = {one for one in folder.rglob("*")}
    if "--output" not in arguments and "--run" not in arguments:
        arguments += ["--output", str(folder / "out")]
    status = MAINS[verb](arguments)
    said = capsys.readouterr().err
    assert status in (1, 2), said
    assert said.startswith("visual-summaries: ") and "Traceback" not in said
    # A line that is longer than a terminal's is cut.
    assert str(path)[:300] in said, said
    assert not {one for one in folder.rglob("*") if "out" not in one.relative_to(folder).parts[0]} - there
    return said


def test_the_names_of_imagenet_are_a_word_and_no_file() -> None:
    config = load_config(values={"model": {"labels": "imagenet"}})
    assert named_files(config)["model.labels"] is None
    check_files(config)
    with pytest.raises(ConfigurationError, match="model.labels: there is no file imagenet.txt"):
        check_files(load_config(values={"model": {"labels": "imagenet.txt"}}))


# What is in a bucket is refused there before it is looked for.
ON_A_DISK = (
    "review --run",
    "export --run, SQL",
    *(option for option, (command, _) in FILES.items() if command.startswith("volumes")),
    "--scans",
)


def location_settings(section: type[BaseModel] = RunConfig, prefix: str = "") -> list[str]:
    """Dotted names of all settings that are places."""
    found = []
    for name, field in section.model_fields.items():
        for kind in {field.annotation, *get_args(field.annotation)}:
            if kind is Location:
                found.append(prefix + name)
            elif isinstance(kind, type) and issubclass(kind, BaseModel):
                found += location_settings(kind, f"{prefix}{name}.")
    return found


def test_no_setting_that_takes_a_place_is_left_out() -> None:
    shortcuts = {"data.images": "--images", "data.manifest": "--manifest", "model.weights": "--weights"}
    tables = {option.partition(" ")[0] for option in (*FILES, *OTHER_FILES, *FOLDERS, *OUTPUTS)}
    settings = location_settings()
    assert {"data.boxes", "explain.cam.edges", "evaluation.other_models.weights"} <= {*settings}
    assert not {shortcuts.get(name, name) for name in settings} - tables - {"output", "--output"}


@pytest.fixture(scope="module")
def bucket():  # noqa: ANN201
    pytest.importorskip("moto", reason="moto[server] is not installed")
    sys.path.insert(0, str(Path(__file__).parents[1] / "objects"))
    from store_server import BUCKET, store_server

    with store_server():
        yield BUCKET


@pytest.mark.parametrize("option", [*FILES, *OTHER_FILES, *FOLDERS])
@pytest.mark.parametrize("there", [False, True], ids=["no such bucket", "no such object"])
def test_a_place_in_a_bucket_that_is_not_there_is_one_message(
    option: str, there: bool, bucket: str, demo_folder, scans, tmp_path, capsys
) -> None:
    command, suffix = {**FILES, **OTHER_FILES}.get(option) or (FOLDERS[option], "")
    path = f"s3://{bucket if there else 'misspelled'}/missing{suffix}"
    places = {"path": path, "demo": demo_folder, "scans": scans, "folder": tmp_path}
    said = said_by(command.format(**places), path, tmp_path, capsys)
    if option in ON_A_DISK:
        assert "disk" in said
    elif not there:
        assert "bucket" in said and "check its name" in said and "make it" not in said
