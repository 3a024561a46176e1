"""Which classes of a run go by what is no part of their pictures, from its table `alterations`."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from visual_summaries.pipeline.evaluate.alterations import altered
from visual_summaries.pipeline.evaluate.reliance import changes, effect_of, reliance_signs
from visual_summaries.pipeline.report.altered import AlteredContent
from visual_summaries.pipeline.runtime.stage import Plan
from visual_summaries.pipeline.runtime.units import Unit
from visual_summaries.pipeline.stages.context import WorkerContext
from visual_summaries.pipeline.store.tables import digest

COLUMNS = ["image_id", "alteration", "target", "named", "score_before", "score_after", "prediction"]
PAIRS_DRAWN = 4


def classes_reliant(plan: Plan, shards: Mapping[str, Sequence[str]]) -> dict[str, list[dict[str, Any]]]:
    """Label → signs of its class, fields of `RelianceSign`; holds a few numbers of each class.

    Args:
        shards: paths of the classes' shards of `alterations` by label.
    """
    found = {}
    for label, paths in shards.items():
        together = defaultdict(list)
        # A photograph's rows are in one shard.
        for path in paths:
            rows = plan.store.read("alterations", [path], COLUMNS).to_pylist()
            for kind, own in changes(rows).items():
                together[kind] += [(one.changed, one.fall) for one in own.values()]
        found[label] = {kind: effect_of(photographs) for kind, photographs in together.items()}
    return {label: [asdict(sign) for sign in signs] for label, signs in reliance_signs(found).items()}


def altered_contents(
    worker: WorkerContext,
    unit: Unit,
    images: Mapping[str, Mapping[str, Any]],
    picture: Callable[[str], np.ndarray | None],
) -> list[AlteredContent]:
    """Photographs of the unit's class as they are and altered, of each kind that changes most of them: a seeded choice,
    not those that change most. Whether the class is suspicious is not known before all classes are.

    Args:
        images: rows of `images` by id.
        picture: uint8 `[S,S,3]` of an id; None where it cannot be read any more.
    """
    contents = []
    for kind, changed in changes(worker.read(unit, "alterations", COLUMNS)).items():
        if not effect_of([(one.changed, one.fall) for one in changed.values()]).substantial:
            continue
        order = sorted(changed, key=lambda image_id: digest(worker.config.seed, image_id, "altered"))
        for image_id in order[:PAIRS_DRAWN]:
            image, row = picture(image_id), changed[image_id].row
            if image is None:
                continue
            pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 255
            without = altered(pixels, row["alteration"])[0].permute(1, 2, 0).mul(255).round().byte().numpy()
            after = row["prediction"]
            named = None if after in (None, row["target"]) else worker.setup.class_names[after]
            contents.append(
                AlteredContent(
                    kind=kind, image=image, altered=without, image_id=image_id, uri=images[image_id]["uri"],
                    before=row["score_before"], after=row["score_after"], called=named,
                )
            )  # fmt: skip
    return contents
