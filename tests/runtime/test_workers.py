"""How many workers a cluster holds, and which of two kinds makes room for the other."""

from functools import partial

import pytest

from visual_summaries.pipeline.runtime.context import Context
from visual_summaries.pipeline.runtime.failures import PoolError
from visual_summaries.pipeline.runtime.pool import worker_count
from visual_summaries.pipeline.runtime.session import _grown, ray_session
from visual_summaries.pipeline.runtime.settings import RaySettings
from visual_summaries.pipeline.runtime.stage import Resources, Stage
from visual_summaries.pipeline.runtime.units import Unit
from visual_summaries.pipeline.runtime.work import Work
from visual_summaries.pipeline.runtime.workers import Workers

GIB = 2**30


class WithGpu(Stage):
    resources = Resources(gpu=True)


@pytest.fixture(scope="module")
def resources():  # noqa: ANN201
    with ray_session(RaySettings(cpus=2, gpus=2)) as found:
        yield found


def test_a_cluster_without_processors_is_refused_before_the_first_stage(resources, tmp_path) -> None:
    workers = Workers(RaySettings(), partial(Context, str(tmp_path)), lambda: {"GPU": 8.0})
    with pytest.raises(PoolError, match="start nodes that have them, or lower"):
        workers.pool(WithGpu())


def test_workers_of_one_kind_make_room_for_the_other(resources, monkeypatch, tmp_path) -> None:
    """Memory for one worker alone: whoever has had nothing to do for a while goes where the others wait."""
    monkeypatch.setattr("visual_summaries.pipeline.runtime.workers.IDLE_SECONDS", 0.0)
    cluster = {"CPU": 4.0, "GPU": 1.0, "memory": 5.0 * GIB}
    workers = Workers(RaySettings(memory_per_worker=3), partial(Context, str(tmp_path)), lambda: cluster)
    with_gpu, without = workers.pool(WithGpu()), workers.pool(Stage())
    try:
        for ours, theirs, stage in ((without, with_gpu, Stage()), (with_gpu, without, WithGpu())):
            ours.add(Work(stage, lambda result: None), [Unit("a", ())])
            workers._fit()
            assert (ours.size, theirs.size) == (1, 0)
            ours._waiting.clear()
    finally:
        workers.close()


def test_memory_limits_the_workers() -> None:
    assert worker_count(1, 0, None, {"CPU": 8, "memory": 10 * GIB}, 3 * GIB) == 3
    assert worker_count(1, 0, None, {"CPU": 8}, 3 * GIB) == 8
    with pytest.raises(PoolError, match="and 3 GiB, and the cluster has 8 CPUs and 0 GPUs and 2 GiB"):
        worker_count(1, 0, None, {"CPU": 8, "memory": 2 * GIB}, 3 * GIB)


def test_a_cluster_that_grows_is_counted_as_it_will_be() -> None:
    head = {"CPU": 0.0, "memory": 4.0 * GIB}
    grown = _grown(head, RaySettings(address="auto", cpus=16, gpus=4))
    assert worker_count(1, 1, None, grown, 2 * GIB) == 4 and worker_count(1, 0, None, grown, 2 * GIB) == 16
    assert _grown({"CPU": 32.0, "memory": 1.0}, RaySettings(address="auto", cpus=16)) == {"CPU": 32.0, "memory": 1.0}
    with pytest.raises(PoolError, match="start nodes that have them, or lower"):
        worker_count(1, 0, None, _grown(head, RaySettings(address="auto")))
