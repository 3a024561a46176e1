"""Stage `features`: images and maps → `features`: what the classifier sees at each place of a class's images."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.models.dense_features import DenseLayer, dense_features, layers_of
from visual_summaries.pipeline.runtime.stage import Plan, Resources, Stage, units_per_class
from visual_summaries.pipeline.runtime.units import Output, Unit
from visual_summaries.pipeline.stages.constants import constants
from visual_summaries.pipeline.stages.context import WorkerContext, apart, decoded_images, own_rows
from visual_summaries.pipeline.stages.regions import cut_of, salient_mask
from visual_summaries.pipeline.summarize.candidates import cell_shares
from visual_summaries.pipeline.summarize.cell_features import Basis, fit_basis

COMPONENTS = 56
"""With 28 by 28 cells in half precision 88 kB an image."""
FITTED_IMAGES = 64
FITTED_CELLS = 256
SALIENT_SHARE = 0.5


class FeaturesStage(Stage):
    """Activations of two layers, the mirror image's laid back on them, in the class's principal components."""

    name = "features"
    reads = ("images", "maps")
    writes = "features"
    resources = Resources(gpu=True)
    depends_on = ("classifier",)

    def wanted(self, config: RunConfig) -> bool:
        return config.needs_features

    def settings(self, config: RunConfig) -> Any:
        own = [config.summaries.layers, cut_of(config), config.seed]
        return [*own, constants(__name__, dense_features, cell_shares, fit_basis)]

    def units(self, plan: Plan) -> list[Unit]:
        return units_per_class(plan, ("maps",), also=("images",), apart="maps")

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        maps = worker.read(unit, "maps", ["image_id", "saliency", "saliency_shape"])
        rows = {row["image_id"]: row for row in own_rows(unit, maps, items)}
        photographs = worker.photographs(unit)
        output = Output(rows=[])
        ids = sorted(rows)
        fitted = [ids[at] for at in np.unique(np.linspace(0, len(ids) - 1, min(len(ids), FITTED_IMAGES)).astype(int))]
        layers = layers_of(worker.classifier, worker.config.summaries.layers)
        seen = dict(self._seen(worker, unit, photographs, fitted, layers, output))
        salient = {}
        for image_id in seen:
            with apart(self.name, unit, photographs[image_id], output):
                salient[image_id] = salient_mask(rows[image_id], worker.config)
        seen = {image_id: seen[image_id] for image_id in salient}
        basis = _basis(worker.config.seed, seen, salient, layers)
        if basis is None:
            return output
        later = sorted(set(ids) - set(fitted))
        found = {image_id: _row(unit.label, image_id, maps, basis) for image_id, maps in seen.items()}
        seen.clear()
        for image_id, activations in self._seen(worker, unit, photographs, later, layers, output):
            found[image_id] = _row(unit.label, image_id, activations, basis)
        output.rows += [found[image_id] for image_id in sorted(found)]
        return output

    def _seen(
        self,
        worker: WorkerContext,
        unit: Unit,
        photographs: Mapping[str, Mapping[str, Any]],
        ids: Sequence[str],
        layers: Sequence[DenseLayer],
        output: Output,
    ) -> Iterator[tuple[str, np.ndarray]]:
        """(image id, activations `[C,G,G]` float32) of images, in batches."""
        decoded = decoded_images(worker, self.name, unit, photographs, ids, output)
        while batch := list(islice(decoded, worker.config.model.batch_size)):
            yield from _activations(worker, batch, layers)
            worker.advance(unit, len(batch))


def _activations(
    worker: WorkerContext, images: Sequence[tuple[str, torch.Tensor]], layers: Sequence[DenseLayer]
) -> Iterator[tuple[str, np.ndarray]]:
    batch = torch.stack([image for _, image in images]).to(worker.device)
    maps = torch.cat(dense_features(worker.classifier, batch, layers, mirrored=True), dim=1).cpu().numpy()
    yield from zip((image_id for image_id, _ in images), maps, strict=True)


def _basis(
    seed: int, seen: dict[str, np.ndarray], salient: dict[str, np.ndarray], layers: Sequence[DenseLayer]
) -> Basis | None:
    """The class's basis from a sample of its salient cells; None where nothing is salient."""
    generator = np.random.default_rng(seed)
    cells = []
    for image_id in sorted(seen):
        maps = seen[image_id]
        rows, columns = np.nonzero(cell_shares(salient[image_id][None], maps.shape[-1])[0] >= SALIENT_SHARE)
        if len(rows) > FITTED_CELLS:
            chosen = np.sort(generator.choice(len(rows), FITTED_CELLS, replace=False))
            rows, columns = rows[chosen], columns[chosen]
        cells.append(maps[:, rows, columns].T)
    together = np.concatenate([*cells, np.zeros((0, sum(layer.shape[0] for layer in layers)), np.float32)])
    return fit_basis(together, [layer.shape[0] for layer in layers], COMPONENTS) if len(together) else None


def _row(label: str, image_id: str, maps: np.ndarray, basis: Basis) -> dict[str, Any]:
    features = basis.apply_maps(maps[None])[0].astype(np.float16)
    return {
        "image_id": image_id,
        "label": label,
        "features": features.tobytes(),
        "features_shape": list(features.shape),
    }


def stored_features(row: dict[str, Any]) -> np.ndarray:
    """Features `[G,G,D]` float16 of a row of `features` (read-only)."""
    return np.frombuffer(row["features"], np.float16).reshape(row["features_shape"])
