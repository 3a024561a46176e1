"""The walls of the house: who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PURE = {"ray", "pyarrow", "pipeline.stages", "pipeline.store", "pipeline.report", "jobs"}
FORBIDDEN = {
    "pipeline/explain": PURE | {"cv2", "skimage", "sklearn", "scipy"},
    "pipeline/models": PURE | {"cv2", "skimage", "sklearn", "scipy"},
    "pipeline/summarize": PURE,
    "pipeline/evaluate": PURE,
    "pipeline/store": {"ray", "torch", "pipeline.stages", "pipeline.report", "jobs"},
    "pipeline/report": {"ray", "pyarrow", "pipeline.stages", "pipeline.store", "jobs"},
    "pipeline/review": {"ray", "pipeline.stages", "jobs"},
    "pipeline/data": {"ray", "pipeline.stages", "pipeline.store", "pipeline.report", "jobs"},
    "pipeline/export": {"ray", "pipeline.stages", "pipeline.report", "jobs"},
    "pipeline/stages": {"jobs"},
    "schemas": {"ray", "torch", "numpy", "pipeline", "jobs"},
}


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("room", FORBIDDEN)
def test_no_room_looks_through_its_walls(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    for path in files:
        for module in imported_modules(path):
            for wall in FORBIDDEN[room]:
                assert module != wall and not module.startswith(wall + "."), f"{path.relative_to(ROOT)}: {module}"


def test_only_stages_import_ray() -> None:
    for path in sorted((ROOT / "pipeline").rglob("*.py")) + sorted((ROOT / "jobs").rglob("*.py")):
        if not {"runtime", "stages", "commands"} & set(path.parts):
            assert not any(module.split(".")[0] == "ray" for module in imported_modules(path)), path


def test_explainers_and_models_import_with_torch_alone() -> None:
    blocked = ["ray", "cv2", "skimage", "sklearn", "scipy", "pyarrow", "pydantic", "rich", "jinja2"]
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({blocked!r}))\n"
        "import pipeline.explain.registry, pipeline.models.loading\n"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_files_stay_small() -> None:
    for folder in ("pipeline", "jobs", "schemas"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            assert len(path.read_text().splitlines()) <= 420, f"{path.relative_to(ROOT)} wants to be two things"
