"""Nodes that do not see the driver's folder: another disk lies over it there, and takes what is written."""

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from disturbed import ROOT, small_cluster

HIDE = 'mount -t tmpfs none "$0" && exec "$@"'


def hidden_from(folder: Path) -> list[str]:
    """A command that runs another where an empty disk lies over the folder, for it and all that it starts."""
    return ["unshare", "--mount", "sh", "-c", HIDE, str(folder)]


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    folder = tmp_path / "shared"
    folder.mkdir()
    if not shutil.which("unshare") or subprocess.run([*hidden_from(folder), "true"], capture_output=True).returncode:
        pytest.skip("this system or account may not mount: no node can be given another disk")
    return folder


def test_a_node_without_the_shared_folder_ends_the_run_and_keeps_nothing(shared: Path, tmp_path: Path) -> None:
    output = shared / "out"
    with small_cluster(tmp_path / "nodes.log", hidden_from(shared)) as (cluster, environment):
        command = [sys.executable, "-m", "visual_summaries", "summarize", "--images", "demo", "--model", "demo"]
        result = subprocess.run(
            [*command, "--output", str(output), "--address", cluster.address, "data.demo_images_per_class=2"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=180,
        )
    assert result.returncode == 1, result.stdout + result.stderr
    said = [line for line in result.stderr.splitlines() if "does not see" in line]
    assert len(said) == 1 and "Traceback" not in result.stderr, result.stderr
    assert f"the node {socket.gethostname()} does not see the run's folder {output}: mount it on every node" in said[0]
    # The driver's own rows of errors are all that there is.
    assert {path.relative_to(output / "tables").parts[0] for path in output.rglob("*.parquet")} <= {"errors"}
