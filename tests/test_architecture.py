"""The walls of the house: who may import whom. docs/reference/architecture.md shows it around."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

REPOSITORY = Path(__file__).parents[1]
# The rooms below are named as they lie in here.
ROOT = REPOSITORY / "visual_summaries"
# What these rooms may import of this repository, beside themselves.
MAY_IMPORT = {
    "jobs": {"pipeline.commands", "pipeline.config", "pipeline.names", "pipeline.suggestions"},
    "pipeline/runtime": {"pipeline.store", "pipeline.objects", "pipeline.object_errors", "pipeline.names", "schemas"},
    "pipeline/store": {"pipeline.objects", "pipeline.object_errors", "schemas"},
    "pipeline/explain": {"pipeline.models"},
    "pipeline/models": {
        "pipeline.documents",
        "pipeline.lists",
        "pipeline.names",
        "pipeline.texts",
        "pipeline.suggestions",
        "pipeline.objects", "pipeline.object_errors",
        "pipeline.data.demo.network",
    },
    "pipeline/summarize": {"pipeline.models"},
    "pipeline/evaluate": {"pipeline.explain", "pipeline.summarize"},
    "schemas": set(),
    "surface": {"pipeline", "schemas"},
}
ABOVE = {"pipeline.runtime", "pipeline.stages", "pipeline.commands", "jobs", "surface"}
PURE = {"ray", "pyarrow", "pipeline.store", "pipeline.report", *ABOVE}
FORBIDDEN = {
    "pipeline/explain": PURE | {"cv2"},
    "pipeline/models": PURE | {"cv2"},
    "pipeline/summarize": PURE,
    "pipeline/evaluate": PURE,
    "pipeline/store": {"ray", "torch", "pipeline.report", *ABOVE},
    "pipeline/report": {"ray", "pyarrow", "pipeline.store", *ABOVE},
    "pipeline/review": {"ray", *ABOVE},
    "pipeline/data": {"ray", "pipeline.store", "pipeline.report", *ABOVE},
    "pipeline/export": {"ray", "pipeline.report", *ABOVE},
    "pipeline/runtime": {"torch", "torchvision", "numpy", "cv2", "PIL", "sklearn", "skimage", "captum"},
    "pipeline/stages": {"ray", "pipeline.commands", "jobs", "surface"},
    "pipeline/commands": {"jobs", "surface"},
    "schemas": {"ray", "torch", "numpy", "pipeline", "jobs", "surface"},
    "surface": {"ray", "jobs"},
}
OURS = ("pipeline", "jobs", "schemas", "surface")


def module_of(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def python_files(folder: Path) -> list[Path]:
    files = sorted(folder.rglob("*.py"))
    assert files, folder
    return files


@functools.cache
def imports(path: Path) -> list[tuple[str, str | None]]:
    """Module, and the name that is taken from it or None, of all that a file imports, inside functions as well."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name.removeprefix("visual_summaries."), None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found += [(node.module.removeprefix("visual_summaries."), alias.name) for alias in node.names]
    return found


def imported_modules(path: Path, known: set[str] | None = None) -> set[str]:
    """What a file imports anywhere; `from a import b` is of `a.b` where that is known."""
    modules = set()
    for module, name in imports(path):
        whole = f"{module}.{name}"
        modules.add(whole if name and known and whole in known else module)
    return modules


def import_graph(root: Path, folders: tuple[str, ...]) -> dict[str, set[str]]:
    """Module → the modules of these folders that it imports."""
    files = {module_of(path, root): path for folder in folders for path in python_files(root / folder)}
    return {module: imported_modules(path, set(files)) & set(files) for module, path in files.items()}


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Groups of modules each of which imports, by way of others, all the rest of its group."""
    names = sorted(graph)
    place = {name: at for at, name in enumerate(names)}
    edges = [(place[name], place[other]) for name, others in graph.items() for other in others]
    rows, columns = np.array(edges or np.zeros((0, 2), int)).T
    matrix = scipy.sparse.coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(names), len(names)))
    _, group = scipy.sparse.csgraph.connected_components(matrix, connection="strong")
    groups = [{names[at] for at in np.flatnonzero(group == one)} for one in np.unique(group)]
    return [group for group in groups if len(group) > 1]


def beneath(module: str, rooms: set[str]) -> bool:
    return any(module == room or module.startswith(room + ".") for room in rooms)


@pytest.mark.parametrize("room", FORBIDDEN)
def test_no_room_looks_through_its_walls(room: str) -> None:
    known = set(import_graph(ROOT, OURS))
    for path in python_files(ROOT / room):
        for module in imported_modules(path, known):
            assert not beneath(module, FORBIDDEN[room]), f"{path.relative_to(ROOT)}: {module}"


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_of_us_only_what_it_may(room: str) -> None:
    own = room.replace("/", ".")
    for module, others in import_graph(ROOT, OURS).items():
        if beneath(module, {own}):
            strangers = {other for other in others if not beneath(other, MAY_IMPORT[room] | {own})}
            assert not strangers, f"{module}: {', '.join(sorted(strangers))}"


def test_nothing_imports_in_a_circle() -> None:
    assert circles(import_graph(ROOT, OURS)) == []


def test_a_circle_is_found_even_where_a_function_closes_it(tmp_path: Path) -> None:
    (tmp_path / "house").mkdir()
    for name, text in {
        "a": "from house import b\nimport os\n",
        "b": "from house.c import thing\n",
        "c": "def thing():\n    from house.a import other\n",
        "d": "import house.a\n",
    }.items():
        (tmp_path / "house" / f"{name}.py").write_text(text)
    assert circles(import_graph(tmp_path, ("house",))) == [{"house.a", "house.b", "house.c"}]
    (tmp_path / "house" / "c.py").write_text("thing = 1\n")
    imports.cache_clear()
    assert circles(import_graph(tmp_path, ("house",))) == []


def test_ray_is_the_runtimes_alone() -> None:
    # Ray's job client, which a cluster is asked by from outside.
    others = {ROOT / "pipeline" / "commands" / "submission.py"}
    users = {
        path
        for folder in OURS
        for path in python_files(ROOT / folder)
        if any(module.split(".")[0] == "ray" for module in imported_modules(path))
    }
    assert users >= others
    assert {path.parent for path in users - others} == {ROOT / "pipeline" / "runtime"}


def wrong_when_blocked(blocked: list[str], modules: list[str]) -> str:
    """What is wrong if the modules are imported where others cannot be; nothing, if all is well."""
    whole = ", ".join(f"visual_summaries.{module}" for module in modules)
    code = f"import sys\nsys.modules.update(dict.fromkeys({blocked!r}))\nimport {whole}\n"
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert (result.returncode == 0) == (not result.stderr), result.stderr
    return result.stderr


def test_what_imports_a_blocked_module_is_found() -> None:
    assert "import of PIL halted" in wrong_when_blocked(["PIL"], ["pipeline.data.decode"])


def test_explainers_and_models_import_with_torch_alone() -> None:
    """A method that needs more asks for it when it explains."""
    blocked = ["ray", "cv2", "skimage", "sklearn", "scipy", "pyarrow", "pydantic", "rich", "jinja2"]
    files = [path for room in ("explain", "models") for path in python_files(ROOT / "pipeline" / room)]
    assert wrong_when_blocked(blocked, [module_of(path, ROOT) for path in files]) == ""


def test_the_runtime_imports_without_what_the_stages_compute_with() -> None:
    blocked = ["torch", "torchvision", "cv2", "PIL", "sklearn", "scipy", "captum", "matplotlib"]
    blocked.append("visual_summaries.pipeline.stages")
    files = python_files(ROOT / "pipeline" / "runtime")
    assert wrong_when_blocked(blocked, [module_of(path, ROOT) for path in files]) == ""


def test_the_package_imports_nothing_until_it_is_used() -> None:
    """And Ray not even then, unless a whole run is started."""
    code = (
        "import sys\n"
        "import visual_summaries\n"
        "ours = {name for name in sys.modules if name.startswith('visual_summaries')}\n"
        "assert ours == {'visual_summaries'} and not {'torch', 'numpy', 'pydantic'} & {*sys.modules}, ours\n"
        "sys.modules.update(dict.fromkeys(('ray', 'pandas', 'starlette', 'uvicorn')))\n"
        "from visual_summaries import Explanation, Run, explain, load_model, open_run\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_files_stay_small() -> None:
    for folder in OURS:
        for path in python_files(ROOT / folder):
            assert len(path.read_text().splitlines()) <= 420, f"{path.relative_to(ROOT)} wants to be two things"
