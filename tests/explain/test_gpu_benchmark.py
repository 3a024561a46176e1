"""`benchmarks/gpu.py`, tiny and on a processor, because a GPU is seldom at hand: what it prints and computes."""

import random
import sys
from pathlib import Path

import pytest
import torch

from visual_summaries.pipeline.explain.crisp import CrispMasks
from visual_summaries.pipeline.models.preparation import use_precision

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import gpu  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def usual_precision():  # noqa: ANN201
    yield
    use_precision("float32")


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, list[list]]:
    """Exit status, and the cells of all lines of the tables."""
    monkeypatch.delenv("VISUAL_SUMMARIES_DATA", raising=False)
    monkeypatch.setattr(sys, "argv", ["gpu.py", *options])
    status = gpu.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    return status, [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_row_is_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    status, lines = run(monkeypatch, capsys, "--device", "cpu", "--smoke", "--preset", "fast")
    assert status == 0
    crisp, other = lines[1:4], lines[5:]
    assert [line[1] for line in crisp] == ["bfloat16", "tf32", "float32"]
    passes = CrispMasks("fast").passes
    for line in crisp:
        assert int(line[5]) == passes
        assert int(line[4]) == pytest.approx(passes * float(line[3]), rel=0.1, abs=passes)
        assert 0 < float(line[6].rstrip("%")) < 100
    names = [line[0].partition(",")[0] for line in other]
    assert names == [*gpu.CAMS, "matching", "matching", "fgvis"]
    assert all(float(line[3]) > 0 for line in other)


def test_what_does_not_fit_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    status, lines = run(monkeypatch, capsys, "--device", "cpu", "--smoke", "--minutes", "0")
    assert status == 0 and {line[3] for line in lines if "precision" not in line} == {"not measured (time)"}
    if not torch.cuda.is_available():
        status, lines = run(monkeypatch, capsys)
        assert status == 0 and len(lines) == 2 + 12 + 7
        assert {line[3] for line in lines if "precision" not in line} == {"not measured"}


def test_time_is_shared_and_one_bad_row_spoils_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    given = []

    def measure(seconds: float) -> list[str]:
        given.append(seconds)
        return ["1"]

    def bad(seconds: float) -> list[str]:
        raise RuntimeError("no such kernel\nand more")

    def full(seconds: float) -> list[str]:
        raise torch.OutOfMemoryError("full")

    rows = [gpu.Row("other", (str(share),), share, measure) for share in (1.0, 3.0)]
    said, well = gpu.measured([*rows, gpu.Row("other", ("bad",), 1.0, bad), gpu.Row("other", ("full",), 1.0, full)], 60)
    cells = [cells[0] for _, cells in said]
    assert not well and cells[:2] == ["1", "1"]
    assert cells[2:] == ["not measured (RuntimeError: no such kernel)", "not measured (out of memory)"]
    # Sixths and fifths of the minute, less than all because loading takes its part.
    assert given == pytest.approx([0.6 * 10, 0.6 * 36], rel=0.01)


def test_a_row_ends_with_its_time() -> None:
    module, preprocessing = gpu.tiny_network()
    classifier = gpu.PreparedClassifier(gpu.Classifier(module, preprocessing, map(str, range(1000))))
    images, targets = torch.rand(3, 3, 32, 32), [1, 2, 3]
    with pytest.raises(gpu.OutOfTime):
        gpu.optimized(CrispMasks("fast"), classifier, images, targets, 2, 1e-6, 4)
    stream = gpu.optimized(CrispMasks("fast"), classifier, images, targets, 2, 60.0, 3)
    assert sorted(stream.found) == list(range(6)) and stream.passes == 6 * CrispMasks("fast").passes
    assert stream.fits == 2
    # The fourth image is the first again.
    torch.testing.assert_close(stream.found[3].saliency, stream.found[0].saliency, rtol=0, atol=0.05)


def test_covered_is_the_length_of_the_union() -> None:
    generator = random.Random(3)
    for _ in range(20):
        ranges = [(start, start + generator.randrange(9)) for start in generator.choices(range(60), k=12)]
        assert gpu.covered(ranges) == len({point for start, end in ranges for point in range(start, end)})
    assert gpu.covered([]) == 0
