"""A real server of Google's JSON interface on loopback (gcp-storage-emulator), in a process of its own.

Of the XML interface, by which conditional writes go, it knows how to read; they are made here.

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
    from urllib.parse import unquote, urlsplit

    from gcp_storage_emulator.exceptions import NotFound
    from gcp_storage_emulator.handlers.buckets import create_bucket
    from gcp_storage_emulator.handlers.objects import _checksums, _make_object_resource
    from gcp_storage_emulator.server import RequestHandler, Response, Router
    from gcp_storage_emulator.storage import Storage

    turn = Lock()

    class Handler(RequestHandler):
        # With the older one that it would speak, uploads wait a second each to be asked for.
        protocol_version = "HTTP/1.1"
        # Else each answer waits 40 ms for its own second half.
        disable_nagle_algorithm = True

        def answer(self) -> None:
            if switch.exists() and self.command not in ("GET", "HEAD"):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                response = Response(self)
                response.status = HTTPStatus.FORBIDDEN
                response.json({"error": {"code": 403, "message": "the caller may not do this"}})
                response.close()
                return
            # Its storage is not made for several threads.
            with turn:
                if self.command == "PUT" and "x-goog-if-generation-match" in self.headers:
                    self.write_if()
                elif self.command == "HEAD":
                    self.send_response(HTTPStatus.OK if self.generation() else HTTPStatus.NOT_FOUND)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                else:
                    Router(self).handle(self.command)

        def write_if(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            bucket, _, name = unquote(urlsplit(self.path).path)[1:].partition("/")
            kind = self.headers["Content-Type"]
            response = Response(self)
            if self.headers["x-goog-if-generation-match"] != (self.generation() or "0"):
                response.status = HTTPStatus.PRECONDITION_FAILED
            elif storage.get_bucket(bucket) is None:
                response.status = HTTPStatus.NOT_FOUND
                response.write("<Error><Code>NoSuchBucket</Code></Error>")
            else:
                written = _make_object_resource("", bucket, name, kind, str(len(content)))
                storage.create_file(bucket, name, content, _checksums(content, written))
            response.close()

        def generation(self) -> str | None:
            bucket, _, name = unquote(urlsplit(self.path).path)[1:].partition("/")
            try:
                return storage.get_file_obj(bucket, name)["generation"]
            except NotFound:
                return None

        def end_headers(self) -> None:
            if found := self.generation():
                self.send_header("x-goog-generation", found)
                self.send_header("ETag", f'"{found}"')
                self.send_header("Last-Modified", self.date_time_string())
            super().end_headers()

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer

    logging.disable(logging.CRITICAL)
    storage = Storage(use_memory_fs=True)
    create_bucket(BUCKET, storage)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, storage))
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
