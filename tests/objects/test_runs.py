"""Whole runs with photographs and output on a real S3-compatible server: refused, killed, cut off, resumed, read."""

import io
import json
import os
import signal
import subprocess
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import urlopen

import pyarrow.parquet as parquet
import pytest
from rich.console import Console
from runs import ROOT, STAGES, TABLE_OF, command, environment, run_here, run_job, stage_units, start_job
from small_runs import SETTINGS, comparable
from store_server import BUCKET, KEY, SECRET, store_server

from visual_summaries.jobs.command import main
from visual_summaries.pipeline.commands.compare import run_comparison
from visual_summaries.pipeline.commands.export import run_export
from visual_summaries.pipeline.config import ConfigurationError
from visual_summaries.pipeline.store.tables import TableStore

OUTPUT = f"s3://{BUCKET}/runs/one"
PHOTOGRAPHS = f"s3://{BUCKET}/photographs"
KINDS = {".html": "text/html", ".css": "text/css", ".webp": "image/webp", ".svg": "image/svg+xml"}


@pytest.fixture(scope="module")
def local(photographs, tmp_path_factory) -> Path:
    """An undisturbed run on the disk."""
    output = tmp_path_factory.mktemp("local")
    result = run_here(output, photographs, *SETTINGS)
    assert result.returncode == 0, result.stdout + result.stderr
    return output


@pytest.fixture(scope="module")
def disturbed(photographs):  # noqa: ANN201
    """(server, what was printed) of a run in the bucket: refused half-way, killed, cut off from its store, resumed."""
    said = []
    with store_server() as server:
        for file in photographs.rglob("*.*"):
            key = f"photographs/{file.relative_to(photographs).as_posix()}"
            server.client.put_object(Bucket=BUCKET, Key=key, Body=file.read_bytes())

        server.refuses = lambda request: (
            request["REQUEST_METHOD"] == "PUT"
            and "tables/matches/" in request["PATH_INFO"]
            and request["PATH_INFO"].endswith(".parquet")
        )
        result = run_job(OUTPUT, PHOTOGRAPHS, *SETTINGS)
        said += [result.stdout, result.stderr]
        assert result.returncode == 1
        assert result.stderr.count("\n") == 1 and "Traceback" not in result.stderr, result.stderr
        assert f"cannot write {OUTPUT}/tables/matches/" in result.stderr and "refuses access" in result.stderr
        assert_whole(server)
        server.refuses = lambda request: False

        process = started()
        for line in process.stdout:
            said.append(line)
            if line.startswith("cluster "):
                break
        os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()
        assert process.wait() == -signal.SIGKILL
        assert_whole(server)

        process = started()
        for line in process.stdout:
            said.append(line)
            if line.startswith("members "):
                server.stop()
                break
        rest, _ = process.communicate(timeout=120)
        said.append(rest)
        assert process.returncode == 1 and "the store cannot be reached" in rest and "Traceback" not in rest, rest
        assert "run the same command again: what is done stays" in rest
        server.start()
        assert_whole(server)

        result = run_job(OUTPUT, PHOTOGRAPHS, *SETTINGS)
        said += [result.stdout, result.stderr]
        assert result.returncode == 0, result.stdout + result.stderr
        units = stage_units(OUTPUT)
        assert all(units[stage][0] == units[stage][1] > 0 for stage in STAGES[: STAGES.index("cluster") + 1])
        yield server, "".join(said)


def started() -> subprocess.Popen:
    """The same run again, in a session of its own."""
    return start_job(OUTPUT, PHOTOGRAPHS, *SETTINGS)


def assert_whole(server) -> None:  # noqa: ANN001
    """Whatever a reader can find is whole, and every shard that a manifest lists is there."""
    store = TableStore(OUTPUT)
    for key in server.keys("runs/one/tables/"):
        body = server.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        if key.endswith(".parquet"):
            parquet.ParquetFile(io.BytesIO(body)).read()
            continue
        manifest = json.loads(body)
        assert key.endswith("/manifest.json")
        assert store.read_all(manifest["table"]).num_rows == sum(shard["rows"] for shard in manifest["shards"])


def test_tables_are_those_of_a_run_on_the_disk(disturbed, local) -> None:
    ours, theirs = comparable(OUTPUT), comparable(local)
    assert sum(map(len, ours.values())) > 500
    for name in theirs:
        assert ours[name] == theirs[name], name


def test_all_is_found_complete_with_few_requests_and_the_report_stays(disturbed) -> None:
    server, _ = disturbed
    before = {key: server.client.head_object(Bucket=BUCKET, Key=key)["LastModified"] for key in server.keys("runs/")}
    server.requests.clear()
    result = run_job(OUTPUT, PHOTOGRAPHS, *SETTINGS)
    assert result.returncode == 0, result.stderr
    units = stage_units(OUTPUT)
    assert all(units[stage][0] == units[stage][1] > 0 for stage in STAGES)
    read = [path for method, path, _ in server.requests if method == "GET" and path.endswith(".jpg")]
    assert read == []
    # Each stage writes its manifest, the one of errors, and its line in runs with that manifest; the report its pages
    # about the run, seven, and what they share.
    assert server.counted()["PUT"] < 5 * len(STAGES) + 25
    for key, written in before.items():
        if f"/{TABLE_OF['explain']}/" in key and key.endswith(".parquet") or "/report/classes/" in key:
            assert server.client.head_object(Bucket=BUCKET, Key=key)["LastModified"] == written


def test_no_key_is_written_or_said(disturbed) -> None:
    server, said = disturbed
    store = TableStore(OUTPUT)
    texts = [said, *(str(store.read_all(name).to_pylist()) for name in ("runs", "errors", "images"))]
    for key in server.keys("runs/"):
        body = server.client.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        texts.append(body.decode("latin-1"))
    assert not any(SECRET in text or KEY in text for text in texts)
    assert server.keys("runs/one/.claims") == []


def test_runs_that_failed_and_that_ended_well_left_their_logs(disturbed) -> None:
    server, _ = disturbed
    last = []
    for key in server.keys("runs/one/logs/"):
        lines = server.client.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode().splitlines()
        last.append(json.loads(lines[-1])["event"])
    assert last[0] == "run failed" and last[-1] == "run ended", last


class Links(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.found += [value for name, value in attributes if name in ("src", "href")]


def test_the_report_opens_from_the_bucket(disturbed) -> None:
    """Each page and what it links to, by plain requests as a browser makes them."""
    server, _ = disturbed
    readable = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    policy = {"Version": "2012-10-17", "Statement": [readable]}
    server.client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))
    waiting, seen = [f"{server.address}/{BUCKET}/runs/one/report/index.html"], set()
    while waiting:
        address = waiting.pop()
        if address in seen:
            continue
        seen.add(address)
        with urlopen(address) as answer:
            kind, body = answer.headers.get_content_type(), answer.read()
        suffix = PurePosixPath(urlsplit(address).path).suffix
        assert kind == KINDS[suffix], address
        if kind == "text/html":
            assert answer.headers.get_content_charset() == "utf-8"
            links = [urljoin(address, link) for link in Links(body.decode()).found if not link.startswith("#")]
            waiting += [urlsplit(link)._replace(fragment="").geturl() for link in links if "data:" not in link]
    assert len([one for one in seen if one.endswith("index.html")]) == 3
    assert len([one for one in seen if one.endswith(".webp")]) > 20
    ours = {unquote(urlsplit(one).path) for one in seen}
    kept = ("card.json", "drawn.json")
    assert all(key.endswith(kept) for key in server.keys("runs/one/report/") if f"/{BUCKET}/{key}" not in ours)


def test_runs_in_the_bucket_and_on_the_disk_are_compared_in_the_bucket(disturbed, local) -> None:
    server, _ = disturbed
    text, page = run_comparison([OUTPUT, str(local)], f"s3://{BUCKET}/compared")
    assert (text, page) == (f"s3://{BUCKET}/compared/comparison.md", f"s3://{BUCKET}/compared/comparison.html")
    pictures = [key for key in server.keys("compared/") if key.endswith(".webp")]
    kept = sum(row["kept"] for row in TableStore(local).read_all("summaries").to_pylist())
    assert len(pictures) == 2 * kept > 0
    csv = server.client.get_object(Bucket=BUCKET, Key="compared/comparison.csv")
    assert csv["ContentType"] == "text/csv; charset=utf-8" and csv["Body"].read().count(b"\n") == 2 * kept + 1


def test_evaluate_adds_its_measurements(disturbed) -> None:
    server, _ = disturbed
    result = subprocess.run(
        [*command(OUTPUT, "x")[:3], "evaluate", "--run", OUTPUT, "--study", "summaries"],
        cwd=ROOT, capture_output=True, text=True, env=environment(), timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert TableStore(OUTPUT).read_all("measurements").num_rows > 0
    assert "runs/one/evaluation.md" in server.keys("runs/one/evaluation")


def test_export_reads_from_the_bucket_and_writes_to_the_disk(disturbed, tmp_path) -> None:
    console = Console(file=io.StringIO())
    run_export([OUTPUT], "coco", str(tmp_path), console)
    found = [json.loads(file.read_text()) for file in tmp_path.glob("*.json")]
    names = {image["file_name"] for one in found for image in one["images"]}
    assert names and all((PurePosixPath(name).suffix, "://" in name) for name in names)
    with pytest.raises(ConfigurationError, match="exports are written to a disk"):
        run_export([OUTPUT], "coco", f"s3://{BUCKET}/exported", console)
    with pytest.raises(ConfigurationError, match="duckdb takes runs on a disk"):
        run_export([OUTPUT], "duckdb", str(tmp_path), console)


def test_jobs_say_in_one_line_what_is_wrong(capsys) -> None:
    with store_server() as server:
        for arguments, message in (
            (("summarize", "--images", PHOTOGRAPHS, "--model", "demo", "--output", "s3://nowhere/x"), "no such bucket"),
            (("review", "--run", OUTPUT), "answers need a disk"),
            (("report", "--run", OUTPUT), f"there is no table 'runs' in {OUTPUT}"),
            (("compare", "--run", OUTPUT, "--run", OUTPUT, "--output", "x"), f"there is no table 'runs' in {OUTPUT}"),
            (("export", "--run", OUTPUT, "--format", "coco", "--output", "x"), f"{OUTPUT} is no finished run"),
            (("summarize", "--images", f"s3://k:{SECRET}@{BUCKET}/x"), "data.images: the address holds credentials"),
            (("report", "--run", f"s3://k:{SECRET}@{BUCKET}/x"), f"s3://…@{BUCKET}: the address holds credentials"),
        ):
            assert main(arguments) in (1, 2)
            said = capsys.readouterr()
            assert message in said.err and said.err.count("\n") == 1 and SECRET not in said.err + said.out, said.err
        assert server.keys() == []
