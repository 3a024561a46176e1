"""A server on this machine that answers what Hugging Face's clients ask about repositories, from folders."""

import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

# Larger files lie elsewhere, as behind the hub's links to its store of large files.
LARGE = 10_000


class HubServer:
    """Repositories `<folder>/<owner>/<name>/<revision>/<file>` under `endpoint`; `asked` are the requests so far.

    Large files are at a second port, since the clients follow links to the same host when they ask for a file's size.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []
        self._closed = False
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:  # noqa: N802
                self.do_GET()

            def do_GET(self) -> None:  # noqa: N802
                if hub._closed:
                    # A connection that a client keeps.
                    self.close_connection = True
                    return
                path = unquote(urlsplit(self.path).path)
                hub.asked.append(f"{self.command} {path}")
                status, headers, body = hub.answer(path.strip("/").split("/"))
                self.send_response(status)
                for key, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(key, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
        self.endpoint, self.store = (f"http://127.0.0.1:{server.server_address[1]}" for server in self._servers)
        for server in self._servers:
            Thread(target=server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._closed = True
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def answer(self, parts: list[str]) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a path."""
        match parts:
            case ["api", "models", owner, name]:
                return self._repository(owner, name, "main")
            case ["api", "models", owner, name, "revision", revision]:
                return self._repository(owner, name, revision)
            case ["api", "models", owner, name, "tree", revision]:
                return self._repository(owner, name, revision, tree=True)
            case [owner, name, "resolve", revision, *file]:
                return self._file(owner, name, revision, "/".join(file))
            case ["store", *file]:
                return 200, {}, self.folder.joinpath(*file).read_bytes()
        return 404, {}, b""

    def _folder(self, owner: str, name: str, revision: str) -> Path | tuple[int, dict[str, str], bytes]:
        if name == "gated":
            return 403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "You are not in the authorized list."}, b""
        repository = self.folder / owner / name
        if not repository.is_dir():
            # As the hub answers whoever is not logged in: there might be a private one.
            return 401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Invalid username or password."}, b""
        for folder in repository.iterdir():
            if revision in (folder.name, commit(folder)):
                return folder
        return 404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": f"Invalid rev id: {revision}"}, b""

    def _repository(self, owner: str, name: str, revision: str, tree: bool = False) -> tuple[int, dict, bytes]:
        folder = self._folder(owner, name, revision)
        if isinstance(folder, tuple):
            return folder
        files = sorted(path for path in folder.iterdir())
        listed: object = {
            "id": f"{owner}/{name}",
            "modelId": f"{owner}/{name}",
            "sha": commit(folder),
            "private": False,
            "tags": [],
            "downloads": 0,
            "siblings": [{"rfilename": path.name} for path in files],
        }
        if tree:
            listed = [
                {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": digest(path)} | large(path)
                for path in files
            ]
        return 200, {"Content-Type": "application/json"}, json.dumps(listed).encode()

    def _file(self, owner: str, name: str, revision: str, file: str) -> tuple[int, dict[str, str], bytes]:
        folder = self._folder(owner, name, revision)
        if isinstance(folder, tuple):
            return folder
        path, headers = folder / file, {"X-Repo-Commit": commit(folder)}
        if not path.is_file():
            return 404, headers | {"X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"}, b""
        if not large(path):
            return 200, headers | {"ETag": f'"{digest(path)}"'}, path.read_bytes()
        where = f"{self.store}/store/{path.relative_to(self.folder)}"
        linked = {"X-Linked-Size": str(path.stat().st_size), "X-Linked-ETag": f'"{digest(path, "sha256")}"'}
        return 302, headers | linked | {"Location": where}, b""


def commit(folder: Path) -> str:
    """Forty digits for a folder's name: the id of its only commit."""
    return hashlib.sha1(str(folder).encode()).hexdigest()


def digest(path: Path, kind: str = "sha1") -> str:
    return hashlib.new(kind, path.read_bytes()).hexdigest()


def large(path: Path) -> dict[str, object]:
    """How the hub's lists tell of a large file; nothing of a small one."""
    size = path.stat().st_size
    return {"lfs": {"oid": digest(path, "sha256"), "size": size, "pointerSize": 130}} if size > LARGE else {}
