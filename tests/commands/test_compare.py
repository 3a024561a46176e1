"""The job `compare` on finished runs: what it counts, what it calls the same, what it refuses."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from in_process import job_in_process

from visual_summaries.jobs.compare import main
from visual_summaries.pipeline.commands.compared import ClassOfRun, Run, compared_class
from visual_summaries.pipeline.commands.stored import stored_run
from visual_summaries.pipeline.report.comparison import ComparedClass, ComparedRun, comparison_text
from visual_summaries.pipeline.store.tables import TableStore
from visual_summaries.schemas import TABLES


def compare(output: Path, *runs: Path) -> subprocess.CompletedProcess:
    named = [part for run in runs for part in ("--run", str(run))]
    return job_in_process(main, *named, "--output", output)


def kept_summaries(store: TableStore, label: str) -> dict[int, list[str]]:
    """Number of each kept summary with kept members → their images."""
    members = [row for row in store.read_all("members", label=label).to_pylist() if row["kept"]]
    kept = [row for row in store.read_all("summaries", label=label).to_pylist() if row["kept"]]
    found = {row["summary"]: [one["image_id"] for one in members if one["cluster"] == row["cluster"]] for row in kept}
    return {number: images for number, images in found.items() if images}


def without_some_members(run: Path, copy: Path) -> str:
    """A copy of a run of whose first class with summaries only the last one's members are left; the class."""
    shutil.copytree(run, copy)
    store = TableStore(copy)
    label = next(row["label"] for row in store.read_all("summaries").to_pylist() if row["kept"])
    shards = []
    for shard in store.manifest("members"):
        table = store.read("members", [shard.path])
        if shard.label == label:
            last = max(row["cluster"] for row in table.to_pylist() if row["kept"])
            rows = [row | {"kept": row["kept"] and row["cluster"] == last} for row in table.to_pylist()]
            table = type(table).from_pylist(rows, schema=TABLES["members"].schema)
        shards.append(store.write("members", f"changed/{shard.path}", table, shard.label))
    store.write_manifest("members", "changed", shards, complete=True)
    return label


def test_runs_are_counted_and_their_summaries_matched(whole_run, tmp_path) -> None:  # noqa: ANN001
    label = without_some_members(whole_run[0], tmp_path / "other")
    result = compare(tmp_path / "compared", whole_run[0], tmp_path / "other")
    assert result.returncode == 0, result.stdout + result.stderr
    rows = pyarrow.parquet.read_table(tmp_path / "compared" / "comparison.parquet").to_pylist()
    other = next(row["run"] for row in rows if row["run"].endswith("(other)"))
    stores = [TableStore(folder) for folder in (whole_run[0], tmp_path / "other")]
    for one in {row["class"] for row in rows}:
        own, theirs = (kept_summaries(store, one) for store in stores)
        found = {row["summary"]: row["same as in the first run"] for row in rows if row["class"] == one}
        assert len([row for row in rows if row["class"] == one]) == len(own) + len(theirs)
        if one != label:
            assert found == {number: number for number in own}
    second = [row for row in rows if row["run"] == other and row["class"] == label]
    assert len(second) == 1 and second[0]["summary"] == second[0]["same as in the first run"]
    nearest = {row["summary"]: row["largest overlap with one of the first run"] for row in rows if row["run"] == other}
    assert set(nearest.values()) == {1.0}
    page = (tmp_path / "compared" / "comparison.html").read_text()
    pictures = sorted((tmp_path / "compared" / "pictures").iterdir())
    assert len(pictures) == len(rows) == page.count("<img ")
    # Said on either side.
    assert page.count("the same as") == 2 * sum(row["run"] == other for row in rows)
    parts = pyarrow.parquet.read_table(tmp_path / "compared" / "comparison-parts.parquet").to_pylist()
    # The other run's maps are the same, so that no part is looked at by one alone.
    assert {row["in the other run"] for row in parts} == {"counterpart", "looked at"} and len(parts) == len(rows)
    assert all(row["looked at in"] == row["photographs"] > 0 for row in parts)
    assert (tmp_path / "compared" / "comparison-photographs.csv").read_text().count("\n") == 1
    text = (tmp_path / "compared" / "comparison.md").read_text()
    images = [row for row in stores[0].read_all("images").to_pylist() if row["prediction"] is not None]
    accuracy = np.mean([row["prediction"] == row["class_index"] for row in images])
    assert f"| {len(images)} | {accuracy:.3f} |" in text
    assert (tmp_path / "compared" / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_runs_are_compared_on_the_images_that_both_explained(whole_run, tmp_path) -> None:  # noqa: ANN001
    other = tmp_path / "other"
    shutil.copytree(whole_run[0], other)
    store = TableStore(other)
    label = next(row["label"] for row in store.read_all("summaries").to_pylist() if row["kept"])
    # The other run explained half of the class, and finds the same members there.
    left = sorted(store.read_all("maps", ["image_id"], label).column("image_id").to_pylist())[::2]
    for table in ("maps", "members"):
        shards = []
        for shard in store.manifest(table):
            rows = [row for row in store.read(table, [shard.path]).to_pylist() if row["image_id"] in left]
            rows = rows if shard.label == label else store.read(table, [shard.path]).to_pylist()
            changed = pyarrow.Table.from_pylist(rows, schema=TABLES[table].schema)
            shards.append(store.write(table, f"changed/{shard.path}", changed, shard.label))
        store.write_manifest(table, "changed", shards, complete=True)
    runs = [Run.opened(stored_run(str(folder))) for folder in (whole_run[0], other)]
    found = compared_class([ClassOfRun(run, label) for run in runs])
    there = kept_summaries(store, label)
    assert there and found.overlaps == ((1.0,) * len(found.summaries[1]),)
    assert len(found.shared[0]) == len(found.summaries[1])
    assert found.again == ((True,) * len(there),)


def test_what_cannot_be_compared_is_said(whole_run, tmp_path) -> None:  # noqa: ANN001
    alone = compare(tmp_path / "compared", whole_run[0])
    assert alone.returncode == 2 and "at least two finished runs" in alone.stderr
    missing = compare(tmp_path / "compared", whole_run[0], tmp_path / "nothing")
    assert missing.returncode == 1 and "there is no table 'runs'" in missing.stderr
    assert not (tmp_path / "compared").exists()


def test_text_by_hand() -> None:
    runs = [
        ComparedRun("a|b", 10, 0.5, 0.2, 0.8, (2, 1), 1.5, 1.0, 2.0),
        ComparedRun("c", 10, 0.4, 0.1, 0.7, (1, 1), 1.0, 1.0, 1.0),
    ]
    text = comparison_text(runs, [ComparedClass("x", ((0, 1), (0,)), (((1, 0),),), ((0.75,),), ((False, True),))])
    assert "| x | 1 = 0 | 0 | – | 0.750 |" in text and "| all 1 of the second | | | | 0.750 |" in text
    assert "Found again in the second: 1 of 2 summaries of the first, 0.500 (0.095 – 0.905, 95 % Wilson" in text
    # The less accurate first; text from data stays text.
    assert text.index("| c | 10") < text.index(r"| a\|b | 10 | 0.500 | 0.200 – 0.800 | 1.50 |")
