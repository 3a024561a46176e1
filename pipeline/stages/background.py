"""Stage `background`: images → `background`: what HOG cells of the run's images look like, for whitening."""

from collections.abc import Sequence
from itertools import chain, islice, zip_longest
from typing import Any

import numpy as np
import pyarrow.compute as compute
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.config import RunConfig
from pipeline.data.decode import DecodeError
from pipeline.stages.stage import Plan, Stage
from pipeline.stages.units import Output, Unit, error_row
from pipeline.stages.worker import WorkerContext
from pipeline.store.tables import digest
from pipeline.summarize.hog import hog_map
from pipeline.summarize.proposals import REFERENCE_SIDE
from pipeline.summarize.whitening import Background, Whitener, background_statistics, whitening

SMALLEST_SIDE = 96


class BackgroundStage(Stage):
    """Statistics over a seeded choice of at most `matching.background_images` of the run's images."""

    name = "background"
    reads = ("images",)
    writes = "background"
    uses_images = True

    def settings(self, config: RunConfig) -> Any:
        return [config.matching.background_images, config.seed]

    def units(self, plan: Plan) -> list[Unit]:
        shards, limit = plan.shards["images"], plan.config.matching.background_images
        # Spread over the classes, and few: a run of a thousand classes must not read all its images' rows here.
        chosen = [shards[number * len(shards) // limit] for number in range(limit)] if len(shards) > limit else shards
        paths = tuple(shard.path for shard in chosen)
        return [Unit(label="", identity=paths, items=paths, inputs={"images": paths}, size=min(limit, len(paths)))]

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        output = Output(rows=[])
        limit, maps = worker.config.matching.background_images, {}
        for row in self._candidates(worker, unit):
            if len(maps) == limit:
                break
            try:
                maps[row["image_id"]] = _hog_map(worker.analyzed_image(row))
            except DecodeError as error:
                output.errors.append(
                    error_row(self.name, row["label"], str(error), row["image_id"], row["uri"], retry=True)
                )
        if not maps:
            output.errors.append(error_row(self.name, "", "no image could be read: nothing to whiten with", retry=True))
            return output
        statistics = background_statistics(list(maps.values()))
        output.rows.append(
            {
                "label": "",
                "images": list(maps),
                "mean": statistics.mean.numpy().tobytes(),
                "covariance": statistics.covariance.numpy().tobytes(),
                "offsets": statistics.offsets.flatten().tolist(),
            }
        )
        return output

    def _candidates(self, worker: WorkerContext, unit: Unit) -> list[dict[str, Any]]:
        """Rows of readable images in a seeded order, one shard after the other in turn."""
        seed, lines = worker.config.seed, []
        for path in unit.inputs["images"]:
            table = worker.store.read("images", [path], ["image_id", "uri", "label", "decode_error"])
            rows = table.filter(compute.is_null(table.column("decode_error"))).to_pylist()
            lines.append(sorted(rows, key=lambda row: digest(seed, row["image_id"], "background")))
        in_turn = (row for row in chain.from_iterable(zip_longest(*lines)) if row is not None)
        # Some may have become unreadable since.
        return list(islice(in_turn, 2 * worker.config.matching.background_images))


def _hog_map(image: Tensor) -> Tensor:
    """HOG of an image uint8 `[3,S,S]`; a small one is enlarged first, as proposals' crops are."""
    if image.shape[-1] < SMALLEST_SIDE:
        enlarged = functional.interpolate(image[None].float(), int(REFERENCE_SIDE), mode="bilinear")[0]
        image = enlarged.round().byte()
    return hog_map(image.permute(1, 2, 0).contiguous().numpy())


def read_whitener(worker: WorkerContext, unit: Unit) -> Whitener:
    """The whitener of the run, solved once per worker.

    Raises:
        ValueError: the stage found no image to whiten with.
    """

    def solve() -> Whitener:
        rows = worker.read(unit, "background")
        if not rows:
            raise ValueError("no image could be read for the background statistics: see the table errors")
        mean, covariance = (
            torch.from_numpy(np.frombuffer(rows[0][name], np.float64).copy()) for name in ("mean", "covariance")
        )
        offsets = torch.tensor(rows[0]["offsets"]).view(-1, 2)
        return whitening(Background(mean, covariance.view(len(offsets), len(mean), len(mean)), offsets))

    return worker.remembered(("whitener", *unit.inputs["background"]), solve)
