"""Whether a worker sees the folder that the driver writes into, and whether it is still the driver's."""

import errno
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from visual_summaries.pipeline.objects import ObjectError, ObjectPath
from visual_summaries.pipeline.runtime.failures import WorkerUnfit
from visual_summaries.pipeline.store.atomic import Ours
from visual_summaries.pipeline.store.tables import MEND, StoreError

# A disk on the network may show what is new somewhat later.
PATIENCE_SECONDS = 20.0
POLL_SECONDS = 0.5
AGAIN_SECONDS = 10.0


@dataclass
class Sight:
    """What only the driver's folder holds: its marker with its token, see `Ours`. Travels to the workers."""

    folder: Path | ObjectPath
    marker: str
    token: str
    _seen: float | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, folder: Path | ObjectPath, ours: Ours) -> "Sight":
        return cls(folder.absolute(), ours.marker, ours.token)

    def check(self) -> None:
        """Look at the marker; in an object store again every `AGAIN_SECONDS`, as its claim may change hands.

        Raises:
            WorkerUnfit: this node does not see the folder.
            StoreError: it is another run's by now, or the store does not answer.
        """
        if self._seen is None:
            self._look(PATIENCE_SECONDS)
        elif isinstance(self.folder, ObjectPath) and time.monotonic() - self._seen > AGAIN_SECONDS:
            self._look(0.0)

    def _look(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        while not self._is_there():
            if time.monotonic() >= deadline:
                raise self._blind() if self._seen is None else StoreError(
                    f"the claim on {self.folder} is lost: another run took it away; {MEND}"
                )
            time.sleep(POLL_SECONDS)
        self._seen = time.monotonic()

    def _is_there(self) -> bool:
        try:
            return self.token.encode() in (self.folder / self.marker).read_bytes()
        except OSError as error:
            if isinstance(error, ObjectError) and error.errno != errno.ENOENT:
                raise StoreError(f"cannot read {error}; {MEND}") from error
            return False

    def _blind(self) -> WorkerUnfit:
        host = socket.gethostname()
        if isinstance(self.folder, ObjectPath):
            return WorkerUnfit(
                f"the node {host} does not see the run in {self.folder}: set the same variables there as for the "
                "driver (AWS_ENDPOINT_URL, CLOUD_STORAGE_EMULATOR_ENDPOINT)"
            )
        return WorkerUnfit(
            f"the node {host} does not see the run's folder {self.folder}: mount it on every node, at the same path, "
            "or give an address of an object store as the output"
        )
