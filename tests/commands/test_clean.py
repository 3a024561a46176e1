"""What `clean` lists, removes and leaves: a finished run with what other settings, killed processes and people left."""

import fcntl
import io
import os
import shutil
import time
from pathlib import Path

import pytest
from rich.console import Console
from runs import tables

from visual_summaries.jobs.clean import main
from visual_summaries.pipeline.commands.clean import run_clean
from visual_summaries.pipeline.store.tables import StoreError, TableStore
from visual_summaries.schemas import make_table

OLD = time.time() - 7200


def made_run(folder: Path) -> TableStore:
    """A run of two tables, each with a shard that is listed and one that is not, written two hours ago."""
    store = TableStore(folder)
    for table in ("runs", "errors", "maps"):
        listed = store.write(table, store.shard_path(table, "f" * 24, "a/b", "listed"), make_table(table, []), "a/b")
        store.write(table, store.shard_path(table, "e" * 24, "a/b", "unlisted"), make_table(table, []), "a/b")
        store.write_manifest(table, "f" * 24, [listed], complete=True)
    age(folder)
    return store


def age(folder: Path) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (OLD, OLD), follow_symlinks=False)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()} - {".lock"}


def clean(folder: Path | str, **options: bool) -> str:
    console = Console(file=io.StringIO(), width=200)
    run_clean(str(folder), console, **options)
    return console.file.getvalue()


def unlisted(table: str) -> str:
    return f"tables/{table}/{'e' * 24}/label=a%2Fb/unlisted.parquet"


def test_it_lists_first_and_removes_only_what_no_manifest_lists(tmp_path) -> None:
    store = made_run(tmp_path)
    (store.folder("maps") / "f.parquet.0.part.tmp").write_bytes(b"123")
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / ".index.html.0.part.tmp").write_bytes(b"1")
    for name in ("report/index.html", "review/answers.jsonl", "evaluation.md", "logs/one.jsonl", "tables/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("of other jobs")
    for name in ("maps/notes.txt", "maps/my.parquet", "strangers/a/label=b/c.parquet"):
        (tmp_path / "tables" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tables" / name).write_text("of somebody's")
    shutil.copytree(tmp_path / "tables", tmp_path / "explainers" / "other" / "tables")
    age(tmp_path)
    before = files(tmp_path)
    said = clean(tmp_path)
    assert files(tmp_path) == before and "With --remove they go" in said
    assert "maps                    2 files" in said and "errors                  1 files" in said
    said = clean(tmp_path, remove=True)
    gone = {unlisted(table) for table in ("runs", "errors", "maps")}
    gone |= {"tables/maps/f.parquet.0.part.tmp", "report/.index.html.0.part.tmp"}
    assert before - files(tmp_path) == gone and files(tmp_path) < before
    assert "Removed: 5 files" in said and not (store.folder("maps") / ("e" * 24)).exists()
    assert store.read_all("maps").num_rows == 0
    assert clean(tmp_path, remove=True) == "Nothing to remove.\n"


def test_what_is_young_or_of_an_unfinished_table_stays_unless_forced(tmp_path) -> None:
    store = made_run(tmp_path)
    store.write_manifest("maps", "", [], complete=False)
    os.utime(tmp_path / unlisted("errors"))
    before = files(tmp_path)
    said = clean(tmp_path, remove=True)
    assert before - files(tmp_path) == {unlisted("runs")}
    assert "left: 1 younger than an hour" in said and "2 of a table that no run has finished" in said
    clean(tmp_path, remove=True, force=True)
    listed = f"tables/maps/{'f' * 24}/label=a%2Fb/listed.parquet"
    assert before - files(tmp_path) == {unlisted("runs"), unlisted("errors"), unlisted("maps"), listed}


@pytest.mark.parametrize("content", ['{"table": "maps", "sh', "[]", '{"shards": []}', None])
def test_a_table_without_a_readable_manifest_is_left_alone(tmp_path, content: str | None) -> None:
    store = made_run(tmp_path)
    manifest = store.folder("maps") / "manifest.json"
    manifest.unlink()
    if content is not None:
        manifest.write_text(content)
    before = files(tmp_path)
    said = clean(tmp_path, remove=True, force=True)
    assert before - files(tmp_path) == {unlisted("runs"), unlisted("errors")}
    assert "maps                    0 files        0 B; left: all, " in said


def test_links_lead_nowhere(tmp_path) -> None:
    store = made_run(tmp_path / "run")
    (tmp_path / "elsewhere" / "label=a").mkdir(parents=True)
    (tmp_path / "elsewhere" / "label=a" / "mine.parquet").write_text("mine")
    (store.folder("maps") / "elsewhere").symlink_to(tmp_path / "elsewhere")
    (store.folder("maps") / ("e" * 24) / "label=b").symlink_to(tmp_path / "elsewhere" / "label=a")
    (store.folder("maps") / ("e" * 24) / "label=a%2Fb" / "link.parquet").symlink_to(
        tmp_path / "elsewhere" / "label=a" / "mine.parquet"
    )
    age(tmp_path)
    clean(tmp_path / "run", remove=True, force=True)
    assert not (tmp_path / "run" / unlisted("maps")).exists()
    assert (tmp_path / "elsewhere" / "label=a" / "mine.parquet").read_text() == "mine"
    assert (store.folder("maps") / "elsewhere" / "label=a" / "mine.parquet").is_file()
    # A whole table, or all of them, somewhere else: not even listed.
    other = made_run(tmp_path / "other")
    for name in (other.folder("maps"), other.folder("maps").parent):
        shutil.move(name, tmp_path / f"moved {name.name}")
        name.symlink_to(tmp_path / f"moved {name.name}")
        with pytest.raises(StoreError, match="leads out of .* by a link"):
            clean(tmp_path / "other", remove=True, force=True)
    assert len(files(tmp_path / "moved tables")) == 6 and len(files(tmp_path / "moved maps")) == 3


def test_what_is_no_run_or_being_written_is_refused(tmp_path, capsys) -> None:
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "a.jpg").write_text("a")
    assert main(["--run", str(tmp_path / "photographs"), "--remove"]) == 1
    assert "is no run" in capsys.readouterr().err and files(tmp_path) == {"photographs/a.jpg"}
    made_run(tmp_path / "run")
    before = files(tmp_path / "run")
    with (tmp_path / "run" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main(["--run", str(tmp_path / "run"), "--remove"]) == 1
    assert "another run is writing into" in capsys.readouterr().err and files(tmp_path / "run") == before


def test_squares_that_runs_have_left_on_this_machine_go_too(tmp_path, monkeypatch) -> None:
    made_run(tmp_path / "run")
    clean(tmp_path / "run", remove=True)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    for name, written in (("old", time.time() - 2 * 86400), ("new", time.time())):
        folder = tmp_path / "temporary" / f"visual-summaries-{name}"
        folder.mkdir(parents=True)
        (folder / "square").write_bytes(b"0")
        os.utime(folder, (written, written))
    assert "1 folders of earlier runs" in clean(tmp_path / "run")
    clean(tmp_path / "run", remove=True)
    assert [folder.name for folder in (tmp_path / "temporary").iterdir()] == ["visual-summaries-new"]


def test_a_real_run_needs_all_that_it_has(whole_run, tmp_path) -> None:
    shutil.copytree(whole_run[0], tmp_path / "run")
    before, rows = files(tmp_path / "run"), tables(tmp_path / "run")
    assert clean(tmp_path / "run", remove=True, force=True) == "Nothing to remove.\n"
    shutil.copytree(tmp_path / "run" / "tables" / "images", tmp_path / "images")
    for path in (tmp_path / "images").iterdir():
        if path.is_dir():
            shutil.move(path, tmp_path / "run" / "tables" / "images" / "other")
    assert "images" in clean(tmp_path / "run", remove=True, force=True)
    assert files(tmp_path / "run") == before
    assert tables(tmp_path / "run") == rows
