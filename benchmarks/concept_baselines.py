"""Ours beside other ways to the concepts of a class, on the demo set and on birds: right, pure, found again?

    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/concept_baselines.py demo birds --masks masks/ --images 14 \\
        --results results.jsonl

The methods are those of benchmarks/concept_methods.py, and `ours`: `class_parts.find_parts`. Every method gets the same
images, those that the network names rightly and in which something is salient; only ours gets the masks, from
`masks/demo` and `masks/birds` (as benchmarks/part_factors.py keeps them; those that are missing are made). The others'
thresholds and crops are the best for them on the demo set, of three or so tried.

- *Precision, recall, F1* (demo): distinct discriminative parts, of which the true boxes are known. A summary is a part
  where the median overlap of its members' boxes is at least .5; each part counts once.
- *Purity gain* (birds): share of a summary's members whose boxes' middles are nearest to the same landmark, left and
  right taken as one, less that of random boxes of the same sizes around salient pixels of the same images.
- *Landmarks* (birds): how many different ones a class's summaries are named by.
- *Box area*: as a share of the image; a large box is easily found again. *Support*: images with a member.
- *Found again*: share of the summaries that another seed, or 80 % of the images, gives again: boxes overlap by at least
  .5 in half of the common images. Factorizations start from the singular value decomposition and Grad-CAM draws
  nothing, so that a seed changes little there.
- *Seconds*: processor time an image for one run, without the masks and features that ours needs, and without the crops
  where the row before has the same ones.

Intervals: bootstrap over the classes. `--results` keeps a line for each class and method and goes on where it was
interrupted; take a method's lines out after a change to it.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import concept_methods as methods
import numpy as np
import torch
from annotated_photographs import BIRDS, whole_image_network
from part_factors import ClassImages, bird_classes, demo_classes, look_at, purity_gain, true_parts
from photographs import machine

from visual_summaries.pipeline.data.parts import read_parts
from visual_summaries.pipeline.evaluate.intervals import mean_interval
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.loading import load_classifier
from visual_summaries.pipeline.models.preparation import keep_freed_memory
from visual_summaries.pipeline.summarize.candidates import Candidate
from visual_summaries.pipeline.summarize.class_parts import find_parts
from visual_summaries.pipeline.summarize.resampling import Rerun, found_again

Method = Callable[[Classifier, ClassImages], Rerun]


def ours(classifier: Classifier, own: ClassImages) -> Rerun:
    def rerun(numbers: np.ndarray, seed: int) -> list[Candidate]:
        return [one.candidate for one in find_parts(own.features[numbers], own.masks[numbers], seed=seed).summaries]

    return rerun


def _peer(method: Callable[..., Rerun], **settings: object) -> Method:
    return lambda classifier, own: method(classifier, own.images, own.target, **settings)


METHODS: dict[str, Method] = {
    "ours": ours,
    "CRAFT, 10 concepts": _peer(methods.craft),
    "CRAFT, the 5 most important of 10": _peer(methods.craft, most=5),
    "CRAFT, 10 concepts, crops of half the side": _peer(methods.craft, patch=0.5),
    "factors of the last map, k = 6": _peer(methods.factorized_maps, k=6),
    "factors of the last map, k = 10": _peer(methods.factorized_maps, k=10),
    "factors of the next finer map, k = 6": _peer(methods.factorized_maps, level=1, k=6),
    "factors of the next finer map, k = 10": _peer(methods.factorized_maps, level=1, k=10),
    "Grad-CAM box": _peer(methods.grad_cam_box),
}


def with_evidence(own: ClassImages) -> None:
    """Leave out the images in which nothing is salient."""
    kept = np.flatnonzero(own.masks.any(axis=(1, 2)))
    own.paths, own.landmarks = [own.paths[number] for number in kept], [own.landmarks[number] for number in kept]
    own.images, own.masks, own.features = own.images[kept], own.masks[kept], own.features[kept]


def measure(
    method: Method, classifier: Classifier, own: ClassImages, truth: dict | None, resamples: int
) -> dict[str, float]:
    """The figures of one method in one class; NaN where there is no summary."""
    count, side = len(own.paths), own.images.shape[-1]
    started = time.process_time()
    rerun = method(classifier, own)
    found = list(rerun(np.arange(count), 0))
    figures = {"seconds": (time.process_time() - started) / count, "summaries": len(found)}
    areas = [(one.boxes[:, 2:] - one.boxes[:, :2]).prod(axis=1).mean() / side**2 for one in found]
    support = [len(one) / count for one in found]
    figures |= {"area": _mean(areas), "support": _mean(support), "first three": _mean(support[:3])}
    figures["other seed"] = _mean(found_again(found, rerun, count, resamples=1, share=1.0, seed=1))
    figures["80 %"] = _mean(found_again(found, rerun, count, resamples))
    if truth is None:
        purities = [purity_gain(own, one) for one in found]
        figures["purity"] = _mean([value for value, _, _ in purities])
        figures["gain"] = _mean([value - chance for value, chance, _ in purities])
        figures["landmarks"] = len({name for _, _, name in purities} - {""})
    else:
        summaries = [SimpleNamespace(candidate=one) for one in found]
        _, figures["parts"], figures["found"] = true_parts(own, summaries, truth)
    return figures


def _mean(values: Sequence[float] | np.ndarray) -> float:
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else float("nan")


def part_scores(counts: np.ndarray) -> np.ndarray:
    """Precision, recall and F1 `[…,3]` of counts `[…,C,3]`: each class's summaries, parts, and parts found."""
    summaries, parts, found = np.moveaxis(np.asarray(counts, dtype=float).sum(axis=-2), -1, 0)
    precision, recall = found / np.maximum(summaries, 1), found / np.maximum(parts, 1)
    return np.stack([precision, recall, 2 * precision * recall / np.maximum(precision + recall, 1e-12)], axis=-1)


def part_intervals(counts: np.ndarray, samples: int = 2000) -> np.ndarray:
    """Precision, recall and F1 with their intervals over classes: `[3,3]`, each with low and high."""
    drawn = np.random.default_rng(0).integers(len(counts), size=(samples, len(counts)))
    low, high = np.quantile(part_scores(np.asarray(counts)[drawn]), [0.025, 0.975], axis=0)
    return np.stack([part_scores(counts), low, high], axis=-1)


@dataclass(frozen=True)
class Results:
    """Figures of classes and methods, kept in a file of a JSON object a line where there is one."""

    rows: list[dict]
    file: Path | None

    @classmethod
    def read(cls, file: Path | None) -> "Results":
        lines = file.read_text().splitlines() if file and file.exists() else []
        return cls([json.loads(line) for line in lines], file)

    def add(self, row: dict) -> None:
        self.rows.append(row)
        if self.file:
            with open(self.file, "a") as file:
                file.write(json.dumps(row) + "\n")

    def of(self, **key: object) -> list[dict]:
        return [row for row in self.rows if all(row[name] == value for name, value in key.items())]


COLUMNS = (
    "set", "method", "classes", "summaries a class", "precision", "recall", "F1", "purity gain", "purity",
    "landmarks", "box area", "support", "first three", "found again: other seed", "80 %", "seconds",
)


def table_line(name: str, method: str, rows: list[dict]) -> str:
    """One method's line of the table."""

    def mean(figure: str, interval: bool = True) -> str:
        values = np.array([row.get(figure, np.nan) for row in rows], dtype=float)
        values = values[np.isfinite(values)]
        return _cell(mean_interval(values, 0), interval) if len(values) else ""

    scores = [""] * 3
    if "parts" in rows[0]:
        counts = np.array([[row["summaries"], row["parts"], row["found"]] for row in rows])
        scores = [_cell(score) for score in part_intervals(counts)]
    cells = [
        name, method, str(len(rows)), mean("summaries", False), *scores, mean("gain"), mean("purity", False),
        mean("landmarks", False), mean("area", False), mean("support"), mean("first three"), mean("other seed"),
        mean("80 %"), mean("seconds", False),
    ]
    return f"| {' | '.join(cells)} |"


def _cell(values: Sequence[float] | np.ndarray, interval: bool = True) -> str:
    value, low, high = values
    return f"{value:.2f} ({low:.2f}–{high:.2f})" if interval else f"{value:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="+", choices=("demo", "birds"))
    parser.add_argument("--masks", type=Path, required=True, help="folder of the sets' folders of masks")
    parser.add_argument("--explainer", nargs="+", default=["crisp", "robust"], help="for masks that are missing")
    parser.add_argument("--images", type=int, default=14, help="a species, at most")
    parser.add_argument("--demo-images", type=int, default=30, help="a class of the demo set")
    parser.add_argument("--species", type=int, default=20, help="at most")
    parser.add_argument("--resamples", type=int, default=5, help="of 80 %% of the images")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--results", type=Path, help="file of the figures of each class and method")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    results = Results.read(arguments.results)
    keys: list[dict] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.sets:
            truth, images = None, arguments.images
            if name == "demo":
                classifier, images = load_classifier("demo"), arguments.demo_images
                classes = demo_classes(Path(folder), classifier, images)
                truth = read_parts(Path(folder) / "parts.csv")
            else:
                classifier, classes = whole_image_network(BIRDS), bird_classes(None)[: arguments.species]
            key = {"set": name, "images": images, "resamples": arguments.resamples}
            keys.append(key)
            for own in classes:
                missing = [
                    method for method in arguments.methods if not results.of(**key, method=method, label=own.label)
                ]
                if not missing:
                    continue
                own.paths, own.landmarks = own.paths[:images], own.landmarks[:images]
                look_at(classifier, own, arguments.masks / name, arguments.explainer, mirrored=True)
                with_evidence(own)
                for method in missing:
                    figures = measure(METHODS[method], classifier, own, truth, arguments.resamples)
                    results.add({**key, "method": method, "label": own.label, **figures})
                # Features are large, and the next class needs none of them.
                own.images, own.masks, own.features = torch.empty(0), np.empty(0), np.empty(0)
    print(machine())
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for key in keys:
        for method in arguments.methods:
            if rows := results.of(**key, method=method):
                print(table_line(key["set"], method, rows))


if __name__ == "__main__":
    main()
