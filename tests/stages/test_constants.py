"""A number in the code that changes a table changes the name of its shards, though nobody raised a version."""

import importlib
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from visual_summaries.pipeline.config import load_config
from visual_summaries.pipeline.evaluate import faithfulness, wholeness
from visual_summaries.pipeline.explain import (
    capacity,
    crisp,
    fgvis_scales,
    fgvis_single_run,
    glas,
    lime,
    occlusion,
    passes,
    perturbation,
    robust,
    views,
)
from visual_summaries.pipeline.explain import feature_cam as feature_cams
from visual_summaries.pipeline.explain.registry import EXPLAINERS
from visual_summaries.pipeline.models.hed import Hed
from visual_summaries.pipeline.models.pidinet import PiDiNet
from visual_summaries.pipeline.stages import features, part_truth
from visual_summaries.pipeline.stages.constants import NEVER_IN_A_RESULT, PACKAGE, constants, effective
from visual_summaries.pipeline.stages.order import STAGES
from visual_summaries.pipeline.stages.studies import STUDIES
from visual_summaries.pipeline.summarize import (
    consensus,
    cover,
    hog,
    local_offsets,
    neighbors,
    proposals,
    sparse_affinity,
    ssim,
    tags,
)

STAGE_OF = {stage.name: stage for stage in STAGES} | {f"study {name}": study for name, study in STUDIES.items()}
PAPER = ("preset=paper",)


def settings(name: str, *overrides: str) -> str:
    """What a stage's shards are named by, as text."""
    return json.dumps(STAGE_OF[name].settings(load_config(None, overrides)), sort_keys=True)


def explainer(name: str, *overrides: str) -> str:
    return settings("explain", f"explain.explainer={name}", *overrides)


# What is changed, to what, and whose tables that changes.
CHANGED: list[tuple[Any, str, Any, str, tuple[str, ...]]] = [
    (features, "COMPONENTS", 48, "features", ()),
    (importlib.import_module("visual_summaries.pipeline.models.dense_features"), "GRID", 32, "features", ()),
    (cover, "PRICE", 0.03, "candidates", ()),
    (consensus, "ROUNDS", 3, "candidates", ()),
    (neighbors, "BLOCK_SIDE", 32, "neighbors", ()),
    (local_offsets, "_DISTANCE_WEIGHT", 0.06, "match", ()),
    (local_offsets, "_DISTANCE_WEIGHT", 0.06, "cluster", ()),
    (sparse_affinity, "_NOISE", 1e-8, "cluster", ()),
    (proposals, "SEGMENTATION_SIGMA", 0.7, "propose", ()),
    (hog, "CELL", 10, "propose", PAPER),
    (perturbation, "LEAST_KERNEL", 7, "regions", ()),
    (perturbation, "LEAST_KERNEL", 7, "members", ()),
    (ssim, "_SIGMA", 1.4, "members", PAPER),
    (tags, "TAGS_PER_CROP", 9, "tags", ()),
    (part_truth, "LENIENT_OVERLAP", 0.2, "metrics", ()),
    (wholeness, "LEAST", 0.02, "study wholeness", ()),
    (faithfulness, "STEPS", 30, "study faithfulness", ()),
    (views, "PLASTIC", 1.3, "explain", ()),
    (views, "PLASTIC", 1.3, "study sanity", ()),
    (fgvis_single_run, "HELD", 4, "explain", ("explain.explainer=fgvis",)),
    (fgvis_scales, "LOST", 7, "explain", ("explain.explainer=fgvis",)),
    (glas, "SHADOW_OFFSET", 1e-4, "explain", ("explain.explainer=rglas",)),
    (lime, "RIDGE", 2.0, "explain", ("explain.explainer=lime",)),
    (occlusion, "PUBLISHED_SIDE", 225, "explain", ("explain.explainer=occlusion",)),
    (feature_cams, "FEATURE_WEIGHT", 0.3, "explain", ("explain.explainer=feature-cam",)),
]


@pytest.mark.parametrize("change", CHANGED, ids=lambda change: f"{change[1]} of {change[3]}")
def test_a_number_in_the_code_takes_part(change: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name, value, stage, overrides = change
    before = settings(stage, *overrides)
    assert before == settings(stage, *overrides) and getattr(module, name) != value
    monkeypatch.setattr(module, name, value)
    assert settings(stage, *overrides) != before


def test_a_presets_numbers_take_part_and_no_other_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("fast", "authors", "robust")
    before = {name: explainer("crisp", f"explain.preset={name}") for name in names}
    monkeypatch.setitem(crisp.PRESETS, "fast", replace(crisp.PRESETS["fast"], fine_steps=11))
    after = {name: explainer("crisp", f"explain.preset={name}") for name in names}
    assert [name for name in names if before[name] != after[name]] == ["fast"]
    monkeypatch.setattr(robust, "RobustSettings", partial(robust.RobustSettings, ramp=5))
    assert explainer("crisp") != before["robust"]
    light = explainer("glas")
    monkeypatch.setitem(glas.PRESETS, "localize", glas.GlasSettings(light=4.5))
    assert explainer("glas") != light
    fast = settings("propose")
    stage = importlib.import_module("visual_summaries.pipeline.stages.propose")
    monkeypatch.setitem(stage.SEARCHES, "fast", proposals.Search(side=100))
    assert settings("propose") != fast


@pytest.mark.parametrize("name", EXPLAINERS)
def test_the_version_takes_part(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = explainer(name)
    monkeypatch.setitem(EXPLAINERS, name, replace(EXPLAINERS[name], version=EXPLAINERS[name].version + 1))
    assert explainer(name) != before


def test_what_changes_no_map_takes_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    def everything(*overrides: str) -> dict[str, str]:
        # These studies need another network.
        own = [name for name in STAGE_OF if name not in ("study transfer", "study coherence")]
        stages = {name: settings(name, *overrides) for name in own}
        return stages | {name: explainer(name, *overrides) for name in EXPLAINERS}

    before = everything()
    few = ("explain.pass_memory=1000", "explain.batch_size=3")
    monkeypatch.setattr(passes, "PASS_MEMORY", 1)
    monkeypatch.setattr(lime, "PASS_IMAGES", 1)
    monkeypatch.setattr(capacity, "MOST_IMAGES", {"cpu": 1})
    monkeypatch.setattr(consensus, "CHUNK", 5)
    assert everything(*few) == before


def test_what_is_left_out_is_there() -> None:
    for name in NEVER_IN_A_RESULT:
        whole = name if "." in name else f"{PACKAGE}explain.passes.{name}"
        module, _, constant = whole.rpartition(".")
        assert hasattr(importlib.import_module(module), constant), name


def test_only_plain_constants_of_the_sciences_are_followed() -> None:
    found = constants(f"{PACKAGE}stages.features", f"{PACKAGE}summarize.factors")
    assert found["visual_summaries.pipeline.stages.features.COMPONENTS"] == 56
    assert found["visual_summaries.pipeline.summarize.factors.MOST_CELLS"] == 4000
    assert not any(name.startswith((f"{PACKAGE}stages.regions", f"{PACKAGE}models")) for name in found)
    assert found == constants(f"{PACKAGE}stages.features", f"{PACKAGE}summarize.factors")


def test_an_edge_detector_takes_part_by_its_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    first = PiDiNet().state_dict()
    for name in ("a", "b"):
        save_file(first, tmp_path / f"{name}.safetensors")
    save_file({name: values + 1 for name, values in first.items()}, tmp_path / "c.safetensors")
    a, b, c = (explainer("feature-cam", f"explain.cam.edges={tmp_path}/{name}.safetensors") for name in "abc")
    assert a == b != c and str(tmp_path) not in a
    assert len({a, c, explainer("feature-cam")}) == 3
    assert effective(Hed) == "visual_summaries.pipeline.models.hed.Hed"
