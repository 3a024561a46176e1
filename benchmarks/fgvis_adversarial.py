"""FGVis's Table 1 on real photographs: can evidence for an absent class be generated, without and with the filter?

    VISUAL_SUMMARIES_DATA=… python benchmarks/fgvis_adversarial.py --output adversarial.jsonl

Per network, the ImageNet validation photographs that it classifies correctly with a score ≥ 0.995, at most
--photographs of them; where there are fewer, the most confident. Each result is a line of the output file; a second run
goes on where the first one stopped. --networks and --filter divide the work among processes with files of their own.
--control asks for the true class instead: what the filter must not prevent.
"""

import argparse
import csv
import json
import time
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

import torch
from photographs import NETWORKS, data_directory, machine, network

from visual_summaries.pipeline.data.decode import read_image
from visual_summaries.pipeline.evaluate.adversarial import CONFIDENT, adversarial_targets, generate_adversarials
from visual_summaries.pipeline.evaluate.intervals import wilson_interval
from visual_summaries.pipeline.explain.engine import Item
from visual_summaries.pipeline.models.classifier import Classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier, keep_freed_memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--filter", choices=("on", "off", "both"), default="both")
    parser.add_argument("--control", action="store_true", help="generate the true class, whose evidence is there")
    parser.add_argument("--photographs", type=int, default=100)
    parser.add_argument("--candidates", type=int, help="look only at the first of the photographs")
    parser.add_argument("--iterations", type=int, default=500)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--batch-size", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    for name in arguments.networks:
        classifier = network(name)
        prepared = PreparedClassifier(classifier)
        chosen = most_confident(classifier, arguments.photographs, arguments.candidates)
        for filtered in (False, True):
            if arguments.filter not in ("both", "on" if filtered else "off"):
                continue
            settings = {"network": name, "filtered": filtered, "iterations": arguments.iterations}
            settings |= {"control": arguments.control, "rate": arguments.learning_rate}
            done = {row["file"] for row in read(arguments.output) if row.items() >= settings.items()}
            left = [(file, image, score) for file, image, score in chosen if file not in done]
            run(prepared, left, settings, arguments)
    print(f"\n{machine()}\n\n{table(read(arguments.output))}")


def most_confident(
    classifier: Classifier, count: int, candidates: int | None
) -> list[tuple[str, torch.Tensor, float]]:
    """File, image `[3,S,S]` and score of the true class: the first `count` at least `CONFIDENT`, else the best."""
    data = data_directory()
    with open(data / "imagenet/val.csv", newline="") as file:
        rows = list(csv.DictReader(file))[:candidates]
    found = []
    for row in rows:
        pixels = read_image(str(data / "imagenet/val" / row["file"])).image
        image = classifier.preprocessing.analyzed_image(pixels)
        with torch.no_grad():
            scores = classifier.logits(image[None].float().div(255)).softmax(dim=1)[0]
        label = int(row["class_index"])
        if int(scores.argmax()) == label:
            found.append((row["file"], image, float(scores[label])))
    confident = [entry for entry in found if entry[2] >= CONFIDENT]
    if len(confident) >= count:
        return confident[:count]
    return sorted(found, key=lambda entry: -entry[2])[:count]


def run(
    classifier: PreparedClassifier, left: list[tuple[str, torch.Tensor, float]], settings: dict, arguments
) -> None:
    targets: dict[str, int] = {}
    score_of = {file: score for file, _, score in left}

    def items() -> Iterator[Item]:
        for file, pixels, _ in left:
            image = pixels.float().div(255)
            if settings["control"]:
                with torch.no_grad():
                    targets[file] = int(classifier.logits(image[None]).argmax())
            else:
                targets[file] = int(adversarial_targets(classifier, image[None]))
            yield Item(file, image, targets[file])

    started = time.perf_counter()
    outcomes = generate_adversarials(
        classifier,
        items(),
        classifier.device,
        settings["filtered"],
        settings["iterations"],
        arguments.batch_size,
        settings["rate"],
    )
    with open(arguments.output, "a") as file:
        for number, (key, outcome) in enumerate(outcomes, start=1):
            row = settings | {"file": key, "score": score_of[key], "target": targets[key]}
            row |= {"generated": outcome.generated, "target_score": outcome.score, "passes": outcome.iterations}
            file.write(json.dumps(row) + "\n")
            file.flush()
            seconds = (time.perf_counter() - started) / number
            print(f"{settings['network']} filter {settings['filtered']}: {number}/{len(left)}, {seconds:.1f} s each")


def read(path: Path) -> list[dict]:
    if not path.exists():
        return []
    # A run that was killed may have left half a line.
    lines = path.read_text().splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        path.write_text("".join(lines[:-1]))
        lines = lines[:-1]
    return [json.loads(line) for line in lines]


def table(rows: list[dict]) -> str:
    """Markdown: share of images whose adversarial target was generated, with Wilson's 95 % interval."""
    columns = "network, target, filter, rate, steps, photographs, score ≥ 0.995, generated, 95 % interval, passes"
    lines = ["| " + columns.replace(", ", " | ") + " |", "|---|---|---|--:|--:|--:|--:|--:|--:|--:|"]
    key = itemgetter("network", "control", "filtered", "rate", "iterations")
    for name, control, filtered, rate, iterations in sorted({key(row) for row in rows}):
        group = [row for row in rows if key(row) == (name, control, filtered, rate, iterations)]
        generated = sum(row["generated"] for row in group)
        low, high = wilson_interval(generated, len(group))
        confident = sum(row["score"] >= CONFIDENT for row in group)
        passes = sum(row["passes"] for row in group) / len(group)
        lines.append(
            f"| {name} | {'true class' if control else 'least likely'} | {'on' if filtered else 'off'} | {rate:g} "
            f"| {iterations} | {len(group)} | {confident} | {generated / len(group):.1%} "
            f"| {low:.1%} – {high:.1%} | {passes:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
