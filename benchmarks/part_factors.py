"""Parts of classes from the classifier's own features, given masks: how many, how much they account for, how pure.

    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/part_factors.py demo --masks masks/
    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/part_factors.py birds --masks masks/ --images 14
    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/part_factors.py photos --network mobilenet_v2 --masks masks/
        --classes n01531178 n03452741 --sheets sheets/

`--masks` names a folder with one `<class>__<file>.npz` an image: `correct`, whether the network names the class, and
`saliency` `[S,S]` uint8. Masks that are missing are made with `--explainer` and kept there.

Purity: the share of a summary's members whose boxes' middles are nearest to the same landmark, left and right taken as
one, against random boxes of the same sizes around salient pixels of the same images. On the demo set, whose parts
have true boxes, a summary is a part where the median overlap of its members' boxes is at least .5; each part counts
once, and each summary for one part. With `--resamples` a class's summaries are made from three seeds; found again is
the share of those of one seed that are among those of another, and among those of random 80 % of the images.
"""

import argparse
import csv
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from annotated_photographs import BIRDS, birds, whole_image_network
from photographs import data_directory, machine
from PIL import Image, ImageDraw

from visual_summaries.pipeline.data.decode import read_image
from visual_summaries.pipeline.data.demo.scenes import CLASS_NAMES, write_demo_set
from visual_summaries.pipeline.data.parts import read_parts
from visual_summaries.pipeline.evaluate.intervals import mean_interval
from visual_summaries.pipeline.evaluate.landmark_purity import landmark_purity, without_sides
from visual_summaries.pipeline.evaluate.part_truth import found_parts, part_overlaps
from visual_summaries.pipeline.explain.registry import make_explainer
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.dense_features import dense_features, layers_of
from visual_summaries.pipeline.models.loading import load_classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier
from visual_summaries.pipeline.summarize.candidates import Candidate, cell_shares
from visual_summaries.pipeline.summarize.cell_features import fit_basis
from visual_summaries.pipeline.summarize.class_parts import PartSettings, find_parts, remaking
from visual_summaries.pipeline.summarize.part_selection import Judged, Selection, SelectionSettings
from visual_summaries.pipeline.summarize.resampling import Rerun, found_again, same_part

DEMO_OVERLAP = 0.5
TILE = 112


@dataclass
class ClassImages:
    """One class: image files with their landmarks in pixels of the analyzed square, then what was computed."""

    label: str
    target: int
    paths: list[Path]
    landmarks: list[dict[str, tuple[float, float]]]
    images: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    masks: np.ndarray = field(default_factory=lambda: np.empty(0))
    features: np.ndarray = field(default_factory=lambda: np.empty(0))


def photo_classes(folders: list[str] | None, side: int) -> list[ClassImages]:
    data = data_directory()
    marks: dict[tuple[str, str], dict[str, tuple[float, float]]] = defaultdict(dict)
    with open(data / "localization/photo_landmarks.csv", newline="") as file:
        for row in csv.DictReader(file):
            if row["visible"] == "1":
                marks[row["folder"], row["file"]][row["part"]] = (float(row["x"]), float(row["y"]))
    with open(data / "photos/classes.csv", newline="") as file:
        indices = {row["folder"]: int(row["class_index"]) for row in csv.DictReader(file)}
    found = []
    for folder in folders or sorted(indices):
        paths = sorted((data / "photos" / folder).iterdir())
        landmarks = []
        for path in paths:
            own = marks[folder, path.name]
            height, width = read_image(str(path)).image.shape[:2] if own else (1, 1)
            landmarks.append({part: (x * side / width, y * side / height) for part, (x, y) in own.items()})
        found.append(ClassImages(folder, indices[folder], paths, landmarks))
    return found


def bird_classes(species: list[str] | None) -> list[ClassImages]:
    found: dict[str, ClassImages] = {}
    for bird in birds():
        own = found.setdefault(bird.label, ClassImages(bird.label, bird.target, [], []))
        own.paths.append(bird.path)
        own.landmarks.append(bird.landmarks)
    return [found[label] for label in sorted(found) if species is None or label in species]


def demo_classes(folder: Path, classifier: Classifier, number: int) -> list[ClassImages]:
    write_demo_set(folder, number, seed=0)
    return [
        ClassImages(name, classifier.class_names.index(name), paths, [{} for _ in paths])
        for name in CLASS_NAMES
        for paths in [sorted((folder / name).iterdir())]
    ]


def look_at(classifier: Classifier, own: ClassImages, masks: Path, explainer: list[str], mirrored: bool) -> None:
    """Images that the network names rightly, their masks and features."""
    masks.mkdir(parents=True, exist_ok=True)
    kept, images, salient = [], [], []
    prepared = PreparedClassifier(classifier)
    for number, path in enumerate(own.paths):
        image = classifier.preprocessing.analyzed_image(read_image(str(path)).image)
        file = masks / f"{own.label}__{path.name}.npz"
        if not file.exists():
            batch = image[None].float().div(255)
            correct = int(classifier.logits(batch).argmax()) == own.target
            saliency = np.zeros(image.shape[1:], np.uint8)
            if correct:
                target = torch.tensor([own.target])
                found = make_explainer(*explainer).explain(prepared, batch, target).saliency[0, 0]
                saliency = found.mul(255).round().byte().numpy()
            np.savez_compressed(file, correct=correct, saliency=saliency)
        stored = np.load(file)
        if stored["correct"]:
            kept.append(number)
            images.append(image)
            salient.append(stored["saliency"] > 127)
    own.paths = [own.paths[number] for number in kept]
    own.landmarks = [own.landmarks[number] for number in kept]
    own.images, own.masks = torch.stack(images), np.array(salient)
    pictures = own.images.float().div(255)
    layers = layers_of(classifier)
    maps = [dense_features(classifier, part, layers, mirrored=mirrored) for part in pictures.split(16)]
    joined = np.concatenate([torch.cat(part, dim=1).numpy() for part in maps])
    image, row, column = np.nonzero(cell_shares(own.masks, joined.shape[-1]) >= 0.5)
    basis = fit_basis(joined[image, :, row, column], [layer.shape[0] for layer in layers])
    own.features = basis.apply_maps(joined)


def purity_gain(own: ClassImages, candidate: Candidate, draws: int = 20) -> tuple[float, float, str]:
    """Purity, that of random salient boxes of the same sizes, and the landmark; NaN for fewer than 3 members with
    landmarks."""
    marks = [own.landmarks[image] for image in candidate.images]
    parts = sorted({part for one in marks for part in one})
    names, kinds = without_sides(parts)
    nowhere = (np.nan, np.nan)
    places = np.array([[one.get(part, nowhere) for part in parts] for one in marks]).reshape(len(marks), len(parts), 2)
    found = landmark_purity(candidate.boxes, places, kinds, own.masks[candidate.images], 0, draws)
    known = found.purity == found.purity
    return found.purity, found.random_purity, names[found.counts.argmax()] if known else ""


def again_share(first: Selection, second: Selection) -> float:
    """Share of the first's summaries that are among the second's."""
    found = [any(same_part(a.candidate, b.candidate) for b in second.summaries) for a in first.summaries]
    return float(np.mean(found)) if found else float("nan")


def cached(rerun: Rerun) -> Rerun:
    """The same, each resample made once."""
    made: dict[tuple[bytes, int], Sequence[Candidate]] = {}

    def once(images: np.ndarray, seed: int) -> Sequence[Candidate]:
        key = (images.tobytes(), seed)
        if key not in made:
            made[key] = rerun(images, seed)
        return made[key]

    return once


def known_mean(values: Sequence[float] | np.ndarray) -> float:
    """Mean of those that are numbers; NaN if none is."""
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else float("nan")


def draw_sheet(own: ClassImages, summaries: list[Judged], path: Path, columns: int = 12) -> None:
    """One summary a row, a spread of its members; what is not salient is gray."""
    sheet = Image.new("RGB", (columns * TILE, max(1, len(summaries)) * TILE))
    for row, one in enumerate(summaries):
        candidate = one.candidate
        for column, at in enumerate(np.unique(np.linspace(0, len(candidate) - 1, columns).round().astype(int))):
            picture = own.images[candidate.images[at]].permute(1, 2, 0).numpy().astype(float)
            gray = picture.mean(axis=-1, keepdims=True) * 0.4 + 150
            shown = np.where(own.masks[candidate.images[at]][..., None], picture, gray)
            tile = Image.fromarray(shown.clip(0, 255).astype(np.uint8))
            x0, y0, x1, y1 = candidate.boxes[at].tolist()
            ImageDraw.Draw(tile).rectangle((x0, y0, x1 - 1, y1 - 1), outline=(255, 0, 0), width=2)
            sheet.paste(tile.resize((TILE, TILE)), (column * TILE, row * TILE))
    sheet.save(path)


def true_parts(own: ClassImages, summaries: list[Judged], truth: dict) -> tuple[int, int, int]:
    """Of the demo set: summaries, discriminative parts, and parts that are found, each by a summary of its own."""
    files = [f"{own.label}/{path.name}" for path in own.paths]
    parts = sorted({name for file in files for (label, name), (_, told) in truth[file].items() if told})
    nowhere = ([np.nan] * 4, True)
    boxes = np.array([[truth[file].get((own.label, name), nowhere)[0] for name in parts] for file in files])
    candidates = [one.candidate for one in summaries]
    overlaps = part_overlaps([one.images for one in candidates], [one.boxes for one in candidates], boxes)
    found = found_parts(overlaps, DEMO_OVERLAP)
    return found.summaries, found.parts, found.found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=("demo", "birds", "photos"))
    parser.add_argument("--masks", type=Path, required=True)
    parser.add_argument("--explainer", nargs="+", default=["crisp", "fast"], help="and its settings")
    parser.add_argument("--network", default="mobilenet_v2", help="for the photographs")
    parser.add_argument("--classes", nargs="+", help="folders; default all")
    parser.add_argument("--images", type=int, help="images a class, at most")
    parser.add_argument("--resamples", type=int, default=0, help="of 80 %% of the images, for stability")
    parser.add_argument("--price", type=float, default=SelectionSettings().price)
    parser.add_argument("--sheets", type=Path, help="folder for one picture a class")
    parser.add_argument("--plain", action="store_true", help="features without those of the mirrored image")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    settings = PartSettings(selection=SelectionSettings(price=arguments.price))
    figures: dict[str, list[float]] = defaultdict(list)
    counts = np.zeros(3, dtype=int)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.set == "demo":
            classifier = load_classifier("demo")
            classes = demo_classes(Path(folder), classifier, arguments.images or 30)
            truth = read_parts(Path(folder) / "parts.csv")
        elif arguments.set == "birds":
            classifier, classes = whole_image_network(BIRDS), bird_classes(arguments.classes)
        else:
            classifier = whole_image_network(arguments.network)
            classes = photo_classes(arguments.classes, classifier.input_size)
        print(machine())
        for own in classes:
            own.paths, own.landmarks = own.paths[: arguments.images], own.landmarks[: arguments.images]
            look_at(classifier, own, arguments.masks, arguments.explainer, not arguments.plain)
            started = time.perf_counter()
            selection = find_parts(own.features, own.masks, settings)
            seconds = (time.perf_counter() - started) / len(own.paths)
            lines = []
            gains = []
            for one in selection.summaries:
                value, chance, name = purity_gain(own, one.candidate)
                gains.append(value - chance)
                coherence = one.coherence
                lines.append(
                    f"    {one.candidate.source:10} {name:9} support {one.support:.2f} coverage {one.coverage:.2f} "
                    f"adds {one.added:.2f} coherence {coherence.value:.2f} chance {coherence.chance:.2f} "
                    f"z {coherence.score:.0f} specificity {one.specificity:.2f} purity {value:.2f} random {chance:.2f}"
                )
            figures["summaries a class"].append(len(selection.summaries))
            figures["3 to 8 summaries"].append(3 <= len(selection.summaries) <= 8)
            figures["accounted"].append(selection.accounted)
            figures["seconds an image"].append(seconds)
            if selection.summaries:
                figures["support of the first three"].append(np.mean([one.support for one in selection.summaries[:3]]))
                figures["purity gain"].append(np.nanmean(gains) if np.isfinite(gains).any() else np.nan)
            if arguments.resamples:
                seeds = [selection, *(find_parts(own.features, own.masks, settings, seed=seed) for seed in (1, 2))]
                pairs = [again_share(one, other) for one in seeds for other in seeds if one is not other]
                figures["found again, other seed"].append(known_mean(pairs))
                # The same resamples for each of the three.
                rerun = cached(remaking(own.features, own.masks, settings))
                again = [
                    found_again([part.candidate for part in one.summaries], rerun, len(own.paths), arguments.resamples)
                    for one in seeds
                ]
                figures["found again, 80 %"].append(known_mean(np.concatenate(again)))
            if arguments.set == "demo":
                counts += true_parts(own, selection.summaries, truth)
            print(f"{own.label}: {len(own.paths)} images, {len(selection.summaries)} summaries, accounted "
                  f"{selection.accounted:.2f}, {seconds:.2f} s an image")
            print("\n".join(lines), flush=True)
            if arguments.sheets:
                arguments.sheets.mkdir(parents=True, exist_ok=True)
                draw_sheet(own, selection.summaries, arguments.sheets / f"{own.label}.png")
    for name, values in figures.items():
        known = np.array([value for value in values if np.isfinite(value)], dtype=float)
        if len(known):
            mean, low, high = mean_interval(known, 0)
            print(f"{name}: {mean:.3f} [{low:.2f}, {high:.2f}] over {len(known)} classes")
    if arguments.set == "demo":
        precision, recall = counts[2] / max(1, counts[0]), counts[2] / counts[1]
        print(f"distinct parts: precision {precision:.2f}, recall {recall:.2f}, "
              f"F1 {2 * precision * recall / max(precision + recall, 1e-9):.2f}")


if __name__ == "__main__":
    main()
