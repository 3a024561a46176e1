"""A real server of Google's JSON interface on loopback (gcp-storage-emulator), in a process of its own.

pyarrow keeps Python's lock while it waits for Google's answers, so no thread of the tests' process could give them.
"""

import logging
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BUCKET = "bucket"
ROOT = f"gs://anonymous@{BUCKET}"


class GoogleServer:
    """A running server with an empty bucket; `refuse` makes it say 403 to all that would write."""

    def __init__(self, process: subprocess.Popen, port: int, switch: Path) -> None:
        self._process, self._switch = process, switch
        self.address = f"http://127.0.0.1:{port}"

    def refuse(self, refuses: bool) -> None:
        """Begin or end to refuse."""
        self._switch.touch() if refuses else self._switch.unlink()

    def stop(self) -> None:
        """Answer nobody any more."""
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


@contextmanager
def google_server() -> Iterator[GoogleServer]:
    """A server, and this process's environment set to reach it."""
    # Not at the top: the server's own process needs nothing of the project.
    from reached import reaching

    with tempfile.TemporaryDirectory() as folder:
        switch = Path(folder) / "refuse"
        process = subprocess.Popen([sys.executable, __file__, str(switch)], stdout=subprocess.PIPE, text=True)
        port = process.stdout.readline()
        assert port, "the server does not start: it says why above"
        server = GoogleServer(process, int(port), switch)
        try:
            with reaching({"CLOUD_STORAGE_EMULATOR_ENDPOINT": server.address}):
                yield server
        finally:
            server.stop()


def serve(switch: Path) -> None:
    """Print the port and answer until killed."""
    from functools import partial
    from http import HTTPStatus
    from http.server import ThreadingHTTPServer
    from threading import Lock

    from gcp_storage_emulator.handlers.buckets import create_bucket
    from gcp_storage_emulator.server import RequestHandler, Response, Router
    from gcp_storage_emulator.storage import Storage

    turn = Lock()

    class Handler(RequestHandler):
        # With the older one that it would speak, uploads wait a second each to be asked for.
        protocol_version = "HTTP/1.1"
        # Else each answer waits 40 ms for its own second half.
        disable_nagle_algorithm = True

        def answer(self) -> None:
            if switch.exists() and self.command != "GET":
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                response = Response(self)
                response.status = HTTPStatus.FORBIDDEN
                response.json({"error": {"code": 403, "message": "the caller may not do this"}})
                response.close()
                return
            # Its storage is not made for several threads.
            with turn:
                Router(self).handle(self.command)

        do_GET = do_POST = do_PUT = do_DELETE = answer

    logging.disable(logging.CRITICAL)
    storage = Storage(use_memory_fs=True)
    create_bucket(BUCKET, storage)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, storage))
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
