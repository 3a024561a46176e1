"""The command as docs/how-to/volumes.md shows it, on real Ray."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from runs import environment

from visual_summaries.jobs.command import main
from visual_summaries.pipeline.store.tables import TableStore

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def shown() -> tuple[str, str, str]:
    """(script, command, what it prints) of the page."""
    section = (ROOT / "docs" / "how-to" / "volumes.md").read_text().partition("Try it on drawn scans:")[2]
    return re.match(r"\s*```python\n(.*?)```\s*```\n(.*?)```[^`]*```\n(.*?)```", section, re.DOTALL).groups()


def test_the_example_of_the_page_runs_and_prints_what_is_shown(shown: tuple[str, str, str], tmp_path: Path) -> None:
    script, command, printed = shown
    own = environment() | {"PYTHONPATH": f"{ROOT}:{environment().get('PYTHONPATH', '')}", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=120)
    program, verb, *arguments = shlex.split(command)
    assert (program, verb) == ("visual-summaries", "volumes")
    result = subprocess.run(
        [sys.executable, "-m", "visual_summaries", "volumes", *arguments, "--workers", "1"],
        cwd=tmp_path, capture_output=True, text=True, timeout=600, env=own,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    # The last digits of what is next to nothing are the processor's.
    whole = re.findall(r"(\w+): cube 6 ([0-9.]+), cube", printed)
    assert [kind for kind, _ in whole] == ["healthy", "ill"]
    assert re.findall(r"(\w+): cube 6 ([0-9.]+), cube", result.stdout) == whole
    page = (tmp_path / "run" / "report" / "index.html").read_text()
    for name in ("ill.webp", "healthy.webp"):
        assert f'src="{name}"' in page and (tmp_path / "run" / "report" / name).is_file()
    rows = TableStore(tmp_path / "run").read_all("segments").to_pylist()
    assert len(rows) == 8 * 8
    assert {row["name"] for row in rows if row["rank"] == 1 and row["label"] == "ill"} == {"cube 6"}


def test_what_is_missing_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    given = ["--scans", "gone", "--atlas", str(tmp_path / "gone.npz"), "--model", "gone:gone"]
    assert main(["volumes", *given, "--output", str(tmp_path / "run")]) == 2
    message = f"visual-summaries: {tmp_path}/gone.npz: cannot be used as the atlas: there is no such file\n"
    assert capsys.readouterr() == ("", message)
