"""Bad photographs, empty classes, wrong weights: the run ends well and says what it left out."""

import shutil

import numpy as np
import pytest
from PIL import Image
from runs import SETTINGS, command, run_here, run_job, tables

from visual_summaries.jobs.summarize import main
from visual_summaries.pipeline.store.tables import TableStore


@pytest.fixture(scope="module")
def spoiled_run(demo_folder, tmp_path_factory):  # noqa: ANN201
    """A run over the demo folder with every kind of trouble added."""
    folder = tmp_path_factory.mktemp("spoiled") / "set"
    shutil.copytree(demo_folder, folder)
    first, second = sorted(path for path in folder.iterdir() if path.is_dir())
    good = Image.open(next(first.iterdir())).convert("RGB")
    good.save(first / "truncated.jpg", quality=95)
    content = (first / "truncated.jpg").read_bytes()
    (first / "truncated.jpg").write_bytes(content[: len(content) // 2])
    (first / "empty.jpg").write_bytes(b"")
    (first / "text <b>.jpg").write_text("this is no picture")
    shutil.copy(sorted(first.glob("0*.png"))[0], first / "copy.png")
    sixteen = (np.asarray(good.convert("L")).astype(np.uint16)) * 257
    Image.fromarray(sixteen).save(first / "sixteen.png")
    shutil.copy(first / "sixteen.png", second / "also.png")
    good.convert("CMYK").save(second / "cmyk.jpg", quality=95)
    Image.fromarray(np.zeros((1, 1), np.uint8)).save(second / "pixel.png")
    (folder / "saxophone").mkdir()
    (folder / "butterfly").mkdir()
    from visual_summaries.pipeline.data.demo.scenes import render

    Image.fromarray(render("butterfly", 5).image).save(folder / "butterfly" / "only.png")
    output = tmp_path_factory.mktemp("output")
    settings = ("error_tolerance=0.5", "data.held_out=0", "data.test=0", "explain.policy=all")
    return output, folder, run_here(output, folder, *SETTINGS, *settings)


def test_the_run_ends_well(spoiled_run) -> None:
    output, _, result = spoiled_run
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Left out: 4 in images" in result.stdout and "Noted of classes: " in result.stdout
    assert (output / "report" / "index.html").is_file()


def test_everything_left_out_is_said(spoiled_run) -> None:
    output, folder, _ = spoiled_run
    rows = tables(output)["errors"].to_pylist()
    by_file = {row["uri"].rsplit("/", 1)[-1]: row["reason"] for row in rows if row["uri"]}
    assert set(by_file) == {"truncated.jpg", "empty.jpg", "text <b>.jpg", "copy.png"} or set(by_file) == {
        "truncated.jpg",
        "empty.jpg",
        "text <b>.jpg",
        "000.png",
    }
    assert "truncated" in by_file["truncated.jpg"]
    assert "empty" in by_file["empty.jpg"]
    assert "not an image" in by_file["text <b>.jpg"]
    shared = {row["label"]: row["reason"] for row in rows if row["stage"] == "metrics"}
    first, second = sorted(path.name for path in folder.iterdir() if path.name in shared)
    assert f"such as {folder / first / 'sixteen.png'} as {folder / second / 'also.png'}" in shared[first]
    by_class = {row["label"]: row["reason"] for row in rows if row["stage"] == "catalog"}
    assert "no images" in by_class["saxophone"]
    assert "1 image" in by_class["butterfly"]


def test_unusual_images_are_explained(spoiled_run) -> None:
    output, _, _ = spoiled_run
    rows = {row["uri"].rsplit("/", 1)[-1]: row for row in tables(output)["images"].to_pylist()}
    explained = {row["image_id"] for row in tables(output)["maps"].to_pylist()}
    for name in ("sixteen.png", "cmyk.jpg", "pixel.png", "only.png"):
        assert rows[name]["decode_error"] is None and rows[name]["image_id"] in explained, name
    assert rows["cmyk.jpg"]["mode"] == "CMYK" and rows["pixel.png"]["width"] == 1


def test_a_class_with_one_image_has_a_map_but_no_summary(spoiled_run) -> None:
    output, _, _ = spoiled_run
    summaries = [row for row in tables(output)["summaries"].to_pylist() if row["label"] == "butterfly"]
    assert summaries and not any(row["kept"] for row in summaries)
    assert all(row["reason"] == "1 image, fewer than 3" for row in summaries)
    assert sum(row["label"] == "butterfly" for row in tables(output)["maps"].to_pylist()) == 1


def test_file_names_never_become_html(spoiled_run) -> None:
    output, _, _ = spoiled_run
    pages = [page.read_text() for page in (output / "report").rglob("*.html")]
    assert any("text &lt;b&gt;" in page for page in pages)
    assert not any("text <b>" in page for page in pages)


def test_above_the_tolerance_the_run_fails_and_the_tables_stay(spoiled_run, tmp_path) -> None:
    _, folder, _ = spoiled_run
    result = run_here(tmp_path, folder, *SETTINGS, "data.held_out=0", "data.test=0")
    assert result.returncode == 1
    assert "error_tolerance" in result.stderr and "truncated.jpg" in result.stderr
    assert "Traceback" not in result.stderr
    assert TableStore(tmp_path).read_all("errors").num_rows >= 4


@pytest.mark.parametrize(
    ("settings", "status", "message"),
    [
        (("--images", "nowhere"), 2, "nowhere"),
        (("--model", "torchvision:resnet18", "--weights", "missing.safetensors"), 2, "missing.safetensors"),
        (("--model", "torchvision:resnet51"), 2, "resnet"),
        (("matching.scor=lom",), 2, "did you mean matching.score"),
    ],
)
def test_wrong_command_lines_are_one_message(
    demo_folder, tmp_path, capsys, settings: tuple[str, ...], status: int, message: str
) -> None:
    # The job in this process: it ends before it starts anything, and importing all it needs takes most of a process.
    _, _, _, _, *options = command(tmp_path, demo_folder, *settings)
    assert main(options) == status
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("--address", "127.0.0.1:9"), "cannot start or reach Ray"),
        (("ray.cpus=1", "ray.gpus=1", "ray.explain_gpus=2"), "needs 1 CPUs and 2 GPUs"),
    ],
)
def test_a_cluster_that_will_not_do_is_one_message(
    demo_folder, tmp_path, settings: tuple[str, ...], message: str
) -> None:
    result = run_job(tmp_path, demo_folder, *settings)
    assert result.returncode == 3, result.stdout + result.stderr
    assert message in result.stderr and "Traceback" not in result.stderr
