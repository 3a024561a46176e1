"""Stage `tags`: summaries → `tags`: what the classifier itself calls the members of each kept summary, seen alone, and
what it sees in them."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.export.contents import KEPT_COLUMNS, kept_clusters
from visual_summaries.pipeline.runtime.stage import Plan, Resources, Stage, units_per_class
from visual_summaries.pipeline.runtime.units import Output, Unit
from visual_summaries.pipeline.stages.constants import constants
from visual_summaries.pipeline.stages.context import WorkerContext
from visual_summaries.pipeline.stages.crops import described_crops, tags_of
from visual_summaries.pipeline.summarize.specialists import normalized
from visual_summaries.pipeline.summarize.tags import label_tags
from visual_summaries.schemas import EDGES


class TagsStage(Stage):
    """The most common labels of the members' crops, a summary at a time."""

    name = "tags"
    reads = ("images", "members", "summaries")
    writes = "tags"
    resources = Resources(gpu=True)
    depends_on = ("classifier", "class names")
    version = 2

    def settings(self, config: RunConfig) -> Any:
        return [config.evaluation.tags, constants(label_tags)]

    def units(self, plan: Plan) -> list[Unit]:
        return units_per_class(plan, ("summaries", "members"), also=("images",))

    def compute(self, worker: WorkerContext, unit: Unit, items: Sequence[str]) -> Output:
        output = Output(rows=[])
        summaries = kept_clusters(worker.read(unit, "summaries", KEPT_COLUMNS))
        members = [
            row
            for row in worker.read(unit, "members", ["cluster", "image_id", *EDGES, "kept"])
            if row["kept"] and row["cluster"] in summaries
        ]
        described, scores, features = described_crops(worker, self.name, unit, members, output)
        if not described:
            return output
        tags = tags_of(worker, scores)
        groups = defaultdict(list)
        for number, member in enumerate(described):
            groups[summaries[member["cluster"]]].append(number)
        for summary, group in sorted(groups.items()):
            common = tags.most_common(group)[: worker.config.evaluation.tags]
            mean = normalized(features[group]).mean(axis=0).astype(np.float16).tobytes()
            output.rows += [
                {"label": unit.label, "summary": summary, "rank": rank, "tag": tag, "share": share,
                 "features": None if rank else mean}
                for rank, (tag, share) in enumerate(common)
            ]
        return output
