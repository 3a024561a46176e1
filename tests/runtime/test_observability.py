"""What a run tells while it goes on: its metrics at Ray's endpoint, a line for each event, and no secrets."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from visual_summaries.pipeline.objects import place
from visual_summaries.pipeline.runtime.logs import RunLog, masked
from visual_summaries.pipeline.runtime.observability import COUNTERS, GAUGES

ROOT = Path(__file__).parents[2]


def read(folder: Path) -> list[dict]:
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


METRICS_RUN = """
import os, sys, time, urllib.request
from functools import partial
from pathlib import Path
import ray
from ray import cloudpickle
from visual_summaries.pipeline.runtime.context import Context
from visual_summaries.pipeline.runtime.settings import RaySettings
from visual_summaries.pipeline.runtime.observability import watched_run
from visual_summaries.pipeline.runtime.pool import WorkerPool
from visual_summaries.pipeline.runtime.session import ray_session
from visual_summaries.pipeline.runtime.stage import Stage
from visual_summaries.pipeline.runtime.units import Output, Unit

class Fragile(Stage):
    name, writes = "fragile", "errors"

    def compute(self, worker, unit, items):
        if unit.payload:
            os.kill(os.getpid(), 9)
        return Output([])

units = [Unit(name, (), (name,), name=name, fingerprint="f", size=3) for name in ("good", "better")]
units.append(Unit("bad", (), ("bad",), payload="kill", name="bad", fingerprint="f", size=3))
output = Path(sys.argv[1])
with ray_session(RaySettings(cpus=1, gpus=0)) as resources, watched_run(output, "the-run", 9, resources) as watch:
    pool = WorkerPool(partial(Context, output), 1, 1, 0, 2, 60)
    stage = watch.stage("fragile")
    stage.planned(units, units)
    pool.run(Fragile(), units, stage.finished, stage.told, stage)
    stage.close()
    pool.close()
    (node,) = ray.nodes()
    address = f"http://127.0.0.1:{node['MetricsExportPort']}/metrics"
    deadline = time.monotonic() + 90
    while True:
        text = urllib.request.urlopen(address, timeout=10).read().decode()
        if "visual_summaries_unit_failures" in text and "visual_summaries_unit_seconds_count" in text:
            break
        assert time.monotonic() < deadline, "the metrics do not come"
        time.sleep(0.5)
    print("METRICS")
    print(text)
"""


def test_metrics_are_at_rays_endpoint(tmp_path) -> None:
    pytest.importorskip("prometheus_client", reason="ray[default] is not installed: no metrics endpoint")
    script = tmp_path / "script.py"
    script.write_text(METRICS_RUN)
    result = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "out")],
        cwd=ROOT,
        env=os.environ | {"RAY_metrics_report_interval_ms": "500", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    lines = result.stdout.partition("METRICS")[2].splitlines()
    values = {
        re.match(r"\w+", line)[0]: float(line.split()[-1])
        for line in lines
        if 'run="the-run"' in line and 'stage="fragile"' in line
    }
    prefix = "ray_visual_summaries_"
    assert values[f"{prefix}images_done_total"] == 6 and values[f"{prefix}units_done_total"] == 2
    assert values[f"{prefix}unit_failures_total"] == 1 and values[f"{prefix}unit_retries_total"] == 1
    assert values[f"{prefix}worker_deaths_total"] == 2 and values[f"{prefix}unit_seconds_count"] == 2
    assert {f"ray_{name}_total" for name in COUNTERS} | {f"ray_{name}" for name in GAUGES} <= values.keys()
    events = read(tmp_path / "out" / "logs")
    assert [entry["unit"] for entry in events if entry["event"] == "unit retried"] == ["bad"]
    assert [entry["unit"] for entry in events if entry["event"] == "unit failed"] == ["bad"]
    assert sum(entry["event"] == "worker died" for entry in events) == 2


SECRETS = (
    "s3://key:hunter2hunter2@bucket/x",
    "https://host/x?X-Amz-Signature=hunter2hunter2&a=b",
    "https://account.blob/x?sv=1&sig=hunter2hunter2",
    "Authorization: Bearer hunter2hunter2",
    '{"aws_secret_access_key": "hunter2hunter2"}',
    "RAY_AUTH_TOKEN=hunter2hunter2",
    "password: hunter2hunter2, more",
    "it said own-value-of-a-token to me",
)


@pytest.mark.parametrize("text", SECRETS)
def test_secrets_are_masked(text: str, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "own-value-of-a-token")
    with RunLog(tmp_path, "run") as log:
        log.event("x", reason=text)
    line = (tmp_path / "logs" / "run.jsonl").read_text()
    assert "hunter2" not in line and "own-value" not in line and "***" in line


def test_what_is_no_secret_stays() -> None:
    for text in ("s3://bucket/a/b.jpg", "/data/user@host/x.jpg", "12 tokens of 3 images", "ZeroDivisionError: by zero"):
        assert masked(text) == text


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path, capsys, monkeypatch) -> None:
    (tmp_path / "logs").write_text("a file")
    with RunLog(tmp_path, "run") as log:
        log.event("x")
    assert "no log in" in capsys.readouterr().err
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://somebody@host")
    with RunLog(place("s3://a-bucket-that-no-other-test-asks-for/run"), "run") as log:
        log.event("x")
    assert "AWS_ENDPOINT_URL must be" in capsys.readouterr().err
