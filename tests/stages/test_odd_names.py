"""Names of files and classes as a disk may have them: not UTF-8, with ends of lines, with commands to a terminal."""

import io
import json
import os
import re
from pathlib import Path

import pytest
from in_process import rows, run_in_process
from rich.console import Console

from visual_summaries.pipeline.commands.dry_run import print_plan
from visual_summaries.pipeline.commands.outcome import print_outcome
from visual_summaries.pipeline.config import RunConfig, load_config
from visual_summaries.pipeline.data.demo.scenes import CLASS_NAMES, write_demo_set
from visual_summaries.pipeline.runtime.logs import RunLog
from visual_summaries.pipeline.stages.order import STAGES
from visual_summaries.pipeline.stages.report.stage import ReportStage, write_report

RED = "\x1b[31mred\nline"
LATIN = b"caf\xe9"
FILES = (b"\xff#1.png", b"two\nlines.png", b"\x1b]0;title\x07.png")
BROKEN = b"\xfe broken.png"
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    folder = tmp_path_factory.mktemp("odd")
    write_demo_set(folder / "set", 4, seed=3)
    labels = (os.fsdecode(LATIN), RED)
    for label, name in zip(labels, CLASS_NAMES, strict=False):
        (folder / "photographs").mkdir(exist_ok=True)
        (folder / "set" / name).rename(folder / "photographs" / label)
        own = folder / "photographs" / label
        for file, odd in zip(sorted(own.iterdir()), FILES, strict=False):
            file.rename(own / os.fsdecode(odd))
    (folder / "photographs" / labels[0] / os.fsdecode(BROKEN)).write_bytes(b"\x89PNG\r\n broken")
    # A folder that is not UTF-8 is named as it is shown.
    (folder / "map.json").write_text(json.dumps({"caf\\xe9": CLASS_NAMES[0], RED: CLASS_NAMES[1]}))
    settings = ("model.name=demo", "explain.explainer=grad-cam", "explain.policy=all", "summaries.resamples=0")
    settings += ("pruning.minimum_members=2", "data.held_out=0", "data.test=0")
    places = (f"data.images={folder / 'photographs'}", f"data.class_map={folder / 'map.json'}")
    return load_config(None, [f"output={folder / 'run'}", *places, *settings])


def printed(action, config: RunConfig) -> str:  # noqa: ANN001
    file = io.StringIO()
    action(config, Console(file=file, width=110))
    return file.getvalue()


def test_they_go_through_every_stage_and_onto_the_pages(config: RunConfig) -> None:
    plan = printed(print_plan, config)
    assert not OBEYED.search(plan) and "caf\\xe9" in plan and "\\x1b[31mred\\nline" in plan
    output = Path(config.output)
    state = run_in_process(config, [*STAGES, ReportStage()])
    images = rows(output, "images")
    assert {row["label"] for row in images} == {"caf\\xe9", RED}
    assert sum(row["decode_error"] is None for row in images) == 8
    (error,) = [row for row in rows(output, "errors")]
    assert error["uri"].endswith("/photographs/caf%E9/%FE%20broken.png") and error["stage"] == "images"
    write_report(state, state.last)
    pages = {page: page.read_bytes().decode() for page in (output / "report").rglob("*.html")}
    assert any("\\xff#1.png" in page for page in pages.values())
    assert not any("\x1b" in page for page in pages.values())
    outcome = printed(print_outcome, config)
    assert not OBEYED.search(outcome) and "caf\\xe9" in outcome


def test_the_log_holds_whatever_it_is_told(tmp_path: Path) -> None:
    echo = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with RunLog(tmp_path, "run", echo) as log:
        log.event("unit failed", **{"class": os.fsdecode(LATIN)}, reason=RED + "\ud800")
    (line,) = log.path.read_text().splitlines()
    assert json.loads(line)["class"] == "caf\\xe9" and "\x1b" not in line
    assert json.loads(line)["reason"] == RED + "\\ud800"
    echo.flush()
    assert echo.buffer.getvalue().decode() == line + "\n"
