"""The job as a process: address, token, a clean end, the export."""

import io
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from visual_summaries.jobs import review
from visual_summaries.pipeline.commands import review as command
from visual_summaries.pipeline.evaluate.ratings import MAP_RATING, study_results
from visual_summaries.pipeline.review.answers import FILE, Answer, AnswerStore
from visual_summaries.pipeline.review.results import results_table
from visual_summaries.pipeline.store.tables import StoreError, TableStore

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_serve_answer_and_end(end, own_run, job_environment) -> None:
    """At SIGINT open to this machine only, at SIGTERM to others."""
    public = end == signal.SIGTERM
    command = [sys.executable, "-m", "visual_summaries", "review", "--run", str(own_run.folder), "--port", "0"]
    command += ["--host", "0.0.0.0"] if public else []
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=job_environment
    )
    try:
        lines = []
        while "Ctrl-C" not in (line := process.stdout.readline()):
            assert line, "".join(lines)
            lines.append(line)
        printed = "".join(lines)
        port, query = re.search(r"Review: http://\S+?:(\d+)/(\S*)", printed).groups()
        address = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=address, headers={"Origin": address}, timeout=30) as client:
            assert client.get("/review").status_code == (401 if public else 200)
            assert bool(query) == public and (not public or len(query) > 40)
            client.get(f"/{query}")
            client.post("/review/rater", data={"rater": "Ann"})
            key = re.search(r'name="question" value="(\w+)"', client.get("/review/map").text)[1]
            assert client.post("/review/map", data={"question": key, "rating": "4"}).status_code == 303
        process.send_signal(end)
        rest, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, rest
    assert "Ratings: 1 answer in" in rest and "4.00" in rest and "Traceback" not in rest
    assert not public or query.partition("=")[2] not in rest
    assert [row["value"] for row in TableStore(own_run.folder).read_all("ratings").to_pylist()] == [4.0]


def test_export_alone(own_run, capsys) -> None:
    arguments = ["--run", str(own_run.folder), "--export"]
    assert review.main(arguments) == 1 and "nobody has answered" in capsys.readouterr().err
    assert not (own_run.folder / FILE).exists()
    answers = AnswerStore(own_run.folder / FILE)
    (path, *_) = [shard.path for shard in own_run.store.manifest("maps") if shard.label == "butterfly"]
    origin = f'{{"computed_from": ["{path.partition("/")[0]}"]}}'
    for rater, value in (("ann", 2.0), ("bob", 5.0)):
        answers.add(Answer(rater, "q", MAP_RATING, "butterfly", None, "x", None, value, origin))
    answers.close()
    assert review.main(arguments) == 0
    assert "Ratings: 2 answers" in (printed := capsys.readouterr().out) and "3.50" in printed


def test_mistakes_are_one_line(own_run, tmp_path, capsys, monkeypatch) -> None:
    assert review.main(["--run", str(tmp_path / "nothing")]) == 1
    assert "no table 'summaries'" in capsys.readouterr().err and not (tmp_path / "nothing").exists()
    assert review.main(["--run", str(own_run.folder), "--export", "--port", "0"]) == 2
    assert "--port without effect" in capsys.readouterr().err
    monkeypatch.setenv(command.TOKEN_VARIABLE, "short")
    assert review.main(["--run", str(own_run.folder), "--port", "0"]) == 2
    assert command.TOKEN_VARIABLE in capsys.readouterr().err


def test_tokens(monkeypatch) -> None:
    monkeypatch.delenv(command.TOKEN_VARIABLE, raising=False)
    assert command._token(True) == (None, False)
    first, made = command._token(False)
    assert made and len(first) >= 40 and command._token(False)[0] != first
    monkeypatch.setenv(command.TOKEN_VARIABLE, "0123456789abcdef")
    # Also on loopback, which other people of this machine can reach.
    assert command._token(True) == command._token(False) == ("0123456789abcdef", False)


def test_answers_survive_and_foreign_files_are_refused(tmp_path) -> None:
    answer = Answer("ann", "q", MAP_RATING, "robin", None, "x", None, 2.0, "{}")
    first, second = AnswerStore(tmp_path / FILE), AnswerStore(tmp_path / FILE)
    assert first.add(answer) and not second.add(answer) and second.answered("ann") == {"q"}
    first.close()
    second.close()
    again = AnswerStore(tmp_path / FILE)
    assert [row["rater"] for row in again.all()] == ["ann"]
    again._connection.execute("PRAGMA user_version=9")
    again.close()
    with pytest.raises(StoreError, match="another version"):
        AnswerStore(tmp_path / FILE)
    (tmp_path / "text").write_text("this is no database, but long enough to be looked at " * 40)
    with pytest.raises(StoreError, match="cannot open"):
        AnswerStore(tmp_path / "text")


def test_results_of_nobody_are_a_table_too() -> None:
    console = Console(width=120, file=io.StringIO())
    console.print(results_table(study_results([])))
    printed = console.file.getvalue()
    assert "Answers of 0 raters" in printed and printed.count("0 answers") == 2 and "0 summaries" in printed
