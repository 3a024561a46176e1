"""What every stage makes of stored tables, stored in `golden/`: `test_golden_stages.py` compares.

    python tests/stages/golden_stages.py [stage …]

writes anew what has changed, of all stages or of those that are named ("study faithfulness" for a study) and all that
come after them. It refuses where a stage gives other rows than before of the same tables under the same version: raise
the `version` of the stage or study first.

The photographs are of the built-in demo set, two classes of eight. Each stage reads the *stored* tables of those before
it, so that rounding does not add up from stage to stage.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pyarrow import parquet

from visual_summaries.pipeline.config import RunConfig, load_config
from visual_summaries.pipeline.runtime.stage import Plan, PlannedShard, Stage
from visual_summaries.pipeline.stages import features
from visual_summaries.pipeline.stages.context import WorkerContext, WorkerSetup
from visual_summaries.pipeline.stages.inputs import Inputs, gather_inputs
from visual_summaries.pipeline.stages.order import STAGES
from visual_summaries.pipeline.stages.studies import STUDIES, StudiesStage
from visual_summaries.pipeline.store.tables import TableStore
from visual_summaries.schemas import TABLES, make_table

FOLDER = Path(__file__).parent / "golden"
PHOTOGRAPHS = FOLDER / "photographs"
VERSIONS = FOLDER / "versions.json"
# Few of everything; of the features so few components that the tables stay small.
COMPONENTS = 6
COMMON = (
    "model.name=demo",
    "explain.explainer=grad-cam",
    "explain.policy=all",
    "data.test=0.125",
    "data.held_out=0.125",
    "pruning.minimum_members=2",
    "summaries.measured=2",
    "proposals.limit=24",
    "evaluation={iterations: 5, photographs: 2, sanity_images: 1, sanity_steps: 2, stability_images: 1, subsamples: 1}",
)
EVIDENCE, SIMILARITY = "evidence", "similarity"
WAYS = {
    EVIDENCE: ("summaries.sources=[regions, factors, proposals]", "summaries.resamples=1"),
    SIMILARITY: (
        "preset=paper",
        "explain.preset=null",
        "proposals={search: fast, limit: 24, components: 8}",
        "clustering.preference_factor=1.0",
    ),
}
# What the second way does otherwise; everything else it has of the first.
OF_BOTH = ("propose", "match", "parts", "cluster", "members", "summarize", "study summaries")
LEFT_OUT = {
    "study coherence": "needs another network; tests/stages/studies/test_coherence.py measures it on known pictures",
    "study localization": "needs boxes or landmarks of other data sets; tests/stages/studies measures it on known ones",
    "study transfer": "needs another network; tests/stages/studies/test_robustness.py measures it between two",
}
BINARY = {
    "probabilities": np.float32,
    "coefficients": np.float32,
    "values": np.float32,
    "features": np.float16,
    "saliency": np.uint8,
}
IGNORED = frozenset({"seconds"})
# A column of JSON, with fractions in it.
PROTOCOL = "protocol"
# Shares of the largest value of a column, or of an array: rounding of another processor, and no more.
TOLERANCE = 2e-3


@dataclass(frozen=True)
class Guarded:
    """A stage, or a study, with the version that its rows are stored under."""

    name: str
    stage: Stage
    version: list[int]


def guarded() -> dict[str, Guarded]:
    """All that has a version and rows, by name, in order; without what is left out."""
    stages = [Guarded(stage.name, stage, [stage.version]) for stage in STAGES]
    studies = [
        Guarded(f"study {study.name}", StudiesStage([study]), [StudiesStage.version, study.version])
        for study in STUDIES.values()
    ]
    return {one.name: one for one in [*stages, *studies] if one.name not in LEFT_OUT}


def ways(one: Guarded) -> tuple[str, ...]:
    return (EVIDENCE, SIMILARITY) if one.name in OF_BOTH else (EVIDENCE,)


def config_of(way: str, output: Path) -> RunConfig:
    values = {"data.images": str(PHOTOGRAPHS), "data.parts": str(FOLDER / "parts.csv"), "output": str(output)}
    return load_config(None, [*COMMON, *WAYS[way]], values)


def file_of(way: str, name: str) -> Path:
    """Where the rows of a stage, or the table that a stage of that name writes, are stored."""
    return FOLDER / way / f"{name}.parquet"


class House:
    """A run's folder that has the stored tables, and one worker."""

    def __init__(self, way: str, folder: Path) -> None:
        self.way, self.config = way, config_of(way, folder)
        self.store = TableStore(folder)
        self.inputs: Inputs = gather_inputs(self.config)
        self.worker = WorkerContext(
            WorkerSetup(
                self.config, folder, self.inputs.preprocessing, self.inputs.weights_digest, self.inputs.class_names
            )
        )
        self._writer = {stage.writes: stage for stage in STAGES}

    def rows(self, stage: Stage) -> pa.Table:
        """What a stage makes of the stored tables."""
        shards = {table: self._shards(table) for table in stage.reads}
        plan = Plan(self.config, self.store, self.inputs, shards)
        found = []
        for unit in stage.named_units(plan, "golden"):
            output = stage.compute(self.worker, unit, unit.items)
            found.append(output.table if output.table is not None else make_table(stage.writes, output.rows))
        return _portable(pa.concat_tables([TABLES[stage.writes].schema.empty_table(), *found]))

    def _shards(self, table: str) -> list[PlannedShard]:
        writer = self._writer[table]
        if not writer.wanted(self.config):
            return []
        way = self.way if file_of(self.way, writer.name).exists() else EVIDENCE
        stored = _placed(parquet.read_table(file_of(way, writer.name)).cast(TABLES[table].schema))
        labels = [group.label for group in self.inputs.classes]
        shards = []
        for number, label in enumerate(labels):
            own = stored.filter(pa.compute.equal(stored.column("label"), label)).combine_chunks()
            path = f"{way}/{number}.parquet"
            self.store.write(table, path, own, label)
            shards.append(PlannedShard(path, label, len(own)))
        return shards


def compute(one: Guarded) -> dict[str, pa.Table]:
    """The rows of a stage by way, of the stored tables."""
    found = {}
    whole, features.COMPONENTS = features.COMPONENTS, COMPONENTS
    try:
        for way in ways(one):
            with TemporaryDirectory() as folder:
                house = House(way, Path(folder))
                found[way] = house.rows(one.stage)
                house.worker.close()
    finally:
        features.COMPONENTS = whole
    return found


def _portable(table: pa.Table) -> pa.Table:
    """Without the place where the photographs happen to be, and what is measured."""
    for name in IGNORED & set(table.column_names):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(name), pa.array(np.zeros(len(table)), table.schema.types[at]))
    return _replaced(table, f"{PHOTOGRAPHS}/", "")


def _placed(table: pa.Table) -> pa.Table:
    return _replaced(table, "", f"{PHOTOGRAPHS}/")


def _replaced(table: pa.Table, before: str, after: str) -> pa.Table:
    if "uri" not in table.column_names:
        return table
    at = table.schema.get_field_index("uri")
    uris = [after + uri.removeprefix(before) for uri in table.column("uri").to_pylist()]
    return table.set_column(at, table.schema.field("uri"), pa.array(uris, table.schema.types[at]))


def differences(found: pa.Table, stored: pa.Table) -> Iterator[str]:
    """What is not the same but for rounding: columns, with what is in them."""
    if found.column_names != stored.column_names:
        yield f"columns {found.column_names} instead of {stored.column_names}"
    elif len(found) != len(stored):
        yield f"{len(found)} rows instead of {len(stored)}"
    else:
        for name in found.column_names:
            pairs = zip(found.column(name).to_pylist(), stored.column(name).to_pylist(), strict=True)
            if (away := _away(name, list(pairs))) is not None:
                yield f"the column {name}: {away}"


def _away(name: str, pairs: list[tuple[Any, Any]]) -> str | None:
    """How far the pairs of a column's values are from each other; None if they are the same but for rounding."""
    if any((one is None) != (other is None) for one, other in pairs):
        return "nulls elsewhere"
    pairs = [pair for pair in pairs if pair[0] is not None]
    if not pairs:
        return None
    if name == PROTOCOL:
        told = [tuple(_told(text) for text in pair) for pair in pairs]
        others = [pair for pair in told if pair[0][0] != pair[1][0]]
        if others:
            return f"{others[0][0][0]} instead of {others[0][1][0]} (and {len(others) - 1} others)"
        arrays = [(one[1], other[1]) for one, other in told]
    elif isinstance(pairs[0][0], bytes):
        arrays = [tuple(np.frombuffer(value, BINARY[name]).astype(float) for value in pair) for pair in pairs]
    elif isinstance(pairs[0][0], float):
        arrays = [tuple(np.array(values) for values in zip(*pairs, strict=True))]
    elif isinstance(pairs[0][0], list) and any(isinstance(value, float) for pair in pairs for value in pair[0]):
        arrays = [(np.array(one), np.array(other)) for one, other in pairs]
    else:
        others = [pair for pair in pairs if pair[0] != pair[1]]
        return f"{others[0][0]!r} instead of {others[0][1]!r} (and {len(others) - 1} others)" if others else None
    for one, other in arrays:
        if one.shape != other.shape:
            return f"{len(one)} numbers instead of {len(other)}"
        scale = np.abs(other).max(initial=1e-9)
        if not (np.abs(one - other).max(initial=0) <= TOLERANCE * scale):
            at = int(np.abs(one - other).argmax())
            return f"{one[at]:g} instead of {other[at]:g}"
    return None


def _told(protocol: str) -> tuple[str, np.ndarray]:
    """A protocol without its fractions, and these."""
    fractions: list[float] = []
    rest = json.loads(protocol, parse_float=lambda text: fractions.append(float(text)))
    return json.dumps(rest), np.array(fractions)


def stored_versions() -> dict[str, list[int]]:
    return json.loads(VERSIONS.read_text()) if VERSIONS.exists() else {}


def stored(one: Guarded) -> dict[str, pa.Table] | None:
    """The stored rows by way; None if there are none."""
    files = {way: file_of(way, one.name) for way in ways(one)}
    if not all(file.exists() for file in files.values()):
        return None
    return {way: parquet.read_table(file) for way, file in files.items()}


def changes(one: Guarded) -> list[str]:
    """How a stage's rows differ from those stored, if any are."""
    before = stored(one)
    return [
        f"{one.name} (by {way}): {difference}"
        for way, rows in (compute(one) if before else {}).items()
        for difference in differences(rows, before[way])
    ]


def complaints(one: Guarded) -> Iterator[str]:
    """What speaks against a stage's rows, and what to do about it."""
    script = f"python tests/stages/golden_stages.py '{one.name}'"
    again = f"run `{script}` and commit tests/stages/golden"
    if stored(one) is None:
        yield f"no rows of {one.name} are stored: {again}"
        return
    if stored_versions().get(one.name) != one.version:
        yield f"{one.name} is at version {one.version}, its stored rows at {stored_versions().get(one.name)}: {again}"
    for change in changes(one):
        yield f"{change}. If that is meant, raise its `version`, so that earlier runs make it anew, and {again}"


def write(*names: str) -> None:
    """Store the rows of all stages, or of those that are named.

    Raises:
        SystemExit: a stage gives others than before of the same tables, under the same version.
    """
    versions, everything = stored_versions(), guarded()
    if unknown := set(names) - set(everything):
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(everything)}")
    chosen = [everything[name] for name in names or everything]
    # All of them before any is written, because those after it read it.
    new = [change for one in chosen if versions.get(one.name) == one.version for change in changes(one)]
    if new:
        raise SystemExit("\n".join([*new, "raise the version of each of these, and run this again"]))
    ordered = list(everything.values())
    # With every one that may read them, whose rows are others then without any change of its own.
    for one in ordered[min(ordered.index(first) for first in chosen) :]:
        before = stored(one) or {}
        for way, rows in compute(one).items():
            if way not in before or any(differences(rows, before[way])):
                file_of(way, one.name).parent.mkdir(exist_ok=True, parents=True)
                parquet.write_table(rows, file_of(way, one.name), compression="zstd", compression_level=19)
                print(f"{file_of(way, one.name).relative_to(FOLDER)}: {len(rows)} rows")
        versions[one.name] = one.version
    VERSIONS.write_text(json.dumps({name: versions[name] for name in everything if name in versions}, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    write(*sys.argv[1:])
