"""What a job leaves for people: Markdown, the same as CSV and Parquet, and a plot, each whole or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from visual_summaries.pipeline.objects import ObjectPath
from visual_summaries.pipeline.store.atomic import atomic_file, write_atomically


def write_results(
    folder: Path | ObjectPath, name: str, text: str, table: pa.Table, plot: Callable[[BinaryIO], None] | None
) -> str:
    """Write `name`.md, .csv, .parquet and, where there is something to plot, .png; returns the Markdown's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.md"
    write_atomically(path, text)
    write_table(folder, name, table)
    if plot is not None:
        with atomic_file(path.with_suffix(".png")) as file:
            plot(file)
    return str(path)


def write_table(folder: Path | ObjectPath, name: str, table: pa.Table) -> None:
    """Write `name`.csv and .parquet."""
    with atomic_file(folder / f"{name}.csv") as file:
        pyarrow.csv.write_csv(table, file)
    with atomic_file(folder / f"{name}.parquet") as file:
        pyarrow.parquet.write_table(table, file)
