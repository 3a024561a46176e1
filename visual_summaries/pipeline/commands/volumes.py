"""The job `volumes`: scans → scores of an atlas's segments → a page."""

import io
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.csv
from pydantic import ValidationError
from rich.console import Console

from visual_summaries.pipeline.commands.opened import check_kind, remove_unfinished, workers_of
from visual_summaries.pipeline.commands.writable import check_writable
from visual_summaries.pipeline.config import ConfigurationError
from visual_summaries.pipeline.data.volumes.files import VolumeError
from visual_summaries.pipeline.data.volumes.scans import read_scan
from visual_summaries.pipeline.names import shown
from visual_summaries.pipeline.objects import CREDENTIALS, holds_credentials
from visual_summaries.pipeline.report.rendering import file_name
from visual_summaries.pipeline.report.volume_page import SlicedScan, VolumeClass, ranked, segment_name, volume_files
from visual_summaries.pipeline.runtime.exclusive import exclusive
from visual_summaries.pipeline.runtime.failures import room_to_write
from visual_summaries.pipeline.runtime.flow import run_stages
from visual_summaries.pipeline.runtime.records import RunState, error_shards, write_errors_manifest
from visual_summaries.pipeline.runtime.stage import Plan
from visual_summaries.pipeline.stages.networks import network_name
from visual_summaries.pipeline.stages.order import STAGES
from visual_summaries.pipeline.stages.report.stage import FOLDER
from visual_summaries.pipeline.stages.volumes.context import VolumeSetup
from visual_summaries.pipeline.stages.volumes.inputs import (
    VolumeInputs,
    catalog_errors,
    gather_volume_inputs,
    network_digest,
    scan_path,
)
from visual_summaries.pipeline.stages.volumes.order import VOLUME_STAGES
from visual_summaries.pipeline.stages.volumes.settings import VolumeConfig
from visual_summaries.pipeline.store.atomic import Ours, write_atomically
from visual_summaries.pipeline.store.links import check_links
from visual_summaries.pipeline.store.tables import TableStore, digest

SEGMENTS_TOLD = 3


def volume_config(given: Mapping[str, Any]) -> VolumeConfig:
    """The settings of a run over volumes, by name; `ray.address` and `ray.workers` with their dot.

    Raises:
        ConfigurationError: it names the option.
    """
    tree: dict[str, Any] = {"ray": {}}
    for name, value in given.items():
        if isinstance(value, str) and holds_credentials(value):
            raise ConfigurationError(f"--{_option(name)}: {CREDENTIALS}")
        section, _, inner = name.partition(".")
        (tree["ray"] if inner else tree)[inner or section] = value
    try:
        return VolumeConfig.model_validate(tree)
    except ValidationError as error:
        lines = [f"--{_option('.'.join(map(str, one['loc'])))}: {one['msg']}" for one in error.errors()]
        raise ConfigurationError("\n".join(lines)) from None


def run_volumes(config: VolumeConfig, console: Console) -> str:
    """Score the atlas's segments in all scans, resuming whatever is complete; return the path of the page.

    Raises:
        RunFailed: more scans failed than the tolerance allows.
        StoreError: the folder cannot be written, or a link leads out of it.
        ConfigurationError: the folder holds a run over photographs.
        PoolError, ClusterError and the loaders' errors: see there.
    """
    folder = config.output.path
    check_links(folder)
    check_writable(folder)
    with room_to_write(config.output):
        check_kind(folder, STAGES[0].writes, "photographs")
    inputs = gather_volume_inputs(config)
    console.print(inputs.found, markup=False, highlight=False)
    with exclusive(folder) as still_ours, room_to_write(config.output):
        state = start_volumes(config, inputs, console, still_ours)
        remove_unfinished(state)
        network_name(folder, inputs.weights_digest, inputs.answers, remember=state.write)
        state.errors["catalog"] = error_shards(state, "catalog", catalog_errors(inputs))
        with workers_of(state, still_ours, volume_setup(state), inputs.model) as workers:
            run_stages(state, VOLUME_STAGES, workers)
        write_errors_manifest(state, complete=True)
        return draw_volumes(state)


def start_volumes(
    config: VolumeConfig, inputs: VolumeInputs, console: Console, still_ours: Ours | None = None
) -> RunState:
    """The state of a run that has done nothing yet."""
    write = write_atomically if still_ours is None else still_ours.write
    store = TableStore(config.output.path, still_ours, write)
    run = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}-{digest(config.model_dump(mode='json'))[:8]}"
    plan = Plan(config, store, inputs, shards={})
    weights = network_digest(inputs)
    return RunState(config, inputs, store, console, plan, run, VOLUME_STAGES, weights, inputs.recorded, write=write)


def volume_setup(state: RunState) -> VolumeSetup:
    """What the run's workers are started with."""
    inputs = state.inputs
    return VolumeSetup(
        state.config,
        state.store.root.absolute(),
        inputs.atlas.digest,
        inputs.weights_digest,
        inputs.answers,
        inputs.channels,
    )


def draw_volumes(state: RunState) -> str:
    """Write the page, its pictures and `segments.csv`; return the page's path."""
    config, inputs, store = state.config, state.inputs, state.store
    classes = [_class(state, label) for label in (group.label for group in inputs.classes)]
    errors = store.read_all("errors").to_pylist()
    alone = "" if config.mode == "fusion" else f", {config.mode} alone"
    facts = {
        "Classifier": inputs.model,
        "Atlas": file_name(str(config.atlas)),
        "Light, shadow": f"σ = {config.light:g}, {config.shadow:g} voxels" + alone,
        "Darkness": f"{config.dark or 0.0:g}",
    }
    files = volume_files("Segments that matter", facts, classes, errors, inputs.atlas.labels, inputs.atlas.affine)
    table = store.read_all("segment_means")
    buffer = io.BytesIO()
    pyarrow.csv.write_csv(_flat(table), buffer)
    report = store.root / FOLDER
    state.write(report / "segments.csv", buffer.getvalue())
    for name, content in files.items():
        state.write(report / name, content)
    for one in classes:
        if first := ranked(one.segments)[:SEGMENTS_TOLD]:
            listed = ", ".join(f"{segment_name(row)} {row['score']:.3g}" for row in first)
            state.console.print(shown(f"{one.label}: {listed}"), markup=False, highlight=False)
    if errors:
        state.console.print(f"Left out: {len(errors)}; reasons in the table errors and on the page.", highlight=False)
    return str(report / "index.html")


def _class(state: RunState, label: str) -> VolumeClass:
    """A class with its figures and its scan of the largest score, read again."""
    store, inputs = state.store, state.inputs
    index = next(group.class_index for group in inputs.classes if group.label == label)
    segments = store.read_all("segment_means", label=label).to_pylist()
    explained = set(store.read_all("probes", ["image_id"], label).column("image_id").to_pylist())
    rows = store.read_all("scans", label=label).to_pylist()
    scans = {row["image_id"]: row for row in reversed(rows) if row["image_id"] in explained}
    example = None
    if scans:
        chosen = min(scans.values(), key=lambda row: (-row["score"], row["image_id"]))
        try:
            values = read_scan(scan_path(chosen["uri"]), inputs.atlas, True, chosen["image_id"])
            example = SlicedScan(file_name(chosen["uri"]), values[0], chosen["score"])
        except VolumeError:
            # It was there a moment ago; the figures do not need it.
            example = None
    right = sum(row["prediction"] == index for row in scans.values())
    return VolumeClass(label, inputs.class_names[index], len(scans), right, segments, example)


def _flat(table: pa.Table) -> pa.Table:
    """The table with the three numbers of `center` as columns, which a CSV file can hold, by class and rank."""
    centers = table.column("center").to_pylist()
    place = table.schema.get_field_index("center")
    flat = table.drop_columns(["center"])
    for axis in range(3):
        flat = flat.add_column(place + axis, f"center_{axis}", pa.array([one[axis] for one in centers], pa.float32()))
    return flat.sort_by([("label", "ascending"), ("rank", "ascending"), ("segment", "ascending")])


def _option(name: str) -> str:
    return name.removeprefix("ray.").replace("_", "-")
