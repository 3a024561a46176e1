"""A real S3-compatible server on loopback (moto), which counts requests and can be made to refuse them or to stop."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.request import Request, urlopen

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from reached import reaching
from werkzeug.serving import make_server

KEY, SECRET = "AKIAONLYFORTESTS", "a-secret-that-is-only-for-tests"
BUCKET = "bucket"
CONDITIONS = ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH")
REFUSED = b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'


@dataclass
class StoreServer:
    """`refuses`: which requests (WSGI environments) get a 403 instead of an answer; `ignores_conditions`: as older
    servers do."""

    address: str = ""
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    refuses: Callable[[dict[str, Any]], bool] = lambda request: False
    ignores_conditions: bool = False
    _turn: Any = field(default_factory=threading.Lock)
    _server: Any = None
    _application: Any = None

    def __call__(self, request: dict[str, Any], start: Callable) -> Any:
        self.requests.append((request["REQUEST_METHOD"], request["PATH_INFO"], request.get("QUERY_STRING", "")))
        if self.refuses(request):
            start("403 Forbidden", [("Content-Type", "application/xml"), ("Content-Length", str(len(REFUSED)))])
            return [REFUSED]
        if not any(condition in request for condition in CONDITIONS):
            return self._application(request, start)
        if self.ignores_conditions:
            return self._application({key: request[key] for key in request if key not in CONDITIONS}, start)
        # moto looks and writes one after the other; a store does both at once.
        with self._turn:
            return self._application(request, start)

    def start(self) -> None:
        """Listen, on the same port as before if there was one; what was stored is there again."""
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        if self._application is None:
            self._application = DomainDispatcherApplication(create_backend_app)
        port = int(self.address.rpartition(":")[2]) if self.address else 0
        self._server = make_server("127.0.0.1", port, self, threaded=True)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        """Answer nobody any more."""
        self._server.shutdown()
        self._server.server_close()

    @property
    def client(self) -> Any:
        """Amazon's own client, to look with other eyes than ours."""
        return boto3.client(
            "s3",
            endpoint_url=self.address,
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
        )

    def environment(self) -> dict[str, str]:
        """What leads to this server, for this process or another."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": self.address,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def keys(self, prefix: str = "") -> list[str]:
        """Names of all objects, those that stand for folders left out."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        found = [one["Key"] for page in pages for one in page.get("Contents", ())]
        return [key for key in found if not key.endswith("/")]

    def counted(self) -> Counter:
        """Requests so far by kind, as they are billed: PUT and LIST dear, GET and HEAD cheap."""
        kinds = ("LIST" if method == "GET" and "list-type" in query else method for method, _, query in self.requests)
        return Counter(kinds)


@contextmanager
def store_server() -> Iterator[StoreServer]:
    """A server with an empty bucket and this process's environment set to reach it."""
    server = StoreServer()
    server.start()
    try:
        with reaching(server.environment()):
            # moto keeps what earlier servers of this process stored.
            urlopen(Request(f"{server.address}/moto-api/reset", method="POST")).close()
            server.client.create_bucket(Bucket=BUCKET)
            yield server
    finally:
        server.stop()

