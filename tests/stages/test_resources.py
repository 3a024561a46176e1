"""What stages ask of Ray: model stages a GPU each, others none, memory as declared; weights read once a worker."""

import hashlib
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from PIL import Image
from ray import cloudpickle
from rich.console import Console

from visual_summaries.pipeline.commands.opened import start_state, worker_setup
from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.data.decode import DecodeError
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.runtime.pool import WorkerPool
from visual_summaries.pipeline.runtime.session import ray_session
from visual_summaries.pipeline.runtime.settings import RaySettings
from visual_summaries.pipeline.runtime.stage import Stage
from visual_summaries.pipeline.runtime.units import Output, Unit, error_row
from visual_summaries.pipeline.runtime.work import Work
from visual_summaries.pipeline.runtime.workers import Workers
from visual_summaries.pipeline.stages import context
from visual_summaries.pipeline.stages.inputs import gather_inputs
from visual_summaries.pipeline.stages.order import STAGES
from visual_summaries.pipeline.store.tables import TableStore

cloudpickle.register_pickle_by_value(sys.modules[__name__])

GIB = 2**30


def test_the_stages_that_use_the_classifier_are_these() -> None:
    assert all(("classifier" in stage.depends_on) == stage.resources.gpu for stage in STAGES)
    model_stages = [stage.name for stage in STAGES if stage.resources.gpu]
    assert model_stages == ["images", "explain", "regions", "features", "alterations", "members", "tags"]


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
    setup = worker_setup(start_state(config, gather_inputs(config), Console()))
    workers = Workers(config.ray, setup, lambda: dict(resources))
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


class Threads(Stage):
    """Writes how many threads its worker computes with."""

    name, writes = "threads", "errors"

    def compute(self, worker: context.WorkerContext, unit: Unit, items: tuple[str, ...]) -> Output:
        return Output([error_row("threads", unit.label, str(torch.get_num_threads()))])


def test_workers_keep_to_one_thread(resources, tmp_path) -> None:
    setup = context.WorkerSetup(RunConfig(), tmp_path, Preprocessing(), "")
    pool = WorkerPool(setup, size=1, cpus=1, gpus=0, attempts=1, timeout=60)
    results = []
    try:
        pool.run(Threads(), [Unit("a", (), name="unit", fingerprint="f")], results.append)
    finally:
        pool.close()
    rows = TableStore(tmp_path).read("errors", [results[0].shard.path]).to_pylist()
    assert [row["reason"] for row in rows] == ["1"]


def test_weights_are_read_once_a_worker(monkeypatch, tmp_path) -> None:
    config = RunConfig(model={"name": "demo"})
    loaded = []
    load = context.classifier_of
    monkeypatch.setattr(context, "classifier_of", lambda own, kept: loaded.append(kept) or load(own))
    digest = load(config).weights_digest
    setup = context.WorkerSetup(config, tmp_path, load(config).preprocessing, digest)
    worker = context.WorkerContext(setup)
    assert worker.classifier is worker.classifier and worker.prepared_classifier is worker.prepared_classifier
    assert len(loaded) == 1


def test_a_photograph_is_decoded_once_on_a_node(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    setup = context.WorkerSetup(RunConfig(), str(tmp_path / "run"), Preprocessing(), "")
    first, second = context.WorkerContext(setup), context.WorkerContext(setup)
    pixels = np.random.default_rng(0).integers(256, size=(300, 400, 3), dtype=np.uint8)
    photograph = tmp_path / "photograph.png"
    Image.fromarray(pixels).save(photograph)
    row = {"image_id": hashlib.sha256(photograph.read_bytes()).hexdigest(), "uri": str(photograph)}
    expected = setup.preprocessing.analyzed_image(pixels)
    assert first.analyzed_image(row).equal(expected)
    photograph.unlink()
    assert second.analyzed_image(row).equal(expected)
    # More of the photograph than the square is not kept, and other squares are another run's.
    for worker, margin in ((second, 4), (context.WorkerContext(replace(setup, output="other")), 0)):
        with pytest.raises(DecodeError, match="cannot be read"):
            worker.analyzed_image(row, margin)
    first.close()
    with pytest.raises(DecodeError, match="cannot be read"):
        second.analyzed_image(row)


class Reading(Stage):
    """Keeps a square."""

    name, writes = "reading", "errors"

    def compute(self, worker: context.WorkerContext, unit: Unit, items: tuple[str, ...]) -> Output:
        worker.squares.put("a", np.zeros((3, 224, 224), np.uint8))
        return Output([error_row("reading", unit.label, str(worker.squares.folder))])


def test_a_run_leaves_no_squares_behind(resources, tmp_path) -> None:
    setup = context.WorkerSetup(RunConfig(), str(tmp_path), Preprocessing(), "")
    pool = WorkerPool(setup, size=1, cpus=1, gpus=0, attempts=1, timeout=60)
    results = []
    try:
        pool.run(Reading(), [Unit("a", (), name="unit", fingerprint="f")], results.append)
        [row] = TableStore(tmp_path).read("errors", [results[0].shard.path]).to_pylist()
        assert [one.name for one in Path(row["reason"]).iterdir()] == ["a"]
    finally:
        pool.close()
    assert not Path(row["reason"]).exists()
