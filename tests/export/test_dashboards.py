"""docs/how-to/dashboards.md: its code blocks do what the page says, in order, on a real run."""

import re
import shlex
import shutil
from pathlib import Path

import duckdb
import pytest

from visual_summaries.jobs.command import main
from visual_summaries.pipeline.store.tables import TableStore

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "dashboards.md"
BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture
def workplace(named_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the repository's schemas and two runs."""
    (tmp_path / "visual_summaries").mkdir()
    (tmp_path / "visual_summaries" / "schemas").symlink_to(ROOT / "visual_summaries" / "schemas")
    for name in ("mine", "other"):
        shutil.copytree(named_run, tmp_path / "runs" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_code_blocks(workplace: Path, capsys: pytest.CaptureFixture) -> None:
    names: dict = {}
    printed: dict[str, list[str]] = {}
    blocks = BLOCK.findall(PAGE.read_text())
    for kind, code in blocks:
        if kind == "python":
            exec(compile(code, str(PAGE), "exec"), names)
        elif kind == "":
            verb, *arguments = shlex.split(code)
            assert verb == "visual-summaries" and main(arguments) == 0
        elif kind == "sql":
            with duckdb.connect(workplace / "exported" / "run.duckdb", read_only=True) as connection:
                rows = connection.execute(code).fetchall()
            assert [row[1] for row in rows] == [1.0, 1.0] and sorted(row[3] for row in rows) == [6, 6]
            continue
        else:
            assert kind.startswith("python title=")
            compile(code, str(PAGE), "exec")
        printed.setdefault(kind, []).append(capsys.readouterr().out)
    found, several, pandas_text, polars_text, coco_text = printed["python"]
    assert "fan-tailed bird" in found and "DROP TABLE" in found and "most_common_mistake" in found
    assert "disagreement" in several and "fan-tailed bird" in several
    assert re.search(r"fan-tailed bird +1\.0", pandas_text)
    kept = [row for row in TableStore(workplace / "runs" / "mine").read_all("summaries").to_pylist() if row["kept"]]
    own = [row["support"] for row in kept if row["label"] == "fan-tailed bird"]
    assert own and re.search(rf"fan-tailed bird +┆ {len(own)} +┆ {max(own):g}", polars_text)
    assert "DROP TABLE" in coco_text
    assert [text.split(":")[0] for text in printed[""]] == ["exported/run.duckdb", "exported", "exported"]
    assert (workplace / "exported" / "regions" / "labels.json").is_file()
    # The number of the storage format, behind the checksum and "DUCK": DuckDB 1.1 reads up to 64.
    assert int.from_bytes((workplace / "exported" / "run.duckdb").read_bytes()[12:20], "little") == 64


def test_every_view_and_job_named_there_is(workplace: Path) -> None:
    text = PAGE.read_text()
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    connection = duckdb.connect()
    connection.execute((ROOT / "visual_summaries" / "schemas" / "views.sql").read_text())
    views = {row[0] for row in connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()}
    from visual_summaries.schemas import TABLES

    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert named == views - set(TABLES) - {"manifest_contents"}
