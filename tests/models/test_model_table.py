"""`benchmarks/model_table.py` on small pictures: each explainer shows the planted corner, or says why not."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import model_table  # noqa: E402
import planted  # noqa: E402

SIDE = 32
CAMS = ("cam", "grad-cam", "grad-cam++", "smooth-grad-cam++", "feature-cam")
OF_GRADIENTS = ("gradient", "guided-backpropagation", "integrated-gradients", *CAMS)
# The network, the side of its pictures, the explainers, and those that refuse with what they must say.
ROWS = {
    "CIFAR ResNet": (SIDE, model_table.TRIED, {}),
    "CIFAR ResNet, one logit": (SIDE, (*OF_GRADIENTS, "meaningful-perturbation", "occlusion"), {}),
    "CIFAR ResNet, probabilities": (SIDE, (*OF_GRADIENTS, "meaningful-perturbation", "occlusion"), {}),
    "CIFAR ResNet, sigmoids": (SIDE, (*OF_GRADIENTS, "meaningful-perturbation", "occlusion"), {}),
    "Nonlinearities by hand": (64, OF_GRADIENTS, {"guided-backpropagation": "calls mul, which is no ReLU"}),
    "ConvNeXt (timm)": (
        128,
        OF_GRADIENTS,
        {"guided-backpropagation": "calls gelu, which is no ReLU", "cam": "another head: take grad-cam"},
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_each_works_or_says_why_not(name: str) -> None:
    side, explainers, refused = ROWS[name]
    one = model_table.planted_network(name, side)
    for explainer in explainers:
        found = model_table.verdict(one, explainer, full=False)
        if explainer in refused:
            assert found["said"] == "refuses" and refused[explainer] in found["why"], explainer
        else:
            assert found["said"] == "works", f"{explainer}: {found['why']}"


def test_a_map_that_points_elsewhere_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    one = model_table.planted_network("CIFAR ResNet", SIDE)
    elsewhere = planted.Planted(one.classifier, one.pictures, one.inside.flip(0))
    for explainer in ("gradient", "grad-cam", "occlusion"):
        assert model_table.verdict(elsewhere, explainer, full=False)["said"] == "wrong"
    monkeypatch.setattr(model_table, "make_explainer", lambda *_args: Nothing())
    assert model_table.verdict(one, "gradient", full=False)["said"] == "wrong"


def test_nothing_but_the_corner_reaches_the_network() -> None:
    one = model_table.planted_network("CIFAR ResNet", SIDE)
    changed = torch.where(one.inside, one.pictures, torch.rand_like(one.pictures))
    torch.testing.assert_close(one.classifier.logits(changed), one.classifier.logits(one.pictures))
    gray = torch.where(one.inside, 0.5, one.pictures)
    assert one.classifier.logits(one.pictures).argmax(1).tolist() == [1] * len(gray)
    assert one.classifier.logits(gray).argmax(1).tolist() == [0] * len(gray)


def test_no_more_is_judged_than_there_is_evidence() -> None:
    """Noise everywhere, fainter than the texture: a cut at a tenth of the pixels would take noise as well."""
    _, _, inside = planted.pictures(1, 96)
    noise = np.random.default_rng(0).integers(1, 60, (96, 96)).astype(np.uint8)
    shown = np.where(inside.numpy(), 200, noise)[None]
    assert model_table.in_corner(shown, inside, "rise") == 1
    assert model_table.in_corner(noise[None], inside, "rise") < model_table.SHARE
    assert model_table.in_corner(shown[:, ::-1, ::-1].copy(), inside, "rise") == 0


def test_a_pale_mask_is_cut_by_area_as_a_run_does() -> None:
    _, _, inside = planted.pictures(1, 96)
    pale = np.where(inside.numpy(), 90, 0).astype(np.uint8)[None]
    assert model_table.in_corner(pale, inside, "meaningful-perturbation") == 1
    assert model_table.in_corner(pale, inside, "crisp") == 0


class Nothing:
    """An explainer whose maps are empty."""

    passes = 1

    def explain(self, classifier, images, targets, generators=None):  # noqa: ANN001, ANN201
        from visual_summaries.pipeline.explain.interface import Explanation

        empty, none = torch.zeros(len(images), 1, *images.shape[2:]), torch.zeros(len(images))
        return Explanation(empty, none, None, none.long())


def test_a_corner_in_the_dark_is_plain() -> None:
    one = model_table.planted_network("CIFAR ResNet", SIDE)
    for light in (0.1, 0.0):
        assert one.classifier.logits(light * one.pictures).argmax(1).tolist() == [0] * len(one.pictures)
