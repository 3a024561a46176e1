"""What one GPU does a second, without Ray: crisp masks on ResNet-50, FGVis, the CAMs, matching; ten minutes in all.

    python benchmarks/gpu.py --weights resnet50.safetensors        # random weights and images where none are given
    python benchmarks/gpu.py --device cpu --smoke                  # the program itself, tiny, on a processor

With VISUAL_SUMMARIES_DATA there are also rows on real photographs, whose quality means something. The quality columns:
the fall of the score when the mask, cut at 0.5, is blurred away, the area of that mask, and 4m(1−m). "Device waits":
the share of the time of some steps in which no kernel runs, so that the host is the bottleneck. Each row has its share
of the minutes; one that does not fit says so. Prints Markdown.
"""

import argparse
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from visual_summaries.pipeline.explain.crisp import binarization_error
from visual_summaries.pipeline.explain.engine import Engine, Item, OptimizingExplainer, explain_stream
from visual_summaries.pipeline.explain.fgvis import FGVis
from visual_summaries.pipeline.explain.fgvis_settings import FGVisSettings
from visual_summaries.pipeline.explain.interface import Explanation, LogitsFunction, target_scores
from visual_summaries.pipeline.explain.perturbation import PERTURBATIONS
from visual_summaries.pipeline.explain.registry import EXPLAINERS, make_explainer
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.loading import load_classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier, use_precision
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.settings import ModelSettings
from visual_summaries.pipeline.summarize.neighbors import all_pairs
from visual_summaries.pipeline.summarize.pair_scores import match_pairs
from visual_summaries.pipeline.summarize.similarity import ImageProposals

PRECISIONS = ("float32", "tf32", "bfloat16")
CAMS = ("cam", "grad-cam", "grad-cam++", "smooth-grad-cam++")
REAL = ("mobilenet_v2", "squeezenet1_1")
CRISP_COLUMNS = (
    "network", "precision", "batch", "images / s", "passes / s", "passes an image", "of bf16 peak", "peak GB",
    "device waits", "drop, binarized", "area, binarized", "4m(1−m)",
)  # fmt: skip
OTHER_COLUMNS = ("what", "precision", "batch", "a second", "peak GB", "")
DESCRIPTOR = 1984
PROFILED_STEPS = 20


@dataclass(frozen=True)
class Scale:
    """How much is measured: on a GPU, or to try the program."""

    network: str = "torchvision:resnet50"
    side: int = 224
    batches: tuple[int, ...] = (64, 128, 256, 512)
    other_batch: int = 256
    real_batch: int = 64
    proposals: int = 500
    pictures: int = 24
    fgvis: FGVisSettings = field(default_factory=FGVisSettings)
    matrix: int = 8192
    waves: int = 4


SMOKE = Scale("gpu:tiny_network", 32, (2,), 2, 2, 40, 4, FGVisSettings(iterations=4), 64, 1)


def tiny_network() -> tuple[nn.Module, Preprocessing]:
    """What the program is tried with: two convolutions, global average pooling, a linear layer of 1,000 classes."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 5, 2, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1000)]
    return nn.Sequential(*layers, *head), Preprocessing(resize_side=32, crop_side=32)


class OutOfTime(Exception):
    """The row's share of the minutes is over."""


class Enough(Exception):
    """As many steps as are profiled have been taken."""


@dataclass(frozen=True)
class Row:
    """A line of a table: what its first cells say, its share of the time, and what measures the others."""

    table: str
    labels: tuple[str, ...]
    share: float
    measure: Callable[[float], Sequence[str]]


@dataclass(frozen=True)
class Stream:
    """What became of a stream of images.

    Attributes:
        found: explanations by number of the image.
        seconds: of all of them.
        fits: images that were in memory at once.
    """

    found: dict[int, Explanation]
    seconds: float
    fits: int

    @property
    def passes(self) -> int:
        return sum(int(explanation.iterations) for explanation in self.found.values())


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def optimized(
    explainer: OptimizingExplainer,
    classifier: LogitsFunction,
    images: Tensor,
    targets: Sequence[int],
    size: int,
    seconds: float,
    waves: int,
) -> Stream:
    """Explain `images` `[n,3,S,S]` over and over in batches of `size`: at least once, and further as time allows.

    Raises:
        OutOfTime: not even `size` of them were done in these seconds.
    """
    device = classifier.device
    synchronize(device)
    started = time.perf_counter()

    def items() -> Iterator[Item]:
        for number in range(waves * size):
            elapsed = time.perf_counter() - started
            if number and number % size == 0 and elapsed * (1 + size / number) > seconds:
                return
            generator = torch.Generator(device=device).manual_seed(number)
            yield Item(number, images[number % len(images)], targets[number % len(images)], generator)

    def watch(work: float) -> None:
        # A wave that has begun may end; a row that goes over twice its time may not.
        if time.perf_counter() - started > 2 * seconds:
            raise OutOfTime

    engine = Engine(explainer.method(), classifier, device, size)
    found = dict(engine.run(items(), watch))
    synchronize(device)
    return Stream(found, time.perf_counter() - started, engine.capacity.size)


def waiting_share(
    explainer: OptimizingExplainer, classifier: LogitsFunction, images: Tensor, targets: Sequence[int], size: int
) -> float:
    """Share of the time of `PROFILED_STEPS` steps (after three) in which the device does nothing."""
    device = classifier.device
    kind = torch.profiler.ProfilerActivity.CUDA if device.type == "cuda" else torch.profiler.ProfilerActivity.CPU
    profile = torch.profiler.profile(activities=[kind])
    calls, moments = itertools.count(1), []

    def watch(work: float) -> None:
        call = next(calls)
        if call == 3:
            synchronize(device)
            profile.start()
            moments.append(time.perf_counter())
        elif call == 3 + PROFILED_STEPS:
            raise Enough

    numbers = range(size)
    items = [Item(n, images[n % len(images)], targets[n % len(images)], _generator(n, device)) for n in numbers]
    try:
        for _ in Engine(explainer.method(), classifier, device, size).run(items, watch):
            pass
    except Enough:
        synchronize(device)
    else:
        raise ValueError(f"{explainer} ended before its step {3 + PROFILED_STEPS}: there is nothing to profile")
    wall = time.perf_counter() - moments[0]
    profile.stop()
    wanted = torch.autograd.DeviceType.CUDA if device.type == "cuda" else torch.autograd.DeviceType.CPU
    ranges = [(one.time_range.start, one.time_range.end) for one in profile.events() if one.device_type == wanted]
    return max(0.0, 1 - covered(ranges) / 1e6 / wall)


def covered(ranges: Sequence[tuple[float, float]]) -> float:
    """Length of the union of these intervals."""
    total, reached = 0.0, -float("inf")
    for start, end in sorted(ranges):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def quality(classifier: LogitsFunction, images: Tensor, targets: Sequence[int], stream: Stream) -> list[str]:
    """Mean drop and area of the masks binarized at 0.5, and their 4m(1−m), each image once."""
    drops, areas, errors = [], [], []
    numbers = [number for number in sorted(stream.found) if number < len(images)]
    perturbation = PERTURBATIONS["authors"]
    for first in range(0, len(numbers), 64):
        some = numbers[first : first + 64]
        saliency = torch.cat([stream.found[number].saliency for number in some])
        seen = images[some].to(saliency)
        wanted = torch.tensor([targets[number] for number in some], device=saliency.device)
        binary = (saliency > 0.5).to(seen)
        with torch.no_grad():
            before = target_scores(classifier, seen, wanted)
            after = target_scores(classifier, perturbation.apply(perturbation.prepare(seen), 1 - binary), wanted)
        drops.append((before - after) / before)
        areas.append(binary.mean(dim=(1, 2, 3)))
        errors.append(binarization_error(saliency))
    drop, area, error = (float(torch.cat(values).mean()) for values in (drops, areas, errors))
    return [f"{100 * drop:.1f} %", f"{area:.3f}", f"{error:.4f}"]


def matrix_peak(device: torch.device, side: int) -> float:
    """Measured floating-point operations per second of a product of two square bfloat16 matrices."""
    left = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    for _ in range(5):
        left @ left
    synchronize(device)
    started = time.perf_counter()
    for _ in range(20):
        left @ left
    synchronize(device)
    return 20 * 2 * side**3 / (time.perf_counter() - started)


class Bench:
    """The rows of the tables and what they have in common."""

    def __init__(self, preset: str, weights: str | Path | None, device: torch.device, scale: Scale) -> None:
        self.explainer = make_explainer("crisp", preset)
        self.preset, self.device, self.scale, self.weights = preset, device, scale, weights
        generator = torch.Generator().manual_seed(0)
        self._peak: float | None = None
        self._prepared: dict[tuple[str, str], PreparedClassifier] = {}
        self._classifiers: dict[str, Classifier] = {}
        self.name = scale.network.rpartition(":")[2]
        self.images = torch.rand(max(scale.batches), 3, scale.side, scale.side, generator=generator)
        self.targets = [number % 1000 for number in range(len(self.images))]

    def rows(self, data: bool) -> list[Row]:
        """All rows, the most wanted first."""
        scale = self.scale
        rows = [
            Row("crisp", (self.name, precision, str(size)), 3.0, lambda s, p=precision, b=size: self.crisp(p, b, s))
            for size in scale.batches
            for precision in reversed(PRECISIONS)
        ]
        batch = scale.other_batch
        for name in CAMS:
            labels = (name, "float32", str(batch))
            rows.append(Row("other", labels, 0.7, lambda seconds, name=name: self.cam(name, seconds)))
        pairs = f"matching, image pairs, {scale.proposals} proposals"
        rows.append(Row("other", (pairs, "float32", "–"), 1.0, lambda seconds: self.matching(self.device, seconds)))
        rows.append(
            Row("other", (f"{pairs}, a processor's thread", "float32", "–"), 0.7,
                lambda seconds: self.matching(torch.device("cpu"), seconds))
        )  # fmt: skip
        rows.append(Row("other", ("fgvis, images", "float32", str(batch)), 4.0, self.fgvis))
        for name in REAL if data else ():
            for precision in ("float32", "bfloat16"):
                labels = (f"{name}, photographs", precision, str(scale.real_batch))
                rows.append(Row("crisp", labels, 2.0, lambda s, n=name, p=precision: self.photographs(n, p, s)))
        return rows

    def prepared(self, network: str, precision: str, weights: str | Path | None) -> PreparedClassifier:
        """A network ready for its passes; PyTorch is set to the precision."""
        use_precision(precision)
        key = (network, precision)
        if key not in self._prepared:
            if network not in self._classifiers:
                self._classifiers[network] = load_classifier(network, weights).to(self.device)
            self._prepared[key] = PreparedClassifier(self._classifiers[network], precision)
        return self._prepared[key]

    def crisp(self, precision: str, size: int, seconds: float) -> list[str]:
        """The crisp preset on images of noise."""
        prepared = self.prepared(self.scale.network, precision, self.weights)
        return self._measured(prepared, self.images, self.targets, size, seconds)

    def photographs(self, name: str, precision: str, seconds: float) -> list[str]:
        """The crisp preset on photographs that the network classifies correctly."""
        from photographs import correct_photographs, data_directory

        weights = data_directory() / "weights" / f"{name}.safetensors"
        prepared = self.prepared(f"torchvision:{name}", precision, weights)
        chosen = correct_photographs(load_classifier(f"torchvision:{name}", weights), self.scale.real_batch)
        images = torch.stack([photograph.image for photograph in chosen])
        return self._measured(prepared, images, [one.target for one in chosen], len(images), seconds)

    def _measured(
        self, prepared: PreparedClassifier, images: Tensor, targets: Sequence[int], size: int, seconds: float
    ) -> list[str]:
        from torch.utils.flop_counter import FlopCounterMode

        self._peak = self._peak or matrix_peak(self.device, self.scale.matrix)
        with FlopCounterMode(display=False) as counter:
            self._pass(prepared, images[:1])
        for _ in range(2):
            self._pass(prepared, images[:size])
        waits = waiting_share(self.explainer, prepared, images, targets, size)
        self._forget_peak()
        stream = optimized(self.explainer, prepared, images, targets, size, seconds, self.scale.waves)
        share = counter.get_total_flops() * stream.passes / stream.seconds / self._peak
        count = len(stream.found)
        return [
            f"{count / stream.seconds:.1f}" + (f" (no more than {stream.fits} fit)" if stream.fits < size else ""),
            f"{stream.passes / stream.seconds:.0f}",
            f"{stream.passes / count:.0f}",
            f"{share:.1%}",
            self._peak_memory(),
            # On a processor host and device are the same.
            f"{waits:.0%}" if self.device.type == "cuda" else "–",
            *quality(prepared, images, targets, stream),
        ]

    def _pass(self, prepared: PreparedClassifier, images: Tensor) -> None:
        seen = images.to(self.device).requires_grad_(True)
        torch.autograd.grad(prepared.logits(seen).sum(), seen)

    def fgvis(self, seconds: float) -> list[str]:
        """Deletion game of FGVis."""
        prepared = self.prepared(self.scale.network, "float32", self.weights)
        explainer, size = FGVis(self.scale.fgvis), self.scale.other_batch
        self._forget_peak()
        stream = optimized(explainer, prepared, self.images, self.targets, size, seconds, self.scale.waves)
        count = len(stream.found)
        note = f"{stream.passes / count:.0f} passes an image"
        return [f"{count / stream.seconds:.1f}", self._peak_memory(), note]

    def cam(self, name: str, seconds: float) -> list[str]:
        """A CAM, images that are on the host at first."""
        prepared, size = self.prepared(self.scale.network, "float32", self.weights), self.scale.other_batch
        explainer = make_explainer(name)

        def some() -> Iterator[Item]:
            for number in range(size):
                yield Item(number, self.images[number % len(self.images)], number, _generator(number, self.device))

        def once() -> int:
            return sum(1 for _ in explain_stream(explainer, prepared, some(), self.device, size))

        self._forget_peak()
        speed = self._speed(once, seconds)
        return [f"{speed:.1f}", self._peak_memory(), f"{explainer.passes} passes an image"]

    def matching(self, device: torch.device, seconds: float) -> list[str]:
        """Local offset matching of random proposals, a fifth of them on the masks."""
        generator = torch.Generator().manual_seed(1)
        images = []
        for _ in range(self.scale.pictures):
            corners = torch.rand(self.scale.proposals, 2, generator=generator) * 160
            sizes = 16 + torch.rand(self.scale.proposals, 2, generator=generator) * 48
            features = torch.randn(self.scale.proposals, DESCRIPTOR, generator=generator)
            on_mask = (torch.arange(self.scale.proposals) % 5 == 0).numpy()
            boxes = torch.cat([corners, corners + sizes], dim=1)
            images.append(ImageProposals(boxes.to(device), features.to(device), on_mask))
        pairs = [tuple(pair) for pair in all_pairs(len(images)).tolist()]
        self._forget_peak()
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            speed = self._speed(lambda: len(match_pairs(images, pairs, device=device).blocks), seconds)
        finally:
            torch.set_num_threads(threads)
        note = "random proposals" if device.type == "cpu" else "random proposals; a run's stage takes processors"
        return [f"{speed:.1f}", self._peak_memory() if device == self.device else "–", note]

    def _speed(self, once: Callable[[], int], seconds: float) -> float:
        """Things a second, of calls that give how many they did; the first does not count unless it takes too long."""
        started = time.perf_counter()
        count = once()
        synchronize(self.device)
        taken = time.perf_counter() - started
        if 2 * taken > seconds or self.scale.waves == 1:
            return count / taken
        count, started = 0, time.perf_counter()
        while count == 0 or (time.perf_counter() - started) < 0.5 * seconds - taken:
            count += once()
            synchronize(self.device)
        return count / (time.perf_counter() - started)

    def _forget_peak(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def _peak_memory(self) -> str:
        return f"{torch.cuda.max_memory_allocated() / 1e9:.1f}" if self.device.type == "cuda" else "–"


def _generator(number: int, device: torch.device) -> torch.Generator:
    return torch.Generator(device=device).manual_seed(number)


def measured(rows: Sequence[Row], seconds: float | None) -> tuple[list[tuple[Row, list[str]]], bool]:
    """Measure the rows in this time, or none of them; what they say, and whether all could be measured that fitted.

    What a row leaves of its share goes to those after it.
    """
    said, well, started = [], True, time.perf_counter()
    for number, row in enumerate(rows):
        left = (seconds or 0.0) - (time.perf_counter() - started)
        share = left * row.share / sum(one.share for one in rows[number:])
        try:
            if seconds is None:
                cells = ["not measured"]
            elif left <= 0:
                raise OutOfTime
            else:
                # Loading, profiling and the quality take their part.
                cells = list(row.measure(0.6 * share))
        except OutOfTime:
            cells = ["not measured (time)"]
        except torch.OutOfMemoryError:
            cells = ["not measured (out of memory)"]
        except Exception as error:  # What the GPU was lent for must not be lost with one row.
            well, cells = False, [f"not measured ({type(error).__name__}: {str(error).splitlines()[0]})"]
        said.append((row, cells))
        print(f"{time.perf_counter() - started:5.0f} s: {', '.join(row.labels)}: {cells[0]}", file=sys.stderr)
    return said, well


def tables(said: Sequence[tuple[Row, list[str]]]) -> str:
    """The tables in Markdown."""
    lines = []
    for name, columns in (("crisp", CRISP_COLUMNS), ("other", OTHER_COLUMNS)):
        lines += ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
        for row, cells in said:
            if row.table == name:
                full = [*row.labels, *cells]
                lines.append("| " + " | ".join(full + [""] * (len(columns) - len(full))) + " |")
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    """Read the command line and measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default=EXPLAINERS["crisp"].preset, help="of the crisp masks (%(default)s)")
    parser.add_argument("--weights", default="random", help="of ResNet-50; default: random")
    parser.add_argument("--minutes", type=float, default=10.0, help="in all (default: 10)")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to try the program")
    arguments = parser.parse_args()
    began = time.perf_counter()
    there = arguments.device == "cpu" or torch.cuda.is_available()
    device = torch.device(arguments.device if there else "cpu")
    scale = SMOKE if arguments.smoke else Scale()
    data = bool(os.environ.get("VISUAL_SUMMARIES_DATA")) and not arguments.smoke
    weights = ModelSettings(weights=arguments.weights).weights_or_file
    bench = Bench(arguments.preset, None if arguments.smoke else weights, device, scale)
    seconds = 60 * arguments.minutes - (time.perf_counter() - began) if there else None
    said, well = measured(bench.rows(data), seconds)
    if there:
        name = torch.cuda.get_device_name() if device.type == "cuda" else "processor"
        peak = f"; bf16 matrix peak {bench._peak / 1e12:.1f} TFLOP/s" if bench._peak else ""
        print(f"{name}, PyTorch {torch.__version__}{peak}; preset {arguments.preset}")
    else:
        print("No GPU here, so nothing was measured: run this where PyTorch finds one.")
    noise = "" if arguments.weights != "random" else "random weights and "
    print(f"{bench.name}: {noise}images of noise, whose quality columns mean nothing.\n")
    print(tables(said))
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
