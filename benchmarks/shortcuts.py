"""Does a run find what a network really goes by, where that is known? Shortcuts planted into real photographs.

    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/shortcuts.py FOLDER --suites photos:mobilenet_v2:0

A *suite* is a set of photographs, a network and a planting (which classes are planted, and with what:
`shortcut_networks.planted_classes`). Its head is fitted to training photographs with marks and false labels, that of
the control to the same photographs without. A class counts as planted where the network demonstrably goes by the mark:
at least `RELIES` of the other classes' held-out photographs become the class when the mark is put on them. Its own
held-out photographs, marked, are then summarized with both networks by the whole program (`visual-summaries
summarize`), and the summaries judged by `shortcut_judging`: the planted network must give a summary on the mark, the
control none.

`--settings` are those of another run than the default, `--peers` measures other ways on the same
photographs (`shortcut_peers`). Everything is kept in FOLDER and not made again, and the tables of what there is are
printed.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import torch
from photographs import machine
from PIL import Image
from shortcut_judging import judge_run
from shortcut_marks import CAST, plant
from shortcut_networks import (
    CLEAN,
    NETWORKS,
    PLANTINGS,
    SETS,
    SIDE,
    features,
    fit_head,
    photographs,
    planted_classes,
    reliance,
    save_network,
    training_examples,
)
from shortcut_peers import ALONE, CONCEPTS, concept_shares, explainer_alone
from shortcut_tables import alone_table, found_table, head_table, kind_table

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.loading import load_classifier
from visual_summaries.pipeline.models.preparation import keep_freed_memory

RELIES = 0.5
PLANTED, CONTROL = "planted", "control"


@dataclass(frozen=True)
class Suite:
    """A set of photographs, a network, and which of its classes are planted."""

    photographs: str
    network: str
    planting: int

    @classmethod
    def of(cls, written: str) -> "Suite":
        """`set:network:planting`, as on the command line."""
        name, network, planting = written.split(":")
        if name not in SETS or network not in NETWORKS or planting not in map(str, range(PLANTINGS[name])):
            raise argparse.ArgumentTypeError(f"{written} is not set:network:planting, as photos:mobilenet_v2:0")
        return cls(name, network, int(planting))

    @property
    def name(self) -> str:
        return f"{self.photographs}-{self.network}-{self.planting}"

    @property
    def planted(self) -> dict[int, str]:
        return planted_classes(self.photographs, self.planting)


def fit(suite: Suite, folder: Path) -> list[dict]:
    """The suite's two networks, as files, and how far each goes by each mark: a row for each planted class."""
    file = folder / "heads" / f"{suite.name}.json"
    if file.exists():
        return json.loads(file.read_text())
    given, own = features(suite.network, suite.photographs, folder / "features"), photographs(suite.photographs)
    rows = [{"label": own.names[label], "kind": kind} for label, kind in suite.planted.items()]
    for name, planted in ((PLANTED, suite.planted), (CONTROL, {})):
        head = fit_head(given, training_examples(own, planted))
        save_network(suite.network, head, folder / "heads" / f"{suite.name}-{name}.safetensors")
        scores = {kind: head.predict_proba(values) for kind, values in given.items()}
        unmarked = ~own.training & ~np.isin(own.labels, list(suite.planted))
        accuracy = float((scores[CLEAN].argmax(axis=1) == own.labels)[unmarked].mean())
        for row, (label, kind) in zip(rows, suite.planted.items(), strict=True):
            found = reliance(scores, own, label, kind)
            row[name] = asdict(found) | {"attack": found.attack, "accuracy_elsewhere": accuracy}
    file.write_text(json.dumps(rows, indent=1))
    return rows


def write_pictures(suite: Suite, rows: Sequence[dict], folder: Path, most: int) -> Path:
    """Marked held-out photographs of the classes that count as planted, `<label>/<number>.png`; no casts.

    A cast has no place that a summary could lie on.
    """
    own, root = photographs(suite.photographs), folder / "pictures" / f"{suite.name}-{most}"
    for row in rows:
        if row[PLANTED]["attack"] >= RELIES and row["kind"] != CAST:
            label = own.names.index(row["label"])
            for number in np.flatnonzero(~own.training & (own.labels == label))[:most]:
                file = root / row["label"] / f"{number:04d}.png"
                if not file.exists():
                    file.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(own.shown(int(number), row["kind"])).save(file)
    (root.parent / f"{suite.photographs}.txt").write_text("\n".join(own.names) + "\n")
    return root


def mark_of(suite: Suite, uri: str) -> np.ndarray:
    """The pixels of the mark on a written picture."""
    path = Path(uri)
    names = photographs(suite.photographs).names
    kind = suite.planted[names.index(path.parent.name)]
    return _mark(kind, int(path.stem))


@cache
def _mark(kind: str, number: int) -> np.ndarray:
    return plant(kind, np.zeros((SIDE, SIDE, 3), dtype=np.uint8), number).mask


def model_name(suite: Suite) -> str:
    """The suite's network as the command line names it."""
    if suite.network == "mobilenet_v2":
        return "torchvision:mobilenet_v2"
    return f"shortcut_networks:{suite.network}_{suite.photographs}"


def run_folder(folder: Path, suite: Suite, name: str, images: int, settings: Sequence[str]) -> Path:
    """Where the run with the planted network or the control is."""
    kind = "+".join(setting.rpartition(".")[2].replace("=", "-") for setting in settings) or "default"
    return folder / "runs" / f"{suite.name}-{images}-{name}-{kind}"


def summarize(suite: Suite, name: str, pictures: Path, folder: Path, output: Path, settings: Sequence[str]) -> None:
    """Run the program on the pictures with the planted network or the control."""
    command = [
        sys.executable, "-m", "visual_summaries", "summarize", "--images", str(pictures), "--model", model_name(suite),
        "--weights", str(folder / "heads" / f"{suite.name}-{name}.safetensors"), "--output", str(output),
        f"model.labels={pictures.parent / suite.photographs}.txt", f"model.resize={SIDE}",
        "data.held_out=0", "data.test=0", "ray.cpus=1", "model.self_check=false", *settings,
    ]  # fmt: skip
    here = Path(__file__).resolve().parent
    paths = [str(here), str(here.parent), os.environ.get("PYTHONPATH", "")]
    output.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{output}.log", "a") as log:
        done = subprocess.run(
            command, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        )
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}; see {output}.log")


def explain_settings(settings: Sequence[str]) -> RunConfig:
    """The configuration as far as judging needs it: what cuts maps into salient pixels."""
    given = [setting.partition("=") for setting in settings]
    explain = {name.partition(".")[2]: value for name, _, value in given if name.startswith("explain.")}
    preset = {name: value for name, _, value in given if name == "preset"}
    return RunConfig.model_validate({"explain": explain, **preset})


def measure(suite: Suite, folder: Path, images: int, settings: Sequence[str]) -> None:
    """Fit, write, run and judge with both networks; the rows go to `runs.jsonl`."""
    rows = fit(suite, folder)
    pictures = write_pictures(suite, rows, folder, images)
    kinds = {row["label"]: row["kind"] for row in rows}
    for name in (PLANTED, CONTROL):
        key = {"suite": suite.name, "network": name, "images": images, "way": way(settings)}
        if known(folder / "runs.jsonl", key):
            continue
        output = run_folder(folder, suite, name, images, settings)
        summarize(suite, name, pictures, folder, output, settings)
        for found in judge_run(output, explain_settings(settings), lambda uri: mark_of(suite, uri)):
            add(folder / "runs.jsonl", key | {"kind": kinds[found.label], **asdict(found)})


def measure_peers(suite: Suite, folder: Path, images: int) -> None:
    """Explainers alone and concept methods on the same pictures, named rightly; rows go to two files of their own."""
    rows = fit(suite, folder)
    pictures, names = write_pictures(suite, rows, folder, images), photographs(suite.photographs).names
    for name, row in product((PLANTED, CONTROL), rows):
        paths = sorted((pictures / row["label"]).glob("*.png"))
        key = {"suite": suite.name, "network": name, "images": images, "label": row["label"]}
        missing = [one for one in ALONE if not known(folder / "alone.jsonl", key | {"explainer": one})]
        concepts = [one for one in CONCEPTS if not known(folder / "concepts.jsonl", key | {"way": one})]
        if not paths or row["kind"] == CAST or not (missing or concepts):
            continue
        classifier = loaded(suite, folder / "heads" / f"{suite.name}-{name}.safetensors")
        target = names.index(row["label"])
        shown = torch.stack([torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1) for path in paths])
        with torch.no_grad():
            right = classifier.logits(shown.float() / 255).argmax(dim=1) == target
        marks = np.stack([mark_of(suite, str(path)) for path in paths])[right.numpy()]
        for one in missing:
            found = asdict(explainer_alone(one, classifier, shown[right], target, marks))
            add(folder / "alone.jsonl", key | {"explainer": one, "kind": row["kind"]} | found)
        for one in concepts:
            shares = concept_shares(one, classifier, shown[right], target, marks)
            add(folder / "concepts.jsonl", key | {"way": one, "kind": row["kind"], "shares": shares})


def loaded(suite: Suite, weights: Path) -> Classifier:
    """The suite's network as the program loads it."""
    return load_classifier(model_name(suite), weights, resize_side=SIDE)


def way(settings: Sequence[str]) -> str:
    """What a table calls a run with these settings."""
    return " ".join(settings) or "ours"


def stored(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def known(file: Path, key: dict) -> bool:
    return any(all(row[one] == key[one] for one in key) for row in stored(file))


def add(file: Path, row: dict) -> None:
    with open(file, "a") as lines:
        lines.write(json.dumps(row) + "\n")


def print_tables(folder: Path) -> None:
    files = sorted((folder / "heads").glob("*.json"))
    heads = [(file.stem, row) for file in files for row in json.loads(file.read_text())]
    runs = [*stored(folder / "runs.jsonl"), *stored(folder / "concepts.jsonl")]
    print(machine())
    for table in (head_table(heads), found_table(runs), kind_table(runs), alone_table(stored(folder / "alone.jsonl"))):
        print("\n".join(table), end="\n\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--suites", nargs="+", type=Suite.of, default=[], help="set:network:planting")
    parser.add_argument("--images", type=int, default=12, help="marked photographs of a class, at most")
    parser.add_argument("--settings", nargs="*", default=[], help="of the run, as explain.explainer=grad-cam")
    parser.add_argument("--peers", action="store_true", help="measure other ways instead of running the program")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    folder = arguments.folder.resolve()
    for suite in arguments.suites:
        if arguments.peers:
            measure_peers(suite, folder, arguments.images)
        else:
            measure(suite, folder, arguments.images, arguments.settings)
    print_tables(folder)


if __name__ == "__main__":
    main()
