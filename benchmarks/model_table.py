"""Which explainer works on which network? A table, each entry tried on a network whose evidence is known.

    python benchmarks/model_table.py FOLDER [--networks resnet50 …] [--explainers cam …] [--side 96] [--full]

Every network is given weights with which only the upper left of a picture can matter (benchmarks/planted.py), and each
explainer explains two such pictures. It works if at least `SHARE` of the pixels that a run would call salient lie in
that corner, which with what surrounds it is a quarter of the picture. Otherwise the explainer must have refused, and
the table holds its words. Anything else, "**wrong**", makes the exit status 1. Finished entries are kept in FOLDER, and
made anew once the explainer has another version; `--only-print` tells those of an older one with its number.
Needs no photographs and no weights; `--full` takes the explainers' own numbers of samples instead of few. `rglas` is
left out: it looks for what else there is once the evidence of `glas` is hidden, and here is nothing else.
"""

import argparse
import json
import re
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torchvision
from planted import Planted, plant, with_head
from torch import Tensor, nn

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.explain.engine import Item, explain_stream
from visual_summaries.pipeline.explain.registry import EXPLAINERS, make_explainer
from visual_summaries.pipeline.explain_settings import ExplainSettings
from visual_summaries.pipeline.models.preparation import PreparedClassifier
from visual_summaries.pipeline.stages.explain import image_generator, own_settings, stored_saliency
from visual_summaries.pipeline.stages.regions import salient_of

TRIED = tuple(name for name in EXPLAINERS if name != "rglas")
# An even map would have .25 of its pixels there.
SHARE = 0.6
# How far around the texture a salient pixel may lie, share of the side: maps have cells, and masks soft borders.
REACH = 0.125
# Few samples instead of the explainers' own; the texture is large.
QUICK = {
    "rise": {"masks": 400},
    "sampling": {"steps": 8, "noisy_copies": 8, "lime": 400},
    # Networks with random weights are thrown by noise that trained ones bear.
    "cam": {"noise": 0.05},
}


def torchvision_network(name: str, **options: object) -> Callable[[int], nn.Module]:
    def build(side: int) -> nn.Module:
        if name.startswith("vit_"):
            return torchvision.models.get_model(name, weights=None, num_classes=2, image_size=side, **options)
        return torchvision.models.get_model(name, weights=None, num_classes=2, **options)

    return build


def timm_network(name: str, sized: bool = False) -> Callable[[int], nn.Module]:
    def build(side: int) -> nn.Module:
        import timm

        sides = {"img_size": side} if sized else {}
        return timm.create_model(name, pretrained=False, num_classes=2, **sides)

    return build


class CifarBlock(nn.Module):
    """Two convolutions beside a shortcut, with a ReLU that is no module after the addition."""

    def __init__(self, given: int, made: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(given, made, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(made)
        self.conv2 = nn.Conv2d(made, made, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(made)
        self.shortcut = nn.Sequential()
        if stride != 1 or given != made:
            self.shortcut = nn.Sequential(nn.Conv2d(given, made, 1, stride, bias=False), nn.BatchNorm2d(made))

    def forward(self, images: Tensor) -> Tensor:
        inner = torch.relu(self.bn1(self.conv1(images)))
        return torch.relu(self.bn2(self.conv2(inner)) + self.shortcut(images))


class CifarNetwork(nn.Module):
    """The residual network that people train on CIFAR: no module but convolutions, norms and one layer for classes."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        blocks, given = [], width
        for made, stride in ((width, 1), (2 * width, 2), (4 * width, 2)):
            blocks += [CifarBlock(given, made, stride), CifarBlock(made, made, 1)]
            given = made
        self.layers = nn.Sequential(*blocks)
        self.linear = nn.Linear(given, 2)

    def forward(self, images: Tensor) -> Tensor:
        out = self.layers(torch.relu(self.bn1(self.conv1(images))))
        return self.linear(nn.functional.avg_pool2d(out, out.shape[2:]).flatten(1))


class HandWritten(nn.Module):
    """Convolutions with a nonlinearity after each that is written out, as people write them."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(3 if number == 0 else width, width, 3, 1 + number % 2, 1, bias=False) for number in range(7)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(7))
        self.linear = nn.Linear(width, 2)

    def forward(self, images: Tensor) -> Tensor:
        written: list[Callable[[Tensor], Tensor]] = [
            lambda x: x * (x > 0),
            lambda x: torch.maximum(x, torch.zeros_like(x)),
            lambda x: torch.where(x > 0, x, 0.1 * x),
            lambda x: x.masked_fill(x < 0, 0.0),
            lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5)),
            lambda x: x * torch.sigmoid(x),
            lambda x: torch.max(x, x.roll(1, dims=1)),
        ]
        for convolution, norm, nonlinearity in zip(self.convolutions, self.norms, written, strict=True):
            images = nonlinearity(norm(convolution(images)))
        return self.linear(images.mean(dim=(2, 3)))


NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "ResNet-50": torchvision_network("resnet50"),
    "VGG16": torchvision_network("vgg16_bn"),
    "DenseNet-121": torchvision_network("densenet121"),
    "MobileNetV3": torchvision_network("mobilenet_v3_small"),
    "EfficientNet-B0": torchvision_network("efficientnet_b0"),
    "Inception v3": torchvision_network("inception_v3", aux_logits=False, init_weights=True),
    "GoogLeNet": torchvision_network("googlenet", aux_logits=False, init_weights=True),
    "RegNet": torchvision_network("regnet_y_400mf"),
    "ConvNeXt": torchvision_network("convnext_tiny"),
    "Swin": torchvision_network("swin_t"),
    "ViT": torchvision_network("vit_b_16"),
    "ResNet-26d (timm)": timm_network("resnet26d"),
    "EfficientNet-Lite0 (timm)": timm_network("efficientnet_lite0"),
    "ConvNeXt (timm)": timm_network("convnext_atto"),
    "Swin (timm)": timm_network("swin_tiny_patch4_window7_224", sized=True),
    "MobileViT (timm)": timm_network("mobilevit_xs"),
    "ViT (timm)": timm_network("vit_tiny_patch16_224", sized=True),
    "MaxViT (timm)": timm_network("maxvit_rmlp_pico_rw_256", sized=True),
    "CIFAR ResNet": lambda _side: CifarNetwork(),
    "Nonlinearities by hand": lambda _side: HandWritten(),
}
# Tried where it is named alone: small enough for pictures of 512 px.
OTHERS = {"Small ViT (timm)": timm_network("test_vit", sized=True)}
# The same with other heads than softmax.
HEADS = {f"CIFAR ResNet, {kind}": kind for kind in ("one logit", "probabilities", "sigmoids")}
NETWORKS |= {name: NETWORKS["CIFAR ResNet"] for name in HEADS}


# The least side with which the last map of a network has more than one cell. With less, what its head is given says
# nothing about places, so that no weights of the head can make the evidence lie in the corner of the map before, of
# which class activation maps are then made: of Inception's 4 × 4 cells at 96 px, hiding any one of the nine at the
# upper left takes between .14 and .25 of the logit's way from texture to plain.
LEAST_SIDES = {"Inception v3": 160}


def planted_network(name: str, side: int) -> Planted:
    """The network of that name, its weights set."""
    side = max(side, LEAST_SIDES.get(name, 0))
    torch.manual_seed(0)
    planted = plant((NETWORKS | OTHERS)[name](side), side, name=name)
    return with_head(planted, HEADS[name]) if name in HEADS else planted


def verdict(planted: Planted, name: str, full: bool) -> dict[str, object]:
    """What an explainer makes of the planted pictures: `works`, `wrong` with why, or `refuses` with its words."""
    few, version = {} if full else QUICK, EXPLAINERS[name].version
    settings = ExplainSettings.model_validate({"explainer": name} | few)
    started = time.perf_counter()
    try:
        explainer = make_explainer(name, *own_settings(settings))
        prepared = PreparedClassifier(planted.classifier)
        device = torch.device("cpu")
        items = [
            Item(number, picture, 1, image_generator(0, str(number), device))
            for number, picture in enumerate(planted.pictures[:2])
        ]
        found = explain_stream(explainer, prepared, items, device, len(items))
        maps = [stored_saliency(explanation) for _, explanation in found]
    except ValueError as error:
        return {"said": "refuses", "why": str(error), "version": version, "seconds": time.perf_counter() - started}
    shares = [in_corner(one, planted.inside, name) for one in maps]
    return {
        "said": "works" if min(shares) >= SHARE else "wrong",
        "why": f"{min(shares):.2f} of the salient pixels inside",
        "version": version,
        "seconds": time.perf_counter() - started,
    }


def in_corner(stored: np.ndarray, inside: Tensor, name: str) -> float:
    """The share of a map's salient pixels that lies in the corner; 0 where nothing is salient.

    Where a run takes a share of the pixels, it is at most the texture's: a cut that is larger than the evidence has to
    take others as well. Of a map that shows all of the texture and is nowhere quite 0 elsewhere, chance decided
    whether `SHARE` is reached.
    """
    share = EXPLAINERS[name].share
    cut = {} if share is None else {"share": min(share, float(inside.float().mean()))}
    salient = salient_of(stored, RunConfig.model_validate({"explain": {"explainer": name}, "regions": cut}))
    reach = round(REACH * inside.shape[0])
    corner = nn.functional.max_pool2d(inside[None, None].float(), 2 * reach + 1, 1, reach)[0, 0].numpy() > 0
    return float((salient & corner).sum() / max(1, salient.sum()))


def main() -> int:
    """Try, keep, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--networks", nargs="+", choices=[*NETWORKS, *OTHERS], default=[*NETWORKS])
    parser.add_argument("--explainers", nargs="+", choices=[*EXPLAINERS], default=[*TRIED])
    parser.add_argument("--side", type=int, default=128, help="of the pictures, px")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only-print", action="store_true", help="what is in FOLDER already")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    options.folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, dict]] = {}
    for network in options.networks:
        kept = options.folder / f"{network.replace(' ', '_')}.json"
        entries = json.loads(kept.read_text()) if kept.exists() else {}
        made = [name for name, entry in entries.items() if entry["version"] == EXPLAINERS[name].version]
        missing = [name for name in options.explainers if name not in made and not options.only_print]
        if missing:
            planted = planted_network(network, options.side)
            for name in missing:
                entries[name] = verdict(planted, name, options.full)
                print(f"{network}: {name}: {entries[name]}", file=sys.stderr)
                kept.write_text(json.dumps(entries, indent=1))
        found[network] = entries
    print(table(found, options.explainers))
    return int(any(entry["said"] == "wrong" for entries in found.values() for entry in entries.values()))


def table(found: dict[str, dict[str, dict]], explainers: list[str]) -> str:
    """The table as Markdown; refusals are numbered, and told below it."""
    reasons: list[str] = []
    lines = ["| | " + " | ".join(explainers) + " |", "|---|" + "---|" * len(explainers)]
    for network, entries in found.items():
        cells = []
        for name in explainers:
            entry = entries.get(name)
            if entry is None:
                cells.append("not tried")
            elif entry["said"] == "refuses":
                # Without the names of layers and functions.
                why = re.sub(r"'[^']*'|(?<=calls )\w+", "…", entry["why"])
                if why not in reasons:
                    reasons.append(why)
                cells.append(str(reasons.index(why) + 1))
            else:
                older = "" if entry["version"] == EXPLAINERS[name].version else f" (version {entry['version']})"
                cells.append({"works": "✓", "wrong": f"**wrong** ({entry['why']})"}[entry["said"]] + older)
        lines.append(f"| {network} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"{number}. {reason}" for number, reason in enumerate(reasons, 1))])


if __name__ == "__main__":
    sys.exit(main())
