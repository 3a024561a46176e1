"""A contact sheet like Fig. 1 of Feature CAM's paper: a class activation map and the five versions made of it.

    VISUAL_SUMMARIES_DATA=… python benchmarks/feature_cam_sheet.py sheet.png
    VISUAL_SUMMARIES_DATA=… python benchmarks/feature_cam_sheet.py maps.webp --demo

Edges by PiDiNet. `--demo` takes the built-in demo set, whose pictures may be shown anywhere.
"""

import argparse

import torch
from mask_sheet import demo_photographs, draw
from photographs import NETWORKS, correct_photographs, data_directory, network

from visual_summaries.pipeline.explain.edges import edge_detector
from visual_summaries.pipeline.explain.feature_cam import CHOSEN, LOCALIZERS, combinations, explanation_images
from visual_summaries.pipeline.explain.interface import target_scores
from visual_summaries.pipeline.models.loading import load_classifier
from visual_summaries.pipeline.models.preparation import PreparedClassifier, keep_freed_memory


def main() -> None:
    """Read the command line, explain, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", help="picture to write")
    parser.add_argument("--localizer", choices=LOCALIZERS, default="grad-cam++")
    parser.add_argument("--network", choices=NETWORKS, default=NETWORKS[0])
    parser.add_argument("--photographs", type=int, default=6)
    parser.add_argument("--demo", action="store_true", help="the demo set and its network")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    classifier = load_classifier("demo") if arguments.demo else network(arguments.network)
    chosen = demo_photographs(classifier) if arguments.demo else correct_photographs(classifier, arguments.photographs)
    chosen = chosen[: arguments.photographs]
    prepared = PreparedClassifier(classifier)
    images = torch.stack([photograph.image for photograph in chosen])
    targets = torch.tensor([photograph.target for photograph in chosen])
    located = LOCALIZERS[arguments.localizer]().explain(prepared, images, targets)
    with torch.no_grad():
        edges = edge_detector(data_directory() / "weights/pidinet_bsds.safetensors")(images)
        versions = combinations(images, edges, located.saliency)
        maps = {arguments.localizer: located.saliency} | {version: versions[version] for version in CHOSEN}
        kept = explanation_images(images, versions[CHOSEN[0]], prepared.baseline.view(3, 1, 1))
        after = target_scores(prepared, kept, targets)
    columns = {"photograph": images, "edges (F1)": edges} | maps | {f"explanation map, {CHOSEN[0]}": kept}
    shown = {name: value / value.amax(dim=(1, 2, 3), keepdim=True) for name, value in columns.items()}
    pictures = [
        [value[row].expand(3, -1, -1).permute(1, 2, 0).numpy() for value in shown.values()]
        for row in range(len(chosen))
    ]
    captions = [
        f"{classifier.class_names[photograph.target].split(',')[0]}: score {before:.2f}, explanation map {left:.2f}"
        for photograph, before, left in zip(chosen, located.score_before.tolist(), after.tolist(), strict=True)
    ]
    draw(pictures, list(columns), captions, halves=1).save(arguments.path)


if __name__ == "__main__":
    main()
