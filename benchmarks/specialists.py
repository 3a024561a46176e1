"""Do specialists correct a network? Held-out gains of several ways to train them and to let them decide.

    for seed in 1 2 3 4; do visual-summaries summarize --images cub100 --model torchvision:mobilenet_v2 … \\
        --output runs/birds-$seed explain.explainer=grad-cam data.test=0.25 data.held_out=0.15 seed=$seed; done
    python benchmarks/specialists.py runs/birds-* --results results/ [--parts features]

reads finished runs, which differ in their seeds and with them in what they set aside. Machines are trained on the
photographs of the split `fit` and their strength is chosen on the split `held-out`; gains are over the split `test`:
accuracy together less accuracy alone, of all the network's classes ("all") and where the run's classes alone are asked
about ("own"). A photograph that several runs test counts once, with the mean of its gains. Every photograph is in one
of two halves by a hash of its name: a reader who chooses a way by the first half finds in the second what it is worth.
Intervals: bootstrap over photographs.

Decision values of each class:

- *summary*: the run's own, the highest of the linear machines of a class's summaries on features of the image
- *few negatives*: the same, told from one photograph of each other class
- *Platt*, *isotonic*: as *summary*, each machine's decision values turned into log odds on folds of its own photographs
- *class*: one machine for all photographs of the class, no summaries
- *probe*: multinomial logistic regression on the same features, no summaries
- *logits*: the same regression on the network's own logits of the run's classes: no features, no summaries
- *part* (with `--parts LAYER`): machines on the layer's activations averaged over the member's cells; in other
  photographs the window of three by three cells with the highest decision value counts, in training as in the test
- *image and part*: on both vectors, the window being the one that `part` chooses

*All photographs*: the three without summaries again, so that each of a run's photographs is tested once, by machines of
three fifths of them and a strength chosen on another fifth. A run that has no more than its table `images` will do.

How they decide together: *logarithmic* and *convex* as `specialists.fusion`; *top two*: logarithmic, but only between
the network's two best of the run's classes.

`--results` keeps a file for each run and goes on where it was interrupted.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from visual_summaries.pipeline.commands.stored import stored_run
from visual_summaries.pipeline.data.decode import read_image
from visual_summaries.pipeline.evaluate.intervals import mean_interval
from visual_summaries.pipeline.models.dense_features import dense_features, layers_of
from visual_summaries.pipeline.stages.classifier import classifier_of
from visual_summaries.pipeline.stages.fusion import stored_specialist
from visual_summaries.pipeline.store.tables import TableStore, digest
from visual_summaries.pipeline.summarize.mixtures import MIXTURES, Mixture
from visual_summaries.pipeline.summarize.regions import decode_run_length
from visual_summaries.pipeline.summarize.specialists import SpecializedClasses, normalized, train_specialist

WINDOW = 3
COMPONENTS = 250
FOLDS = 3
ROTATED = 5
SPLITS = ("held-out", "test")
WAY = "logarithmic"


class Run:
    """A finished run's photographs: N by their numbers, S classes by theirs; and its summaries' members."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        store = TableStore(folder)
        rows = [row for row in store.read_all("images").to_pylist() if row["features"] is not None]
        self.ids = [row["image_id"] for row in rows]
        self.uris = [row["uri"] for row in rows]
        self.classes = np.unique([row["class_index"] for row in rows])
        self.truth = np.searchsorted(self.classes, [row["class_index"] for row in rows])
        self.probabilities = np.stack([np.frombuffer(row["probabilities"], np.float32) for row in rows])
        self.features = normalized(np.stack([np.frombuffer(row["features"], np.float16) for row in rows]))
        splits = np.array([row["split"] for row in rows])
        self.at = {split: np.flatnonzero(splits == split) for split in ("fit", *SPLITS)}
        number, label = {image_id: at for at, image_id in enumerate(self.ids)}, {}
        for at, row in enumerate(rows):
            label[row["label"]] = self.truth[at]
        columns = ["label", "cluster", "summary", "kept"]
        kept = {
            (row["label"], row["cluster"]) for row in store.read_all("summaries", columns).to_pylist() if row["kept"]
        }
        self.members: dict[tuple[str, int], dict[int, Any]] = defaultdict(dict)
        for row in store.read_all("members", ["label", "cluster", "image_id", "segment", "side", "kept"]).to_pylist():
            if row["kept"] and (row["label"], row["cluster"]) in kept:
                self.members[row["label"], row["cluster"]][number[row["image_id"]]] = row["segment"], row["side"]
        self.class_of = {key: label[key[0]] for key in self.members}
        self.stored = [
            (label[row["label"]], stored_specialist(row)) for row in store.read_all("specialists").to_pylist()
        ]

    def sides(self) -> list[tuple[int, list[int], list[int]]]:
        """Class, positives and negatives of each summary, as the stage `specialize` has them."""
        of_class = defaultdict(set)
        for key, members in self.members.items():
            of_class[self.class_of[key]] |= set(members)
        found = []
        for key, members in self.members.items():
            own = self.class_of[key]
            others = [at for at in self.at["fit"] if self.truth[at] != own]
            found.append((own, list(members), [*sorted(of_class[own] - set(members)), *others]))
        return found


def highest(run: Run, judged: list[tuple[int, np.ndarray]]) -> np.ndarray:
    """The highest decision value of each class, `[N,S]`; −∞ for classes without a machine."""
    found = np.full((len(run.ids), len(run.classes)), -np.inf)
    for own, values in judged:
        found[:, own] = np.maximum(found[:, own], values)
    return found


def of_summaries(run: Run) -> np.ndarray:
    own = [[machine for at, machine in run.stored if at == number] for number in range(len(run.classes))]
    there = [number for number, machines in enumerate(own) if machines]
    found = np.full((len(run.ids), len(run.classes)), -np.inf)
    found[:, there] = SpecializedClasses([own[number] for number in there]).decisions(run.features)
    return found


def of_few_negatives(run: Run) -> np.ndarray:
    judged = []
    for own, positives, negatives in run.sides():
        first = {run.truth[at]: at for at in negatives}
        machine = train_specialist(run.features[positives], run.features[sorted(first.values())])
        judged.append((own, run.features @ machine.coefficients + machine.intercept))
    return highest(run, judged)


def of_classes(run: Run) -> np.ndarray:
    judged = []
    for own in range(len(run.classes)):
        positives, negatives = (run.at["fit"][(run.truth[run.at["fit"]] == own) == side] for side in (True, False))
        machine = train_specialist(run.features[positives], run.features[negatives])
        judged.append((own, run.features @ machine.coefficients + machine.intercept))
    return highest(run, judged)


def calibrated(method: str) -> Callable[[Run], np.ndarray]:
    """scikit-learn's calibration: decision values of `FOLDS` folds, of which each is not trained on."""

    def decisions(run: Run) -> np.ndarray:
        # All that the machines can tell of each photograph lies in the span of those that they are trained on.
        _, _, axes = np.linalg.svd(run.features[run.at["fit"]], full_matrices=False)
        features, judged = run.features @ axes.T, []
        for own, positives, negatives in run.sides():
            if len(positives) < FOLDS:
                continue
            truth = np.repeat([1, 0], [len(positives), len(negatives)])
            machine = LinearSVC(class_weight="balanced", max_iter=10_000, random_state=0)
            fitted = CalibratedClassifierCV(machine, method=method, cv=FOLDS, ensemble=False)
            fitted.fit(features[[*positives, *negatives]], truth)
            share = np.clip(fitted.predict_proba(features)[:, 1], 1e-3, 1 - 1e-3)
            judged.append((own, np.log(share / (1 - share))))
        return highest(run, judged)

    return decisions


def regression(run: Run, features: np.ndarray, strength: float) -> np.ndarray:
    fit = run.at["fit"]
    found = LogisticRegression(C=strength, max_iter=1000).fit(features[fit], run.truth[fit])
    decisions = np.full((len(run.ids), len(run.classes)), -np.inf)
    decisions[:, found.classes_] = found.decision_function(features)
    return decisions


def of_logits(run: Run) -> np.ndarray:
    return regression(run, np.log(run.probabilities[:, run.classes].astype(float) + 1e-12), 0.1)


def part_vectors(run: Run, layer: str) -> tuple[np.ndarray, dict[tuple[str, int], np.ndarray]]:
    """Of every photograph its windows `[N,W,D]`, of every summary its members `[P,D]`, in principal components."""
    classifier = classifier_of(stored_run(str(run.folder)).config)
    layers = layers_of(classifier, (layer,))
    cells, maps = layers[0].shape[-1], []
    for uri in run.uris:
        square = classifier.preprocessing.analyzed_image(read_image(uri).image)
        (one,) = dense_features(classifier, square[None].float() / 255, layers, grid=cells)
        maps.append(one[0].half())
    stacked = torch.stack(maps)
    windows = np.stack(
        [
            torch.nn.functional.avg_pool2d(one.float(), WINDOW, 1).flatten(1).T.numpy().astype(np.float32)
            for one in stacked
        ]
    )
    windows /= np.maximum(np.linalg.norm(windows, axis=2, keepdims=True), 1e-9)
    sample = windows[run.at["fit"], np.random.default_rng(0).integers(windows.shape[1], size=len(run.at["fit"]))]
    axes = np.linalg.svd(sample, full_matrices=False)[2][:COMPONENTS].T
    members = {}
    for key, own in run.members.items():
        vectors = []
        for at, (segment, side) in own.items():
            mask = torch.from_numpy(decode_run_length(segment, (side, side))).float()
            shares = torch.nn.functional.interpolate(mask[None, None], (cells, cells), mode="area")[0, 0]
            vectors.append((stacked[at].float() * shares).sum((1, 2)).numpy())
        members[key] = normalized(np.stack(vectors)) @ axes
    return windows @ axes, members


def of_parts(run: Run, layer: str) -> dict[str, np.ndarray]:
    windows, members = part_vectors(run, layer)
    everyone, judged = np.arange(len(run.ids)), defaultdict(list)
    generator = np.random.default_rng(0)
    for key, positives in members.items():
        own = run.class_of[key]
        others = np.array([at for at in run.at["fit"] if run.truth[at] != own])
        negatives = windows[others, generator.integers(windows.shape[1], size=len(others))]
        machine = _machine(positives, negatives)
        for _ in range(2):
            hardest = (windows[others] @ machine[0]).argmax(axis=1)
            negatives = np.concatenate([negatives, windows[others, hardest]])
            machine = _machine(positives, negatives)
        values = windows @ machine[0] + machine[1]
        judged["part"].append((own, values.max(axis=1)))
        both = np.concatenate([run.features, windows[everyone, values.argmax(axis=1)]], axis=1)
        weights, offset = _machine(both[list(run.members[key])], both[others])
        judged["image and part"].append((own, both @ weights + offset))
    return {name: highest(run, own) for name, own in judged.items()}


def _machine(positives: np.ndarray, negatives: np.ndarray) -> tuple[np.ndarray, float]:
    truth = np.repeat([1, 0], [len(positives), len(negatives)])
    machine = LinearSVC(class_weight="balanced", max_iter=10_000, random_state=0)
    machine.fit(np.concatenate([positives, negatives]), truth)
    return machine.coef_[0], machine.intercept_[0]


def between_the_first_two(run: Run, decisions: np.ndarray) -> np.ndarray:
    """Decision values that say nothing but of the network's two best classes of the run."""
    own = run.probabilities[:, run.classes]
    first = np.argsort(-own, axis=1)[:, :2]
    two = np.take_along_axis(decisions, first, axis=1)
    found = np.repeat(two.mean(axis=1, keepdims=True), decisions.shape[1], axis=1)
    np.put_along_axis(found, first, two, axis=1)
    return found


def gains(run: Run, decisions: np.ndarray, mixture: Mixture) -> dict[str, Any]:
    """Gains over the test photographs by id, with the strength and the loss, chosen on those held out."""
    there = np.isfinite(decisions).all(axis=0)
    classes, judged = run.classes[there], decisions[:, there]
    chosen, tested = (run.at[split] for split in SPLITS)
    truth = run.classes[run.truth]
    strength = mixture.best(mixture.costs(run.probabilities[chosen], judged[chosen], classes, truth[chosen]))
    before = run.probabilities[tested].astype(float)
    after = mixture.together(before, judged[tested], classes, strength)

    def right(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        among = probabilities[:, run.classes].argmax(axis=1)
        return probabilities.argmax(axis=1) == truth[tested], among == run.truth[tested]

    figures = zip(*right(before), *right(after), strict=True)
    return {
        "strengths": [strength],
        "photographs": {run.ids[at]: [float(one) for one in own] for at, own in zip(tested, figures, strict=True)},
    }


def rotated(run: Run, way: Callable[[Run], np.ndarray]) -> dict[str, Any]:
    """Gains over all photographs, each tested once, of a way without summaries: a fifth is held out, a fifth tests."""
    fold = np.array([int(digest(image_id, "fold"), 16) % ROTATED for image_id in run.ids])
    found: dict[str, Any] = {"strengths": [], "photographs": {}}
    for turn in range(ROTATED):
        held_out = (turn + 1) % ROTATED
        own = copy(run)
        own.at = {
            "fit": np.flatnonzero((fold != turn) & (fold != held_out)),
            "held-out": np.flatnonzero(fold == held_out),
            "test": np.flatnonzero(fold == turn),
        }
        one = gains(own, way(own), MIXTURES[WAY])
        found["strengths"] += one["strengths"]
        found["photographs"] |= one["photographs"]
    return found


def measured(folder: Path, layer: str | None) -> dict[str, Any]:
    run = Run(folder)
    ways: dict[str, Callable[[Run], np.ndarray]] = {
        "summary": of_summaries,
        "summary, few negatives": of_few_negatives,
        "summary, Platt": calibrated("sigmoid"),
        "summary, isotonic": calibrated("isotonic"),
        "class": of_classes,
        "probe": lambda run: regression(run, run.features, 10.0),
        "logits": of_logits,
    }
    found: dict[str, np.ndarray] = {}
    for name, way in ways.items():
        if name.startswith("summary") and not run.stored:
            continue
        start = time.process_time()
        found[name] = way(run)
        print(f"{folder.name}: {name}, {time.process_time() - start:.1f} s", flush=True)
    if layer and run.stored:
        start = time.process_time()
        found |= of_parts(run, layer)
        print(f"{folder.name}: parts, {time.process_time() - start:.1f} s", flush=True)
    together: dict[str, Any] = {}
    for name, decisions in found.items():
        for mixture in MIXTURES:
            together[f"{name} | {mixture}"] = gains(run, decisions, MIXTURES[mixture])
        if name.startswith("summary"):
            finite = np.where(np.isfinite(decisions), decisions, decisions[np.isfinite(decisions)].min())
            top = gains(run, between_the_first_two(run, finite), MIXTURES[WAY])
            together[f"{name} | top two"] = top
    for name in ("class", "probe", "logits"):
        together[f"{name}, all photographs | {WAY}"] = rotated(run, ways[name])
    return together


def printed(files: list[Path]) -> None:
    runs = [json.loads(file.read_text()) for file in files]
    columns = ["decision values", "together", "strength", "n", "all: corrected, spoiled", "gain, points", "first half"]
    columns += ["second half", "own: corrected, spoiled", "gain, points"]
    print(f"\n| {' | '.join(columns)} |\n|---|---|{'--:|' * (len(columns) - 2)}")
    for way in dict.fromkeys(way for run in runs for way in run):
        there = [run[way] for run in runs if way in run]
        own = defaultdict(list)
        for one in there:
            for image_id, figures in one["photographs"].items():
                own[image_id].append(figures)
        each = np.array([np.mean(own[image_id], axis=0) for image_id in sorted(own)])
        half = np.array([int(digest(image_id, "half"), 16) % 2 for image_id in sorted(own)])
        gained, among = each[:, 2] - each[:, 0], each[:, 3] - each[:, 1]
        strengths = dict.fromkeys(f"{strength:.2g}" for one in there for strength in one["strengths"])
        cells = [*way.split(" | "), ", ".join(strengths), str(len(each)), _counts(gained), _points(gained)]
        cells += [_points(gained[half == side]) for side in (0, 1)]
        print(f"| {' | '.join([*cells, _counts(among), _points(among)])} |")
        alone = f"{each[:, 0].mean():.1%} of all classes, {each[:, 1].mean():.1%} of the run's"
    print(f"\nThe network alone, on the {len(each)} photographs of the last row: {alone}")


def _counts(gained: np.ndarray) -> str:
    return f"{gained[gained > 0].sum():.3g}, {abs(gained[gained < 0].sum()):.3g}"


def _points(gained: np.ndarray) -> str:
    mean, low, high = (100 * value for value in mean_interval(gained))
    return f"{mean:+.1f} ({low:+.1f} – {high:+.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--results", type=Path, required=True, help="folder of a file for each run")
    parser.add_argument("--parts", metavar="LAYER", help="layer with a map whose activations describe parts")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.results.mkdir(parents=True, exist_ok=True)
    files = []
    for folder in options.runs:
        files.append(options.results / f"{folder.name}.json")
        if not files[-1].exists():
            found = json.dumps(measured(folder, options.parts))
            unfinished = files[-1].with_suffix(".part")
            unfinished.write_text(found)
            unfinished.rename(files[-1])
    printed(files)


if __name__ == "__main__":
    main()
