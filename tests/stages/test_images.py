"""Copies of a photograph: on one side of the split within a class, told of where they lie under two labels."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from rich.console import Console

from visual_summaries.pipeline.commands.opened import start_state, worker_setup
from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.data.catalog import CatalogEntry
from visual_summaries.pipeline.data.demo.scenes import CLASS_NAMES
from visual_summaries.pipeline.stages import images as images_module
from visual_summaries.pipeline.stages.context import WorkerContext
from visual_summaries.pipeline.stages.copies import copies_between_labels
from visual_summaries.pipeline.stages.images import ImagesStage, copies_together, split_by_content
from visual_summaries.pipeline.stages.inputs import gather_inputs


@pytest.mark.parametrize("seed", range(20))
def test_files_of_a_size_stay_together(seed: int) -> None:
    generator = np.random.default_rng(seed)
    sizes = generator.integers(0, generator.choice([3, 30, 3000]), size=generator.integers(1, 200))
    entries = [CatalogEntry(str(number), "a", 0, "fit") for number in range(len(sizes))]
    states = {entry.uri: (int(size), 0) for entry, size in zip(entries, sizes, strict=True)}
    limit = int(generator.integers(1, 40))
    pieces = list(copies_together(entries, states, limit))
    assert sorted(int(entry.uri) for piece, _ in pieces for entry in piece) == list(range(len(sizes)))
    assert all(0 < len(piece) <= limit for piece, _ in pieces)
    for piece, alone in pieces:
        own = {entry.uri for entry in piece}
        elsewhere = {states[entry.uri][0] for entry in entries if entry.uri not in own}
        assert alone == (not elsewhere & {states[uri][0] for uri in own})
    counts = Counter(sizes.tolist())
    assert sum(not alone for _, alone in pieces) == sum(-(-n // limit) for n in counts.values() if n > limit)


def test_a_split_by_content_has_the_shares_asked_of_it() -> None:
    drawn = Counter(split_by_content(f"{number:064x}", 0.2, 0.1, seed=5) for number in range(20_000))
    assert abs(drawn["test"] / 20_000 - 0.2) < 0.012 and abs(drawn["held-out"] / 20_000 - 0.1) < 0.01
    assert split_by_content("a", 0.0, 0.0, seed=5) == "fit"
    assert {split_by_content("a", 0.5, 0.0, seed) for seed in range(20)} == {"fit", "test"}


def images_of(folder: Path, photographs: Path, limit: int, monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """All rows of the stage, done unit by unit."""
    monkeypatch.setattr(images_module, "IMAGES_PER_UNIT", limit)
    config = RunConfig(
        output=str(folder),
        data={"images": str(photographs), "test": 0.4, "held_out": 0.0},
        model={"name": "demo"},
    )
    state = start_state(config, gather_inputs(config), Console())
    worker = WorkerContext(worker_setup(state))
    units = ImagesStage().named_units(state.plan, "f")
    assert len(units) > 1 and len({unit.name for unit in units}) == len(units)
    outputs = [ImagesStage().compute(worker, unit, unit.items) for unit in units]
    worker.close()
    return [row for output in outputs for row in output.rows]


@pytest.mark.parametrize("mode", ["one size", "sizes"])
def test_copies_are_never_on_both_sides_of_the_split(tmp_path, monkeypatch, mode: str) -> None:
    """Files of many sizes, and bitmaps, which are all of one size and fill several units."""
    folder = tmp_path / "photographs" / CLASS_NAMES[0]
    folder.mkdir(parents=True)
    generator = np.random.default_rng(1)
    for number in range(12):
        size = (16, 16) if mode == "one size" else (16, 16 + number)
        pixels = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
        # Their names are at either end of the class.
        for name in (f"a{number:02d}.bmp", f"z{number:02d}.bmp"):
            Image.fromarray(pixels).save(folder / name)
    rows = images_of(tmp_path / "out", tmp_path / "photographs", 5, monkeypatch)
    kept = [row for row in rows if row.get("decode_error") is None]
    sides: dict[str, set[str]] = {}
    for row in kept:
        sides.setdefault(row["image_id"], set()).add(row["split"])
    assert len(sides) == 12 and all(len(side) == 1 for side in sides.values())
    assert {split for side in sides.values() for split in side} == {"fit", "test"}
    if mode == "sizes":
        assert len(kept) == 12


def test_a_scale_that_is_not_in_the_files_is_said_of_the_class_and_no_image_is_lost(tmp_path: Path) -> None:
    folder = tmp_path / "photographs" / CLASS_NAMES[0]
    folder.mkdir(parents=True)
    generator = np.random.default_rng(1)
    for name, most in (("a", 4096), ("b", 4096), ("c", 65536)):
        values = generator.integers(0, most, (16, 16), dtype=np.uint16)
        Image.fromarray(values).save(folder / f"{name}.tif")
    Image.fromarray(generator.random((16, 16), dtype=np.float32)).save(folder / "d.tif")
    config = RunConfig(
        output=str(tmp_path / "out"), data={"images": str(tmp_path / "photographs")}, model={"name": "demo"}
    )
    state = start_state(config, gather_inputs(config), Console())
    worker = WorkerContext(worker_setup(state))
    (unit,) = ImagesStage().named_units(state.plan, "f")
    output = ImagesStage().compute(worker, unit, unit.items)
    worker.close()
    assert len(output.rows) == 4 and not any(row.get("decode_error") for row in output.rows)
    dim, floating = (row["reason"] for row in output.errors)
    assert dim.startswith(f"2 images, the first of them {folder}/a.tif: the 16-bit values go up to 4,0")
    assert floating.startswith(f"{folder}/d.tif: the floating-point values, up to 0.99")
    # Rows that name an image count against `error_tolerance`.
    assert all(row["label"] == CLASS_NAMES[0] and not row["uri"] and not row["image_id"] for row in output.errors)


def test_copies_under_two_labels_are_told() -> None:
    rows = [("1", "a/x", "a"), ("1", "b/x", "b"), ("2", "a/y", "a"), ("2", "c/y", "c"), ("3", "a/z", "a"),
            ("3", "a/zz", "a"), ("", "a/bad", "a"), ("", "b/bad", "b"), ("4", "d/w", "d")]  # fmt: skip
    columns = dict(zip(("image_id", "uri", "label"), map(list, zip(*rows, strict=True)), strict=True))
    said = copies_between_labels(pa.table(columns))
    assert {label: text.split(":")[0] for label, text in said.items()} == {
        "a": "2 photographs are under another label, too, byte for byte, such as a/x as b/x",
        "b": "1 photograph is under another label, too, byte for byte, such as b/x as a/x",
        "c": "1 photograph is under another label, too, byte for byte, such as c/y as a/y",
    }
    assert copies_between_labels(pa.table(columns).slice(4)) == {}
