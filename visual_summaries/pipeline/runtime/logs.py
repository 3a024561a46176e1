"""The run's log: one JSON object a line, in the output folder and, if asked for, on standard error."""

import json
import os
import re
import socket
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any, TextIO

from visual_summaries.pipeline.names import readable
from visual_summaries.pipeline.objects import ObjectPath

FOLDER = "logs"
LONGEST_TEXT = 2000
FLUSH_SECONDS = 1.0
UPLOAD_SECONDS = 30.0
# A log that grows takes longer each time it is sent: never more than this share of the time.
UPLOAD_SHARE = 0.05

HIDDEN = "***"
SECRET_VARIABLES = re.compile(r"TOKEN$|SECRET|PASSWORD|ACCESS_KEY$|ACCOUNT_KEY$|CREDENTIALS?$", re.IGNORECASE)
SHORTEST_SECRET = 8
_USER_INFORMATION = re.compile(r"(?<=://)[^/@\s]+(?=@)")
_NAMED = re.compile(
    r"(?i)(\b[\w-]*(?:token|secret|password|passwd|signature|credential|access[_-]?key(?:[_-]?id)?|api[_-]?key|sig)"
    r"[\"']?\s*[=:]\s*[\"']?)[^\s&\"',;}]+"
)
_BEARER = re.compile(r"(?i)(\b(?:bearer|basic)\s+)[\w.~+/=-]{6,}")


def masked(text: str) -> str:
    """The text without passwords in addresses, signatures, tokens, and secrets of this process's environment."""
    for name, value in os.environ.items():
        if len(value) >= SHORTEST_SECRET and SECRET_VARIABLES.search(name):
            text = text.replace(value, HIDDEN)
    text = _USER_INFORMATION.sub(HIDDEN, text)
    return _NAMED.sub(rf"\1{HIDDEN}", _BEARER.sub(rf"\1{HIDDEN}", text))


class UploadedLog:
    """Lines that are gathered in a temporary file and sent to an object store, whole, while they become more."""

    def __init__(self, target: ObjectPath) -> None:
        self._target = target
        self._file = tempfile.TemporaryFile()
        self._turn, self._ended, self._changed = Lock(), Event(), False
        self._thread = Thread(target=self._keep, daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Add a line."""
        with self._turn:
            self._file.write(line.encode())
            self._changed = True

    def flush(self) -> None:
        """Nothing: each time is a request that takes all that was written before."""

    def close(self) -> None:
        """Send what is missing; raises an ObjectError where the store does not take it."""
        self._ended.set()
        self._thread.join()
        with self._file:
            self._send()

    def _keep(self) -> None:
        pause = UPLOAD_SECONDS
        while not self._ended.wait(pause):
            started = time.monotonic()
            try:
                self._send()
            except OSError:
                # The next time may go well; if even the last does not, `close` says so.
                pass
            pause = max(UPLOAD_SECONDS, (time.monotonic() - started) / UPLOAD_SHARE)

    def _send(self) -> None:
        with self._turn:
            if not self._changed:
                return
            self._file.seek(0)
            content = self._file.read()
            self._changed = False
        try:
            self._target.write_bytes(content)
        except OSError:
            self._changed = True
            raise


class RunLog:
    """Appends events to `<output>/logs/<run>.jsonl`, in a folder or an object store; a context manager.

    The file's name is the run's without colons, which not all file systems take. It is for people and their tools:
    nothing reads it again, and a disk or store that refuses it does not stop the run.
    """

    def __init__(self, output: Path | ObjectPath, run: str, echo: TextIO | None = None) -> None:
        """`echo` gets the same lines, at once."""
        self.run, self._echo = run, echo
        self._host = socket.gethostname()
        self._flushed = 0.0
        self._file: TextIO | UploadedLog | None = None
        self.path = output / FOLDER / f"{run.replace(':', '')}.jsonl"
        try:
            if isinstance(self.path, ObjectPath):
                self._file = UploadedLog(self.path)
            else:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("a", encoding="utf-8")
        except OSError as error:
            print(f"visual-summaries: no log in {self.path}: {error.strerror or error}", file=sys.stderr)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def event(self, event: str, *, level: str = "info", stage: str | None = None, **values: Any) -> None:
        """Write one line.

        Args:
            event: what happened, e.g. "unit finished".
            level: "info", "warning" or "error".
            stage: of which stage, if of one.
            values: whatever else is known; texts are masked and cut.
        """
        if self._file is None and self._echo is None:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        entry = {"time": now, "level": level, "run": self.run, "stage": stage, "host": self._host, "event": event}
        entry |= {name: _clean(value) for name, value in values.items()}
        line = json.dumps(entry, ensure_ascii=False, default=str) + "\n"
        if self._echo is not None:
            self._echo.write(line)
            self._echo.flush()
        self._append(line, at_once=level != "info")

    def close(self) -> None:
        """Flush and close the file."""
        if self._file is not None:
            file, self._file = self._file, None
            try:
                file.close()
            except OSError as error:
                self._gave_up(error)

    def _append(self, line: str, at_once: bool) -> None:
        if self._file is None:
            return
        try:
            self._file.write(line)
            if at_once or time.monotonic() - self._flushed > FLUSH_SECONDS:
                self._file.flush()
                self._flushed = time.monotonic()
        except OSError as error:
            self._file = None
            self._gave_up(error)

    def _gave_up(self, error: OSError) -> None:
        print(f"visual-summaries: the log {self.path} ends here: {error.strerror or error}", file=sys.stderr)


def _clean(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = masked(readable(value))
    return text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "…"
