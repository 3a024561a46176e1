"""Shards appear whole or not at all; readers read the manifest; damage is named."""

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from visual_summaries.pipeline.runtime.units import error_row
from visual_summaries.pipeline.store.atomic import atomic_file, write_atomically
from visual_summaries.pipeline.store.content import content_digest
from visual_summaries.pipeline.store.tables import Shard, StoreError, TableStore, digest
from visual_summaries.schemas import make_table

ROOT = Path(__file__).parents[2]


def rows(*reasons: str) -> list[dict]:
    return [
        {"stage": "s", "label": "a/b", "image_id": None, "uri": None, "reason": reason, "retry": False}
        for reason in reasons
    ]


def test_what_was_written_is_read_in_the_manifests_order(tmp_path) -> None:
    store = TableStore(tmp_path)
    shards = []
    for unit, reason in (("one", "x"), ("two", "y")):
        path = store.shard_path("errors", "f", "a/b", unit)
        shards.append(store.write("errors", path, make_table("errors", rows(reason)), "a/b"))
    assert all(shard == store.find("errors", shard.path, "a/b") for shard in shards)
    stale = store.shard_path("errors", "f", "a/b", "stale")
    store.write("errors", stale, make_table("errors", rows("old")), "a/b")
    store.write_manifest("errors", "f", reversed(shards), complete=True)
    assert [row["reason"] for row in store.read_all("errors").to_pylist()] == ["y", "x"]
    assert store.read_all("errors", ["reason", "stage"]).column_names == ["reason", "stage"]
    assert store.read_all("errors", label="other").num_rows == 0


def test_any_label_is_a_safe_folder_name(tmp_path) -> None:
    store = TableStore(tmp_path)
    for label in ("..", "a/../../b", "<script>\"&'", "ß 鳥", ".", "鳥" * 100):
        path = store.shard_path("errors", "f", label, "u")
        store.write("errors", path, make_table("errors", rows("x")), label)
        assert (tmp_path / "tables/errors" / path).resolve().parent.parent == tmp_path / "tables/errors/f"


def test_duckdb_style_readers_need_no_code_of_ours(tmp_path) -> None:
    store = TableStore(tmp_path)
    path = store.shard_path("errors", "f", "a", "u")
    shard = store.write("errors", path, make_table("errors", rows("x")), "a")
    store.write_manifest("errors", "f", [shard], complete=True)
    folder = tmp_path / "tables/errors"
    listed = json.loads((folder / "manifest.json").read_text())["shards"]
    assert parquet.ParquetFile(folder / listed[0]["path"]).read().to_pylist() == rows("x")
    assert parquet.ParquetFile(folder / path).metadata.row_group(0).column(0).compression == "ZSTD"


def test_an_exception_leaves_nothing_behind(tmp_path) -> None:
    target = tmp_path / "file"
    write_atomically(target, "before")
    with pytest.raises(RuntimeError), atomic_file(target) as file:
        file.write(b"half")
        raise RuntimeError
    assert target.read_text() == "before" and os.listdir(tmp_path) == ["file"]


def test_a_full_disk_is_one_message_and_no_file(tmp_path) -> None:
    """A limit on file size makes the kernel refuse a real write half-way, as a full disk does."""
    code = """
import resource, signal, sys
from visual_summaries.pipeline.store.tables import StoreError, TableStore
from visual_summaries.schemas import make_table
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
import random
text = "".join(chr(random.randrange(32, 1000)) for _ in range(50000))
table = make_table("errors", [dict(stage="s", label="a", image_id=None, uri=None, reason=text, retry=False)])
try:
    TableStore(sys.argv[1]).write("errors", "f/u.parquet", table, "a")
except StoreError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert "cannot write" in result.stdout and "u.parquet" in result.stdout, result.stderr
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_damage_is_named(tmp_path) -> None:
    store = TableStore(tmp_path)
    with pytest.raises(StoreError, match="there is no table 'errors' in .*: no run lies there; check the folder"):
        store.read_all("errors")
    (tmp_path / "tables").mkdir()
    with pytest.raises(StoreError, match="there is no table 'errors' in .*: run the job that writes it"):
        store.read_all("errors")
    path = store.shard_path("errors", "f", "a", "u")
    shard = store.write("errors", path, make_table("errors", rows("x")), "a")
    store.write_manifest("errors", "f", [shard], complete=True)
    file = tmp_path / "tables/errors" / path
    file.write_bytes(file.read_bytes()[:100])
    assert store.find("errors", path, "a") is None
    with pytest.raises(StoreError, match="delete the file and run the job again"):
        store.read_all("errors")
    (tmp_path / "tables/errors/manifest.json").write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        store.read_all("errors")


def test_a_listed_shard_is_trusted_only_at_its_size(tmp_path) -> None:
    store = TableStore(tmp_path)
    path = store.shard_path("errors", "f", "a", "u")
    shard = store.write("errors", path, make_table("errors", rows("x")), "a")
    store.write_manifest("errors", "f", [shard], complete=True)
    listed = store.listed("errors")
    assert store.find("errors", path, "a", listed) is listed[path]
    file = tmp_path / "tables/errors" / path
    file.write_bytes(file.read_bytes()[:-1])
    assert store.find("errors", path, "a", listed) is None
    store.remove("errors", path)
    store.remove("errors", path)
    assert store.find("errors", path, "a", listed) is None
    assert TableStore(tmp_path / "elsewhere").listed("errors") == {}


def test_digest_depends_on_values_alone() -> None:
    assert digest({"a": 1, "b": [2, None]}) == digest({"b": [2, None], "a": 1}) != digest({"a": 1, "b": [2, 0]})


@pytest.mark.parametrize(
    "path", ["../../../secret.parquet", "/etc/passwd", "a/../../b.parquet", "a/b.csv", "a\0.parquet", None]
)
def test_a_manifest_that_points_elsewhere_is_refused(tmp_path: Path, path: str | None) -> None:
    store = TableStore(tmp_path)
    store.write_manifest("errors", "f", [Shard(path, "", 0, 0, "")], complete=True)
    with pytest.raises(StoreError, match="manifest.json is damaged"):
        store.manifest("errors")
    assert store.listed("errors") == {}


@pytest.mark.parametrize(
    "change",
    [{"label": 5}, {"label": "\ud800"}, {"path": "a\ud800.parquet"}, {"rows": "2"}, {"rows": -1}, {"bytes": 2**70}],
)
def test_a_manifest_with_other_values_is_refused(tmp_path: Path, change: dict) -> None:
    store, file = linked_run(tmp_path)
    (shard,) = store.manifest("errors")
    store.write_manifest("errors", "f", [replace(shard, **change)], complete=True)
    with pytest.raises(StoreError, match="manifest.json is damaged"):
        store.read_all("errors")
    assert store.listed("errors") == {} and store.find("errors", shard.path, "a") == shard


def test_a_manifest_that_cannot_be_read_is_a_message(tmp_path: Path) -> None:
    store, _ = linked_run(tmp_path)
    manifest = tmp_path / "tables/errors/manifest.json"
    manifest.write_text("[" * 100_000)
    with pytest.raises(StoreError, match="manifest.json is damaged"):
        store.read_all("errors")
    manifest.unlink()
    manifest.mkdir()
    with pytest.raises(StoreError, match="cannot read .*manifest.json: Is a directory"):
        store.read_all("errors")


def test_text_that_is_no_text_is_damage(tmp_path: Path) -> None:
    store, file = linked_run(tmp_path)
    broken = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")])
    whole = parquet.read_table(file, partitioning=None)
    parquet.write_table(whole.set_column(whole.column_names.index("reason"), "reason", broken), file)
    with pytest.raises(StoreError, match="UTF8.*delete the file"):
        store.read_all("errors")


def test_a_shard_with_an_endless_name_is_named(tmp_path: Path) -> None:
    store, _ = linked_run(tmp_path)
    store.write_manifest("errors", "f", [Shard("a" * 5000 + ".parquet", "a", 0, 0, "")], complete=True)
    with pytest.raises(StoreError, match="cannot read .*File name too long"):
        store.read_all("errors")


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"other": [1]}),
        pa.table({name: pa.array([[1]]) for name in rows("x")[0]}),
        pa.table({name: pa.array(["x"], pa.string_view()) for name in rows("x")[0]}),
        pa.table({name: pa.array([b"a" if name == "label" else b"\xff"]) for name in rows("x")[0]}),
    ],
    ids=["names", "lists", "views", "bytes"],
)
def test_a_shard_of_another_table_is_named(tmp_path: Path, table: pa.Table) -> None:
    store, file = linked_run(tmp_path)
    parquet.write_table(table, file)
    for where in (None, ("label", ["a"])):
        said = f"{re.escape(str(file))}(: .*delete the file| has other columns .*run the job again)"
        with pytest.raises(StoreError, match=said):
            store.read("errors", [store.manifest("errors")[0].path], where=where)


def linked_run(folder: Path) -> tuple[TableStore, Path]:
    """A run with one shard, and where the shard is."""
    store = TableStore(folder)
    path = store.shard_path("errors", "f", "a", "u")
    shard = store.write("errors", path, make_table("errors", rows("x")), "a")
    store.write_manifest("errors", "f", [shard], complete=True)
    return store, folder / "tables/errors" / path


@pytest.mark.parametrize("level", ["file", "label=a", "f", "errors", "tables"])
def test_a_link_that_leads_out_of_the_run_is_refused(tmp_path: Path, level: str) -> None:
    _, file = linked_run(tmp_path / "run")
    linked = next(path for path in (file, *file.parents) if level in (path.name, "file"))
    elsewhere = tmp_path / "elsewhere" / linked.name
    elsewhere.parent.mkdir()
    linked.rename(elsewhere)
    linked.symlink_to(elsewhere)
    real = (elsewhere if level == "file" else file.parent).resolve()
    message = f"{file} leads out of {tmp_path / 'run'} by a link, to {real}: put the files themselves there"
    store = TableStore(tmp_path / "run")
    (listed,) = store.listed("errors")
    for call in (
        lambda: store.read_all("errors"),
        lambda: store.read("errors", [listed], where=("label", ["a"])),
        lambda: store.find("errors", listed, "a"),
        lambda: store.write("errors", listed, make_table("errors", rows("y")), "a"),
    ):
        with pytest.raises(StoreError, match=re.escape(message)):
            call()
    linked.unlink()
    elsewhere.rename(linked)
    assert store.read_all("errors").to_pylist() == rows("x")


def test_an_output_folder_that_is_a_link_and_links_inside_of_it_are_followed(tmp_path: Path) -> None:
    _, file = linked_run(tmp_path / "disk/run")
    (tmp_path / "run").symlink_to(tmp_path / "disk/run")
    (tmp_path / "home").symlink_to(tmp_path / "disk")
    kept = tmp_path / "disk/run/kept.parquet"
    file.rename(kept)
    file.symlink_to(kept)
    for root in (tmp_path / "run", tmp_path / "home/run", os.path.relpath(tmp_path / "run")):
        store = TableStore(root)
        (listed,) = store.listed("errors").values()
        assert store.read_all("errors").to_pylist() == rows("x")
        assert store.find("errors", listed.path, "a") == listed


def test_each_folder_of_many_shards_is_looked_at_once(tmp_path: Path, monkeypatch) -> None:
    store, _ = linked_run(tmp_path)
    paths = [store.shard_path("errors", "f", "a", f"u{number}") for number in range(50)]
    for path in paths:
        store.write("errors", path, make_table("errors", rows("x")), "a")
    asked = []
    real = os.path.realpath
    monkeypatch.setattr(os.path, "realpath", lambda path: asked.append(path) or real(path))
    assert TableStore(tmp_path).read("errors", paths).num_rows == 50
    assert len(asked) == 2


def some_maps(seconds: float = 1.0, area: float = 0.5) -> pa.Table:
    row = {
        "image_id": "i", "label": "a", "explainer": "e", "target": 0, "saliency": b"12", "saliency_shape": [1, 1, 2],
        "score_before": 0.9, "score_after": None, "drop": None, "area": area, "binarization_error": 0.0,
        "iterations": 1, "seconds": seconds,
    }  # fmt: skip
    return make_table("maps", [row, row | {"image_id": "j", "score_after": 0.25}, row | {"image_id": "k"}])


def test_content_is_what_the_rows_say_but_for_the_clock() -> None:
    said = content_digest("maps", some_maps())
    assert content_digest("maps", some_maps(seconds=2.0)) == said
    assert content_digest("maps", some_maps(area=0.25)) != said
    rows = some_maps()
    pieces = pa.concat_tables([rows.slice(2), rows, rows.slice(0, 1)]).combine_chunks().slice(1, 3)
    assert content_digest("maps", pieces) == said
    assert content_digest("maps", pa.concat_tables([rows.slice(0, 1), rows.slice(1)])) == said
    assert content_digest("maps", rows.take([1, 0, 2])) != said


def test_a_shard_tells_its_content_without_a_manifest(tmp_path) -> None:
    store = TableStore(tmp_path)
    first = store.write("maps", "f/label=a/one.parquet", some_maps(), "a")
    assert store.find("maps", first.path, "a") == first and first.content == content_digest("maps", some_maps())
    again = store.write("maps", "f/label=a/two.parquet", some_maps(seconds=9.0), "a")
    assert again.content == first.content and again.sha256 != first.sha256
    store.write_manifest("maps", "f", [first], complete=True)
    assert store.manifest("maps") == [first]


def test_who_was_given_up_neither_writes_nor_removes(tmp_path) -> None:
    rows = make_table("errors", [])
    store = TableStore(tmp_path)
    store.write("errors", "f/label=a/one.parquet", rows, "a")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def not_ours() -> None:
        raise StoreError("it is another's now")

    late = TableStore(tmp_path, not_ours)
    more = make_table("errors", [error_row("stage", "a", "another reason")])
    for act in (
        lambda: late.write("errors", "f/label=a/one.parquet", more, "a"),
        lambda: late.remove("errors", "f/label=a/one.parquet"),
        lambda: late.write_manifest("errors", "f", [], complete=True),
    ):
        with pytest.raises(StoreError, match="another's"):
            act()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_manifest_has_a_line_for_each_shard_whatever_its_class_is_called(tmp_path) -> None:
    store = TableStore(tmp_path)
    labels = ["a", 'quoted "b"', "}, {", "line\nbreak", "", "日本"]
    shards = [Shard(store.shard_path("errors", "f", label, "u"), label, 1, 2, "0", "c") for label in labels]
    for own in (shards, []):
        store.write_manifest("errors", "f", own, complete=True)
        text = (tmp_path / "tables/errors/manifest.json").read_text()
        assert json.loads(text) == {
            "table": "errors", "fingerprint": "f", "complete": True, "shards": [asdict(shard) for shard in own]
        }  # fmt: skip
        assert store.manifest("errors") == own and store.settled("errors") == ("f", True)
        assert sum(line.startswith("{") for line in text.splitlines()[1:]) == len(own)
