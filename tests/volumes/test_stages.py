"""The stages over volumes, in the test's own process: the planted segment, the equations, what is done again."""

import io
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_scans import NAMES, PLANTED, Planted, cubes, scan, write_set
from in_process import InProcess, Unwatched
from rich.console import Console

from visual_summaries.jobs.command import main
from visual_summaries.pipeline.commands.volumes import (
    draw_volumes,
    run_volumes,
    start_volumes,
    volume_config,
    volume_setup,
)
from visual_summaries.pipeline.config import ConfigurationError
from visual_summaries.pipeline.data.catalog import CatalogError
from visual_summaries.pipeline.explain.atlas import atlas_of, explain_volumes
from visual_summaries.pipeline.models.classifier import ClassifierError
from visual_summaries.pipeline.runtime.failures import RunFailed
from visual_summaries.pipeline.runtime.flow import run_stages
from visual_summaries.pipeline.runtime.records import error_shards, write_errors_manifest
from visual_summaries.pipeline.stages.networks import network_name
from visual_summaries.pipeline.stages.volumes.inputs import catalog_errors, gather_volume_inputs
from visual_summaries.pipeline.stages.volumes.order import VOLUME_STAGES
from visual_summaries.pipeline.store.tables import StoreError, TableStore

SIGMAS = {"light": 2.0, "shadow": 1.5}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    write_set(folder)
    return folder


@pytest.fixture
def folder(drawn: Path, tmp_path: Path) -> Path:
    """A copy of the drawn set, to be changed."""
    shutil.copytree(drawn, tmp_path / "set")
    return tmp_path / "set"


def run(folder: Path, output: Path | None = None, **given: Any) -> tuple[dict[str, list[dict]], dict[str, tuple]]:
    """Rows of all tables, and (planned, found complete) units of each stage."""
    state = started(folder, output, **given)
    run_stages(state, VOLUME_STAGES, InProcess(volume_setup(state)(False, None)))
    write_errors_manifest(state, complete=True)
    names = ("scans", "probes", "segments", "segment_means", "errors")
    units = {row["stage"]: (row["units"], row["units_cached"]) for row in state.stage_rows}
    return {name: state.store.read_all(name).to_pylist() for name in names}, units


def started(folder: Path, output: Path | None = None, **given: Any):  # noqa: ANN201
    files = {"scans": str(folder / "scans"), "atlas": str(folder / "atlas.npy"), "names": str(folder / "names.csv")}
    own = {"model": "drawn_scans:Planted", "output": str(output or folder / "out"), **SIGMAS}
    config = volume_config(files | own | given)
    inputs = gather_volume_inputs(config)
    state = start_volumes(config, inputs, Console(file=io.StringIO()))
    state.watch = Unwatched()
    network_name(config.output.path, inputs.weights_digest, inputs.answers, remember=state.write)
    state.errors["catalog"] = error_shards(state, "catalog", catalog_errors(inputs))
    return state


@pytest.fixture(scope="module")
def whole(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[dict]]]:
    """(output, tables) of an undisturbed run."""
    output = tmp_path_factory.mktemp("whole")
    return output, run(drawn, output)[0]


def test_the_planted_segment_is_first_in_every_scan_and_class(whole) -> None:  # noqa: ANN001
    _, tables = whole
    present = [row for row in tables["segments"] if row["label"] == "present"]
    assert len(present) == 3 * 27 and not tables["errors"]
    assert [row["segment"] for row in present if row["rank"] == 1] == [PLANTED] * 3
    assert {row["name"] for row in present if row["segment"] in NAMES} == set(NAMES.values())
    assert all(row["name"] is None for row in present if row["segment"] not in NAMES)
    means = {(row["label"], row["segment"]): row for row in tables["segment_means"]}
    assert len(means) == 2 * 27
    first = means["present", PLANTED]
    of_it = [row["score"] for row in present if row["segment"] == PLANTED]
    assert (first["rank"], first["first"], first["scans"], first["relative"]) == (1, 3, 3, 1.0)
    assert first["score"] == pytest.approx(np.mean(of_it)) and min(of_it) <= first["low"] <= first["high"] <= max(of_it)
    assert first["voxels"] == 64 and first["center"] == np.argwhere(cubes() == PLANTED).mean(axis=0).tolist()
    others = [row["score"] for (label, at), row in means.items() if label == "present" and at != PLANTED]
    assert first["score"] > 5 * max(others)
    right = [row["prediction"] == row["class_index"] for row in tables["scans"]]
    assert len(right) == 6 and all(right)


def test_whichever_segment_is_planted_it_is_first() -> None:
    atlas = atlas_of(torch.from_numpy(cubes()))
    for planted in (1, 9, 14, 27):
        volumes = torch.rand(2, 1, 12, 12, 12, generator=torch.Generator().manual_seed(planted)) * 0.2 + 0.1
        volumes[:, 0][:, torch.from_numpy(cubes() == planted)] += 0.5
        found = explain_volumes(_of(Planted(planted)), volumes, torch.tensor([1, 1]), atlas, **SIGMAS)
        assert (atlas.segments[found.segment_scores.argmax(dim=1)] == planted).all()


def _of(network: Planted):  # noqa: ANN202
    return lambda volumes: network(volumes).softmax(dim=1)


@pytest.mark.parametrize("dark", [None, -0.5])
def test_scores_are_those_of_the_equations(drawn: Path, whole, tmp_path: Path, dark: float | None) -> None:  # noqa: ANN001
    """f_l·f_s by a loop over voxels, in float64, for the planted segment, one at a corner and the one in the middle."""
    tables = whole[1] if dark is None else run(drawn, tmp_path, dark=dark)[0]
    place = {row["image_id"]: row["uri"] for row in tables["scans"]}
    network, world = Planted().double(), dark or 0.0

    def score(volume: np.ndarray, target: int) -> float:
        return float(network(torch.from_numpy(volume)[None, None]).softmax(dim=1)[0, target])

    checked = 0
    for row in tables["segments"]:
        if row["segment"] not in (1, 14, PLANTED) or not place[row["image_id"]].endswith("1.npy"):
            continue
        volume = np.load(place[row["image_id"]]).astype(np.float64)
        target, center = int(row["label"] == "present"), np.argwhere(cubes() == row["segment"]).mean(axis=0)
        lit, shaded = np.empty_like(volume), np.empty_like(volume)
        for voxel in np.ndindex(volume.shape):
            squared = ((np.array(voxel) - center) ** 2).sum()
            lit[voxel] = world + (volume[voxel] - world) * np.exp(-squared / (2 * SIGMAS["light"] ** 2))
            shaded[voxel] = world + (volume[voxel] - world) * (1 - np.exp(-squared / (2 * SIGMAS["shadow"] ** 2)))
        light = score(lit, target)
        shadow = abs(score(volume, target) - score(shaded, target)) + 1e-5
        assert row["light"] == pytest.approx(light, rel=1e-4)
        assert row["shadow"] == pytest.approx(shadow, rel=1e-4, abs=1e-6)
        assert row["score"] == row["light"] * row["shadow"]
        checked += 1
    assert checked == 6


def test_a_scan_alone_has_the_same_scores_as_in_company(whole, folder: Path) -> None:  # noqa: ANN001
    for path in sorted((folder / "scans").rglob("[02].npy")):
        path.unlink()
    # Under a name that is not UTF-8.
    odd = folder / "scans" / "absent" / os.fsdecode(b"odd \xff.npy")
    (folder / "scans" / "absent" / "1.npy").rename(odd)
    alone = run(folder)[0]["segments"]
    together = {(row["image_id"], row["segment"]): row for row in whole[1]["segments"]}
    assert len(alone) == 2 * 27 and all(row == together[row["image_id"], row["segment"]] for row in alone)


def test_a_plain_function_is_taken_as_well(whole, drawn: Path, tmp_path: Path) -> None:  # noqa: ANN001
    found = run(drawn, tmp_path, model="drawn_scans:scores")[0]["segments"]
    for row, other in zip(found, whole[1]["segments"], strict=True):
        assert row["score"] == pytest.approx(other["score"], rel=1e-5) and row["rank"] == other["rank"]


def test_it_resumes_and_does_again_only_what_changed(folder: Path) -> None:
    first, units = run(folder)
    assert units == {"scans": (2, 0), "probes": (6, 0), "segments": (2, 0), "means": (2, 0)}
    assert run(folder)[1] == {"scans": (2, 2), "probes": (6, 6), "segments": (2, 2), "means": (2, 2)}
    # Other names: no network is asked again.
    (folder / "names.csv").write_text("label,name\n1,corner\n")
    tables, units = run(folder)
    assert units == {"scans": (2, 2), "probes": (6, 6), "segments": (2, 0), "means": (2, 0)}
    assert {row["name"] for row in tables["segments"]} == {"corner", None}
    # A new scan: the others' probes stay. Another σ: scans stay. Another atlas: nothing does.
    np.save(folder / "scans" / "absent" / "7.npy", scan(7, False))
    assert run(folder)[1] == {"scans": (2, 1), "probes": (7, 6), "segments": (2, 1), "means": (2, 1)}
    assert run(folder, shadow=2.0)[1]["scans"] == (2, 2) and run(folder, shadow=2.5)[1]["probes"] == (7, 0)
    np.save(folder / "atlas.npy", np.maximum(cubes() - 1, 0))
    assert run(folder)[1]["scans"] == (2, 0)
    # As it was: all of it is still there.
    np.save(folder / "atlas.npy", cubes().astype(np.int16))
    (folder / "scans" / "absent" / "7.npy").unlink()
    (folder / "names.csv").write_text("label,name\n16,the planted one\n3,another\n")
    tables, units = run(folder)
    assert tables["segments"] == first["segments"] and units["probes"] == (6, 6)


def test_another_network_of_the_same_name_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = run(folder, model="drawn_scans:scores")[0]["segments"]
    monkeypatch.setattr("drawn_scans.Planted", lambda: Planted(27))
    after, units = run(folder, model="drawn_scans:scores")
    assert units["scans"] == (2, 0) and after["segments"] != before
    assert run(folder, model="drawn_scans:scores")[1]["probes"] == (6, 6)


def test_bad_scans_are_lost_alone_and_told(folder: Path) -> None:
    bad = folder / "scans" / "present"
    (bad / "damaged.npy").write_bytes(b"\x93NUMPY no")
    np.save(bad / "nan.npy", np.where(cubes() == 1, np.nan, scan(1, True)))
    np.save(bad / "shape.npy", scan(1, True)[1:])
    np.save(bad / "colored.npy", np.stack([scan(3, True)] * 2))
    shutil.copy(bad / "1.npy", bad / "copy.npy")
    (folder / "scans" / "none").mkdir()
    (folder / "map.csv").write_text("label,class_index\nabsent,0\npresent,1\nnone,1\n")
    own = {"class_map": str(folder / "map.csv"), "error_tolerance": 0.6}
    tables, _ = run(folder, **own)
    told = {(Path(row["uri"]).name if row["uri"] else row["label"]): row for row in tables["errors"]}
    reasons = {
        "none": "the class has no scans",
        "damaged.npy": "damaged or of another kind",
        "nan.npy": "64 of 1728 values are no finite numbers",
        "shape.npy": "has 11 × 12 × 12 voxels, the atlas 12 × 12 × 12",
        "colored.npy": "has 2 channels, the first scans have 1",
        "copy.npy": f"the same scan, byte for byte, as {bad / '1.npy'}",
    }
    assert told.keys() == reasons.keys()
    assert all(told[name]["reason"].startswith(reason) for name, reason in reasons.items())
    assert len(tables["segments"]) == 6 * 27 and len({row["image_id"] for row in tables["segments"]}) == 6
    assert all(row["scans"] == 3 for row in tables["segment_means"])
    # What was read and found wanting is not read again.
    assert not any(row["retry"] for row in told.values())
    with pytest.raises(RunFailed, match=r"4 of 11 images were left out(.|\n)*nan.npy: 64 of 1728 values"):
        run(folder, **own | {"error_tolerance": 0.1})


def test_a_scan_that_breaks_the_network_under_light_is_lost_alone(folder: Path) -> None:
    np.save(folder / "scans" / "present" / "bright.npy", scan(4, True) * 500)
    tables, _ = run(folder, model="drawn_scans:broken", error_tolerance=0.2)
    (error,) = tables["errors"]
    assert error["uri"].endswith("bright.npy") and error["reason"] == "RuntimeError: too bright" and error["retry"]
    assert len(tables["probes"]) == 6


def test_channels_are_the_classifiers(folder: Path) -> None:
    for path in (folder / "scans").rglob("*.npy"):
        np.save(path, np.stack([np.zeros_like(cubes(), dtype=np.float32), np.load(path)]))
    tables, _ = run(folder, model="drawn_scans:with_color")
    assert {row["segment"] for row in tables["segments"] if row["rank"] == 1 and row["label"] == "present"} == {PLANTED}
    assert {row["channels"] for row in tables["scans"]} == {2}


def test_nifti_scans_with_an_atlas_of_nifti(whole, folder: Path) -> None:  # noqa: ANN001
    nibabel = pytest.importorskip("nibabel", reason="the extra 'volumes' is not installed")
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(cubes().astype(np.int16), affine), folder / "atlas.nii.gz")
    for number, path in enumerate(sorted((folder / "scans").rglob("*.npy"))):
        nibabel.save(nibabel.Nifti1Image(np.load(path), affine), path.with_suffix((".nii", ".nii.gz")[number % 2]))
        path.unlink()
    turned = nibabel.Nifti1Image(scan(5, True), affine * [[-1], [1], [1], [1]])
    nibabel.save(turned, folder / "scans" / "present" / "turned.nii.gz")
    state = started(folder, atlas=str(folder / "atlas.nii.gz"))
    run_stages(state, VOLUME_STAGES, InProcess(volume_setup(state)(False, None)))
    write_errors_manifest(state, complete=True)
    found = state.store.read_all("segments").to_pylist()
    assert [row["score"] for row in found] == [row["score"] for row in whole[1]["segments"]]
    (error,) = state.store.read_all("errors").to_pylist()
    assert error["reason"].startswith("is oriented LAS, the atlas RAS") and error["uri"].endswith("turned.nii.gz")
    assert "turned.nii.gz" in Path(draw_volumes(state)).read_text()


def test_without_any_light_there_is_no_rank(folder: Path) -> None:
    tables, _ = run(folder, model="drawn_scans:never_present")
    present = [row for row in tables["segments"] if row["label"] == "present"]
    assert {(row["score"], row["rank"]) for row in present} == {(0.0, None)}
    means = [row for row in tables["segment_means"] if row["label"] == "present"]
    assert {(row["rank"], row["relative"], row["first"]) for row in means} == {(None, 0.0, 0)}


BAD_COMMANDS = [
    ({"model": "torchvision:resnet18"}, ClassifierError, "of volumes must be module:function"),
    ({"model": "drawn_scans:plantd"}, ClassifierError, "has no function 'plantd'"),
    ({"model": "drawn_scans:cubes"}, ClassifierError, "returned ndarray; it must return a torch.nn.Module"),
    ({"model": "drawn_scans:scan"}, ClassifierError, r"fails on volumes \[2, 1, 12, 12, 12\], as large as the atlas"),
    ({"model": "drawn_scans:logits"}, ClassifierError, "gives scores outside 0 … 1: apply softmax"),
    ({"model": "drawn_scans:one_score"}, ClassifierError, r"returns torch.float32 \[2\] for volumes"),
    ({"model": "drawn_scans:scores", "weights": "w.pt"}, ClassifierError, "is a plain function, which takes no"),
    ({"weights": "gone.safetensors"}, ClassifierError, "gone.safetensors: there is no such weights file"),
    ({"atlas": "gone.npy"}, CatalogError, "gone.npy: cannot be used as the atlas: there is no such file"),
    ({"scans": "gone"}, CatalogError, "gone does not exist"),
    ({"scans": "s3://bucket/scans"}, ConfigurationError, "--scans s3://bucket/scans: .* read from a disk; copy it"),
    ({"labels": "{folder}/three.txt"}, ClassifierError, "three.txt"),
    ({"labels": "{folder}/other.txt"}, CatalogError, "2 of 2 labels do not say which class they are"),
    ({"light": 0.0}, ConfigurationError, "--light: Input should be greater than 0"),
    ({"mode": "dusk"}, ConfigurationError, "--mode: Input should be 'fusion', 'light' or 'shadow'"),
    ({"ray.workers": 0}, ConfigurationError, "--workers: Input should be greater than"),
    ({"output": "s3://key:secret@bucket"}, ConfigurationError, "--output: the address holds credentials"),
]


@pytest.mark.parametrize(("given", "error", "reason"), BAD_COMMANDS, ids=[str(given) for given, *_ in BAD_COMMANDS])
def test_bad_commands_are_refused_before_any_work(
    given: dict[str, Any], error: type[Exception], reason: str, folder: Path
) -> None:
    (folder / "three.txt").write_text("a\nb\nc\n")
    (folder / "other.txt").write_text("a\nb\n")
    given = {name: value.format(folder=folder) if isinstance(value, str) else value for name, value in given.items()}
    with pytest.raises(error, match=reason) as refused:
        started(folder, **given)
    assert "secret" not in str(refused.value) and not (folder / "out" / "tables").exists()


def test_folders_are_classes_by_their_names_or_by_their_order(folder: Path) -> None:
    state = started(folder)
    assert "(absent: class 0, present: class 1, by the order of the folders' names" in state.inputs.found
    (folder / "names.txt").write_text("Present\nabsent\n")
    state = started(folder, labels=str(folder / "names.txt"))
    assert [group.class_index for group in state.inputs.classes] == [1, 0] and "order" not in state.inputs.found
    (folder / "scans" / "present").rename(folder / "scans" / "0")
    (folder / "scans" / "absent").rename(folder / "scans" / "1")
    assert [(one.label, one.class_index) for one in started(folder).inputs.classes] == [("0", 0), ("1", 1)]


def test_a_folder_of_another_kind_of_run_is_left_alone(folder: Path, capsys: pytest.CaptureFixture) -> None:
    (folder / "out" / "tables" / "images").mkdir(parents=True)
    (folder / "out" / "tables" / "images" / "manifest.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="holds a run over photographs"):
        run_volumes(started(folder).config, Console(file=io.StringIO()))
    (folder / "volumes" / "tables" / "scans").mkdir(parents=True)
    (folder / "volumes" / "tables" / "scans" / "manifest.json").write_text("{}")
    assert main(["summarize", "--images", "demo", "--model", "demo", "--output", str(folder / "volumes")]) == 2
    assert "holds a run over volumes; name another --output" in capsys.readouterr().err
    (folder / "elsewhere").mkdir()
    (folder / "linked").mkdir()
    (folder / "linked" / "report").symlink_to(folder / "elsewhere")
    with pytest.raises(StoreError, match="leads out of"):
        run_volumes(started(folder, folder / "linked").config, Console(file=io.StringIO()))


def test_the_page_escapes_what_comes_from_data(folder: Path) -> None:
    hostile = "<script>alert(1)</script>"
    (folder / "names.csv").write_text(f"label,name\n{PLANTED},{hostile}\n")
    (folder / "scans" / "present").rename(folder / "scans" / "<b>present")
    np.save(folder / "scans" / "absent" / "<i>.npy", np.zeros(cubes().shape))
    state = started(folder, error_tolerance=0.3)
    run_stages(state, VOLUME_STAGES, InProcess(volume_setup(state)(False, None)))
    write_errors_manifest(state, complete=True)
    page = Path(draw_volumes(state)).read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "every value is 0" in page
    assert not any(text in page for text in (hostile, "<b>present", "<i>"))
    pictures = sorted(path.name for path in (folder / "out" / "report").glob("*.webp"))
    assert len(pictures) == 2 and all(f'src="{name}"' in page for name in pictures)
    csv = (folder / "out" / "report" / "segments.csv").read_text().splitlines()
    assert len(csv) == 1 + 2 * 27 and csv[1].startswith(f'"<b>present",{PLANTED},"{hostile}",64,')


def test_tables_are_read_by_class(whole) -> None:  # noqa: ANN001
    output, tables = whole
    store = TableStore(output)
    present = store.read_all("segments", label="present").to_pylist()
    assert present == [row for row in tables["segments"] if row["label"] == "present"]
    runs = store.read_all("runs").to_pylist()
    assert [row["stage"] for row in runs] == ["scans", "probes", "segments", "means"]
    assert '"classes": [{"label": "absent", "class_index": 0}' in runs[0]["inputs"]
