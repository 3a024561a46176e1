"""How often nothing of a meaningful perturbation's mask exceeds ½, and what is then cut by area instead.

    VISUAL_SUMMARIES_DATA=… python benchmarks/smooth_masks.py [--photographs 60]

ImageNet validation photographs that the network classifies correctly, the explainer's own preset. Nothing but area and
smoothness weighs on the mask, so that it is as pale as destroys the score; a cut at ½ may leave a photograph without
any region. Told are the share of such photographs, the salient share of pixels by either cut, and how much of the score
is left when just these pixels are blurred.
"""

import argparse

import torch
from photographs import NETWORKS, correct_photographs, machine, network
from torch import Tensor

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.evaluate.intervals import mean_interval, wilson_interval
from visual_summaries.pipeline.explain.engine import Item, explain_stream
from visual_summaries.pipeline.explain.interface import target_scores
from visual_summaries.pipeline.explain.perturbation import PERTURBATIONS
from visual_summaries.pipeline.explain.registry import make_explainer
from visual_summaries.pipeline.models.preparation import PreparedClassifier, keep_freed_memory
from visual_summaries.pipeline.stages.explain import own_settings, stored_saliency
from visual_summaries.pipeline.stages.regions import salient_of

CUTS = {"above ½": {"threshold": 0.5}, "a tenth of the pixels": {}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS[:2]))
    parser.add_argument("--photographs", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    print(machine())
    print("| network | cut | photographs | without a salient pixel | 95 % interval | salient share | score left |")
    print("|---|---|--:|--:|--:|--:|--:|")
    explain = {"explainer": "meaningful-perturbation"}
    configs = {name: RunConfig.model_validate({"explain": explain, "regions": cut}) for name, cut in CUTS.items()}
    explainer = make_explainer(explain["explainer"], *own_settings(next(iter(configs.values())).explain))
    for name in arguments.networks:
        classifier = network(name)
        prepared = PreparedClassifier(classifier)
        photographs = correct_photographs(classifier, arguments.photographs)
        items = (Item(number, one.image, one.target) for number, one in enumerate(photographs))
        salient: dict[str, list[Tensor]] = {cut: [] for cut in configs}
        left: dict[str, list[float]] = {cut: [] for cut in configs}
        for number, explanation in explain_stream(explainer, prepared, items, prepared.device, arguments.batch_size):
            for cut, config in configs.items():
                mask = torch.from_numpy(salient_of(stored_saliency(explanation), config))
                salient[cut].append(mask)
                left[cut].append(score_left(prepared, photographs[number].image, photographs[number].target, mask))
        for cut, masks in salient.items():
            empty = sum(not mask.any() for mask in masks)
            low, high = wilson_interval(empty, len(masks))
            share = torch.stack(masks).float().mean().item()
            mean, least, most = mean_interval(left[cut])
            print(
                f"| {name} | {cut} | {len(masks)} | {empty} | {low:.3f} – {high:.3f} | {share:.3f} | "
                f"{mean:.3f} ({least:.3f} – {most:.3f}) |",
                flush=True,
            )


@torch.no_grad()
def score_left(classifier: PreparedClassifier, image: Tensor, target: int, mask: Tensor) -> float:
    """The target's score once the pixels of `mask` `[S,S]` are blurred, as a share of the image's."""
    perturbation = PERTURBATIONS["authors"]
    blurred = perturbation.apply(perturbation.prepare(image[None]), (~mask)[None, None].float())
    scores = target_scores(classifier, torch.cat([image[None], blurred]), torch.tensor([target] * 2))
    return float(scores[1] / scores[0])


if __name__ == "__main__":
    main()
