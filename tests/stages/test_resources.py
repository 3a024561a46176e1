"""What stages ask of Ray: model stages a GPU each, others none, memory as declared; weights read once a worker."""

import pytest
import ray
from rich.console import Console

from pipeline.commands.summarize import STAGES, start_state, worker_setup
from pipeline.config import RunConfig
from pipeline.models.preprocessing import Preprocessing
from pipeline.runtime.failures import PoolError
from pipeline.runtime.pool import worker_count
from pipeline.runtime.session import _grown, ray_session
from pipeline.runtime.units import Unit
from pipeline.runtime.work import Work
from pipeline.runtime.workers import Workers
from pipeline.settings import RaySettings
from pipeline.stages import context as worker_module
from pipeline.stages.inputs import gather_inputs

GIB = 2**30


def test_the_stages_that_use_the_classifier_are_these() -> None:
    model_stages = [stage.name for stage in STAGES if stage.uses_model]
    assert model_stages == ["images", "explain", "regions", "features", "members", "tags"]


@pytest.fixture(scope="module")
def resources():  # noqa: ANN201
    with ray_session(RaySettings(cpus=2, gpus=2)) as found:
        yield found


def test_each_kind_of_stage_has_its_own_workers(resources, tmp_path) -> None:
    config = RunConfig(
        output=str(tmp_path),
        data={"images": "demo", "demo_images_per_class": 1},
        model={"name": "demo"},
        ray={"memory_per_worker": 0.25, "workers": 2},
    )
    workers = Workers(
        config, worker_setup(start_state(config, gather_inputs(config), Console())), lambda: dict(resources)
    )
    stages = {stage.name: stage for stage in STAGES}
    try:
        with_gpu, without = workers.pool(stages["images"]), workers.pool(stages["propose"])
        assert workers.pool(stages["explain"]) is with_gpu and workers.pool(stages["regions"]) is with_gpu
        assert workers.pool(stages["match"]) is without is not with_gpu
        # Those without a GPU may have all processors of a node: the others start there all the same.
        without.add(Work(stages["propose"], lambda result: None), [Unit("a", ())] * 3)
        workers._fit()
        assert without.size == 2
        ray.get(without.begin())
        assert ray.available_resources().get("CPU", 0) == 0
        with_gpu.add(Work(stages["images"], lambda result: None), [Unit("a", ())] * 3)
        workers._fit()
        # Beside a worker on each of two GPUs there is room for one without, though there are but two processors.
        assert (with_gpu.size, without.size) == (2, 1)
        ray.get(with_gpu.begin())
        left = ray.available_resources()
        assert left.get("GPU", 0) == 0
        assert resources["memory"] - left["memory"] == pytest.approx(4 * 0.25 * GIB)
    finally:
        workers.close()


def test_a_cluster_without_processors_is_refused_before_the_first_stage(resources, tmp_path) -> None:
    config = RunConfig(output=str(tmp_path), model={"name": "demo"}, data={"images": "demo"})
    setup = worker_module.WorkerSetup(config, str(tmp_path), Preprocessing(), "")
    workers = Workers(config, setup, lambda: {"GPU": 8.0})
    with pytest.raises(PoolError, match="ray.cpus and ray.gpus"):
        workers.pool(STAGES[0])


def test_workers_of_one_kind_make_room_for_the_other(resources, monkeypatch, tmp_path) -> None:
    """Memory for one worker alone: whoever has had nothing to do for a while goes where the others wait."""
    monkeypatch.setattr("pipeline.runtime.workers.IDLE_SECONDS", 0.0)
    config = RunConfig(output=str(tmp_path), ray={"memory_per_worker": 3})
    setup = worker_module.WorkerSetup(config, str(tmp_path), Preprocessing(), "")
    workers = Workers(config, setup, lambda: {"CPU": 4.0, "GPU": 1.0, "memory": 5.0 * GIB})
    stages = {stage.name: stage for stage in STAGES}
    with_gpu, without = workers.pool(stages["images"]), workers.pool(stages["propose"])
    try:
        for ours, theirs, name in ((without, with_gpu, "propose"), (with_gpu, without, "images")):
            ours.add(Work(stages[name], lambda result: None), [Unit("a", ())])
            workers._fit()
            assert (ours.size, theirs.size) == (1, 0)
            ours._waiting.clear()
    finally:
        workers.close()


def test_weights_are_read_once_a_worker(monkeypatch, tmp_path) -> None:
    config = RunConfig(model={"name": "demo"})
    loaded = []
    load = worker_module.classifier_of
    monkeypatch.setattr(worker_module, "classifier_of", lambda own: loaded.append(own) or load(own))
    digest = load(config).weights_digest
    setup = worker_module.WorkerSetup(config, str(tmp_path), load(config).preprocessing, digest)
    context = worker_module.WorkerContext(setup)
    assert context.classifier is context.classifier and context.prepared_classifier is context.prepared_classifier
    assert len(loaded) == 1


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
    with pytest.raises(PoolError, match="ray.cpus and ray.gpus"):
        worker_count(1, 0, None, _grown(head, RaySettings(address="auto")))
