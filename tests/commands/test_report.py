"""The job `report` on a finished run: the same pages from the tables alone, only what changed, and what people said."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from in_process import job_in_process

from visual_summaries.jobs.report import main
from visual_summaries.pipeline.review.questions import computed_from, shards_by_class
from visual_summaries.pipeline.store.tables import TableStore, digest
from visual_summaries.schemas import make_table


def draw(run: Path) -> str:
    result = job_in_process(main, "--run", run)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def class_files(run: Path) -> dict[str, bytes]:
    folder = run / "report" / "classes"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def answer(store: TableStore, label: str, summary: int, rater: str, text: str) -> dict:
    origin = computed_from("part name", label, shards_by_class(store, ("summaries", "maps")))
    return {
        "rater": rater, "kind": "part name", "label": label, "summary": summary, "image_id": None, "text": text,
        "value": None, "protocol": json.dumps({"computed_from": origin}),
        "answered": datetime(2026, 1, 1, tzinfo=UTC),
    }


@pytest.fixture(scope="module")
def run(whole_run, tmp_path_factory) -> Path:  # noqa: ANN001
    copy = tmp_path_factory.mktemp("drawn") / "run"
    shutil.copytree(whole_run[0], copy)
    return copy


def test_a_lost_report_is_drawn_again_and_a_whole_one_left_alone(run: Path) -> None:
    before = class_files(run)
    overview = (run / "report" / "index.html").read_text()
    shutil.rmtree(run / "report")
    output = draw(run)
    assert f"Report: {run / 'report' / 'index.html'}" in output
    # No other stage runs.
    assert [line.split()[0] for line in output.splitlines() if " rows" in line] == ["report"]
    assert class_files(run) == before and (run / "report" / "index.html").read_text() == overview
    times = {path: path.stat().st_mtime_ns for path in (run / "report" / "classes").rglob("*.*")}
    draw(run)
    assert {path: path.stat().st_mtime_ns for path in (run / "report" / "classes").rglob("*.*")} == times
    assert json.loads((run / "tables" / "errors" / "manifest.json").read_text())["complete"]


def test_names_that_people_gave_are_shown_and_only_their_class_is_drawn_again(run: Path) -> None:
    store = TableStore(run)
    kept = [row for row in store.read_all("summaries").to_pylist() if row["kept"]][0]
    other = {path for path in class_files(run) if not path.startswith(f"{kept['label'].replace(' ', '-')}")}
    times = {path: (run / "report" / "classes" / path).stat().st_mtime_ns for path in other}
    label, number = kept["label"], kept["summary"]
    given = (("a", "Head"), ("b", "head, eye"), ("c", "<b>eye"))
    rows = [answer(store, label, number, rater, text) for rater, text in given]
    shard = store.write("ratings", store.shard_path("ratings", "f", label, "u"), make_table("ratings", rows), label)
    store.write_manifest("ratings", "f", [shard], complete=True)
    draw(run)
    pages = [path.read_text() for path in (run / "report" / "classes").rglob("index.html")]
    (text,) = [page for page in pages if "&lt;b&gt;eye" in page]
    assert f"<h1><bdi>{label}</bdi></h1>" in text
    assert "<b><bdi>head</bdi></b> <small>2×</small>" in text and "<b>eye" not in text
    assert {path: (run / "report" / "classes" / path).stat().st_mtime_ns for path in other} == times
    figures = (run / "report" / "plots.html").read_text()
    assert "distance of names" in figures and "3 raters" in figures


def test_a_failure_of_the_last_time_is_forgotten_and_no_table_of_later_versions_needed(run: Path) -> None:
    from visual_summaries.pipeline.runtime.units import error_row

    store = TableStore(run)
    listed = store.manifest("errors")
    path = store.shard_path("errors", digest("driver", "report"), "", "failed")
    old = store.write("errors", path, make_table("errors", [error_row("report", "a", "went wrong")]), "")
    store.write_manifest("errors", "", [*listed, old], complete=True)
    assert "went wrong" in {row["reason"] for row in store.read_all("errors").to_pylist()}
    assert "an earlier version made it" not in (run / "report" / "worries.html").read_text()
    shutil.rmtree(run / "tables" / "alterations")
    draw(run)
    assert "an earlier version made it" in (run / "report" / "worries.html").read_text()
    assert "went wrong" not in {row["reason"] for row in store.read_all("errors").to_pylist()}
    assert "went wrong" not in (run / "report" / "errors.html").read_text()
