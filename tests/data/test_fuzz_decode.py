"""Some seconds of the coverage-guided fuzzing that `benchmarks/fuzz_decode.py` does at length."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNS = 1500


def fuzz(*options: str) -> subprocess.CompletedProcess:
    script = ROOT / "benchmarks" / "fuzz_decode.py"
    return subprocess.run([sys.executable, script, *options], capture_output=True, text=True, timeout=300, cwd=ROOT)


def test_changed_files_give_pixels_or_a_reason(tmp_path: Path) -> None:
    result = fuzz("--runs", str(RUNS), "--seconds", "120", "--seed", "3", "--crashes", str(tmp_path))
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    told = re.search(r"(\d+) files in .* lines reached: (\d+) by the seeds, (\d+) in the end", result.stdout)
    files, first, last = map(int, told.groups())
    assert files > 100 and last > first > 500


@pytest.mark.parametrize("wrong", ["raise KeyError", "raise DecodeError('two\\nlines')", "import time; time.sleep(60)"])
def test_what_is_wrong_is_noticed(tmp_path: Path, wrong: str) -> None:
    broken = f"""
import sys
sys.path.insert(0, {str(ROOT / "benchmarks")!r})
import fuzz_decode
from pathlib import Path
from visual_summaries.pipeline.data import decode
from visual_summaries.pipeline.data.decode import DecodeError
def bad(content):
    {wrong}
decode.decode = bad
fuzz_decode.SECONDS_PER_FILE = 1
target = fuzz_decode.make_target(Path({str(tmp_path)!r}))
target(b"seed")
"""
    result = subprocess.run([sys.executable, "-c", broken], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert result.returncode != 0
    assert (tmp_path / "last").read_bytes() == b"seed"
