"""Runs of the real job in processes of their own, for the tests of whole runs."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
from in_process import job_in_process, run_in_process

from visual_summaries.jobs.summarize import main
from visual_summaries.pipeline.config import load_config
from visual_summaries.pipeline.stages.order import STAGES as ALL_STAGES
from visual_summaries.pipeline.store.tables import TableStore
from visual_summaries.schemas import TABLES
from visual_summaries.schemas.volumes import VOLUME_TABLES

ROOT = Path(__file__).parents[2]
STAGES = (
    "images",
    "explain",
    "regions",
    "alterations",
    "propose",
    "neighbors",
    "match",
    "parts",
    "cluster",
    "members",
    "summarize",
    "tags",
    "negatives",
    "specialize",
    "metrics",
)
TABLE_OF = dict(
    zip(
        STAGES,
        (
            "images",
            "maps",
            "regions",
            "alterations",
            "proposals",
            "pairs",
            "scores",
            "matches",
            "clusters",
            "members",
            "summaries",
            "tags",
            "negatives",
            "specialists",
            "metrics",
        ),
        strict=True,
    )
)
# Measured, so the same in no two runs; everything else is.
MEASURED = {"maps": ["seconds"]}


# A small run of it.
SETTINGS = ("explain.shard_size=4", "explain.batch_size=4", "proposals.limit=150", "explain.preset=fast")
# A smaller one.
SMALL = ("explain.explainer=grad-cam", "explain.policy=all", "data.test=0", "data.held_out=0", "proposals.limit=60")
SMALL += ("pruning.minimum_members=2",)
# The papers' chain, which goes through most stages; a test's own settings come after it, and win.
CLUSTERS = ("summaries.sources=[proposals]", "summaries.selection=similarity", "proposals.descriptor=hog")


def command(output: Path, images: Path | str, *settings: str) -> list[str]:
    base = [sys.executable, "-m", "visual_summaries", "summarize", "--images", str(images), "--model", "demo"]
    base += ["--output", str(output)]
    return [*base, *CLUSTERS, *settings]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONUNBUFFERED": "1", "COLUMNS": "120"}


def run_job(output: Path, images: Path | str, *settings: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(output, images, *settings), cwd=ROOT, capture_output=True, text=True, timeout=1500, env=environment()
    )


def run_here(output: Path, images: Path | str, *settings: str) -> subprocess.CompletedProcess:
    """`run_job` in this process, without Ray: for tests of what a run finds, not of its workers."""
    return job_in_process(main, *command(output, images, *settings)[4:])


def tables_here(output: Path, images: Path | str, *settings: str) -> None:
    """The same without pages."""
    given = (f"data.images={images}", "model.name=demo", f"output={output}", *CLUSTERS, *settings)
    assert not run_in_process(load_config(None, list(given)), ALL_STAGES).lost


def start_job(output: Path | str, images: Path | str, *settings: str) -> subprocess.Popen:
    """The job in a session of its own, to be killed; all that it prints comes by `stdout`."""
    return subprocess.Popen(
        command(output, images, *settings),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
        start_new_session=True,
    )


def tables(output: Path) -> dict[str, pa.Table]:
    """All tables of a run, without what is measured."""
    store = TableStore(output)
    others = {"runs", "costs", "measurements", "ratings", *(table.name for table in VOLUME_TABLES)}
    names = [name for name in TABLES if name not in others]
    return {name: store.read_all(name).drop_columns(MEASURED.get(name, [])) for name in names}


def stage_units(output: Path) -> dict[str, tuple[int, int]]:
    """(planned, found complete) units of each stage of the last run."""
    rows = TableStore(output).read_all("runs").to_pylist()
    return {row["stage"]: (row["units"], row["units_cached"]) for row in rows}
