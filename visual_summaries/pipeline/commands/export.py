"""The job `export`: a finished run in other tools' formats."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from visual_summaries.pipeline.commands.stored import stored_run
from visual_summaries.pipeline.commands.writable import check_writable
from visual_summaries.pipeline.config import ConfigurationError
from visual_summaries.pipeline.export.coco import export_coco
from visual_summaries.pipeline.export.contents import Counts, shards_by_label
from visual_summaries.pipeline.export.database import export_database
from visual_summaries.pipeline.export.fiftyone import export_fiftyone
from visual_summaries.pipeline.names import shown
from visual_summaries.pipeline.objects import ObjectError, is_remote, is_there, place
from visual_summaries.pipeline.runtime.failures import room_to_write
from visual_summaries.pipeline.runtime.progress import one_progress
from visual_summaries.pipeline.store.tables import StoreError, TableStore
from visual_summaries.schemas import TABLES

DATABASE = "run.duckdb"


def run_export(folders: Sequence[str], format_name: str, output: str, console: Console) -> str:
    """Write runs in a format into the folder `output`; returns one line that says what was written and left out.

    Args:
        folders: of finished runs; several only for the format duckdb.
        format_name: coco, fiftyone or duckdb.

    Raises:
        ConfigurationError: several runs where one is expected.
        StoreError: a folder is no run, a table is damaged, no photograph is left, or the output cannot be written.
    """
    if is_remote(output):
        raise ConfigurationError(f"{output} is in an object store; exports are written to a disk: name a local folder")
    check_writable(place(output))
    with room_to_write(output):
        return _export(folders, format_name, output, console)


def _export(folders: Sequence[str], format_name: str, output: str, console: Console) -> str:
    try:
        _check_runs(folders, format_name)
    except ObjectError as error:
        raise StoreError(str(error)) from None
    try:
        if format_name == "duckdb":
            return _database(folders, place(output) / DATABASE, console)
        if len(folders) > 1:
            raise ConfigurationError(f"the format {format_name} takes one run; only duckdb takes several")
        return _photographs(folders[0], format_name, place(output), console)
    except ObjectError:
        raise
    except OSError as error:
        raise StoreError(f"cannot write to {output}: {error.strerror or error}") from error


def _check_runs(folders: Sequence[str], format_name: str) -> None:
    for folder in folders:
        if is_remote(folder) and format_name == "duckdb":
            raise ConfigurationError(f"{folder} is in an object store; the format duckdb takes runs on a disk: copy it")
        if not is_there(TableStore(folder).folder("runs") / "manifest.json"):
            raise StoreError(f"{folder} is no finished run: there is no tables/runs/manifest.json in it")


def _database(folders: Sequence[str], path: Path, console: Console) -> str:
    with one_progress(console, "export", len(TABLES), "tables") as progress:
        rows = export_database(folders, path, lambda name, tables: progress(tables))
    return f"{path}: {len(TABLES)} tables, {rows} rows"


def _photographs(folder: str, format_name: str, output: Path, console: Console) -> str:
    store, run = TableStore(folder), stored_run(folder)
    preprocessing = run.recorded.preprocessing.value()
    total = sum(shard.rows for shard in store.manifest("images"))
    with one_progress(console, "export", total) as progress:

        def advance(label: str, images: int) -> None:
            progress(images)

        if format_name == "coco":
            counts = export_coco(store, preprocessing, run.config.data.images, output, advance)
        else:
            counts = export_fiftyone(store, preprocessing, output, advance)
    return f"{output}: {_said(counts, len(shards_by_label(store, 'images')))}"


def _said(counts: Counts, classes: int) -> str:
    parts = [f"{counts.photographs} explained photographs of {classes} classes", f"{counts.regions} regions"]
    parts.append(f"{counts.members} members of summaries")
    if counts.missing:
        parts.append(f"left out: {counts.missing} photographs that are not there, e.g. {shown(counts.example_missing)}")
    if counts.invisible:
        parts.append(f"left out: {counts.invisible} regions that no pixel of the photograph shows")
    return "; ".join(parts)
