"""A run on photographs in tar or Parquet files gives the tables of a run on the same photographs as files."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from in_process import rows, run_in_process

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))

from packed import files_of, members_of, parquet_bytes, tar_bytes, write_shards  # noqa: E402
from rich.console import Console  # noqa: E402

from visual_summaries.pipeline.commands.dry_run import print_plan  # noqa: E402
from visual_summaries.pipeline.config import RunConfig, load_config  # noqa: E402
from visual_summaries.pipeline.data.demo.scenes import CLASS_NAMES, write_demo_set  # noqa: E402
from visual_summaries.pipeline.export.coco import export_coco  # noqa: E402
from visual_summaries.pipeline.export.fiftyone import export_fiftyone  # noqa: E402
from visual_summaries.pipeline.stages.inputs import gather_inputs  # noqa: E402
from visual_summaries.pipeline.stages.order import STAGES  # noqa: E402
from visual_summaries.pipeline.store.tables import StoreError, TableStore  # noqa: E402
from visual_summaries.schemas import TABLES  # noqa: E402

# Their paths, and what a clock measured.
OWN = {"uri", "seconds", "worker_seconds", "started", "ended", "run", "configuration", "peak_memory", "host", "inputs"}
WITHOUT = {"runs", "costs"}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, five photographs each and one that is broken, no name twice."""
    folder = tmp_path_factory.mktemp("set")
    write_demo_set(folder / "drawn", 5, seed=4)
    for place, label in enumerate(CLASS_NAMES[:2]):
        (folder / "files" / label).mkdir(parents=True)
        for file in sorted((folder / "drawn" / label).iterdir()):
            file.rename(folder / "files" / label / f"{'ab'[place]}{file.name}")
    (folder / "files" / CLASS_NAMES[0] / "a9.jpg").write_bytes(b"\xff\xd8\xff no photograph")
    return folder / "files"


def config_of(images: Path, output: Path) -> RunConfig:
    settings = ("model.name=demo", "explain.explainer=grad-cam", "explain.policy=all", "summaries.resamples=0")
    settings += ("pruning.minimum_members=2", "data.held_out=0", "data.test=0", "error_tolerance=1")
    return load_config(None, [f"output={output}", f"data.images={images}", *settings])


def tables(output: Path) -> dict[str, list[dict]]:
    return {
        name: [{column: value for column, value in row.items() if column not in OWN} for row in rows(output, name)]
        for name in TABLES
        if (output / "tables" / name).is_dir() and name not in WITHOUT
    }


@pytest.fixture(scope="module")
def as_files(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict]]:
    output = tmp_path_factory.mktemp("files")
    run_in_process(config_of(photographs, output), STAGES)
    return tables(output)


def packings(photographs: Path) -> Iterator[tuple[str, list[bytes], str, str]]:
    files = files_of(photographs)
    halves = files[:7], files[7:]
    for layout in ("folders", "cls"):
        yield layout, [tar_bytes(members_of(half, layout)) for half in halves], ".tar", "2 tar shards"
    for layout in ("datasets", "plain"):
        yield layout, [parquet_bytes(files, layout)], ".parquet", "1 Parquet file"


@pytest.mark.parametrize("layout", ["folders", "cls", "datasets", "plain"])
def test_tables_are_those_of_files(layout: str, photographs: Path, as_files, tmp_path: Path) -> None:
    packed, suffix, said = next(one[1:] for one in packings(photographs) if one[0] == layout)
    config = config_of(write_shards(tmp_path / "shards", packed, suffix), tmp_path / "run")
    run_in_process(config, STAGES)
    ours = tables(tmp_path / "run")
    assert ours.keys() == as_files.keys() >= {"images", "maps", "regions", "summaries", "metrics", "errors"}
    for name in ours:
        assert ours[name] == as_files[name], name
    assert len(ours["images"]) == 11 and len(ours["summaries"]) > 1
    (error,) = rows(tmp_path / "run", "errors")
    assert error["uri"].startswith(f"{suffix[1:]}://{tmp_path}/shards/train-0000") and "JPEG file" in error["reason"]
    assert gather_inputs(config).found.startswith(f"{said}, 11 images of 2 classes")


def test_what_names_files_says_that_there_are_none(photographs: Path, tmp_path: Path) -> None:
    config = config_of(tmp_path / "one.tar", tmp_path / "run")
    (tmp_path / "one.tar").write_bytes(tar_bytes(members_of(files_of(photographs), "folders")))
    run_in_process(config, STAGES[:3])
    store, preprocessing = TableStore(tmp_path / "run"), gather_inputs(config).preprocessing
    (tmp_path / "coco").mkdir()

    def told(label: str, images: int) -> None: ...

    counts = export_coco(store, preprocessing, str(tmp_path / "one.tar"), tmp_path / "coco", told)
    assert (counts.photographs, counts.missing) == (10, 0) and counts.regions > 0
    names = {one["file_name"] for one in json.loads((tmp_path / "coco" / "regions.json").read_text())["images"]}
    assert names == {row["uri"] for row in rows(tmp_path / "run", "images") if row["decode_error"] is None}
    with pytest.raises(StoreError, match="lie in archives, e.g. tar://.*and this format names files"):
        export_fiftyone(store, preprocessing, tmp_path / "fiftyone", told)
    (tmp_path / "one.tar").unlink()
    with pytest.raises(StoreError, match="none of the run's photographs is there any more, e.g. tar://"):
        export_coco(store, preprocessing, None, tmp_path / "coco", told)


def test_a_dry_run_and_a_run_say_what_they_found(photographs: Path, tmp_path: Path) -> None:
    files = files_of(photographs)
    members = [*members_of(files, "cls"), ("unlabeled.png", files[0].read_bytes())]
    folder = write_shards(tmp_path / "shards", [tar_bytes(members)], ".tar")
    text = io.StringIO()
    print_plan(config_of(folder, tmp_path / "run"), Console(file=text, width=300))
    assert "1 tar file, 11 images of 2 classes" in text.getvalue()
    assert "1 left out of them, such as tar://" in text.getvalue()
    assert "unlabeled.png: it has no label" in text.getvalue()
