"""Some pictures, and a finished run of them, made in this process."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "stages"))

from in_process import run_in_process  # noqa: E402

from visual_summaries.pipeline.config import load_config  # noqa: E402
from visual_summaries.pipeline.data.demo.scenes import write_demo_set  # noqa: E402
from visual_summaries.pipeline.stages.order import STAGES  # noqa: E402

SETTINGS = (
    "model.name=demo",
    "explain.explainer=grad-cam",
    "explain.policy=all",
    "summaries.resamples=0",
    "summaries.measured=2",
    "pruning.minimum_members=2",
    "data.held_out=0",
    "data.test=0",
    "data.classes=[butterfly, saxophone]",
)


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures of each class of the demo set."""
    folder = tmp_path_factory.mktemp("surface") / "photographs"
    write_demo_set(folder, 4, seed=3)
    return folder


@pytest.fixture(scope="session")
def finished(photographs: Path) -> Path:
    """A run of two of the classes, all stages but the report."""
    output = photographs.parent / "run"
    state = run_in_process(load_config(None, [f"data.images={photographs}", f"output={output}", *SETTINGS]), STAGES)
    assert not state.lost
    return output
