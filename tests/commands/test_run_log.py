"""The log of whole runs: a line for each event, the same on standard error where that is wanted."""

import json
from pathlib import Path

from runs import SETTINGS, STAGES, run_job

from visual_summaries.pipeline.store.tables import TableStore

EVERYWHERE = {"time", "level", "run", "stage", "host", "event"}


def read(folder: Path) -> list[dict]:
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


def test_a_run_leaves_a_line_for_each_event(whole_run) -> None:
    output, _ = whole_run
    events = read(output / "logs")
    assert all(entry.keys() >= EVERYWHERE for entry in events)
    (run,) = {entry["run"] for entry in events}
    rows = TableStore(output).read_all("runs").to_pylist()
    assert run in {row["run"] for row in rows}
    assert [events[0]["event"], events[-1]["event"]] == ["run started", "run ended"]
    pages = STAGES.index("tags") + 1
    order = [*STAGES[:pages], "pages", *STAGES[pages:], "report"]
    assert [entry["stage"] for entry in events if entry["event"] == "stage ended"] == order
    units = {row["stage"]: row["units"] for row in rows}
    for stage in STAGES:
        finished = [entry for entry in events if entry["event"] == "unit finished" and entry["stage"] == stage]
        assert len({entry["unit"] for entry in finished}) == len(finished) == units[stage]
        assert all(entry["seconds"] >= 0 and entry["rows"] is not None for entry in finished)
        # These have units about all classes.
        assert all(entry["class"] for entry in finished) or stage in ("negatives", "metrics")


def test_a_failed_run_says_so_and_stderr_has_the_same_lines(tmp_path, demo_folder) -> None:
    photographs = tmp_path / "photographs"
    broken = photographs / next(demo_folder.iterdir()).name
    broken.mkdir(parents=True)
    (broken / "broken.jpg").write_bytes(b"\xff\xd8\xff no photograph")
    result = run_job(tmp_path / "out", photographs, *SETTINGS, "log=json", "data.test=0", "data.held_out=0")
    assert result.returncode == 1, result.stderr
    events = read(tmp_path / "out" / "logs")
    shown = [json.loads(line) for line in result.stderr.splitlines() if line.startswith("{")]
    assert shown == events
    assert events[-1]["event"] == "run failed" and events[-1]["level"] == "error"
    assert "left out" in events[-1]["reason"]
