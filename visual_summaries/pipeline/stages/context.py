"""What a worker gives a stage beside the tables: photographs, and the classifier."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from queue import Full, Queue
from threading import Event, Thread
from typing import Any

import numpy as np
import torch
from torch import Tensor

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.data.decode import DecodedImage, DecodeError, read_image
from visual_summaries.pipeline.models.answers import answers, same_answers
from visual_summaries.pipeline.models.classifier import Classifier, ClassifierError
from visual_summaries.pipeline.models.heads import SOFTMAX, independent
from visual_summaries.pipeline.models.preparation import PreparedClassifier, keep_freed_memory, use_precision
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.objects import ObjectPath
from visual_summaries.pipeline.runtime import failures
from visual_summaries.pipeline.runtime.context import Context
from visual_summaries.pipeline.runtime.sight import Sight
from visual_summaries.pipeline.runtime.units import Output, Unit, error_row
from visual_summaries.pipeline.stages.classifier import classifier_of
from visual_summaries.pipeline.stages.squares import Squares
from visual_summaries.pipeline.store.tables import digest

# Those of the runtime, and the classifier's: it would be the same with any other photograph.
FATAL_IN_WORKER = (*failures.FATAL_IN_WORKER, ClassifierError)


@dataclass(frozen=True)
class WorkerSetup:
    """What every worker is started with, small enough to travel; called, it makes the worker's context.

    `answers`: the classifier's, as the driver has it, on fixed images; without them only its weights are compared.
    `head`: the kind of its head, see `pipeline.models.heads`.
    """

    config: RunConfig
    output: Path | ObjectPath
    preprocessing: Preprocessing
    weights_digest: str
    class_names: tuple[str, ...] = ()
    threads: int = 1
    answers: tuple[float, ...] = ()
    sight: Sight | None = None
    head: str = SOFTMAX

    @property
    def independent(self) -> bool:
        """Whether a photograph may be of several classes, or of none."""
        return independent(self.head)

    def __call__(self, gpu: bool, board: Any) -> "WorkerContext":
        """The context of this process, which is a worker's from now on."""
        keep_freed_memory()
        torch.set_num_threads(self.threads)
        os.environ.setdefault("OMP_NUM_THREADS", str(self.threads))
        return WorkerContext(self, gpu, board)


class WorkerContext(Context):
    """A stage's view of its worker: tables, photographs and the classifier, loaded when first needed."""

    def __init__(self, setup: WorkerSetup, gpu: bool = False, board: Any = None) -> None:
        super().__init__(setup.output, gpu, board, setup.sight)
        self.setup, self.config = setup, setup.config

    @cached_property
    def device(self) -> torch.device:
        """The GPU that Ray reserved for this worker, or the processor."""
        return torch.device("cuda" if self.gpu and torch.cuda.is_available() else "cpu")

    @cached_property
    def classifier(self) -> Classifier:
        """The classifier, checked to be the one that the driver planned with."""
        classifier = classifier_of(self.config, self.squares.folder)
        check_same(classifier, self.config.model.name, self.setup.weights_digest, self.setup.answers, self.setup.head)
        use_precision(self.config.explain.precision)
        classifier.module.to(memory_format=torch.channels_last)
        return classifier.to(self.device)

    @cached_property
    def prepared_classifier(self) -> PreparedClassifier:
        """The classifier made ready for the many passes of an explanation."""
        return PreparedClassifier(self.classifier, self.config.explain.precision)

    @cached_property
    def squares(self) -> Squares:
        """The analyzed squares that this run keeps on this node, and their folder, where its weights are kept too."""
        preprocessing = self.setup.preprocessing
        return Squares(digest(str(self.output), repr(preprocessing)), preprocessing.crop_side)

    def spoiled(self, error: Exception) -> bool:
        # A kernel that failed on the GPU leaves the process without it: every image to come would fail as well.
        return isinstance(error, torch.AcceleratorError)

    def close(self) -> None:
        self.squares.remove()

    def photographs(self, unit: Unit) -> dict[str, dict[str, Any]]:
        """Where the images of the unit's class are: image id → its row of `images`, id and uri alone."""
        return {row["image_id"]: row for row in self.read(unit, "images", ["image_id", "uri"])}

    def analyzed_image(self, row: Mapping[str, Any], margin: int = 0) -> Tensor:
        """The square that the classifier sees, uint8 `[3,S,S]`, of a row of `images`; with `margin` pixels more on
        every side.

        Raises:
            DecodeError: unreadable, or not the file that the run began with.
        """
        self.step()
        if not margin and (square := self.squares.get(row["image_id"])) is not None:
            return torch.from_numpy(square)
        decoded = read_image(row["uri"])
        if decoded.image_id != row["image_id"]:
            raise DecodeError("the file has changed since the run began; run again")
        if margin:
            return self.setup.preprocessing.analyzed_image(decoded.image, margin)
        return self.first_square(decoded)

    def first_square(self, decoded: DecodedImage) -> Tensor:
        """The square of a photograph that was just decoded, kept for the stages to come."""
        square = self.setup.preprocessing.analyzed_image(decoded.image)
        self.squares.put(decoded.image_id, square.numpy())
        return square

    def model_input(self, images: Sequence[Tensor]) -> Tensor:
        """uint8 `[3,S,S]` images to one float batch `[B,3,S,S]` in [0,1] on the worker's device."""
        self.step()
        return torch.stack(list(images)).to(self.device).float().div_(255)


def check_same(
    classifier: Classifier, name: str, weights_digest: str, expected: Sequence[float], head: str = SOFTMAX
) -> None:
    """Raise a WorkerUnfit where a classifier, still on the processor, is not the driver's.

    Args:
        name: what the weights are called in the message.
        weights_digest, expected, head: the driver's, `expected` its answers; none are not compared.
    """
    if classifier.weights_digest != weights_digest:
        raise failures.WorkerUnfit(
            f"the weights of {name} on this worker differ from the driver's: put the same weights file at the same "
            "path on every node"
        )
    same_head = independent(classifier.head.kind) == independent(head)
    if len(expected) and not (same_head and same_answers(np.asarray(expected, dtype=np.float32), answers(classifier))):
        raise failures.WorkerUnfit(
            f"{classifier.name} gives other scores on this worker than on the driver, with the same weights: put the "
            "same code of the network, and the same libraries, on every node"
        )


@contextlib.contextmanager
def apart(stage: str, unit: Unit, photograph: Mapping[str, Any], output: Output) -> Iterator[None]:
    """Lose one photograph alone: what goes wrong with it becomes a row of the errors of `output`.

    `photograph`: its row of `images`, id and uri at least.

    Raises:
        Whatever would be the same with any other photograph: `FATAL_IN_WORKER`, a store that does not answer, a disk
        without room, a GPU that is in a state of error.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (*FATAL_IN_WORKER, torch.AcceleratorError)) or failures.ends_unit(error):
            raise
        reason = str(error) if isinstance(error, DecodeError) else failures.describe(error)
        output.errors.append(
            error_row(stage, unit.label, reason, photograph["image_id"], photograph["uri"], retry=True)
        )


def own_rows(unit: Unit, rows: Iterable[dict[str, Any]], items: Iterable[str]) -> list[dict[str, Any]]:
    """Of rows with an image id those of the images that a unit is restricted to; all where it cannot be."""
    if not unit.divisible:
        return list(rows)
    wanted = set(items)
    return [row for row in rows if row["image_id"] in wanted]


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
            image = None
            with apart(stage, unit, {**rows[image_id], "image_id": image_id}, output):
                image = worker.analyzed_image(rows[image_id], margin).float().div_(255)
            if image is None:
                worker.advance(unit)
            else:
                yield image_id, image

    return prefetched(images())


def chunks(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Consecutive pieces of at most `size` items."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def decode_saliency(row: Mapping[str, Any]) -> np.ndarray:
    """Saliency of a row of `maps`, uint8 `[C,H,W]` (read-only)."""
    return np.frombuffer(row["saliency"], np.uint8).reshape(row["saliency_shape"])


