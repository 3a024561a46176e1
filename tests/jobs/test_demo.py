"""The demo as `make demo` runs it: its truth is known, and the summaries must find it."""

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from visual_summaries.pipeline.data.demo.scenes import CLASS_NAMES, discriminative_parts
from visual_summaries.pipeline.store.tables import TableStore

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):  # noqa: ANN201
    """(output folder, what was printed) of the demo run."""
    makefile = (ROOT / "Makefile").read_text()
    arguments = re.search(r"visual-summaries (summarize .*)", makefile).group(1).split()
    output = tmp_path_factory.mktemp("demo")
    result = subprocess.run(
        [sys.executable, "-m", "visual_summaries", *arguments, "--output", str(output)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return output, result.stdout


def test_the_summaries_find_the_parts(demo) -> None:
    """At least nine of the twelve; ten were found when this was written."""
    output, printed = demo
    metrics = defaultdict(dict)
    for row in TableStore(output).read_all("metrics").to_pylist():
        metrics[row["label"]][row["metric"]] = row["value"]
    assert set(metrics) == {"", *CLASS_NAMES}
    found = total = summaries = 0
    for name in CLASS_NAMES:
        parts = discriminative_parts(name)
        overlaps = {part: metrics[name][f"overlap with part: {part}"] for part in parts}
        own = metrics[name]["part recall"] * len(parts)
        # A summary that lies on two parts is one of them.
        assert own <= sum(overlap >= 0.5 for overlap in overlaps.values())
        found, total, summaries = found + own, total + len(parts), summaries + metrics[name]["summaries"]
        assert f"{name}: best overlap with" in printed
    precision, recall, f1 = (metrics[""][f"part {figure}"] for figure in ("precision", "recall", "F1"))
    assert (precision, recall, f1) == pytest.approx((found / summaries, found / total, 2 * found / (summaries + total)))
    sentence = f"{found:.0f} of {total} found, each by one of {summaries:.0f} summaries: precision {precision:.2f} ("
    assert sentence in " ".join(printed.split())
    assert found >= total - 3 and f1 >= 0.8


def test_blurring_the_maps_destroys_the_scores(demo) -> None:
    output, _ = demo
    rows = TableStore(output).read_all("maps", ["drop", "binarization_error"]).to_pylist()
    assert len(rows) >= 150
    assert sum(row["drop"] > 0.99 for row in rows) >= 0.95 * len(rows)
    assert sum(row["binarization_error"] for row in rows) / len(rows) <= 0.02


def test_the_report_is_there_and_named(demo) -> None:
    output, printed = demo
    assert printed.rstrip().endswith(f"Report: {output / 'report' / 'index.html'}")
    assert len(list((output / "report" / "classes").iterdir())) == len(CLASS_NAMES)
    overview = (output / "report" / "index.html").read_text()
    assert "No summary looks suspicious, and no class goes by the frame or the colors of its pictures." in overview
