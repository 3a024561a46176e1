"""`--submit` to a real cluster on loopback with token authentication: output, exit status, stop, wrong tokens."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from visual_summaries.jobs.submission import without_submit
from visual_summaries.pipeline.store.tables import TableStore

ROOT = Path(__file__).parents[2]
TOKEN = "0123456789abcdef" * 2
TINY = ("--images", "demo", "--model", "demo", "data.demo_images_per_class=2", "data.test=0", "data.held_out=0")
TINY += ("explain.explainer=grad-cam", "proposals.limit=40", "pruning.minimum_members=2", "error_tolerance=1")


def environment(**more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    # A submitted job is started as `python`: the one with this package, whether its environment is active or not.
    clean["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), clean.get("PATH", "")])
    return clean | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "PYTHONUNBUFFERED": "1"} | more


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):  # noqa: ANN201
    """Address of the dashboard of a head that listens on loopback alone."""
    pytest.importorskip("aiohttp", reason="ray[default] is not installed: pip install 'visual-summaries[cluster]'")
    port, own, client = free_port(), free_port(), free_port()
    temporary = Path(f"/tmp/vs-{os.getpid()}")
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
    command += ["--node-ip-address=127.0.0.1", f"--port={own}", f"--ray-client-server-port={client}", "--num-cpus=2"]
    command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={port}", "--dashboard-agent-listen-port=0"]
    command += ["--object-store-memory=150000000", f"--temp-dir={temporary}"]
    log = (tmp_path_factory.mktemp("head") / "log").open("w+")
    head = subprocess.Popen(
        command,
        stdout=log,
        stderr=subprocess.STDOUT,
        env=environment(RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0"),
        start_new_session=True,
    )
    try:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/version", headers={"Authorization": f"Bearer {TOKEN}"}
        )
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(request, timeout=5).close()
                break
            except OSError:
                if head.poll() is not None or time.monotonic() > deadline:
                    pytest.fail("the head does not start:\n" + Path(log.name).read_text())
                time.sleep(0.3)
        yield f"127.0.0.1:{port}"
    finally:
        # Ray's own command would stop whatever of Ray runs on this machine, and asked to end, the head takes half a
        # minute.
        ours = psutil.Process(head.pid).children(recursive=True) if head.poll() is None else []
        with contextlib.suppress(ProcessLookupError):
            os.killpg(head.pid, signal.SIGKILL)
        for process in ours:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        head.wait(60)
        log.close()
        shutil.rmtree(temporary, ignore_errors=True)


def visual_summaries(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    verb, *rest = arguments
    return subprocess.run(
        [sys.executable, "-m", "visual_summaries", verb, *rest],
        cwd=ROOT,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=400,
    )


@pytest.fixture(scope="module")
def submitted(cluster, tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """A run's output folder, and what submitting it said."""
    output = tmp_path_factory.mktemp("submitted") / "out"
    return output, visual_summaries("summarize", "--submit", cluster, "--output", str(output), *TINY)


def test_a_submitted_run_streams_and_ends_with_its_own_status(cluster, submitted) -> None:
    output, done = submitted
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Report: {output / 'report' / 'index.html'}" in done.stdout
    assert "images " in done.stdout and "ended with exit status 0" in done.stderr and TOKEN not in done.stderr
    assert re.search(r"sent \d+ files, [\d.]+ MB: .*visual_summaries/ \(\d+\)", done.stderr), done.stderr
    job = re.search(r"job (raysubmit_\w+) submitted", done.stderr)[1]
    again = visual_summaries("cluster", "logs", job, "--address", cluster)
    assert again.returncode == 0 and "Report: " in again.stdout


def test_a_run_is_measured_and_its_report_drawn_on_the_cluster_too(cluster, submitted) -> None:
    output, _ = submitted
    measured = visual_summaries("evaluate", f"--submit={cluster}", "--run", str(output), "--study", "summaries")
    assert measured.returncode == 0, measured.stdout + measured.stderr
    assert f"Tables: {output / 'evaluation.md'}" in measured.stdout and "ended with exit status 0" in measured.stderr
    rows = TableStore(output).read_all("runs").to_pylist()
    addresses = [json.loads(row["configuration"])["ray"]["address"] for row in rows if row["stage"] == "studies"]
    assert addresses == ["auto"] and TableStore(output).read_all("measurements").num_rows > 0
    shutil.rmtree(output / "report")
    drawn = visual_summaries("report", "--run", str(output), "--submit", cluster)
    assert drawn.returncode == 0, drawn.stdout + drawn.stderr
    assert f"Report: {output / 'report/index.html'}" in drawn.stdout and "ended with exit status 0" in drawn.stderr
    assert (output / "report/index.html").is_file()


def test_a_usage_error_on_the_cluster_is_one_here(cluster, tmp_path) -> None:
    photographs = tmp_path / "missing"
    wrong = visual_summaries("summarize", "--images", str(photographs), "--model", "demo", f"--submit={cluster}")
    assert wrong.returncode == 2, wrong.stdout + wrong.stderr
    assert str(photographs) in wrong.stdout and "ended with exit status 2" in wrong.stderr
    assert "not the files of this machine: output (runs/latest" in wrong.stderr


def test_ctrl_c_leaves_the_job_and_stop_ends_it(cluster, tmp_path) -> None:
    command = [sys.executable, "-m", "visual_summaries", "summarize", "--submit", cluster]
    command += ["--output", str(tmp_path), *TINY]
    process = subprocess.Popen(
        [*command, "data.demo_images_per_class=200"],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stdout:
            if "Running entrypoint" in line:
                break
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130 and "goes on" in said and "cluster stop raysubmit_" in said
    job = re.search(r"raysubmit_\w+", said)[0]
    running = visual_summaries("cluster", "status", job, "--address", cluster)
    assert running.returncode == 0 and "RUNNING" in running.stdout
    stopped = visual_summaries("cluster", "stop", job, "--address", cluster)
    assert stopped.returncode == 0 and "STOPPED" in stopped.stdout
    assert visual_summaries("cluster", "status", job, "--address", cluster).returncode == 130


def test_a_missing_or_wrong_token_is_said(cluster) -> None:
    missing = visual_summaries("cluster", "status", "x", "--address", cluster, RAY_AUTH_MODE="disabled")
    assert missing.returncode == 3 and "asks for a token, and none was sent" in missing.stderr
    wrong = visual_summaries("cluster", "status", "x", "--address", cluster, RAY_AUTH_TOKEN="f" * 32)
    assert wrong.returncode == 3 and "refuses the token" in wrong.stderr
    assert "f" * 32 not in wrong.stderr and "Traceback" not in missing.stderr + wrong.stderr
    unknown = visual_summaries("cluster", "logs", "raysubmit_nothing", "--address", cluster)
    assert unknown.returncode == 3 and "raysubmit_nothing" in unknown.stderr and "Traceback" not in unknown.stderr


def test_nothing_there_is_said(tmp_path) -> None:
    pytest.importorskip("aiohttp", reason="ray[default] is not installed")
    nothing = visual_summaries("cluster", "status", "x", "--address", f"127.0.0.1:{free_port()}")
    assert nothing.returncode == 3 and "nothing answers at http://127.0.0.1" in nothing.stderr
    other = visual_summaries("cluster", "status", "x", "--address", "ray://127.0.0.1:10001")
    assert other.returncode == 2 and "dashboard" in other.stderr


def test_the_option_itself_is_not_sent() -> None:
    assert without_submit(["--submit", "a:1", "--images", "x"]) == ["--images", "x"]
    assert without_submit(["--images", "x", "--submit=a:1", "seed=1"]) == ["--images", "x", "seed=1"]
    assert without_submit(["--sub", "a:1", "seed=1"]) == ["seed=1"]
    assert without_submit(["--send", "a", "x=1", "--send=b", "--submit", "a:1", "--seed"]) == ["x=1", "--seed"]


# In a process of its own: Ray's client keeps the first token that it has met.
SUBMITTING = """
import sys
from pathlib import Path
from visual_summaries.pipeline.commands.sent import chosen_files
from visual_summaries.pipeline.commands.submission import submit
address, folder, listing = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
for files in (chosen_files(folder, ["data/map.csv"], ["mynet"], [".gitignore"]), chosen_files(folder)):
    print("status", submit(address, ["-c", listing], files, print, sys.stdout), flush=True)
"""


def test_the_job_sees_the_files_that_were_chosen_and_no_others(cluster, tmp_path) -> None:
    for name in (".env", "notes.txt", "mynet.py", "data/map.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    # Ray itself would leave out what this names.
    (tmp_path / ".gitignore").write_text("*.csv\n")
    listing = "import pathlib; print(sorted(str(p) for p in pathlib.Path().rglob('*') if p.is_file()))"
    result = subprocess.run(
        [sys.executable, "-c", SUBMITTING, cluster, str(tmp_path), listing],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    first, _, second = result.stdout.partition("status 0\n")
    for said, expected in ((first, ["data/map.csv", "mynet.py", ".gitignore"]), (second, [])):
        assert str(sorted(expected)) in said and f"sent {len(expected)} files" in said, result.stdout
    assert second.endswith("status 0\n")
