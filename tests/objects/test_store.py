"""Tables on a real S3-compatible server: whole or not at all, one request a shard, resumed by listing, errors told."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
import time

import pyarrow as pa
import pytest
from store_server import BUCKET, SECRET

from visual_summaries.pipeline.objects import ObjectError, ObjectPath, place, states_of
from visual_summaries.pipeline.runtime.exclusive import exclusive
from visual_summaries.pipeline.runtime.failures import RunFailed
from visual_summaries.pipeline.store import lease as leases
from visual_summaries.pipeline.store.lease import Lease, Taken
from visual_summaries.pipeline.store.tables import StoreError, TableStore, Unreachable
from visual_summaries.schemas import make_table

ROOT = f"s3://{BUCKET}/out"


def rows(*reasons: str) -> pa.Table:
    return make_table(
        "errors",
        [
            {"stage": "s", "label": "a/b", "image_id": None, "uri": None, "reason": reason, "retry": False}
            for reason in reasons
        ],
    )


def written(store: TableStore, unit: str = "one", label: str = "a/b ü%") -> str:
    path = store.shard_path("errors", "f", label, unit)
    shard = store.write("errors", path, rows(unit), label)
    store.write_manifest("errors", "f", [shard], complete=True)
    return path


def test_what_was_written_is_read_in_the_manifests_order(server) -> None:
    store = pickle.loads(pickle.dumps(TableStore(ROOT)))
    shards = []
    for unit in ("one", "two"):
        path = store.shard_path("errors", "f", "a/b ü%", unit)
        shards.append(store.write("errors", path, rows(unit, "both"), "a/b ü%"))
    store.write_manifest("errors", "f", reversed(shards), complete=True)
    assert store.read_all("errors").column("reason").to_pylist() == ["two", "both", "one", "both"]
    assert store.read("errors", [shards[0].path], ["reason"]).to_pylist() == [{"reason": "one"}, {"reason": "both"}]
    assert store.read("errors", [shards[0].path], None, ("reason", ["both"])).num_rows == 1
    for shard in shards:
        body = server.client.get_object(Bucket=BUCKET, Key=f"out/tables/errors/{shard.path}")["Body"].read()
        assert (len(body), hashlib.sha256(body).hexdigest()) == (shard.bytes, shard.sha256)
        assert store.find("errors", shard.path, "a/b ü%") == shard
    assert server.keys() == sorted([f"out/tables/errors/{shard.path}" for shard in shards] + server.keys()[-1:])


def test_one_request_a_shard_and_one_for_all_that_are_there(server) -> None:
    store = TableStore(ROOT)
    paths = [store.shard_path("errors", "f", "a", f"unit-{number}") for number in range(5)]
    server.requests.clear()
    shards = [store.write("errors", path, rows("x"), "a") for path in paths]
    assert server.counted() == {"PUT": 5}
    store.write_manifest("errors", "f", shards, complete=True)
    server.requests.clear()
    listed, sizes = store.listed("errors"), store.sizes("errors", ["f", "f"])
    assert [store.find("errors", path, "a", listed, sizes) for path in paths] == shards
    assert store.find("errors", "f/label=a/other.parquet", "a", listed, sizes) is None
    assert server.counted() == {"HEAD": 1, "GET": 1, "LIST": 1}
    server.requests.clear()
    store.read("errors", paths[:1], ["reason"])
    assert server.counted() == {"HEAD": 1, "GET": 1}


def test_a_large_shard_goes_up_in_parts_and_a_refused_part_leaves_nothing_to_read(server) -> None:
    store, noise = TableStore(ROOT), rows(os.urandom(13_000_000).hex())
    path = store.shard_path("errors", "f", "a", "large")
    server.refuses = lambda request: "partNumber=2" in request["QUERY_STRING"]
    with pytest.raises(StoreError, match="the store refuses access"):
        store.write("errors", path, noise, "a")
    server.refuses = lambda request: False
    assert server.keys() == [] and store.find("errors", path, "a") is None
    shard = store.write("errors", path, noise, "a")
    assert shard.bytes > 10_000_000 and store.read("errors", [path]) == noise


def test_what_a_disk_lacks_is_told_apart(server) -> None:
    with pytest.raises(StoreError, match="there is no table 'errors' in s3://bucket/out: run the job that writes it"):
        TableStore(ROOT).read_all("errors")
    assert TableStore(ROOT).listed("errors") == {}
    nowhere = TableStore("s3://nowhere/out")
    with pytest.raises(StoreError, match="there is no bucket 'nowhere'"):
        nowhere.read_all("errors")
    with pytest.raises(StoreError, match="cannot write s3://nowhere/out.*there is no such bucket"):
        nowhere.write("errors", "f/label=a/u.parquet", rows("x"), "a")
    with pytest.raises(StoreError, match="no such bucket"), exclusive(place("s3://nowhere/out")):
        pass
    path = written(TableStore(ROOT))
    server.client.put_object(Bucket=BUCKET, Key=f"out/tables/errors/{path}", Body=b"PAR1 damaged")
    with pytest.raises(StoreError, match="delete the file and run the job again"):
        TableStore(ROOT).read_all("errors")


def test_refusals_and_silence_are_one_message_and_never_mean_that_nothing_is_there(server) -> None:
    store = TableStore(ROOT)
    path = written(store)
    server.refuses = lambda request: True
    reason = "the store refuses access"
    for stopped in (False, True):
        if stopped:
            server.stop()
            reason = "the store cannot be reached: check the network and AWS_ENDPOINT_URL"
        calls = (
            lambda: store.listed("errors"),
            lambda: store.find("errors", path, "a"),
            lambda: store.sizes("errors", ["f"]),
            lambda: store.read("errors", [path]),
            lambda: store.remove("errors", path),
            lambda: store.write("errors", path, rows("x"), "a"),
        )
        for call in calls if not stopped else calls[:1]:
            with pytest.raises(StoreError, match=f"{reason}.*run the same command again: what is done stays") as caught:
                call()
            assert SECRET not in str(caught.value)
    assert isinstance(caught.value, Unreachable)
    server.start()
    server.refuses = lambda request: False
    assert store.read_all("errors").num_rows == 1


def test_addresses_with_credentials_are_refused_without_repeating_them(server) -> None:
    for address in (f"s3://{SECRET}@bucket/x", f"s3://key:{SECRET}@bucket/x", f"gs://key:{SECRET}@bucket/x"):
        with pytest.raises(StoreError, match="the address holds credentials") as caught:
            TableStore(address)
        assert SECRET not in str(caught.value)
        with pytest.raises(ObjectError, match="credentials"):
            states_of([f"{address}/photograph.jpg"])
    with pytest.raises(ObjectError, match="set AWS_ENDPOINT_URL"):
        place("s3://bucket/x?endpoint_override=localhost:9000")


def test_environment_leads_to_the_store(server, monkeypatch) -> None:
    from visual_summaries.pipeline.objects import s3_options

    for name in ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    assert s3_options("b", lambda bucket: "asked")["region"] == "asked"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://minio.example:9000/")
    options = s3_options("b", pytest.fail)
    assert (options["scheme"], options["endpoint_override"]) == ("https", "minio.example:9000")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://other:1")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    options = s3_options("b", pytest.fail)
    assert (options["scheme"], options["endpoint_override"], options["region"]) == ("http", "other:1", "eu-west-1")
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    assert "endpoint_override" not in s3_options("b", pytest.fail)


def test_paths_of_objects_behave_as_paths(server) -> None:
    path = place("s3://bucket/a b/c%20/x.tar.csv")
    assert isinstance(path, ObjectPath) and (path.name, path.suffix) == ("x.tar.csv", ".csv")
    assert str(path.with_suffix(".md")) == "s3://bucket/a b/c%20/x.tar.md"
    assert str(path.parent / "../y") == "s3://bucket/a b/y" and str(place("s3://bucket/a/")) == "s3://bucket/a"
    assert not path.exists()
    path.write_bytes(b"1,2")
    assert path.is_file() and path.read_text() == "1,2" and [one.name for one in path.parent.iterdir()] == [path.name]
    assert states_of([str(path), f"{path}x"])[str(path)][0] == 3
    assert server.client.head_object(Bucket=BUCKET, Key=path.key)["ContentType"] == "text/csv; charset=utf-8"
    path.unlink()
    path.unlink(missing_ok=True)
    with pytest.raises(ObjectError, match="no such object"):
        path.read_bytes()


def test_a_second_run_is_refused_and_the_first_notices_when_it_lost_its_claim(server, monkeypatch) -> None:
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.2)
    monkeypatch.setattr(leases.Lease.__init__, "__defaults__", (0.2, 30.0))
    with exclusive(place(ROOT)) as still_ours:
        still_ours()
        with pytest.raises(RunFailed, match=f"another run is writing into {ROOT} .process {os.getpid()} on"):
            with exclusive(place(ROOT)):
                pass
        still_ours()
        store = TableStore(ROOT, still_ours)
        written(store)
        for key in server.keys("out/.claims/"):
            server.client.delete_object(Bucket=BUCKET, Key=key)
        time.sleep(0.6)
        with pytest.raises(StoreError, match="the claim on .* is lost: another run took it away"):
            store.write_manifest("errors", "g", [], complete=True)
    assert TableStore(ROOT).read_all("errors").num_rows == 1
    with exclusive(place(ROOT)):
        pass
    assert server.keys("out/.claims/") == []


def test_the_dead_leave_the_way_free_at_once_here_and_after_a_while_elsewhere(server) -> None:
    code = (
        "import os, sys\nfrom visual_summaries.pipeline.objects import place\n"
        "from visual_summaries.pipeline.store.lease import Lease\n"
        "Lease(place(sys.argv[1])).take(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, ROOT], check=False)
    assert len(server.keys("out/.claims/")) == 1
    started = time.monotonic()
    with exclusive(place(ROOT)):
        assert time.monotonic() - started < 5
    elsewhere = json.dumps({"host": "h", "process": 1, "started": 0, "place": "another machine"}).encode()
    server.client.put_object(Bucket=BUCKET, Key="out/.claims/theirs", Body=elsewhere)
    lease = Lease(place(ROOT), renew=0.2, lease=2.0)
    started = time.monotonic()
    lease.take()
    assert 1.0 < time.monotonic() - started < 10
    with pytest.raises(Taken):
        Lease(place(ROOT), renew=0.2, lease=2.0).take()
    server.refuses = lambda request: True
    time.sleep(2.5)
    with pytest.raises(StoreError, match="could not be renewed for 2 s"):
        lease()
    server.refuses = lambda request: False
    lease.give_back()
    assert server.keys() == []
