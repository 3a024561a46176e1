"""Stage `regions`: maps → `regions`: connected salient regions and what blurring each alone does."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.explain.crisp import PRESETS
from visual_summaries.pipeline.explain.interface import target_scores
from visual_summaries.pipeline.explain.perturbation import PERTURBATIONS, FixedBlur
from visual_summaries.pipeline.explain.registry import EXPLAINERS
from visual_summaries.pipeline.runtime.stage import Plan, Resources, Stage, units_per_shard
from visual_summaries.pipeline.runtime.units import Output, Unit
from visual_summaries.pipeline.stages.constants import constants
from visual_summaries.pipeline.stages.context import WorkerContext, apart, chunks, decode_saliency, own_rows
from visual_summaries.pipeline.summarize.proposals import REFERENCE_SIDE
from visual_summaries.pipeline.summarize.regions import encode_run_length, salient_pixels, salient_regions
from visual_summaries.schemas import EDGES


class RegionsStage(Stage):
    """Salient regions, shard of maps by shard of maps."""

    name = "regions"
    reads = ("images", "maps")
    writes = "regions"
    resources = Resources(gpu=True)
    depends_on = ("classifier",)
    version = 3

    def settings(self, config: RunConfig) -> Any:
        own = [cut_of(config), config.regions.minimum_area, blur_of(config)]
        return [*own, constants(__name__, salient_regions, FixedBlur)]

    def units(self, plan: Plan) -> list[Unit]:
        return units_per_shard(plan, "maps", also=("images",))

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        photographs = worker.photographs(unit)
        output = Output(rows=[])
        maps = worker.read(unit, "maps", ["image_id", "target", "saliency", "saliency_shape"])
        for row in own_rows(unit, maps, items):
            photograph = photographs[row["image_id"]]
            with apart(self.name, unit, photograph, output):
                output.rows += self._rows(worker, unit.label, row, photograph)
        return output

    def _rows(
        self, worker: WorkerContext, label: str, row: Mapping[str, Any], photograph: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """The regions of an image, from its rows of `maps` and `images`."""
        salient = salient_mask(row, worker.config)
        regions = salient_regions(salient.astype(np.float32), minimum_area=worker.config.regions.minimum_area)
        if not regions:
            return []
        image = worker.analyzed_image(photograph)
        drops = blurred_drops(worker, image, row["target"], [region.mask for region in regions])
        return [
            {
                "image_id": row["image_id"],
                "label": label,
                "region": number,
                **{name: float(edge) for name, edge in zip(EDGES, region.box, strict=True)},
                "area": float(region.mask.mean()),
                "run_length": np.asarray(encode_run_length(region.mask)).tolist(),
                "drop": drop,
            }
            for number, (region, drop) in enumerate(zip(regions, drops, strict=True))
        ]


def blur_of(config: RunConfig) -> str:
    """The perturbation that the run's maps were made with."""
    settings = PRESETS.get(config.explain.preset or "")
    return config.explain.blur or (settings.blur if settings else "authors")


def blurred_drops(
    worker: WorkerContext, image: torch.Tensor, target: int, masks: Sequence[np.ndarray]
) -> list[float]:
    """Relative drop of the target's score for each mask `[S,S]` whose pixels are blurred in `image`."""
    drops: list[float] = []
    perturbation = PERTURBATIONS[blur_of(worker.config)]
    with torch.no_grad():
        prepared = perturbation.prepare(worker.model_input([image]))
        for batch in chunks(masks, worker.config.model.batch_size):
            keep = torch.from_numpy(~np.stack(batch)).to(worker.device).float()[:, None]
            keep = torch.cat([torch.ones_like(keep[:1]), keep])
            copies = {name: value.expand(len(keep), *value.shape[1:]) for name, value in prepared.items()}
            targets = torch.full((len(keep),), target, device=worker.device)
            scores = target_scores(worker.classifier, perturbation.apply(copies, keep), targets)
            drops += ((scores[0] - scores[1:]) / scores[0]).tolist()
    return drops


def cut_of(config: RunConfig) -> dict[str, float | None]:
    """How the run's maps are cut: the user's settings, else the explainer's own; arguments of `salient_pixels`."""
    own, given = EXPLAINERS[config.explain.explainer], config.regions
    share = own.share if given.threshold is None and given.share is None else given.share
    return {
        "threshold": own.threshold if given.threshold is None else given.threshold,
        "smoothing": own.smoothing if given.smoothing is None else given.smoothing,
        "share": share,
    }


def salient_mask(row: Mapping[str, Any], config: RunConfig) -> np.ndarray:
    """Salient pixels `[H,W]` bool of a row of `maps` (of the mean over channels of a 3-channel map)."""
    return salient_of(decode_saliency(row), config)


def salient_of(stored: np.ndarray, config: RunConfig) -> np.ndarray:
    """The same of a map `[C,H,W]` uint8 as it is stored."""
    saliency = stored.mean(axis=0) / 255.0
    cut = cut_of(config)
    smoothing = cut["smoothing"] * saliency.shape[1] / REFERENCE_SIDE
    return salient_pixels(saliency, cut["threshold"], smoothing, cut["share"])
