"""Exports of a real run, read back with pycocotools and as FiftyOne's documentation says, against the run's tables."""

import json
import shutil
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from visual_summaries.jobs.export import main
from visual_summaries.pipeline.export.coco import export_coco
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.store.tables import TableStore
from visual_summaries.pipeline.summarize.regions import decode_run_length
from visual_summaries.schemas import make_table

SIDE, BORDER = 128, 31


def export(run: Path, format_name: str, output: Path) -> int:
    return main(["--run", str(run), "--format", format_name, "--output", str(output)])


@pytest.fixture(scope="module")
def coco_folder(named_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("coco")
    assert export(named_run, "coco", output) == 0
    return output


@pytest.fixture(scope="module")
def fiftyone_folder(named_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("fiftyone")
    assert export(named_run, "fiftyone", output) == 0
    return output


def on_photograph(square: np.ndarray, width: int) -> np.ndarray:
    """By hand: the demo's photographs are as large as the square, some with a border of 31 pixels at both sides."""
    border = (width - SIDE) // 2
    assert border in (0, BORDER)
    return np.pad(square, ((0, 0), (border, border)))


def test_regions_are_the_masks_of_the_run(named_run: Path, coco_folder: Path) -> None:
    found = COCO(coco_folder / "regions.json")
    store = TableStore(named_run)
    images = {row["image_id"]: row for row in store.read_all("images").to_pylist() if row["explained"]}
    assert {image["sha256"] for image in found.imgs.values()} == set(images)
    regions = {(row["image_id"], row["region"]): row for row in store.read_all("regions").to_pylist()}
    assert len(found.anns) == len(regions) > 0
    for annotation in found.anns.values():
        image = found.imgs[annotation["image_id"]]
        row, photograph = regions[image["sha256"], annotation["region"]], images[image["sha256"]]
        mask = on_photograph(decode_run_length(row["run_length"], (SIDE, SIDE)), image["width"])
        assert np.array_equal(found.annToMask(annotation), mask)
        rows, columns = np.nonzero(mask)
        box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert annotation["bbox"] == box and annotation["area"] == mask.sum() and annotation["iscrowd"] == 0
        assert annotation["drop"] == pytest.approx(row["drop"], rel=1e-5)
        assert annotation["score"] == pytest.approx(photograph["score"], rel=1e-5)
        assert found.cats[annotation["category_id"]]["name"] == photograph["label"] == image["label"]
        assert (image["width"], image["height"]) == (photograph["width"], photograph["height"])
        file = named_run.parent / "photographs" / image["file_name"]
        assert str(file) == photograph["uri"] and Image.open(file).size == (image["width"], image["height"])


def test_members_are_boxes_of_their_summary(named_run: Path, coco_folder: Path) -> None:
    found = COCO(coco_folder / "summaries.json")
    store = TableStore(named_run)
    widths = {row["image_id"]: row["width"] for row in store.read_all("images").to_pylist()}
    summaries = [row for row in store.read_all("summaries").to_pylist() if row["kept"]]
    assert Counter(category["name"] for category in found.cats.values()) == Counter(
        f"{row['label']}, summary {row['summary'] + 1}" for row in summaries
    )
    expected = {}
    for row in store.read_all("members").to_pylist():
        own = [one for one in summaries if (one["label"], one["cluster"]) == (row["label"], row["cluster"])]
        if row["kept"] and own:
            border = (widths[row["image_id"]] - SIDE) // 2
            box = [row["x0"] + border, row["y0"], row["x1"] - row["x0"], row["y1"] - row["y0"]]
            hull = np.array(row["hull"]).reshape(-1, 2) + [border, 0]
            expected[row["image_id"], row["label"], own[0]["summary"], row["rank"]] = box, hull.ravel().tolist()
    assert len(found.anns) == len(expected) > 0
    for annotation in found.anns.values():
        category = found.cats[annotation["category_id"]]
        key = found.imgs[annotation["image_id"]]["sha256"], category["supercategory"], category["summary"]
        box, hull = expected[(*key, annotation["rank"])]
        assert annotation["bbox"] == pytest.approx(box, abs=0.02)
        assert annotation["segmentation"] == [pytest.approx(hull, abs=0.02)]
        # What pycocotools fills lies in the box, and is about as large as the polygon.
        assert found.annToMask(annotation).sum() == pytest.approx(annotation["area"], rel=0.25)


def test_fiftyone_folders_are_as_documented(named_run: Path, coco_folder: Path, fiftyone_folder: Path) -> None:
    """`data.json`: name → photograph; `labels.json`: classes, and name → detections; masks fill the boxes."""
    coco = COCO(coco_folder / "regions.json")
    for part, tables_rows in (("regions", len(coco.anns)), ("summaries", None)):
        data = json.loads((fiftyone_folder / part / "data.json").read_text())
        content = json.loads((fiftyone_folder / part / "labels.json").read_text())
        assert set(content) == {"classes", "labels"} and set(content["labels"]) == set(data)
        assert all("." not in name and Path(path).is_file() for name, path in data.items())
        detections = [one for own in content["labels"].values() for one in own]
        assert tables_rows in (None, len(detections)) and detections
        for one in detections:
            assert set(one) == {"label", "bounding_box", "confidence", "attributes"}
            x, y, width, height = one["bounding_box"]
            assert 0 <= x < x + width <= 1.000001 and 0 <= y < y + height <= 1.000001
            assert 0 <= one["confidence"] <= 1 and 0 <= one["label"] < len(content["classes"])
    content = json.loads((fiftyone_folder / "regions" / "labels.json").read_text())
    numbers = {f"{image['id']:07d}-{image['sha256']}": number for number, image in coco.imgs.items()}
    for name, detections in content["labels"].items():
        annotations = coco.loadAnns(coco.getAnnIds(numbers[name]))
        for one, annotation in zip(detections, annotations, strict=True):
            x, y, width, height = annotation["bbox"]
            crop = coco.annToMask(annotation)[y : y + height, x : x + width]
            mask = np.array(Image.open(one["attributes"]["mask_path"]))
            assert np.array_equal(mask, crop * 255)
            assert content["classes"][one["label"]] == coco.cats[annotation["category_id"]]["name"]


def test_exporting_again_replaces_an_export_and_nothing_else(named_run: Path, tmp_path: Path, capsys) -> None:  # noqa: ANN001
    assert export(named_run, "fiftyone", tmp_path) == 0
    (tmp_path / "regions" / "masks" / "stale.png").touch()
    assert export(named_run, "fiftyone", tmp_path) == 0
    assert not (tmp_path / "regions" / "masks" / "stale.png").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["regions", "summaries"]
    (tmp_path / "other" / "regions").mkdir(parents=True)
    (tmp_path / "other" / "regions" / "mine.txt").write_text("mine")
    capsys.readouterr()
    assert export(named_run, "fiftyone", tmp_path / "other") == 1
    error = capsys.readouterr().err
    assert "is in the way" in error and error.count("\n") == 1
    assert (tmp_path / "other" / "regions" / "mine.txt").read_text() == "mine"


def moved_run(run: Path, folder: Path, change) -> Path:  # noqa: ANN001
    """A copy of a run with changed rows of `images`."""
    shutil.copytree(run, folder)
    store = TableStore(folder)
    shards = []
    for shard in store.manifest("images"):
        rows = [change(row) for row in store.read("images", [shard.path]).to_pylist()]
        shards.append(store.write("images", f"changed/{shard.path}", make_table("images", rows), shard.label))
    store.write_manifest("images", "changed", shards, complete=True)
    return folder


def test_missing_photographs_are_left_out_and_counted(named_run: Path, tmp_path: Path, capsys) -> None:  # noqa: ANN001
    first = min(row["uri"] for row in TableStore(named_run).read_all("images").to_pylist() if row["explained"])
    gone = tmp_path / "gone.png"
    run = moved_run(
        named_run, tmp_path / "run", lambda row: row | {"uri": str(gone) if row["uri"] == first else row["uri"]}
    )
    assert export(run, "coco", tmp_path / "out") == 0
    assert f"left out: 1 photographs that are not there, e.g. {gone}" in capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "regions.json").read_text())
    assert len(content["images"]) == 10 and str(gone) not in json.dumps(content)
    assert {one["image_id"] for one in content["annotations"]} <= {one["id"] for one in content["images"]}

    none = moved_run(named_run, tmp_path / "none", lambda row: row | {"uri": row["uri"] + ".gone"})
    assert export(none, "coco", tmp_path / "nothing") == 1
    error = capsys.readouterr().err
    assert "none of the run's photographs is there any more" in error and error.count("\n") == 1
    assert list((tmp_path / "nothing").iterdir()) == []


@pytest.mark.parametrize("format_name", ["coco", "fiftyone", "duckdb"])
def test_foreseeable_mistakes_are_one_line(format_name: str, named_run: Path, tmp_path: Path, capsys) -> None:  # noqa: ANN001
    assert export(tmp_path, format_name, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "is no finished run" in error and error.count("\n") == 1
    (tmp_path / "file").write_text("in the way")
    assert export(named_run, format_name, tmp_path / "file") == 1
    error = capsys.readouterr().err
    assert "cannot write" in error and error.count("\n") == 1
    if format_name != "duckdb":
        command = ["--run", str(named_run), "--run", str(named_run), "--format", format_name, "--output", str(tmp_path)]
        assert main(command) == 2 and "takes one run" in capsys.readouterr().err


def test_changed_preprocessing_is_said(named_run: Path, tmp_path: Path) -> None:
    from visual_summaries.pipeline.store.tables import StoreError

    with pytest.raises(StoreError, match="has the classifier's preprocessing changed"):
        export_coco(TableStore(named_run), Preprocessing(), None, tmp_path, lambda label, images: None)
    assert list(tmp_path.iterdir()) == []


def many_classes(folder: Path, classes: int, photograph: Path) -> TableStore:
    """A run of that many classes of 20 images with one region each, as tables alone."""
    store = TableStore(folder)
    image = {
        "uri": str(photograph), "class_index": 0, "split": "fit", "width": 64, "height": 64, "score": 0.5,
        "prediction_name": "p", "explained": True,
    }  # fmt: skip
    runs = [2000, 96]
    region = {
        "region": 0, "x0": 0.0, "y0": 0.0, "x1": 64.0, "y1": 2.0, "area": 0.02, "drop": float("nan"),
        "run_length": [runs[0], runs[1], 64 * 64 - sum(runs)],
    }  # fmt: skip
    shards = {"images": [], "regions": []}
    for number in range(classes):
        label = f"class {number}"
        ids = [f"{number}-{index}" for index in range(20)]
        for table, row in (("images", image), ("regions", region)):
            rows = make_table(table, [row | {"image_id": own, "label": label} for own in ids])
            shards[table].append(store.write(table, store.shard_path(table, "f", label, "u"), rows, label))
    for table, own in shards.items():
        store.write_manifest(table, "f", own, complete=True)
    return store


def test_memory_does_not_grow_with_the_classes(named_run: Path, tmp_path: Path) -> None:
    photograph = next((named_run.parent / "photographs" / "fan-tailed bird").iterdir())
    peaks = []
    for classes in (2, 5, 60):
        store = many_classes(tmp_path / str(classes), classes, photograph)
        tracemalloc.start()
        counts = export_coco(store, Preprocessing(64, 64), None, tmp_path / f"out {classes}", lambda *told: None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert counts.regions == counts.photographs == classes * 20
    content = json.loads((tmp_path / "out 60" / "regions.json").read_text())
    assert len(content["annotations"]) == 1200 and content["annotations"][0]["drop"] is None
    # Manifests and categories grow by some hundred bytes a class, photographs would by some thousand.
    assert peaks[2] - peaks[1] < 55 * 20 * 200, peaks
