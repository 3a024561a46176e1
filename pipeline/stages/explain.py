"""Stage `explain`: images → `maps`: one saliency map per image, on the GPU where there is one."""

import time
from collections.abc import Sequence
from typing import Any

import torch

from pipeline.config import RunConfig
from pipeline.data.decode import DecodeError
from pipeline.explain.crisp import binarization_error
from pipeline.explain.registry import make_explainer
from pipeline.stages.stage import Plan, Stage
from pipeline.stages.units import Output, Unit, error_row
from pipeline.stages.worker import WorkerContext, chunks
from pipeline.store.tables import digest


class ExplainStage(Stage):
    """One saliency map per explained image, in shards of a class."""

    name = "explain"
    reads = ("images",)
    writes = "maps"
    uses_model = True

    def settings(self, config: RunConfig) -> Any:
        explain = config.explain
        return [explain.explainer, explain.preset, explain.blur, explain.target, explain.batch_size, config.seed]

    def units(self, plan: Plan) -> list[Unit]:
        units = []
        for label, paths in plan.by_label("images").items():
            rows = plan.store.read("images", paths, ["image_id", "class_index", "explained"]).to_pylist()
            chosen = {row["image_id"]: row["class_index"] for row in rows if row["explained"]}
            for ids in chunks(sorted(chosen), plan.config.explain.shard_size):
                units.append(
                    Unit(
                        label=label,
                        identity=tuple((image_id, chosen[image_id]) for image_id in ids),
                        items=tuple(ids),
                        inputs={"images": paths},
                        divisible=True,
                        size=len(ids),
                    )
                )
        return units

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        columns = ["image_id", "uri", "class_index", "prediction", "explained"]
        rows = {row["image_id"]: row for row in worker.read(unit, "images", columns) if row["explained"]}
        settings = worker.config.explain
        explainer = make_explainer(settings.explainer, settings.preset, settings.blur)
        output = Output(rows=[])
        for ids in chunks(items, settings.batch_size):
            batch, decoded = [], []
            for image_id in ids:
                try:
                    batch.append(worker.analyzed_image(rows[image_id]))
                    decoded.append(rows[image_id])
                except DecodeError as error:
                    output.errors.append(
                        error_row(self.name, unit.label, str(error), image_id, rows[image_id]["uri"], retry=True)
                    )
            if batch:
                self._explain(worker, explainer, unit.label, batch, decoded, output)
        return output

    def _explain(
        self,
        worker: WorkerContext,
        explainer: Any,
        label: str,
        batch: list[torch.Tensor],
        rows: list[dict[str, Any]],
        output: Output,
    ) -> None:
        settings, seed = worker.config.explain, worker.config.seed
        key = "class_index" if settings.target == "label" else "prediction"
        targets = torch.tensor([row[key] for row in rows], device=worker.device)
        generators = [image_generator(seed, row["image_id"], worker.device) for row in rows]
        started = time.perf_counter()
        explanation = explainer.explain(worker.classifier, worker.model_input(batch), targets, generators)
        seconds = (time.perf_counter() - started) / len(rows)
        saliency = explanation.saliency
        drop = (explanation.score_before - explanation.score_after) / explanation.score_before
        figures = {
            "score_before": explanation.score_before,
            "score_after": explanation.score_after,
            "drop": drop,
            "area": saliency.mean(dim=(1, 2, 3)),
            "crispness": binarization_error(saliency),
        }
        finite = torch.stack([values.isfinite() for values in figures.values()]).all(dim=0).tolist()
        figures = {name: values.tolist() for name, values in figures.items()}
        stored = saliency.nan_to_num().mul(255).round().byte().cpu().numpy()
        for number, row in enumerate(rows):
            if not finite[number]:
                reason = "the explanation is not finite (NaN or infinity): check the image and the network"
                output.errors.append(error_row(self.name, label, reason, row["image_id"], row["uri"]))
                continue
            output.rows.append(
                {
                    "image_id": row["image_id"],
                    "label": label,
                    "explainer": f"{settings.explainer}:{settings.preset}",
                    "target": int(targets[number]),
                    "saliency": stored[number].tobytes(),
                    "saliency_shape": list(stored[number].shape),
                    "iterations": int(explanation.iterations[number]),
                    "seconds": seconds,
                }
                | {name: values[number] for name, values in figures.items()}
            )


def image_generator(seed: int, image_id: str, device: torch.device) -> torch.Generator:
    """Random numbers of one image: by (run seed, image id), whatever its batch, order or worker."""
    number = int(digest(seed, image_id)[:15], 16)
    return torch.Generator(device=device).manual_seed(number)
