"""A run opened to be read: tables as data frames, pictures, the report. Nothing of it is executed or unpickled."""

import html
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from PIL import Image

from visual_summaries.pipeline.commands.stored import StoredRun, stored_run
from visual_summaries.pipeline.objects import ObjectPath
from visual_summaries.pipeline.report.pictures import contact_sheet
from visual_summaries.pipeline.review.drawing import (
    MEMBERS_SHOWN,
    Photograph,
    Unreadable,
    analyzed_photograph,
    member_pictures,
)
from visual_summaries.pipeline.review.questions import shards_by_class
from visual_summaries.pipeline.stages.context import decode_saliency
from visual_summaries.pipeline.stages.regions import salient_mask
from visual_summaries.pipeline.stages.report.stage import FOLDER
from visual_summaries.pipeline.store.tables import StoreError, TableStore
from visual_summaries.pipeline.suggestions import did_you_mean, few
from visual_summaries.schemas import TABLES
from visual_summaries.surface.explanation import Explanation
from visual_summaries.surface.given import plain

if TYPE_CHECKING:
    import pandas

COLUMNS, GAP = 4, 6
# A notebook's table of classes; more are in the report.
CLASSES_SHOWN = 40


def open_run(folder: str | os.PathLike | ObjectPath) -> "Run":
    """Open the run in a folder, on a disk or in a bucket, to read it; also one that is not finished, or still goes on.

    A run may come from anywhere: no code that it names is imported, its weights are not loaded and nothing is
    unpickled. Its photographs are read only where a picture is asked for, and shown only if they are those of the run.

    Raises:
        StoreError: there is no run, or what it says of its tables is damaged.

    Example:
        >>> run = open_run("runs/demo")
        >>> run.table("summaries", columns=["label", "summary", "support", "necessity"])
        >>> run.pictures("saxophone", 0)
    """
    written = str(plain(folder))
    TableStore(written).manifest("runs")
    return Run(written)


class Run:
    """A run in a folder: `open_run` and `summarize` make it.

    Attributes:
        folder: the run's, as it was written.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self._store = TableStore(folder)

    @property
    def tables(self) -> list[str]:
        """Names of the tables that the run has; docs/reference/tables.md says what is in each."""
        return [name for name in TABLES if (self._store.folder(name) / "manifest.json").is_file()]

    def table(
        self, name: str, columns: Sequence[str] | None = None, label: str | None = None
    ) -> "pandas.DataFrame":
        """A table as a pandas data frame.

        Args:
            columns: the columns wanted; by default all, which of maps, features and proposals is a lot.
            label: the class wanted; by default all, and what the table says of all together.

        Raises:
            ValueError: no such table, column or class.
            StoreError: the run does not have the table, or it is damaged.
            ImportError: pandas is not installed.
        """
        try:
            import pandas  # noqa: F401 - Arrow makes data frames with it
        except ImportError:
            raise ImportError(
                "data frames need pandas: pip install 'visual-summaries[pandas]', or take run.arrow(…), which does not"
            ) from None
        return self.arrow(name, columns, label).to_pandas()

    def arrow(self, name: str, columns: Sequence[str] | None = None, label: str | None = None) -> pa.Table:
        """A table as an Arrow table; arguments and errors as of `table`."""
        if name not in TABLES:
            raise ValueError(f"there is no table {name!r}; tables: {', '.join(TABLES)}{did_you_mean(name, TABLES)}")
        known = TABLES[name].schema.names
        for column in columns or ():
            if column not in known:
                near = did_you_mean(column, known)
                raise ValueError(f"the table {name} has no column {column!r}; columns: {', '.join(known)}{near}")
        if label is None:
            return self._store.read_all(name, columns)
        if "label" not in known:
            raise ValueError(f"the table {name} is about no classes: leave label out")
        self._check_label(label)
        # A shard of no class has rows about all of them.
        paths = [shard.path for shard in self._store.manifest(name) if shard.label in (label, "")]
        return self._store.read(name, paths, columns, ("label", [label]))

    @cached_property
    def classes(self) -> Mapping[str, str]:
        """The run's classes: label of the photographs → the classifier's name of the class.

        Raises:
            StoreError: it is no run over photographs, or damaged.
        """
        known = self._stored.recorded
        return {one.label: known.class_names[one.class_index] for one in known.classes}

    @property
    def settings(self) -> dict[str, Any]:
        """What the run was made with, section by section; where it was computed is left out. Errors as `classes`."""
        return self._stored.config.model_dump(mode="json", exclude={"ray", "log"})

    @property
    def report(self) -> Path | ObjectPath:
        """The overview of the run's report, to be opened in a browser.

        Raises:
            StoreError: there is none yet.
        """
        path = self._store.root / FOLDER / "index.html"
        if not path.is_file():
            raise StoreError(f"{self.folder} has no report yet: visual-summaries report --run {self.folder} draws it")
        return path

    def pictures(self, label: str, summary: int, members: int = MEMBERS_SHOWN) -> Image.Image:
        """The members of a kept summary, the exemplar first: what is salient in color, the common part outlined.

        Args:
            summary: its number in the table `summaries`, from 0; the report calls it by one more.
            members: how many, at most; those whose photographs cannot be read any more are left out.

        Raises:
            ValueError: no such class, or no such kept summary.
            StoreError: a table is missing or damaged, or none of the photographs can be read.
        """
        self._check_label(label)
        shards = shards_by_class(self._store, ("images", "regions", "members", "summaries"))
        rows = self._store.read("summaries", shards["summaries"].get(label, ()), ["cluster", "summary", "kept"])
        kept = {row["summary"]: row["cluster"] for row in rows.to_pylist() if row["kept"]}
        if summary not in kept:
            there = f"its kept summaries are {few(sorted(kept))}" if kept else "it has no kept summary"
            raise ValueError(f"{label!r} has no kept summary {summary}; {there}")
        preprocessing = self._stored.recorded.preprocessing.value()
        try:
            drawn = member_pictures(
                self._store,
                shards,
                lambda photograph: analyzed_photograph(photograph, preprocessing),
                label,
                kept[summary],
                members,
            )
        except Unreadable as error:
            raise StoreError(str(error)) from None
        return Image.fromarray(contact_sheet(drawn, COLUMNS, GAP))

    def explanation(self, image_id: str) -> Explanation:
        """The explanation of one of the run's photographs, from its map.

        Args:
            image_id: as in the tables `images` and `maps`.

        Raises:
            ValueError: the run has no map of such a photograph.
            StoreError: a table is missing or damaged, or the photograph cannot be read any more.
        """
        row = self._row("maps", image_id)
        columns = ["image_id", "uri", "label", "prediction", "prediction_name"]
        photograph = self._row("images", image_id, columns)
        recorded = self._stored.recorded
        if not 0 <= row["target"] < len(recorded.class_names):
            raise StoreError(f"the table maps of {self.folder} is damaged: the classifier has no class {row['target']}")
        try:
            place = Photograph(image_id, photograph["uri"], photograph["label"])
            image = analyzed_photograph(place, recorded.preprocessing.value())
        except Unreadable as error:
            raise StoreError(str(error)) from None
        return Explanation(
            image=image,
            map=decode_saliency(row).astype(np.float32) / 255,
            salient=salient_mask(row, self._stored.config),
            method=row["explainer"],
            target=row["target"],
            target_name=recorded.class_names[row["target"]],
            prediction=photograph["prediction"],
            prediction_name=photograph["prediction_name"],
            score=row["score_before"],
            score_after=row["score_after"],
            drop=row["drop"],
            area=row["area"],
            source=photograph["uri"],
        )

    def __repr__(self) -> str:
        return f"Run({self.folder!r})"

    def _repr_html_(self) -> str:
        """Classes with their number of kept summaries, and where the report is."""
        counts = dict.fromkeys(self.classes, 0)
        if "summaries" in self.tables:
            for row in self._store.read_all("summaries", ["label", "kept"]).to_pylist():
                counts[row["label"]] = counts.get(row["label"], 0) + row["kept"]
        shown = [(label, self.classes.get(label, ""), count) for label, count in counts.items()][:CLASSES_SHOWN]
        rows = "".join(
            f"<tr><td>{html.escape(label)}</td><td>{html.escape(name)}</td><td>{count}</td></tr>"
            for label, name, count in shown
        )
        more = len(counts) - len(shown)
        note = f"<p>… and {more:,} more classes</p>" if more > 0 else ""
        head = "<tr><th>label</th><th>class</th><th>summaries</th></tr>"
        where = self._store.root / FOLDER / "index.html"
        report = f"<p>Report: {html.escape(str(where))}</p>" if where.is_file() else ""
        return f"<p>Run in {html.escape(self.folder)}</p><table>{head}{rows}</table>{note}{report}"

    @cached_property
    def _stored(self) -> StoredRun:
        return stored_run(self.folder)

    def _check_label(self, label: str) -> None:
        if label not in self.classes:
            near = did_you_mean(label, self.classes)
            raise ValueError(f"the run has no class {label!r}; classes: {few(self.classes)}{near}")

    def _row(self, table: str, image_id: str, columns: Sequence[str] | None = None) -> dict[str, Any]:
        paths = [shard.path for shard in self._store.manifest(table)]
        rows = self._store.read(table, paths, columns, ("image_id", [image_id])).to_pylist()
        if not rows:
            raise ValueError(f"the table {table} of {self.folder} has no image {image_id!r}")
        return rows[0]
