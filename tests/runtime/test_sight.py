"""A worker works only where it sees the driver's folder."""

import pickle
import socket
import time
from pathlib import Path
from threading import Timer

import pytest

from visual_summaries.pipeline.runtime import sight
from visual_summaries.pipeline.runtime.context import Context
from visual_summaries.pipeline.runtime.exclusive import exclusive
from visual_summaries.pipeline.runtime.failures import FATAL_IN_WORKER, RunFailed, WorkerUnfit
from visual_summaries.pipeline.runtime.sight import Sight
from visual_summaries.pipeline.runtime.units import Unit


def moved(seen: Sight, folder: Path) -> Sight:
    """What a node finds at the same path that has another disk there."""
    travelled = pickle.loads(pickle.dumps(seen))
    assert travelled == seen
    travelled.folder = folder
    return travelled


def test_a_folder_is_the_drivers_if_its_marker_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sight, "PATIENCE_SECONDS", 0.2)
    ours, other, empty = tmp_path / "ours", tmp_path / "other", tmp_path / "empty"
    with exclusive(other):
        pass
    with exclusive(ours) as lock:
        seen = Sight.of(ours, lock)
        # A second driver that is turned away leaves the marker.
        with pytest.raises(RunFailed), exclusive(ours):
            pass
        Context(ours, sight=moved(seen, ours)).begin(Unit("a", ()))
        message = f"the node {socket.gethostname()} does not see the run's folder "
        for wrong in (other, empty):
            with pytest.raises(WorkerUnfit, match=f"{message}{wrong}: mount it on every node"):
                Context(wrong, sight=moved(seen, wrong)).begin(Unit("a", ()))
        assert not empty.exists()
    assert issubclass(WorkerUnfit, FATAL_IN_WORKER)
    with exclusive(ours):
        with pytest.raises(WorkerUnfit, match=message):
            moved(seen, ours).check()


def test_a_disk_that_shows_the_marker_late_is_waited_for(tmp_path: Path) -> None:
    late = tmp_path / "late"
    with exclusive(tmp_path / "ours") as lock:
        seen = moved(Sight.of(tmp_path / "ours", lock), late)
    content = (tmp_path / "ours" / ".lock").read_text()
    late.mkdir()
    timer = Timer(0.8, lambda: (late / ".lock").write_text(content))
    timer.start()
    started = time.monotonic()
    seen.check()
    assert 0.5 < time.monotonic() - started < 5
    (late / ".lock").unlink()
    # Once is enough on a disk: nobody takes it over from a process that lives.
    seen.check()
