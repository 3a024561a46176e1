"""Whoever changes an explainer's maps must raise its version: they are compared with stored ones."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import golden_maps
import numpy as np
import pytest
import torch

from visual_summaries.pipeline.explain import (
    crisp,
    fgvis_following,
    fgvis_games,
    fgvis_scales,
    glas,
    gradients,
    lime,
    occlusion,
    rglas,
    rise,
    robust,
    views,
)
from visual_summaries.pipeline.explain import feature_cam as feature_cams
from visual_summaries.pipeline.explain import perturbation as perturbations
from visual_summaries.pipeline.explain.cams import GradCam, GradCamPlusPlus
from visual_summaries.pipeline.explain.registry import EXPLAINERS
from visual_summaries.pipeline.explain_settings import ExplainSettings


@pytest.mark.parametrize("name", EXPLAINERS)
def test_maps_are_those_of_the_methods_version(name: str) -> None:
    found = list(golden_maps.complaints(name))
    assert not found, "\n".join(found)


def test_every_preset_and_game_is_stored() -> None:
    for setting, name in (("preset", "crisp"), ("game", "fgvis")):
        known = {f"{setting}={one}" for one in _choices(ExplainSettings.model_fields[setting].annotation)}
        assert len(known) == 4 and known <= set(" ".join(golden_maps.variants(name)).split())
    stored = " ".join(golden_maps.variants("glas")).split()
    assert {f"glas.preset={one}" for one in glas.PRESETS} <= set(stored)
    assert {path.stem for path in golden_maps.FOLDER.iterdir()} == set(EXPLAINERS)
    assert sum(path.stat().st_size for path in golden_maps.FOLDER.iterdir()) < 200_000


def _choices(annotation: Any) -> list[str]:
    found = [one for inner in get_args(annotation) for one in (_choices(inner) or [inner])]
    return [one for one in found if isinstance(one, str)]


Patch = Callable[[pytest.MonkeyPatch], None]


def _number(module: Any, name: str, value: Any) -> Patch:
    return lambda patch: patch.setattr(module, name, value)


def _preset(**changes: Any) -> Patch:
    return lambda patch: patch.setitem(crisp.PRESETS, "fast", replace(crisp.PRESETS["fast"], **changes))


def _instead(owner: Any, name: str, change: Callable[..., Any]) -> Patch:
    """A function's or method's result, changed."""
    before = getattr(owner, name)
    return lambda patch: patch.setattr(owner, name, lambda *args, **named: change(before(*args, **named)))


BROKEN: dict[str, tuple[str, str, Patch]] = {
    "a preset's number": ("crisp", "preset=fast", _preset(score_weight=0.0048)),
    "another number of it": ("crisp", "preset=fast", _preset(contrast=1.35)),
    "a stage's default": (
        "crisp",
        "preset=robust",
        _number(robust, "RobustSettings", partial(robust.RobustSettings, isolation=1.5)),
    ),
    "where a picture is shifted": ("crisp", "preset=robust", _number(views, "PLASTIC", 1.3)),
    "the size of a blur": ("meaningful-perturbation", "preset=fast", _number(perturbations, "LEAST_KERNEL", 7)),
    "a factor of the search": ("fgvis", "game=deletion", _number(fgvis_following, "RISE_AT_GOAL", 1.08)),
    "a stride": ("fgvis", "game=repression search=trials", _number(fgvis_games, "STRIDE", 8.0)),
    "what is not filtered": ("fgvis", "game=preservation", _number(fgvis_scales, "FILTERED", 2)),
    "an offset": ("glas", "glas.preset=localize", _number(glas, "SHADOW_OFFSET", 1e-2)),
    "a sign": ("grad-cam", "", _instead(GradCam, "combined", torch.neg)),
    "a term left out": ("grad-cam++", "", _number(GradCamPlusPlus, "combined", GradCam.combined)),
    "a weight": ("feature-cam", "cam.version=F2+", _number(feature_cams, "FEATURE_WEIGHT", 0.27)),
    "the magnitude": ("gradient", "", _instead(gradients.Gradient, "attributions", lambda found: found.clamp_min(0))),
    "a ridge": ("lime", "", _number(lime, "RIDGE", 2.0)),
    "a power": ("rise", "", _instead(rise, "normalized", torch.square)),
    "a rounding": ("occlusion", "", _instead(occlusion, "normalized", lambda found: (found * 16).round() / 16)),
    "scores alone": ("rglas", "", _instead(rglas, "target_scores", lambda scores: scores * 1.01)),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_method_that_is_changed_a_bit_is_noticed(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, variant, patch = BROKEN[what]
    patch(monkeypatch)
    monkeypatch.setattr(golden_maps, "VARIANTS", {name: (variant,)})
    stored = golden_maps.read(name)[1][variant]
    assert list(golden_maps.differences(golden_maps.made(name, variant), stored))


def test_the_complaint_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glas, "SHADOW_OFFSET", 1e-2)
    (one, *_) = golden_maps.complaints("glas")
    assert "raise its version in pipeline/explain/registry.py" in one and "golden_maps.py glas`" in one
    monkeypatch.setitem(EXPLAINERS, "new", EXPLAINERS["gradient"])
    (missing,) = golden_maps.complaints("new")
    assert missing.startswith("no maps of the explainer new are stored: run `python tests/explain/golden_maps.py new`")


def test_another_version_than_the_stored_one_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EXPLAINERS["gradient"]
    monkeypatch.setitem(EXPLAINERS, "gradient", replace(entry, version=entry.version + 1))
    (one,) = golden_maps.complaints("gradient")
    assert f"at version {entry.version + 1}, the stored maps at {entry.version}" in one


def test_other_maps_are_not_written_under_the_same_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stored = golden_maps.file_of("gradient").read_bytes()
    monkeypatch.setattr(golden_maps, "FOLDER", tmp_path)
    file = golden_maps.file_of("gradient")
    file.write_bytes(stored)
    golden_maps.write("gradient")
    assert file.read_bytes() == stored
    _instead(gradients.Gradient, "attributions", lambda found: found.clamp_min(0))(monkeypatch)
    with pytest.raises(SystemExit, match="gradient gives other maps .* raise its version"):
        golden_maps.write("gradient")
    assert file.read_bytes() == stored
    monkeypatch.setitem(EXPLAINERS, "gradient", replace(EXPLAINERS["gradient"], version=7))
    golden_maps.write("gradient")
    version, maps = golden_maps.read("gradient")
    assert version == 7
    np.testing.assert_array_equal(maps[""].saliency, golden_maps.made("gradient", "").saliency)
