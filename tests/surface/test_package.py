"""The package as somebody gets it: built, installed without its checkout, its notebook and its command run from a
folder that holds files of our old names."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest

from visual_summaries import __version__
from visual_summaries.pipeline.config import load_config
from visual_summaries.pipeline.store.tables import TableStore

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
# What comes with something that is declared: jinja2, pydantic, ray[default].
COMES_WITH = {"markupsafe", "pydantic_core", "aiohttp"}
HOSTILE = "raise SystemExit('taken for a file of visual-summaries')\n"
EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient

notebook = nbformat.read(sys.argv[1], 4)
NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": "."}}).execute()
nbformat.write(notebook, sys.argv[2])
"""


def tracked() -> list[str]:
    """What a clone of the working tree would hold."""
    listing = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    done = subprocess.run(listing, cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this is no checkout: what would be built is not known")
    names = [os.fsdecode(name) for name in done.stdout.split(b"\0") if name]
    return [name for name in names if (ROOT / name).is_file()]


def run(*command: str | Path, folder: Path, **variables: str) -> str:
    """What a command prints; it knows nothing of this checkout."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=folder, env=clean | variables, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(wheel, source distribution); the wheel is built from what the source distribution holds."""
    pytest.importorskip("build")
    clone, folder = tmp_path_factory.mktemp("clone"), tmp_path_factory.mktemp("built")
    for name in tracked():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, clone / name)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(clone)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, source


def test_the_wheel_holds_the_package_and_nothing_else(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[0]) as archive:
        names = archive.namelist()
        described = next(name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(described).decode())
    about = f"visual_summaries-{__version__}.dist-info/"
    ours = {name for name in tracked() if name.startswith("visual_summaries/")}
    assert {name for name in names if not name.startswith(about)} == ours
    kinds = {Path(name).suffix for name in ours}
    assert kinds >= {".py", ".safetensors", ".npz", ".txt", ".sql", ".html", ".js", ".css"}
    assert f"{about}licenses/LICENSE" in names
    assert metadata["License-Expression"] == "Apache-2.0" and metadata["Version"] == __version__
    extras = {"cluster", "timm", "huggingface", "volumes", "pandas", "notebook", "duckdb", "test"}
    assert set(metadata.get_all("Provides-Extra")) >= extras
    assert "# visual-summaries" in metadata.get_payload()
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_source_distribution_holds_what_it_takes_to_build_and_test(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    left = {name for name in tracked() if name not in names}
    assert all(name.startswith(".") for name in left), left
    assert {"LICENSE", "CITATION.cff", "demo.yaml", "tests/conftest.py", "docs/notebook.ipynb"} <= names


def test_what_is_imported_is_declared() -> None:
    """Or an environment that has nothing else would lack it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {name: own for name, own in project["optional-dependencies"].items() if name != "test"}
    wanted = [one for own in (project["dependencies"], *extras.values()) for one in own]
    declared = {re.match(r"[\w.-]+", one)[0].lower().replace("_", "-") for one in wanted}
    of_module = packages_distributions()
    for path in (ROOT / "visual_summaries").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            tops = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - COMES_WITH
            for top in tops - {"visual_summaries"}:
                distributions = {one.lower().replace("_", "-") for one in of_module.get(top, [])}
                assert distributions & declared, f"{path.relative_to(ROOT)} imports {top}"


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(folder of the programs of an environment that has the wheel, a folder with files of our old names).

    What the wheel depends on is lent by the environment of the tests, without what is installed there as editable.
    """
    for name in ("nbclient", "ipykernel"):
        pytest.importorskip(name)
    environment = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    lent = {Path(find_spec(name).origin).parents[1] for name in ("torch", "nbclient", "ipykernel", "pandas")}
    (packages / "lent.pth").write_text("\n".join(map(str, sorted(lent))))
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(built[0])], check=True)
    folder = tmp_path_factory.mktemp("current")
    (folder / "jobs").mkdir()
    for name in ("pipeline.py", "schemas.py", "visual_summaries_x.py", "jobs/__init__.py"):
        (folder / name).write_text(HOSTILE)
    where = run(python, "-c", "import visual_summaries; print(visual_summaries.__file__)", folder=folder)
    assert Path(where.strip()).is_relative_to(environment)
    return environment / "bin", folder


@pytest.fixture(scope="module")
def executed(installed: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The notebook of the docs with what its cells gave."""
    programs, folder = installed
    own = tmp_path_factory.mktemp("own")
    variables = {name: str(own) for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
    run(programs / "python", "-c", EXECUTE, NOTEBOOK, own / "executed.ipynb", folder=folder, **variables)
    return json.loads((own / "executed.ipynb").read_text())


def code(notebook: dict) -> list[dict]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_the_notebook_shows_what_it_promises(executed: dict) -> None:
    shown = {"".join(cell["source"]): cell["outputs"] for cell in code(executed)}
    drawn = {
        source: {kind for output in outputs for kind in output.get("data", {})} for source, outputs in shown.items()
    }
    for source, kinds in drawn.items():
        last = source.splitlines()[-1]
        if last.startswith(("explain(", "run.explanation(", "found")):
            assert "text/html" in kinds and (last == "found" or "image/png" in kinds), source
        elif last.startswith("run.table("):
            (table,) = [output["data"]["text/html"] for output in shown[source] if "data" in output]
            assert "".join(table).count("<tr") >= 4, source
        elif last.startswith("run.pictures("):
            assert "image/png" in kinds, source
    (progress,) = [outputs for source, outputs in shown.items() if "summarize(" in source]
    printed = "".join(text for output in progress if output.get("name") == "stdout" for text in output["text"])
    assert "What the classifier looks at" in printed and "\x1b" not in printed
    page = next("".join(outputs[0]["data"]["text/html"]) for source, outputs in shown.items() if source == "run")
    assert re.search(r"<td>saxophone</td><td>saxophone</td><td>[1-9]</td>", page) and "report/index.html" in page


def test_the_command_goes_on_with_the_notebooks_run(installed: tuple[Path, Path], executed: dict) -> None:
    """Installed from the wheel, with the current folder first among those that Python imports from."""
    programs, folder = installed
    settings = ("data.classes=[saxophone, pick-up]", "data.images_per_class=10", "explain.preset=fast")
    demo = ("--images", "demo", "--model", "demo", "--output", "runs/small")
    said = run(programs / "python", "-m", "visual_summaries", "summarize", *demo, *settings, folder=folder)
    assert said.rstrip().endswith("Report: runs/small/report/index.html")
    rows = TableStore(folder / "runs" / "small").read_all("runs", ["stage", "units", "units_cached"]).to_pylist()
    again = {row["stage"]: row for row in rows}["explain"]
    assert again["units"] == again["units_cached"] > 0
    assert "summarize" in run(programs / "visual-summaries", "--help", folder=folder)


def test_the_notebook_is_kept_without_what_it_gave() -> None:
    for cell in code(json.loads(NOTEBOOK.read_text())):
        assert cell["outputs"] == [] and cell["execution_count"] is None, cell["source"]


def test_the_readme_says_in_short_what_the_notebook_does() -> None:
    """So that the lines of the README are executed with it."""
    (lines,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    there = "\n".join("".join(cell["source"]) for cell in code(json.loads(NOTEBOOK.read_text())))
    for line in filter(None, lines.splitlines()):
        assert line.partition("  #")[0].rstrip() in there, line


def test_the_readmes_command_is_the_demo() -> None:
    """Whoever has the wheel has no demo.yaml."""
    readme = (ROOT / "README.md").read_text()
    (command,) = re.findall(r"^visual-summaries summarize --images demo --model demo (.*)$", readme, re.MULTILINE)
    output, *overrides = command.removeprefix("--output ").split()
    given = load_config(None, ["data.images=demo", "model.name=demo", f"output={output}", *overrides])
    kept = load_config(ROOT / "demo.yaml")
    # Which means something for --preset paper alone.
    apart = {"pruning": {"cluster_threshold"}}
    assert given.model_dump(exclude=apart) == kept.model_dump(exclude=apart)
