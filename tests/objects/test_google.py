"""`gs://` on a real server of Google's interface: objects and tables, refusals, the lease, a whole run."""

import errno
import io
import os
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

pytest.importorskip("gcp_storage_emulator", reason="gcp-storage-emulator is not installed")

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))

from google_server import ROOT, google_server  # noqa: E402
from packed import tar_bytes  # noqa: E402
from runs import run_here, run_job  # noqa: E402
from small_runs import SETTINGS, comparable  # noqa: E402

from visual_summaries.pipeline import objects  # noqa: E402
from visual_summaries.pipeline.data.catalog import image_folder  # noqa: E402
from visual_summaries.pipeline.data.decode import read_bytes  # noqa: E402
from visual_summaries.pipeline.data.sources import find_photographs  # noqa: E402
from visual_summaries.pipeline.objects import ObjectError, place, states_of  # noqa: E402
from visual_summaries.pipeline.runtime.exclusive import exclusive  # noqa: E402
from visual_summaries.pipeline.runtime.failures import RunFailed  # noqa: E402
from visual_summaries.pipeline.stages.images import file_states  # noqa: E402
from visual_summaries.pipeline.store import lease as leases  # noqa: E402
from visual_summaries.pipeline.store.conditional import NEVER_WRITTEN, Changed, Seen, current, put  # noqa: E402
from visual_summaries.pipeline.store.lease import Lease, Taken  # noqa: E402
from visual_summaries.pipeline.store.tables import StoreError, TableStore  # noqa: E402
from visual_summaries.schemas import make_table  # noqa: E402

OUTPUT = f"{ROOT}/out"
QUICK = ("explain.explainer=grad-cam", "proposals.limit=60", "ray.workers=1", "report.members=2")


@pytest.fixture
def google():  # noqa: ANN201
    with google_server() as server:
        yield server


def written(store: TableStore) -> str:
    path = store.shard_path("errors", "f", "a/b ü%", "one")
    row = {"stage": "s", "label": "a/b ü%", "image_id": None, "uri": None, "reason": "x", "retry": False}
    shard = store.write("errors", path, make_table("errors", [row]), "a/b ü%")
    store.write_manifest("errors", "f", [shard], complete=True)
    return path


def test_objects_are_written_listed_read_and_removed(google) -> None:
    large = os.urandom(9_000_000) + b"\r\n--end\r\n"
    contents = {"a b/ü%20.html": b"x\r\n", "a b/empty": b"", "large": large}
    before = time.time_ns()
    for name, content in contents.items():
        (place(ROOT) / name).write_bytes(content)
    assert {name: (place(ROOT) / name).read_bytes() for name in contents} == contents
    states = place(ROOT).states()
    assert {name: size for name, (size, _) in states.items()} == {name: len(one) for name, one in contents.items()}
    assert all(before - 10**9 < at <= time.time_ns() for _, at in states.values())
    assert [one.name for one in place(ROOT).iterdir()] == ["large"]
    page = place(f"{ROOT}/a b/ü%20.html")
    with page.open() as file:
        assert file.metadata()["Content-Type"] == b"text/html; charset=utf-8"
        file.seek(1)
        assert file.read() == b"\r\n"
    assert states_of([str(page), f"{page}x"]).keys() == {str(page)}
    page.unlink()
    page.unlink(missing_ok=True)
    assert not page.is_file()
    for call in (page.read_bytes, page.unlink):
        with pytest.raises(ObjectError, match="there is no such object") as caught:
            call()
        assert caught.value.errno == errno.ENOENT


def test_archives_are_found_and_read(google) -> None:
    contents = [(f"cat/{number}.jpg", os.urandom(5000)) for number in range(6)]
    (place(ROOT) / "tars" / "a b.tar").write_bytes(tar_bytes(contents))
    rows, file = [{"bytes": content, "path": name} for name, content in contents], io.BytesIO()
    pyarrow.parquet.write_table(pa.table({"image": rows, "label": [3] * 6}), file, row_group_size=4)
    (place(ROOT) / "rows.parquet").write_bytes(file.getvalue())
    for root, said, label in ((f"{ROOT}/tars", "1 tar file", "cat"), (f"{ROOT}/rows.parquet", "1 Parquet file", "3")):
        source = find_photographs(place(root))
        found = source.listing[label]
        assert source.said == said and [read_bytes(one.uri) for one in found] == [one for _, one in contents]
        assert all(written > 0 for _, written in file_states(one.uri for one in found).values())


def test_what_is_missing_or_refused_or_silent_is_one_message_each(google, monkeypatch) -> None:
    store = TableStore(OUTPUT)
    with pytest.raises(StoreError, match=f"there is no table 'errors' in {OUTPUT}: run the job that writes it"):
        store.read_all("errors")
    nowhere = TableStore("gs://anonymous@nowhere/out")
    claim = exclusive(nowhere.root)
    for call in (lambda: nowhere.read_all("errors"), lambda: written(nowhere), claim.__enter__):
        with pytest.raises(StoreError, match="there is no (such )?bucket"):
            call()
    path = written(store)
    listed, sizes = store.listed("errors"), store.sizes("errors", ["f"])
    assert store.find("errors", path, "a", listed, sizes) is listed[path] and sizes == {path: listed[path].bytes}
    assert store.find("errors", path, "a/b ü%") == listed[path]
    google.refuse(True)
    with pytest.raises(StoreError, match=r"cannot write .*the store refuses access: .*GOOGLE_APPLICATION_CREDENTIALS"):
        store.write("errors", path, store.read_all("errors"), "a")
    with pytest.raises(StoreError, match="cannot write to .*refuses access"), exclusive(place(OUTPUT)):
        pass
    with pytest.raises(StoreError, match="cannot remove .*refuses access"):
        store.remove("errors", path)
    google.refuse(False)
    assert store.read_all("errors").num_rows == 1
    monkeypatch.setattr(objects, "GOOGLE_RETRY_SECONDS", 1)
    objects._file_system.cache_clear()
    google.stop()
    started = time.monotonic()
    with pytest.raises(StoreError, match="the store cannot be reached: check the network; mend that and run the same"):
        store.listed("errors")
    assert time.monotonic() - started < 15


def test_without_credentials_the_message_names_them(monkeypatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")
    with pytest.raises(ObjectError, match="no credentials .*GOOGLE_APPLICATION_CREDENTIALS.*gs://anonymous@") as caught:
        place("gs://bucket/x").read_bytes()
    assert caught.value.errno == errno.EACCES


def test_one_writer_at_a_time(google, monkeypatch) -> None:
    monkeypatch.setattr(leases.Lease.__init__, "__defaults__", (0.2, 30.0))
    with exclusive(place(OUTPUT)) as still_ours:
        with pytest.raises(RunFailed, match=f"another run is writing into {OUTPUT} .process {os.getpid()} on"):
            with exclusive(place(OUTPUT)):
                pass
        still_ours()
        assert still_ours.unfenced == ""
        store = TableStore(OUTPUT, write=still_ours.write)
        store.write_manifest("errors", "ours", [], complete=True)
        store.write_manifest("errors", "ours again", [], complete=True)
        manifest = place(OUTPUT) / "tables/errors/manifest.json"
        theirs = put(manifest, b"theirs", current(manifest).version)
        with pytest.raises(StoreError, match="the claim on .* is lost: another run took it away"):
            store.write_manifest("errors", "too late", [], complete=True)
        assert current(manifest) == Seen(b"theirs", theirs)
        for version in (None, NEVER_WRITTEN):
            with pytest.raises(Changed):
                put(manifest, b"too late", version)
        manifest.unlink()
    with exclusive(place(OUTPUT)) as still_ours:
        for name in place(f"{OUTPUT}/.claims").states():
            place(f"{OUTPUT}/.claims/{name}").unlink()
        time.sleep(0.6)
        with pytest.raises(StoreError, match="the claim on .* is lost: another run took it away"):
            still_ours()
    assert place(OUTPUT).states() == {}
    (place(OUTPUT) / ".claims/theirs").write_bytes(b'{"host": "h", "process": 1, "place": "another machine"}')
    lease = Lease(place(OUTPUT), renew=0.2, lease=1.0)
    lease.take()
    with pytest.raises(Taken):
        Lease(place(OUTPUT), renew=0.2, lease=1.0).take()
    lease.give_back()
    assert place(OUTPUT).states() == {}


def test_a_run_with_all_in_the_bucket_has_the_tables_of_one_on_the_disk(google, photographs, tmp_path) -> None:
    for file in photographs.rglob("*.*"):
        (place(ROOT) / "photographs" / file.relative_to(photographs).as_posix()).write_bytes(file.read_bytes())
    assert {label: len(found) for label, found in image_folder(place(f"{ROOT}/photographs")).items()} == {
        label: len(found) for label, found in image_folder(photographs).items()
    }
    for run, output, images in ((run_job, OUTPUT, f"{ROOT}/photographs"), (run_here, tmp_path, photographs)):
        result = run(output, images, *SETTINGS, *QUICK)
        assert result.returncode == 0, result.stdout + result.stderr
    ours, theirs = comparable(OUTPUT), comparable(tmp_path)
    assert sum(map(len, ours.values())) > 300
    for name in theirs:
        assert ours[name] == theirs[name], name
    pages = {name for name in place(f"{OUTPUT}/report").states() if name.endswith(".html")}
    assert pages == {file.relative_to(tmp_path / "report").as_posix() for file in tmp_path.rglob("report/**/*.html")}
    assert len(pages) > 2 and place(f"{OUTPUT}/.claims").states() == {}
