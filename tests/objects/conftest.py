"""A server for each test of this folder, and a small demo set on the disk and in a bucket for those of whole runs."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

pytest.importorskip("moto", reason="moto[server] is not installed")

from store_server import store_server  # noqa: E402

from visual_summaries.pipeline.data.demo.scenes import CLASS_NAMES, write_demo_set  # noqa: E402


@pytest.fixture
def server():  # noqa: ANN201
    with store_server() as started:
        yield started


@pytest.fixture(scope="session")
def photographs(tmp_path_factory) -> Path:
    """Two classes of the demo set, six pictures each."""
    folder = tmp_path_factory.mktemp("photographs")
    write_demo_set(folder, 6, seed=1)
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.parent.name not in CLASS_NAMES[:2]:
            file.unlink()
    for name in CLASS_NAMES[2:]:
        (folder / name).rmdir()
    return folder
