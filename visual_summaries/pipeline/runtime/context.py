"""What a stage sees of its worker; runs derive from it what else their stages need."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from visual_summaries.pipeline.objects import ObjectPath
from visual_summaries.pipeline.runtime.sight import Sight
from visual_summaries.pipeline.runtime.units import Unit
from visual_summaries.pipeline.store.tables import TableStore

TOLD_EVERY_SECONDS = 1.0


class Context:
    """The tables, and the way to tell of progress.

    Attributes:
        output: folder of the run.
        store: its tables.
        gpu: whether Ray reserved a GPU for this worker.
    """

    def __init__(
        self, output: Path | ObjectPath, gpu: bool = False, board: Any = None, sight: Sight | None = None
    ) -> None:
        """`board`: the line to where progress is told, if it is; `sight`: of the driver's folder."""
        self.output, self.gpu, self._board = output, gpu, board
        self.store = TableStore(output, None if board is None else board.check)
        self._sight = sight
        self._told = 0.0
        self._unit: Unit | None = None
        self._done, self._work = 0, 0.0

    def begin(self, unit: Unit) -> None:
        """Count a unit's progress from nothing; raises as `Sight.check`."""
        if self._sight is not None:
            self._sight.check()
        self._unit, self._done, self._work = unit, 0, 0.0

    def advance(self, unit: Unit, images: int = 1) -> None:
        """Tell the driver's progress bar that images of an unfinished unit are done."""
        self._done += images
        self._tell(unit)

    def reach(self, unit: Unit, work: float) -> None:
        """Tell it how much of an unfinished unit is done, in images: those under way count by their shares."""
        self._work = work
        self._tell(unit)

    def step(self) -> None:
        """Tell that the unit in hand has come further, though no image is done: it does not hang.

        What takes long calls this for each step that it makes; reading does by itself.
        """
        if self._unit is not None:
            self._tell(self._unit)

    def read(self, unit: Unit, table: str, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Rows of the unit's shards of `table` as dictionaries."""
        rows = self.store.read(table, unit.inputs[table], columns).to_pylist()
        self.step()
        return rows

    def spoiled(self, error: Exception) -> bool:
        """Whether nothing more can be done in this process after this error, so that another has to take its place."""
        return False

    def close(self) -> None:
        """Remove what is left on this node beside the tables; called in several workers when the run's work ends."""

    def _tell(self, unit: Unit) -> None:
        now = time.monotonic()
        if self._board is not None and now - self._told > TOLD_EVERY_SECONDS:
            self._told = now
            self._board.tell(unit.name, self._done, max(float(self._done), self._work))


class ContextFactory(Protocol):
    """Makes a worker's context, in the worker's process; travels there by pickle, so it should be small."""

    def __call__(self, gpu: bool, board: Any) -> Context:
        """The arguments are those of `Context`."""
        ...
