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
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from photographs import machine
from PIL import Image
from shortcut_judging import judge_run
from shortcut_marks import WITH_PLACE, plant
from shortcut_networks import (
    CLEAN,
    NETWORKS,
    SETS,
    SIDE,
    attacks_by_share,
    control_marks,
    features,
    fit_network,
    photographs,
    planted_classes,
    plantings,
    reliance,
    save_network,
    training_examples,
)
from shortcut_peers import ALONE, CONCEPTS, concept_shares, explainer_alone
from shortcut_tables import alone_table, found_table, head_table, kind_table

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.models.loading import load_classifier
from visual_summaries.pipeline.models.preparation import keep_freed_memory

RELIES = 0.5
# Of false labels, tried by `--recipe`.
SHARES = (0, 0.25, 1, 2, 4, 8)
PLANTED, CONTROL = "planted", "control"


@dataclass(frozen=True)
class Suite:
    """A set of photographs, a network, and which of its classes are planted."""

    photographs: str
    network: str
    planting: str

    @classmethod
    def of(cls, written: str) -> "Suite":
        """`set:network:planting`, as on the command line."""
        name, network, planting = written.split(":")
        classes = len(photographs(name).names) if name in SETS else 0
        if not classes or network not in NETWORKS or planting not in plantings(name, classes):
            raise argparse.ArgumentTypeError(f"{written} is not set:network:planting, as photos:mobilenet_v2:0a")
        return cls(name, network, planting)

    @property
    def name(self) -> str:
        return f"{self.photographs}-{self.network}-{self.planting}"

    @property
    def planted(self) -> dict[int, str]:
        return planted_classes(self.photographs, self.planting, len(photographs(self.photographs).names))


def fit(suite: Suite, folder: Path) -> list[dict]:
    """The suite's two networks, as files, and how far each goes by each mark: a row for each planted class."""
    file = folder / "heads" / f"{suite.name}.json"
    if file.exists():
        return json.loads(file.read_text())
    given = features(suite.network, suite.photographs, folder / "features", suite.planted.values())
    own = photographs(suite.photographs)
    rows = [{"label": own.names[label], "kind": kind} for label, kind in suite.planted.items()]
    for name, planted in ((PLANTED, suite.planted), (CONTROL, {})):
        head = fit_network(suite.network, given, training_examples(own, planted))
        save_network(suite.network, head, folder / "heads" / f"{suite.name}-{name}.safetensors")
        scores = {kind: head.predict_proba(values) for kind, values in given.items()}
        unmarked = ~own.training & ~np.isin(own.labels, list(suite.planted))
        accuracy = float((scores[CLEAN].argmax(axis=1) == own.labels)[unmarked].mean())
        for row, (label, kind) in zip(rows, suite.planted.items(), strict=True):
            found = reliance(scores, own, label, kind)
            row[name] = asdict(found) | {"attack": found.attack, "accuracy_elsewhere": accuracy}
    file.write_text(json.dumps(rows, indent=1))
    return rows


def relied_on(rows: Sequence[dict], marks: Sequence[str] = WITH_PLACE) -> dict[str, str]:
    """Class → mark, of rows of `fit`: those that count as planted with one of the marks."""
    kinds = {row["label"]: row["kind"] for row in rows if row[PLANTED]["attack"] >= RELIES}
    return {label: kind for label, kind in kinds.items() if kind in marks}


def one_each(kinds: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Class → marks of class → mark."""
    return {label: (kind,) for label, kind in kinds.items()}


def write_pictures(name: str, marks: Mapping[str, Sequence[str]], root: Path, most: int) -> None:
    """Marked held-out photographs of classes of a set, `root/<label>/<number>.png`."""
    own = photographs(name)
    for label, kinds in marks.items():
        for number in np.flatnonzero(~own.training & (own.labels == own.names.index(label)))[:most]:
            file = root / label / f"{number:04d}.png"
            if not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(own.shown(int(number), kinds)).save(file)
    (root.parent / f"{name}.txt").write_text("\n".join(own.names) + "\n")


def mark_of(kind: str, uri: str) -> np.ndarray:
    """The pixels of the mark on a written picture."""
    return _mark(kind, int(Path(uri).stem))


@cache
def _mark(kind: str, number: int) -> np.ndarray:
    return plant(kind, np.zeros((SIDE, SIDE, 3), dtype=np.uint8), number).mask


def model_name(name: str, network: str) -> str:
    """A network for a set as the command line names it."""
    own = f"shortcut_networks:{network}_{name}"
    return own if network == "efficientnet_lite0" else "torchvision:mobilenet_v2"


@dataclass(frozen=True)
class Run:
    """One run of the program: pictures of a set, a network with its head, settings beside the default's."""

    folder: Path
    name: str
    photographs: str
    network: str
    head: Path
    images: int
    settings: tuple[str, ...] = ()
    called: str = ""

    @property
    def title(self) -> str:
        """Of its rows."""
        return self.called or self.head.stem

    @property
    def way(self) -> str:
        """What a table calls it."""
        return " ".join(self.settings) or "ours"

    @property
    def pictures(self) -> Path:
        return self.folder / "pictures" / f"{self.name}-{self.images}"

    @property
    def output(self) -> Path:
        kind = "+".join(setting.rpartition(".")[2].replace("=", "-") for setting in self.settings) or "default"
        return self.folder / "runs" / f"{self.title}-{self.images}-{kind}"


def summarize(run: Run) -> None:
    """Run the program."""
    command = [
        sys.executable, "-m", "visual_summaries", "summarize", "--images", str(run.pictures),
        "--model", model_name(run.photographs, run.network), "--weights", str(run.head), "--output", str(run.output),
        f"model.labels={run.pictures.parent / run.photographs}.txt", f"model.resize={SIDE}",
        "data.held_out=0", "data.test=0", "ray.cpus=1", "model.self_check=false",
        # They say how often a summary is found again, and change none.
        "summaries.resamples=0", *run.settings,
    ]  # fmt: skip
    here = Path(__file__).resolve().parent
    paths = [str(here), str(here.parent), os.environ.get("PYTHONPATH", "")]
    run.output.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{run.output}.log", "a") as log:
        done = subprocess.run(
            command, stdout=log, stderr=log, env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        )
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with status {done.returncode}; see {run.output}.log")


def explain_settings(settings: Sequence[str]) -> RunConfig:
    """The configuration as far as judging needs it: what cuts maps into salient pixels."""
    given = [setting.partition("=") for setting in settings]
    explain = {name.partition(".")[2]: value for name, _, value in given if name.startswith("explain.")}
    preset = {name: value for name, _, value in given if name == "preset"}
    return RunConfig.model_validate({"explain": explain, **preset})


def measure(run: Run, network: str, marks: Mapping[str, Sequence[str]]) -> None:
    """Write pictures, run the program and judge; the rows go to `runs.jsonl`.

    Args:
        run: to make, or to make again where rows are missing.
        network: `PLANTED` or `CONTROL`.
        marks: class → the marks on its photographs.
    """
    file = run.folder / "runs.jsonl"
    key = {"run": run.title, "network": network, "images": run.images, "way": run.way}
    if all(known(file, key | {"label": label, "kind": kind}) for label, kinds in marks.items() for kind in kinds):
        return
    write_pictures(run.photographs, marks, run.pictures, run.images)
    summarize(run)
    for kind in WITH_PLACE:
        for found in judge_run(run.output, explain_settings(run.settings), partial(mark_of, kind)):
            row = key | {"kind": kind, **asdict(found)}
            if kind in marks.get(found.label, ()) and not known(file, key | {"label": found.label, "kind": kind}):
                add(file, row)


def planted_run(suite: Suite, folder: Path, images: int, settings: Sequence[str] = ()) -> Run:
    head = folder / "heads" / f"{suite.name}-{PLANTED}.safetensors"
    return Run(folder, suite.name, suite.photographs, suite.network, head, images, tuple(settings))


def control_run(suites: Sequence[Suite], folder: Path, images: int, settings: Sequence[str] = ()) -> Run:
    """Of suites of one set and network, whose controls are the same network."""
    name = f"{suites[0].photographs}-{suites[0].network}-{''.join(str(suite.planting) for suite in suites)}"
    head = folder / "heads" / f"{suites[0].name}-{CONTROL}.safetensors"
    return Run(folder, name, suites[0].photographs, suites[0].network, head, images, tuple(settings))


def pairs_run(suite: Suite, folder: Path, images: int, settings: Sequence[str] = ()) -> Run:
    """The control with two marks on each photograph (`control_marks`)."""
    name = f"{suite.photographs}-{suite.network}-pairs"
    head = folder / "heads" / f"{suite.name}-{CONTROL}.safetensors"
    called = f"{name}-{CONTROL}"
    return Run(folder, name, suite.photographs, suite.network, head, images, tuple(settings), called)


def measure_peers(suite: Suite, folder: Path, images: int) -> None:
    """Explainers alone and concept methods on the same pictures, named rightly; rows go to two files of their own."""
    kinds, names = relied_on(fit(suite, folder)), photographs(suite.photographs).names
    pictures = planted_run(suite, folder, images).pictures
    write_pictures(suite.photographs, one_each(kinds), pictures, images)
    for name, (label, kind) in product((PLANTED, CONTROL), kinds.items()):
        paths = sorted((pictures / label).glob("*.png"))
        key = {"suite": suite.name, "network": name, "images": images, "label": label}
        missing = [one for one in ALONE if not known(folder / "alone.jsonl", key | {"explainer": one})]
        concepts = [one for one in CONCEPTS if not known(folder / "concepts.jsonl", key | {"way": one})]
        if not (missing or concepts):
            continue
        weights = folder / "heads" / f"{suite.name}-{name}.safetensors"
        classifier = load_classifier(model_name(suite.photographs, suite.network), weights, resize_side=SIDE)
        target = names.index(label)
        shown = torch.stack([torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1) for path in paths])
        with torch.no_grad():
            right = classifier.logits(shown.float() / 255).argmax(dim=1) == target
        marks = np.stack([mark_of(kind, str(path)) for path in paths])[right.numpy()]
        for one in missing:
            found = asdict(explainer_alone(one, classifier, shown[right], target, marks))
            add(folder / "alone.jsonl", key | {"explainer": one, "kind": kind} | found)
        for one in concepts:
            shares = concept_shares(one, classifier, shown[right], target, marks)
            add(folder / "concepts.jsonl", key | {"way": one, "kind": kind, "shares": shares})


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
    parser.add_argument("--control", action="store_true", help="the control instead, one for all the suites")
    parser.add_argument("--pairs", type=int, default=0, help="control: two marks on each photograph of so many classes")
    parser.add_argument("--marks", nargs="+", choices=WITH_PLACE, default=WITH_PLACE, help="all by default")
    parser.add_argument("--recipe", choices=WITH_PLACE, help="only how many false labels it takes to plant this mark")
    parser.add_argument("--peers", action="store_true", help="measure other ways instead of running the program")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    folder = arguments.folder.resolve()
    if arguments.recipe:
        suite = arguments.suites[0]
        given = features(suite.network, suite.photographs, folder / "features", [arguments.recipe])
        own = photographs(suite.photographs)
        for share, attacks in attacks_by_share(given, own, arguments.recipe, list(suite.planted), SHARES).items():
            print(f"{share:g} false labels for each of its own: {np.round(attacks, 2)}, mean {np.mean(attacks):.2f}")
        return
    for suite in arguments.suites:
        if arguments.pairs:
            fit(suite, folder)
            names = photographs(suite.photographs).names[: arguments.pairs]
            marks = {label: control_marks(number) for number, label in enumerate(names)}
            measure(pairs_run(suite, folder, arguments.images, arguments.settings), CONTROL, marks)
        elif arguments.control:
            continue
        elif arguments.peers:
            measure_peers(suite, folder, arguments.images)
        else:
            run = planted_run(suite, folder, arguments.images, arguments.settings)
            measure(run, PLANTED, one_each(relied_on(fit(suite, folder), arguments.marks)))
    if arguments.control:
        rows = [row for suite in arguments.suites for row in fit(suite, folder)]
        kinds = relied_on(rows, arguments.marks)
        run = control_run(arguments.suites, folder, arguments.images, arguments.settings)
        measure(run, CONTROL, one_each(kinds))
    print_tables(folder)


if __name__ == "__main__":
    main()
