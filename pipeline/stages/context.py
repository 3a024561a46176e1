"""What runs in a worker process: reads inputs, computes one unit, writes its shard whole or not at all."""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from queue import Full, Queue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pyarrow as pa
import torch
from torch import Tensor

from pipeline.config import RunConfig
from pipeline.data.decode import DecodeError, read_image
from pipeline.models.classifier import Classifier
from pipeline.models.loading import load_classifier
from pipeline.models.preparation import PreparedClassifier, keep_freed_memory, use_precision
from pipeline.models.preprocessing import Preprocessing
from pipeline.runtime.failures import WorkerUnfit, room_to_write
from pipeline.runtime.units import Outcome, Output, Unit, error_row
from pipeline.store.tables import Shard, TableStore
from schemas import make_table

if TYPE_CHECKING:
    from pipeline.runtime.stage import Stage


TOLD_EVERY_SECONDS = 1.0


@dataclass(frozen=True)
class WorkerSetup:
    """What every worker is started with; small enough to travel."""

    config: RunConfig
    output: str
    preprocessing: Preprocessing
    weights_digest: str
    class_names: tuple[str, ...] = ()
    gpu: bool = False
    threads: int = 1
    board: Any = None


class WorkerContext:
    """A stage's view of its worker: tables, photographs and the classifier, loaded when first needed."""

    def __init__(self, setup: WorkerSetup) -> None:
        self.setup = setup
        self.config = setup.config
        self.store = TableStore(setup.output)
        self._told = 0.0
        self._done, self._work = 0, 0.0

    @cached_property
    def device(self) -> torch.device:
        """The GPU that Ray reserved for this worker, or the processor."""
        return torch.device("cuda" if self.setup.gpu and torch.cuda.is_available() else "cpu")

    @cached_property
    def classifier(self) -> Classifier:
        """The classifier, checked to be the one that the driver planned with."""
        classifier = classifier_of(self.config)
        if classifier.weights_digest != self.setup.weights_digest:
            raise WorkerUnfit(
                f"the weights of {self.config.model.name} on this worker differ from the driver's: "
                "put the same weights file at the same path on every node"
            )
        use_precision(self.config.explain.precision)
        classifier.module.to(memory_format=torch.channels_last)
        return classifier.to(self.device)

    @cached_property
    def prepared_classifier(self) -> PreparedClassifier:
        """The classifier made ready for the many passes of an explanation."""
        return PreparedClassifier(self.classifier, self.config.explain.precision)

    def begin(self) -> None:
        """Count a unit's progress from nothing."""
        self._done, self._work = 0, 0.0

    def advance(self, unit: Unit, images: int = 1) -> None:
        """Tell the driver's progress bar that images of an unfinished unit are done."""
        self._done += images
        self._tell(unit)

    def reach(self, unit: Unit, work: float) -> None:
        """Tell it how much of an unfinished unit is done, in images: those under way count by their shares."""
        self._work = work
        self._tell(unit)

    def _tell(self, unit: Unit) -> None:
        now = time.monotonic()
        if self.setup.board is not None and now - self._told > TOLD_EVERY_SECONDS:
            self._told = now
            self.setup.board.tell.remote(unit.name, self._done, max(float(self._done), self._work))

    def read(self, unit: Unit, table: str, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Rows of the unit's shards of `table` as dictionaries."""
        return self.store.read(table, unit.inputs[table], columns).to_pylist()

    def photographs(self, unit: Unit) -> dict[str, dict[str, Any]]:
        """Where the images of the unit's class are: image id → its row of `images`, id and uri alone."""
        return {row["image_id"]: row for row in self.read(unit, "images", ["image_id", "uri"])}

    def analyzed_image(self, row: Mapping[str, Any], margin: int = 0) -> Tensor:
        """The square that the classifier sees, uint8 `[3,S,S]`, of a row of `images`; with `margin` pixels more on
        every side.

        Raises:
            DecodeError: unreadable, or not the file that the run began with.
        """
        decoded = read_image(row["uri"])
        if decoded.image_id != row["image_id"]:
            raise DecodeError("the file has changed since the run began; run again")
        return self.setup.preprocessing.analyzed_image(decoded.image, margin)

    def model_input(self, images: Sequence[Tensor]) -> Tensor:
        """uint8 `[3,S,S]` images to one float batch `[B,3,S,S]` in [0,1] on the worker's device."""
        return torch.stack(list(images)).to(self.device).float().div_(255)


def classifier_of(config: RunConfig) -> Classifier:
    """Load the classifier that the configuration names."""
    model = config.model
    return load_classifier(
        model.name,
        model.weights,
        labels=model.labels,
        resize_side=model.resize,
        crop_side=model.crop,
        mean=model.mean,
        std=model.std,
        squash=model.squash,
        feature_layer=model.feature_layer,
        seed=config.seed,
    )


def prefetched(items: Iterable[Any], depth: int = 32) -> Iterator[Any]:
    """The same items, made up to `depth` ahead in a thread, so that decoding goes on while the device computes."""
    waiting: Queue[tuple[Any, BaseException | None]] = Queue(depth)
    abandoned = Event()
    end = object()

    def put(item: Any, error: BaseException | None = None) -> None:
        while not abandoned.is_set():
            with contextlib.suppress(Full):
                waiting.put((item, error), timeout=0.2)
                return

    def fill() -> None:
        try:
            for item in items:
                put(item)
                if abandoned.is_set():
                    return
            put(end)
        except BaseException as error:
            put(end, error)

    thread = Thread(target=fill, daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is end:
                return
            yield item
    finally:
        abandoned.set()
        thread.join()


def decoded_images(
    worker: WorkerContext,
    stage: str,
    unit: Unit,
    rows: Mapping[str, Mapping[str, Any]],
    items: Iterable[str],
    output: Output,
    margin: int = 0,
) -> Iterator[tuple[str, Tensor]]:
    """(image id, image `[3,S,S]` float32 in [0,1]) of a unit's items, made ahead in a thread.

    `rows`: image id → row of `images`. `margin`: pixels more on every side. What cannot be decoded goes to the errors
    of `output` and counts as done.
    """

    def images() -> Iterator[tuple[str, Tensor]]:
        for image_id in items:
            row = rows[image_id]
            try:
                yield image_id, worker.analyzed_image(row, margin).float().div_(255)
            except DecodeError as error:
                output.errors.append(error_row(stage, unit.label, str(error), image_id, row["uri"], retry=True))
                worker.advance(unit)

    return prefetched(images())


def chunks(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Consecutive pieces of at most `size` items."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def decode_saliency(row: Mapping[str, Any]) -> np.ndarray:
    """Saliency of a row of `maps`, uint8 `[C,H,W]` (read-only)."""
    return np.frombuffer(row["saliency"], np.uint8).reshape(row["saliency_shape"])


class Worker:
    """The Ray actor. One unit at a time, so that a death names its unit."""

    def __init__(self, setup: WorkerSetup) -> None:
        keep_freed_memory()
        torch.set_num_threads(setup.threads)
        os.environ.setdefault("OMP_NUM_THREADS", str(setup.threads))
        self.context = WorkerContext(setup)

    def ready(self) -> int:
        """Process id, once the worker can take work."""
        return os.getpid()

    def probe(self, stage: "Stage", unit: Unit, item: str) -> None:
        """Compute one item of a unit and throw the result away: does it survive?"""
        self.context.begin()
        stage.compute(self.context, unit, (item,))

    def run(self, stage: "Stage", unit: Unit, excluded: Mapping[str, str]) -> Outcome:
        """Perform a unit without the `excluded` items (item → reason); its cost is measured here."""
        _reset_peak_memory()
        self.context.begin()
        started, processor_started = time.perf_counter(), time.process_time()
        with room_to_write(self.context.setup.output):
            outcome = stage.perform(self.context, unit, excluded)
        return replace(
            outcome,
            seconds=time.perf_counter() - started,
            processor_seconds=time.process_time() - processor_started,
            peak_memory=_peak_memory(),
        )


def write_unit(
    store: TableStore, table: str, unit: Unit, rows: pa.Table | None, errors: list[dict[str, Any]]
) -> tuple[Shard | None, Shard | None]:
    """Write a unit's errors, then its rows: a complete shard always has its errors, and no others, beside it."""
    error_shard = None
    path = store.shard_path("errors", unit.fingerprint, unit.label, unit.name)
    if errors:
        error_shard = store.write("errors", path, make_table("errors", errors), unit.label)
    else:
        store.remove("errors", path)
    shard = None
    if rows is not None:
        path = store.shard_path(table, unit.fingerprint, unit.label, unit.name)
        shard = store.write(table, path, rows, unit.label)
    return shard, error_shard


def _reset_peak_memory() -> None:
    # Linux alone has this file; elsewhere there is no peak to reset.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_memory() -> int:
    """Largest resident memory since the last reset, bytes (on Linux; elsewhere the present one)."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    return psutil.Process().memory_info().rss
