"""docs/reference/architecture.md on adding to the house: its diffs, applied to a copy, add what they promise."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from runs import environment

from visual_summaries.pipeline.store.tables import TableStore

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "architecture.md"
SIDE = 128
SETTINGS = (
    "explain.explainer=gradient-times-input",
    "explain.policy=all",
    "data.classes=[butterfly, saxophone]",
    "data.demo_images_per_class=3",
    "data.test=0",
    "data.held_out=0",
    "pruning.minimum_members=2",
)


def changes(page: str) -> list[tuple[str, list[list[str]]]]:
    """(file, hunks of lines) of a page's diffs, in order; a new file is one hunk that only adds."""
    found: list[tuple[str, list[list[str]]]] = []
    for block in re.findall(r"^```diff\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("+++ b/"):
                found.append((line.removeprefix("+++ b/"), [[]]))
            elif line.startswith("@@"):
                found[-1][1].append([])
            elif not line.startswith("--- "):
                found[-1][1][-1].append(line)
    return [(path, [hunk for hunk in hunks if hunk]) for path, hunks in found]


def apply(root: Path) -> list[str]:
    """Apply the page's diffs below `root`; returns the files that they add."""
    added = []
    for name, hunks in changes(PAGE.read_text()):
        path = root / name
        if not path.exists():
            (lines,) = hunks
            assert all(line.startswith("+") for line in lines), name
            path.write_text("".join(line[1:] + "\n" for line in lines))
            added.append(name)
            continue
        text = path.read_text()
        for lines in hunks:
            before = "".join(line[1:] + "\n" for line in lines if line[:1] != "+")
            after = "".join(line[1:] + "\n" for line in lines if line[:1] != "-")
            assert text.count(before) == 1, f"{name} has not once what the page shows of it:\n{before}"
            text = text.replace(before, after)
        path.write_text(text)
    return added


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source with all that the page adds."""
    root = tmp_path_factory.mktemp("house")
    shutil.copytree(
        ROOT / "visual_summaries", root / "visual_summaries", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "pyproject.toml", root)
    assert len(apply(root)) == 4
    return root


def python(house: Path, *arguments: str) -> str:
    """What Python prints in the copy."""
    own = environment() | {"PYTHONPATH": str(house)}
    result = subprocess.run(
        [sys.executable, *arguments], cwd=house, capture_output=True, text=True, timeout=600, env=own
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def run(house: Path) -> Path:
    """A run of the copy's job, by the new explainer, measured by the new study."""
    output = house / "run"
    images = ("--images", "demo", "--model", "demo", "--output", str(output))
    python(house, "-m", "visual_summaries", "summarize", *images, *SETTINGS)
    python(house, "-m", "visual_summaries", "evaluate", "--run", str(output), "--study", "spread")
    return output


def test_the_page_names_files_that_are_there() -> None:
    page = PAGE.read_text()
    added = {name for name, hunks in changes(page) if not (ROOT / name).exists()}
    named = set(re.findall(r"`((?:visual_summaries|tests|docs)/[\w/.]*)`", page))
    assert len(named) > 30
    assert not {name for name in named - added if not (ROOT / name).exists()}


def test_what_the_page_adds_is_clean(house: Path) -> None:
    pytest.importorskip("ruff")
    python(house, "-m", "ruff", "check", "--no-cache", ".")


def test_the_new_explainer_is_captums(house: Path) -> None:
    python(
        house,
        "-c",
        "import torch\n"
        "from captum.attr import InputXGradient\n"
        "from visual_summaries.pipeline.explain.registry import make_explainer\n"
        "from visual_summaries.pipeline.models.loading import load_classifier\n"
        "classifier, generator = load_classifier('demo'), torch.Generator().manual_seed(0)\n"
        "images, targets = torch.rand(2, 3, 96, 96, generator=generator), torch.tensor([1, 4])\n"
        "found = make_explainer('gradient-times-input').explain(classifier, images, targets).saliency\n"
        "given = images.clone().requires_grad_()\n"
        "other = InputXGradient(classifier.logits).attribute(given, targets).abs().amax(1, keepdim=True)\n"
        "other = (other / other.amax(dim=(1, 2, 3), keepdim=True)).detach()\n"
        "torch.testing.assert_close(found, other)\n",
    )


def test_the_golden_values_of_what_is_new_are_asked_for_and_written(house: Path) -> None:
    for folder, script in (("tests/explain", "golden_maps.py"), ("tests/stages", "golden_stages.py")):
        shutil.copytree(ROOT / folder / "golden", house / folder / "golden")
        shutil.copy(ROOT / folder / script, house / folder / script)
    told = python(
        house,
        "-c",
        "import sys\n"
        "sys.path += ['tests/explain', 'tests/stages']\n"
        "import golden_maps, golden_stages\n"
        "places = golden_stages.guarded()['places']\n"
        "print(*golden_maps.complaints('gradient-times-input'), *golden_stages.complaints(places), sep='\\n')\n"
        "golden_maps.write('gradient-times-input')\n"
        "golden_stages.write('places')\n"
        "assert not [*golden_maps.complaints('gradient-times-input'), *golden_stages.complaints(places)]\n",
    )
    maps, rows, *_ = told.splitlines()
    assert maps.startswith("no maps of the explainer gradient-times-input are stored: run `python tests/explain/")
    assert rows.startswith("no rows of places are stored: run `python tests/stages/")
    for command in ("tests/explain/golden_maps.py gradient-times-input", "tests/stages/golden_stages.py places"):
        assert f"python {command}" in PAGE.read_text() and f"python {command}`" in told.replace("'places'", "places")


def test_a_run_has_the_new_explainers_maps_and_the_new_stages_table(house: Path, run: Path) -> None:
    store = TableStore(run)
    assert set(store.read_all("maps").column("explainer").to_pylist()) == {"gradient-times-input"}
    order = [row["stage"] for row in store.read_all("runs").to_pylist()]
    assert order.index("places") == order.index("regions") + 1
    # The table is one that this house does not know.
    rows = "TableStore('run').read_all('places').to_pylist()"
    read = f"from visual_summaries.pipeline.store.tables import TableStore; print({rows})"
    rows = ast.literal_eval(python(house, "-c", read))
    regions = store.read_all("regions").to_pylist()
    assert [row["label"] for row in rows] == ["butterfly", "saxophone"]
    for row in rows:
        own = [one for one in regions if one["label"] == row["label"]]
        centers = [((one["x0"] + one["x1"]) / 2, (one["y0"] + one["y1"]) / 2) for one in own]
        assert row["regions"] == len(own) > 0
        assert [row["x"], row["y"]] == pytest.approx(np.mean(centers, axis=0) / SIDE, rel=1e-5)
    assert "## places" in python(house, "-m", "visual_summaries.schemas.document")


def test_the_new_metric_is_in_the_measurements(run: Path) -> None:
    """Against SciPy's entropy of the stored maps."""
    store = TableStore(run)
    rows = [row for row in store.read_all("measurements").to_pylist() if row["study"] == "spread"]
    maps = {row["image_id"]: np.frombuffer(row["saliency"], np.uint8) for row in store.read_all("maps").to_pylist()}
    assert len(rows) == len(maps) == 6
    for row in rows:
        pixels = maps[row["image_id"]].astype(float)
        assert row["value"] == pytest.approx(scipy.stats.entropy(pixels) / np.log(len(pixels)), rel=1e-5)
    assert "spread" in (run / "evaluation.md").read_text()
