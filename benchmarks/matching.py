"""Image pairs a second on one core: proposal flow as the pipeline does it against plain numpy, on real photographs.

    VISUAL_SUMMARIES_DATA=… python benchmarks/matching.py

Three of ours: whole tables of one pair at a time; whole tables of eight at a time; and what the stage `match` computes,
of which only scores that can count leave, the proposals on the masks being those of real crisp masks or a fifth of
all. numpy: `numpy_proposal_flow.py`, the same formulas row by row. Processor time of one thread; all start from
whitened descriptors, and `nam` and the median's neighbors are part of every figure. Prints a Markdown table and how far
the tables differ. Where there is a GPU, the stage's work is timed there as well.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy_proposal_flow as plain
import torch
from photographs import data_directory, network

from visual_summaries.pipeline.data.decode import read_image
from visual_summaries.pipeline.explain.registry import make_explainer
from visual_summaries.pipeline.models.preparation import PreparedClassifier, keep_freed_memory
from visual_summaries.pipeline.summarize.hog import describe, hog_map
from visual_summaries.pipeline.summarize.local_offsets import local_offset_matching
from visual_summaries.pipeline.summarize.matching import match, naive_appearance_matching
from visual_summaries.pipeline.summarize.neighbors import all_pairs
from visual_summaries.pipeline.summarize.pair_scores import match_pairs
from visual_summaries.pipeline.summarize.proposals import selective_search
from visual_summaries.pipeline.summarize.similarity import ImageProposals, salient_shares
from visual_summaries.pipeline.summarize.whitening import background_statistics, whitening

CLASSES = {"n01531178": 11, "n02690373": 404, "n01537544": 14}
TOGETHER = 8


@dataclass(frozen=True)
class Pictured:
    """A photograph's proposals, features whitened."""

    boxes: torch.Tensor
    features: torch.Tensor
    salient: np.ndarray


def prepare(per_class: int) -> list[Pictured]:
    """Photographs of some classes with the proposals, descriptors and crisp masks that the job would give them."""
    classifier = network("squeezenet1_1")
    prepared, explainer = PreparedClassifier(classifier), make_explainer("crisp", "fast")
    pictures, salient = [], []
    for folder, target in CLASSES.items():
        paths = sorted((data_directory() / "photos" / folder).iterdir())[:per_class]
        images = [classifier.preprocessing.analyzed_image(read_image(str(path)).image) for path in paths]
        pictures += [image.permute(1, 2, 0).contiguous().numpy() for image in images]
        batch, targets = torch.stack(images).float() / 255, torch.full((len(images),), target)
        salient += list(explainer.explain(prepared, batch, targets).saliency[:, 0].numpy() > 0.5)
    whitener = whitening(background_statistics([hog_map(picture) for picture in pictures]))
    found = []
    for number, (picture, mask) in enumerate(zip(pictures, salient, strict=True)):
        boxes = selective_search(picture, number)
        features = whitener.whiten(torch.as_tensor(describe(picture, boxes)).float())
        found.append(Pictured(torch.from_numpy(boxes), features, mask))
    return found


def cut(pictures: list[Pictured], proposals: int, everywhere: bool = False) -> list[ImageProposals]:
    """The first `proposals` of each image; on the mask by the mask, or every fifth."""
    images = []
    for picture in pictures:
        boxes = picture.boxes[:proposals]
        shares = salient_shares(boxes.numpy(), picture.salient)
        on_mask = np.arange(len(boxes)) % 5 == 0 if everywhere else shares > 0.75
        images.append(ImageProposals(boxes, picture.features[:proposals], on_mask))
    return images


def seconds(action: Callable[[], object], least: float = 2.0) -> float:
    """Processor seconds of one call, over as many as take `least` seconds, after one that is not counted."""
    action()
    calls, started, taken = 0, time.process_time(), 0.0
    while calls == 0 or taken < least:
        action()
        calls, taken = calls + 1, time.process_time() - started
    return taken / calls


def numpy_pair(a: ImageProposals, b: ImageProposals, score: str) -> np.ndarray:
    """One pair in plain numpy."""
    boxes = [image.boxes.numpy() for image in (a, b)]
    naive = plain.naive(plain.appearance(a.features.numpy(), b.features.numpy()), *boxes)
    return plain.local_offsets(naive, *boxes) if score == "lom" else plain.hough(naive, *boxes, (224, 224), (224, 224))


def several_at_once(a: ImageProposals, others: list[ImageProposals]) -> torch.Tensor:
    """Whole tables of an image with others of as many proposals."""
    boxes, features = (torch.stack([getattr(b, name) for b in others]) for name in ("boxes", "features"))
    appearance = (a.features @ features.transpose(1, 2)).clamp_(min=0)
    return local_offset_matching(naive_appearance_matching(appearance, a.boxes, boxes), a.boxes, boxes).scores


def rates(pictures: list[Pictured], proposals: int) -> list[tuple[str, float]]:
    """(what, seconds a pair)."""
    images = [image for image in cut(pictures, proposals) if len(image.boxes) == proposals]
    a, others = images[0], images[1 : 1 + TOGETHER]
    pairs = [tuple(pair) for pair in all_pairs(len(images)).tolist()]
    size = (224.0, 224.0)

    def whole(score: str) -> Callable[[], object]:
        return lambda: match(a.features, a.boxes, others[0].features, others[0].boxes, score, size_a=size, size_b=size)

    theirs, ours = numpy_pair(a, others[0], "lom"), match(a.features, a.boxes, others[0].features, others[0].boxes)
    print(f"{proposals} proposals: largest difference {np.abs(theirs - ours.numpy()).max() / theirs.max():.1e} · max")
    measured = [
        ("numpy, lom", seconds(lambda: numpy_pair(a, others[0], "lom"))),
        ("whole table, lom", seconds(whole("lom"))),
        (f"whole tables, {len(others)} at once, lom", seconds(lambda: several_at_once(a, others)) / len(others)),
        ("numpy, phm", seconds(lambda: numpy_pair(a, others[0], "phm"))),
        ("whole table, phm", seconds(whole("phm"))),
    ]
    for everywhere, name in ((False, "stage, crisp masks"), (True, "stage, a fifth on the masks")):
        chosen = cut(pictures, proposals, everywhere)
        share = np.mean([image.on_mask.mean() for image in chosen])
        taken = seconds(lambda chosen=chosen: match_pairs(chosen, pairs), least=0) / len(pairs)
        measured.append((f"{name} ({share:.1%} of proposals)", taken))
    return measured


def on_gpu(pictures: list[Pictured], proposals: int) -> float:
    """Seconds a pair of the stage's work on the GPU."""
    images = [
        ImageProposals(image.boxes.cuda(), image.features.cuda(), image.on_mask)
        for image in cut(pictures, proposals, everywhere=True)
    ]
    pairs = [tuple(pair) for pair in all_pairs(len(images)).tolist()]
    match_pairs(images, pairs, device="cuda")
    torch.cuda.synchronize()
    started = time.perf_counter()
    match_pairs(images, pairs, device="cuda")
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / len(pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=int, default=8, help="of each of three classes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    pictures = prepare(arguments.photographs)
    lines = []
    for proposals in (100, 250, 500):
        measured = rates(pictures, proposals)
        base = dict(measured)
        for name, taken in measured:
            than = base["numpy, phm" if "phm" in name else "numpy, lom"]
            lines.append(f"| {proposals} | {name} | {1 / taken:.1f} | {than / taken:.1f} |")
        if torch.cuda.is_available():
            taken = on_gpu(pictures, proposals)
            lines.append(f"| {proposals} | stage on {torch.cuda.get_device_name()} | {1 / taken:.1f} | |")
    print("| proposals | what | image pairs / s | × numpy |\n|--:|---|--:|--:|")
    print("\n".join(lines))
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, one used"
    print(f"\n{len(pictures)} photographs; {machine}; PyTorch {torch.__version__}, numpy {np.__version__}.")


if __name__ == "__main__":
    main()
