"""Maps of the photographs with exudates that `lesion_network.py`'s networks name rightly, each by its own test network.

    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/lesion_maps.py lesions --methods gradient grad-cam

Writes one file a map, `lesions/maps/METHOD/FILE.npy`, uint8 `[H,W]`, the mean over colors, its largest value 255; what
is there is not made again. The photographs come in an order that takes the two halves in turn, so that a run that was
stopped has as many of each; `--photographs` stops after so many. On one core `fgvis` takes some 20 s a photograph,
occlusion and RISE 5, the others 1 at most.
"""

import argparse
import os
import time
from collections.abc import Callable
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
import torch
from lesion_network import FOLDS, classifier, photographs, picture, results_of

from visual_summaries.pipeline.explain.cams import GradCam, GradCamPlusPlus
from visual_summaries.pipeline.explain.engine import Item, explain_stream
from visual_summaries.pipeline.explain.fgvis import FGVis
from visual_summaries.pipeline.explain.fgvis_settings import FGVisSettings
from visual_summaries.pipeline.explain.gradients import Gradient, GuidedBackpropagation, IntegratedGradients
from visual_summaries.pipeline.explain.interface import Explainer
from visual_summaries.pipeline.explain.occlusion import Occlusion
from visual_summaries.pipeline.explain.registry import make_explainer
from visual_summaries.pipeline.explain.rise import Rise
from visual_summaries.pipeline.models.preparation import PreparedClassifier, keep_freed_memory

METHODS: dict[str, Callable[[], Explainer]] = {
    # The paper's game for this table, with λ following the goal; fewer and larger steps than usual, for the time.
    "fgvis": lambda: FGVis(FGVisSettings("deletion", first_rate=0.002, growth=1.1, patience=10, iterations=120)),
    "fgvis, scales": lambda: FGVis(FGVisSettings("deletion", search="scales")),
    "fgvis, preservation": lambda: FGVis(FGVisSettings("preservation")),
    # Its head is linear in the cells: Grad-CAM is this network's CAM. Grad-CAM++ leaves out the negative weights.
    "grad-cam": lambda: GradCam("features"),
    "grad-cam++": lambda: GradCamPlusPlus("features"),
    "gradient": Gradient,
    "guided backpropagation": GuidedBackpropagation,
    "integrated gradients": lambda: IntegratedGradients(16),
    "occlusion": Occlusion,
    "rise": lambda: Rise(150),
    "robust crisp masks": lambda: make_explainer("crisp", "robust"),
}


def shown(folder: Path) -> list[int]:
    """Numbers of the photographs with exudates that are named rightly, in a fixed random order, the halves in turn."""
    own, logits = photographs(), results_of(folder)
    right = np.flatnonzero(own.exudates & (logits > 0))
    right = np.random.default_rng(0).permutation(right)
    halves = [right[own.confirms[right] == half].tolist() for half in (False, True)]
    return [number for number in chain.from_iterable(zip_longest(*halves)) if number is not None]


def path_of(folder: Path, method: str, name: str) -> Path:
    """Where the map of photograph `name` is."""
    return folder / "maps" / method / f"{name}.npy"


def save(path: Path, saliency: np.ndarray) -> None:
    """Write a map `[H,W]` ≥ 0, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scaled = saliency / max(saliency.max(), np.finfo(np.float32).tiny)
    partial = path.with_suffix(f".{os.getpid()}")
    with open(partial, "wb") as file:
        np.save(file, np.round(255 * scaled).astype(np.uint8))
    partial.rename(path)


def main() -> None:
    """Make the maps that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where lesion_network.py wrote")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--photographs", type=int, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    networks = [PreparedClassifier(classifier(arguments.folder, fold)) for fold in range(FOLDS)]
    # Of each network its own: explainers remember the layers of the one that they have seen.
    explainers = {(method, fold): METHODS[method]() for method in arguments.methods for fold in range(FOLDS)}
    own = photographs()
    for number in shown(arguments.folder)[: arguments.photographs]:
        name, fold = own.names[number], int(own.folds[number])
        for method in arguments.methods:
            path = path_of(arguments.folder, method, name)
            if path.exists():
                continue
            started = time.process_time()
            generator = torch.Generator().manual_seed(number)
            item = Item(number, picture(name), 1, generator)
            stream = explain_stream(explainers[method, fold], networks[fold], [item], torch.device("cpu"), 1)
            ((_, found),) = list(stream)
            save(path, found.saliency[0].mean(dim=0).numpy())
            after = "" if found.score_after is None else f" → {float(found.score_after):.3f}"
            notes = {key: round(float(value), 3) for key, value in found.diagnostics.items()}
            seconds = time.process_time() - started
            score = f"{float(found.score_before):.3f}{after}"
            print(f"{name} {method}: {score}, {int(found.iterations)} passes, {seconds:.1f} s {notes}", flush=True)


if __name__ == "__main__":
    main()
