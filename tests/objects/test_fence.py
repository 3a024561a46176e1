"""Two drivers, one bucket: the store refuses what the one writes that lost its claim, however late it wakes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any

import pytest
from reached import forget
from store_server import BUCKET, KEY, SECRET, StoreServer

from visual_summaries.pipeline.objects import ObjectError, place
from visual_summaries.pipeline.runtime import sight
from visual_summaries.pipeline.runtime.exclusive import exclusive
from visual_summaries.pipeline.runtime.failures import WorkerUnfit
from visual_summaries.pipeline.runtime.sight import Sight
from visual_summaries.pipeline.store.conditional import Changed, current, ignores_conditions, put
from visual_summaries.pipeline.store.lease import Lease, Taken
from visual_summaries.pipeline.store.tables import StoreError, TableStore
from visual_summaries.schemas import make_table

ROOT = f"s3://{BUCKET}/out"
CLAIMS, MANIFEST = "out/.claims/", "out/tables/errors/manifest.json"
LOST = "the claim on s3://bucket/out is lost: another run took it away; another run may write there now"
HOLDER = """
import sys
from visual_summaries.pipeline.objects import place
from visual_summaries.pipeline.store.lease import Lease
from visual_summaries.pipeline.store.tables import StoreError, TableStore
lease = Lease(place(sys.argv[1]), renew=0.2, lease=1.0)
lease.take()
store, number = TableStore(sys.argv[1], lease, lease.write), 0
try:
    while True:
        number += 1
        store.write_manifest("errors", f"first-{number}", [], complete=False)
        print(number, flush=True)
except StoreError as error:
    sys.exit(str(error))
finally:
    lease.give_back()
"""


def leased(lease: float = 30.0, renew: float = 0.2) -> Lease:
    taken = Lease(place(ROOT), renew, lease)
    taken.take()
    return taken


def fenced(lease: Lease) -> TableStore:
    return TableStore(ROOT, lease, lease.write)


def manifest(server: StoreServer) -> dict[str, Any]:
    return json.loads(server.client.get_object(Bucket=BUCKET, Key=MANIFEST)["Body"].read())


@contextmanager
def held(server: StoreServer, wanted: Callable[[dict[str, Any]], bool]) -> Iterator[tuple[Event, Event]]:
    """(came, go): the first such request has come, and waits until it may go on, like one whose sender slept."""
    came, go = Event(), Event()

    def hold(request: dict[str, Any]) -> bool:
        if wanted(request) and not came.is_set():
            came.set()
            assert go.wait(30)
        return False

    server.refuses = hold
    try:
        yield came, go
    finally:
        go.set()
        server.refuses = lambda request: False


def writes(ending: str) -> Callable[[dict[str, Any]], bool]:
    return lambda request: request["REQUEST_METHOD"] == "PUT" and ending in request["PATH_INFO"]


def forget_claims(server: StoreServer) -> None:
    """As another run does that finds a claim too old."""
    for key in server.keys(CLAIMS):
        server.client.delete_object(Bucket=BUCKET, Key=key)


@pytest.mark.parametrize("before", ["never written", "written by the first", "written by an earlier run"])
def test_a_manifest_that_was_under_way_while_another_took_over_is_refused(server, before: str) -> None:
    if before == "written by an earlier run":
        earlier = leased()
        fenced(earlier).write_manifest("errors", "earlier", [], complete=True)
        earlier.give_back()
    first = leased(renew=30.0)
    store = fenced(first)
    if before == "written by the first":
        store.write_manifest("errors", "", [], complete=False)
    said = []

    def late() -> None:
        try:
            store.write_manifest("errors", "too late", [], complete=True)
        except StoreError as error:
            said.append(str(error))

    with held(server, writes("manifest.json")) as (came, go):
        thread = Thread(target=late)
        thread.start()
        assert came.wait(30)
        forget_claims(server)
        second = leased()
        # What the first may have seen there: only who wrote it differs.
        fenced(second).write_manifest("errors", "", [], complete=False)
        theirs = manifest(server)
        go.set()
        thread.join()
    assert [text[: len(LOST)] for text in said] == [LOST]
    assert manifest(server) == theirs and theirs["fingerprint"] == ""
    fenced(second).write_manifest("errors", "second", [], complete=True)
    with pytest.raises(StoreError, match="another run took it away"):
        store.write_manifest("runs", "r", [], complete=True)
    first.give_back()
    second()
    second.give_back()
    assert manifest(server)["fingerprint"] == "second" and server.keys(CLAIMS) == []


def test_what_another_wrote_before_we_first_look_is_not_taken_for_an_earlier_runs(server) -> None:
    first = leased(renew=30.0)
    forget_claims(server)
    second = leased()
    fenced(second).write_manifest("errors", "second", [], complete=False)
    with pytest.raises(StoreError, match="another run took it away"):
        fenced(first).write_manifest("errors", "too late", [], complete=True)
    assert manifest(server)["fingerprint"] == "second"
    first.give_back()
    second.give_back()


def test_a_claim_whose_renewal_was_under_way_while_another_took_over_is_not_made_anew(server) -> None:
    first = leased(renew=0.3)
    with held(server, writes("/.claims/")) as (came, go):
        assert came.wait(30)
        forget_claims(server)
        second = leased()
        theirs = server.keys(CLAIMS)
        go.set()
        time.sleep(0.5)
    with pytest.raises(StoreError, match="another run took it away"):
        first()
    assert server.keys(CLAIMS) == theirs
    time.sleep(0.5)
    first.give_back()
    second()
    assert server.keys(CLAIMS) == theirs
    second.give_back()


def test_a_process_that_was_frozen_stops_and_leaves_the_manifests_of_its_successor(server) -> None:
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, ROOT], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            while int(process.stdout.readline()) < 3:
                pass
            os.kill(process.pid, signal.SIGSTOP)
            assert manifest(server)["fingerprint"].startswith("first-")
            started = time.monotonic()
            second = leased(lease=1.0)
            assert 0.5 < time.monotonic() - started < 10
            store = fenced(second)
            row = {"stage": "s", "label": "a", "image_id": None, "uri": None, "reason": "x", "retry": False}
            shard = store.write("errors", "f/label=a/u.parquet", make_table("errors", [row]), "a")
            store.write_manifest("errors", "second", [shard], complete=True)
            os.kill(process.pid, signal.SIGCONT)
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()
        assert process.returncode == 1
        assert said.startswith("the claim on s3://bucket/out is lost: ") and said.count("\n") == 1, said
        assert manifest(server)["fingerprint"] == "second"
        second()
        second.give_back()
    assert TableStore(ROOT).read_all("errors").num_rows == 1 and server.keys(CLAIMS) == []


@pytest.mark.parametrize("fences", [True, False])
def test_of_those_who_start_in_the_same_moment_one_wins(server, fences: bool) -> None:
    server.ignores_conditions = not fences
    for _ in range(12 if fences else 4):
        barrier, taken, refused = Barrier(3), [], []

        def start(barrier: Barrier = barrier, taken: list = taken, refused: list = refused) -> None:
            lease = Lease(place(ROOT), renew=0.2, lease=20.0)
            barrier.wait()
            try:
                lease.take()
                taken.append(lease)
            except Taken as error:
                refused.append(str(error))

        threads = [Thread(target=start) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (len(taken), len(refused)) == (1, 2)
        assert all(f"another run is writing into {ROOT} (process {os.getpid()} on" in text for text in refused)
        taken[0]()
        taken[0].give_back()
    assert server.keys(CLAIMS) == []


def test_a_store_that_ignores_conditions_is_told_and_has_one_writer_all_the_same(server) -> None:
    lease = leased()
    assert lease.unfenced == ""
    server.ignores_conditions = True
    with pytest.raises(Taken):
        leased()
    lease.give_back()
    lease = leased()
    assert lease.unfenced == "the store ignores the conditions of conditional writes"
    fenced(lease).write_manifest("errors", "a", [], complete=True)
    # One that can, and one that cannot because it has no credentials for it, keep each other out.
    server.ignores_conditions = False
    with pytest.raises(Taken):
        leased()
    forget_claims(server)
    time.sleep(0.6)
    with pytest.raises(StoreError, match="another run took it away"):
        fenced(lease).write_manifest("errors", "b", [], complete=True)
    assert manifest(server)["fingerprint"] == "a"


def test_what_was_seen_is_the_condition(server) -> None:
    path = place(ROOT) / "a b/ü%20#?x+&;.json"
    assert current(path) is None
    version = put(path, b"1", None)
    assert path.read_bytes() == b"1" and current(path).content == b"1" and current(path).version == version
    assert server.client.head_object(Bucket=BUCKET, Key=path.key)["ContentType"] == "application/json"
    # The answer was lost, and it is asked again.
    assert put(path, b"1", None) == version
    with pytest.raises(Changed):
        put(path, b"2", None)
    second = put(path, b"2", version)
    for old in (version, None):
        with pytest.raises(Changed):
            put(path, b"3", old)
    with pytest.raises(Changed):
        put(place(ROOT) / "nothing", b"3", second)
    assert ignores_conditions(path) == "" and path.read_bytes() == b"2"
    server.ignores_conditions = True
    assert "ignores the conditions" in ignores_conditions(path)
    server.refuses = lambda request: True
    for call in (lambda: put(path, b"3", second), lambda: current(path)):
        with pytest.raises(ObjectError, match="the store refuses access: .*AWS_ACCESS_KEY_ID") as caught:
            call()
        assert SECRET not in str(caught.value)
    assert "refuses access" in ignores_conditions(path)
    server.stop()
    with pytest.raises(ObjectError, match="the store cannot be reached: check the network and AWS_ENDPOINT_URL"):
        ignores_conditions(path)
    server.start()


def test_profiles_reach_the_store_too(server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.requests.clear()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    keys = tmp_path / "credentials"
    mine = f"[mine]\naws_access_key_id={KEY}\naws_secret_access_key={SECRET}\n"
    keys.write_text(f"[default]\naws_access_key_id = x\n{mine}")
    settings = tmp_path / "config"
    settings.write_text("[profile other]\ncredential_process = /bin/false\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(keys))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(settings))
    monkeypatch.setenv("AWS_PROFILE", "mine")
    forget()
    seen = []
    server.refuses = lambda request: seen.append(request.get("HTTP_AUTHORIZATION", "")) or False
    put(place(ROOT) / "x", b"1", None)
    assert len(seen) == 1 and f"Credential={KEY}/" in seen[0]
    monkeypatch.setenv("AWS_PROFILE", "other")
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.delitem(sys.modules, "obstore.auth.boto3", raising=False)
    forget()
    assert "the profile other needs boto3" in ignores_conditions(place(ROOT) / "x")


@pytest.mark.parametrize("fences", [True, False])
def test_a_worker_sees_whose_the_prefix_is(server, fences: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    server.ignores_conditions = not fences
    monkeypatch.setattr(sight, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(sight, "AGAIN_SECONDS", 0.0)
    with exclusive(place(ROOT)) as first:
        seen = Sight.of(place(ROOT), first)
        seen.check()
        elsewhere = Sight(place(f"s3://{BUCKET}/elsewhere"), seen.marker, seen.token)
        with pytest.raises(WorkerUnfit, match="does not see the run in s3://bucket/elsewhere: set the same variables"):
            elsewhere.check()
        forget_claims(server)
        with exclusive(place(ROOT)) as second:
            Sight.of(place(ROOT), second).check()
            with pytest.raises(StoreError, match="the claim on s3://bucket/out is lost: another run took it away"):
                seen.check()
            server.refuses = lambda request: True
            with pytest.raises(StoreError, match="cannot read .*the store refuses access"):
                seen.check()
            server.refuses = lambda request: False
