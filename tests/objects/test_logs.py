"""The log of a run whose output is in a bucket: sent now and then and at the end, never in the run's way."""

import json
import time

import pytest
from store_server import BUCKET

from visual_summaries.pipeline.objects import place
from visual_summaries.pipeline.runtime import logs
from visual_summaries.pipeline.runtime.logs import RunLog

OUTPUT = f"s3://{BUCKET}/out"
KEY = "out/logs/2026-01-02T0304.jsonl"


def events(server) -> list[str]:  # noqa: ANN001
    if KEY not in server.keys():
        return []
    body = server.client.get_object(Bucket=BUCKET, Key=KEY)["Body"].read()
    return [json.loads(line)["event"] for line in body.decode().splitlines()]


def wait_for(server, wanted: list[str]) -> None:  # noqa: ANN001
    deadline = time.monotonic() + 20
    while events(server) != wanted:
        assert time.monotonic() < deadline, events(server)
        time.sleep(0.05)


def test_lines_are_in_the_bucket_while_the_run_goes_on_and_all_of_them_at_its_end(server, monkeypatch) -> None:
    monkeypatch.setattr(logs, "UPLOAD_SECONDS", 0.1)
    with RunLog(place(OUTPUT), "2026-01-02T03:04") as log:
        assert str(log.path) == f"s3://{BUCKET}/{KEY}"
        log.event("first ü")
        wait_for(server, ["first ü"])
        log.event("second")
        wait_for(server, ["first ü", "second"])
        sent = server.counted()["PUT"]
        time.sleep(0.5)
        assert server.counted()["PUT"] == sent, "nothing new is nothing to send"
        monkeypatch.setattr(logs, "UPLOAD_SECONDS", 1000)
        log.event("third")
        time.sleep(0.3)
        log.event("last")
    assert events(server) == ["first ü", "second", "third", "last"]
    assert server.client.head_object(Bucket=BUCKET, Key=KEY)["ContentType"] == "application/x-ndjson"


def test_a_failing_run_leaves_its_log(server) -> None:
    with pytest.raises(KeyboardInterrupt), RunLog(place(OUTPUT), "2026-01-02T03:04") as log:
        log.event("run failed", level="error")
        raise KeyboardInterrupt
    assert events(server) == ["run failed"]


def test_a_store_that_refuses_the_log_stops_nothing_and_is_told_once(server, monkeypatch, capsys) -> None:
    monkeypatch.setattr(logs, "UPLOAD_SECONDS", 0.1)
    server.refuses = lambda request: True
    with RunLog(place(OUTPUT), "2026-01-02T03:04") as log:
        log.event("first")
        deadline = time.monotonic() + 20
        while len(server.requests) < 3:
            assert time.monotonic() < deadline, "it is not tried again"
            time.sleep(0.05)
        server.refuses = lambda request: False
        wait_for(server, ["first"])
        server.refuses = lambda request: True
        log.event("second")
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"the log {OUTPUT}" in said and "the store refuses access" in said
    server.refuses = lambda request: False
    assert events(server) == ["first"]
