"""Answers in SQLite: every one is on the disk before its page comes back. One writer; readers are not held up (WAL)."""

import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from visual_summaries.pipeline.store.tables import StoreError

FILE = "ratings.sqlite"
VERSION = 1
WAIT_SECONDS = 10.0

_LAYOUT = """
CREATE TABLE answers (
    rater TEXT NOT NULL,
    question TEXT NOT NULL,
    kind TEXT NOT NULL,
    label TEXT NOT NULL,
    summary INTEGER,
    image_id TEXT,
    text TEXT,
    value REAL,
    protocol TEXT NOT NULL,
    answered TEXT NOT NULL,
    PRIMARY KEY (rater, question)
) STRICT
"""


@dataclass(frozen=True)
class Answer:
    """One answer; the fields mean what the columns of the table `ratings` mean. `question` is the question's key."""

    rater: str
    question: str
    kind: str
    label: str
    summary: int | None
    image_id: str | None
    text: str | None
    value: float | None
    protocol: str


class AnswerStore:
    """The answers of one run, in `<run>/ratings.sqlite`; safe to use from several threads.

    Raises:
        StoreError: the file cannot be opened, or is not ours.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        with self._told("open"):
            connection = sqlite3.connect(
                self.path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
            # The file may come with a run from anywhere.
            connection.execute("PRAGMA trusted_schema=OFF")
            connection.execute("PRAGMA journal_mode=WAL")
            # The default of some builds loses the last answers in a power cut.
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("BEGIN IMMEDIATE")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                connection.execute(_LAYOUT)
                connection.execute(f"PRAGMA user_version={VERSION}")
            connection.execute("COMMIT")
        if version not in (0, VERSION):
            connection.close()
            raise StoreError(f"{self.path} was written by another version of this program (layout {version})")
        return connection

    def close(self) -> None:
        """Fold the log into the file and close it."""
        with self._lock:
            self._connection.close()

    def add(self, answer: Answer) -> bool:
        """Store an answer; False if this rater has answered this question before: the first answer stays."""
        values = asdict(answer) | {"answered": datetime.now(UTC).isoformat(timespec="milliseconds")}
        columns = ", ".join(values)
        places = ", ".join(f":{name}" for name in values)
        with self._lock, self._told("write"):
            cursor = self._connection.execute(
                f"INSERT INTO answers ({columns}) VALUES ({places}) ON CONFLICT DO NOTHING", values
            )
            return cursor.rowcount == 1

    def answered(self, rater: str) -> set[str]:
        """Keys of the questions that this rater has answered."""
        return {row["question"] for row in self._select("SELECT question FROM answers WHERE rater = ?", rater)}

    def raters(self) -> list[str]:
        """Names of everybody who has answered anything."""
        return [row["rater"] for row in self._select("SELECT DISTINCT rater FROM answers ORDER BY rater")]

    def all(self) -> list[dict[str, Any]]:
        """All answers, the columns of the table `ratings` and `question`, in an order that does not depend on time."""
        rows = self._select("SELECT * FROM answers ORDER BY label, kind, summary, image_id, rater, question")
        return [row | {"answered": datetime.fromisoformat(row["answered"])} for row in rows]

    def _select(self, statement: str, *values: str) -> list[Mapping[str, Any]]:
        with self._lock, self._told("read"):
            cursor = self._connection.execute(statement, values)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"cannot {what} the answers in {self.path}: {error}") from error
