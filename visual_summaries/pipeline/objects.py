"""Files in object stores (`s3://`, `gs://`), with those methods of `pathlib.Path` that this package uses.

`place` gives a `Path` for what is on a disk and an `ObjectPath` for what is not; most code need not know which one it
has. An object differs in two ways: it appears whole by itself, so nothing is written beside it and renamed; and each
method is a request that takes time and may fail, always with an `ObjectError`.

Addresses are taken as they are written: `%20` is three characters, as in Amazon's own tools. How the store is reached
comes from the environment alone, see `docs/how-to/buckets.md`.
"""

import errno
import io
import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from visual_summaries.pipeline.names import path_of
from visual_summaries.pipeline.object_errors import NO_BUCKET, ObjectError, in_writing, told

CONNECT_SECONDS = 5.0
REQUEST_SECONDS = 60.0
ATTEMPTS = 5
# Google's library would try for 15 minutes.
GOOGLE_RETRY_SECONDS = 20

# What a browser must know to show a page from a bucket.
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
    ".csv": "text/csv; charset=utf-8",
    ".md": "text/markdown; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".parquet": "application/vnd.apache.parquet",
}

ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://(?P<bucket>[^/]*)/*(?P<key>.*)", re.DOTALL)
SCHEMES = ("s3", "gs")
# Google's may stand behind the word that says that no account is used. Whatever else stands there could be a setting.
BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]*")
ANONYMOUS = "anonymous@"
CONNECTION_SETTING = re.compile(r"\?(region|scheme|endpoint_override|access_key|secret_key)=")


def holds_credentials(address: str) -> bool:
    """Whether an address of an object store has a user's name or key before its bucket."""
    found = ADDRESS.match(address)
    user, separator, _ = found["bucket"].rpartition("@") if found else ("", "", "")
    # Google has the word anonymous there; keys come with a colon, or on S3 alone.
    return bool(separator) and (":" in user or found["scheme"].lower() == "s3")


CREDENTIALS = (
    "the address holds credentials, which would be stored with the run: leave them out and set them in the environment "
    "(AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile)"
)


def is_remote(location: Any) -> bool:
    """Whether a path or address is of an object store."""
    if isinstance(location, ObjectPath):
        return True
    found = ADDRESS.match(str(location)) if isinstance(location, str) else None
    return found is not None and found["scheme"].lower() != "file"


def place(location: "str | Path | ObjectPath") -> "Path | ObjectPath":
    """Where a path or address leads: `Path` on a disk, `ObjectPath` elsewhere; `~` is a home folder, as in a shell.

    Raises:
        ObjectError: an address with credentials, of no bucket, with anything but its name in its place, or of a kind of
            store that is not known.
    """
    if isinstance(location, Path | ObjectPath):
        return location
    if is_remote(location):
        return ObjectPath.of(location)
    if location.startswith("file://"):
        return Path(path_of(location))
    return Path(os.path.expanduser(location))


class ObjectPath:
    """An object, or the objects below a prefix; immutable, small, and the same in every process."""

    __slots__ = ("scheme", "bucket", "key")

    def __init__(self, scheme: str, bucket: str, key: str) -> None:
        self.scheme, self.bucket, self.key = scheme, bucket, key

    @classmethod
    def of(cls, address: str) -> "ObjectPath":
        """Take an address apart without asking the store; errors as `place`."""
        found = ADDRESS.fullmatch(address)
        scheme, bucket = (found["scheme"].lower(), found["bucket"]) if found else ("", "")
        if holds_credentials(address):
            raise ObjectError(errno.EINVAL, CREDENTIALS, f"{scheme}://…@{bucket.rpartition('@')[2]}")
        if not bucket:
            raise ObjectError(errno.EINVAL, "the address names no bucket", f"{scheme}://")
        if scheme not in SCHEMES:
            raise ObjectError(errno.EINVAL, "no such kind of store is known; s3:// and gs:// are", f"{scheme}://…")
        name = bucket.removeprefix(ANONYMOUS) if scheme == "gs" else bucket
        if not BUCKET.fullmatch(name):
            raise ObjectError(
                errno.EINVAL,
                "a bucket's name has small letters, digits, dots, hyphens and underscores; nothing else can be there",
                f"{scheme}://{re.split(r'[^a-z0-9._-]', name)[0]}…",
            )
        if setting := CONNECTION_SETTING.search(found["key"]):
            raise ObjectError(
                errno.EINVAL,
                f"{setting[1]} cannot be set in an address: set AWS_ENDPOINT_URL and AWS_REGION in the environment",
                f"{scheme}://{bucket}",
            )
        return cls(scheme, bucket, found["key"].rstrip("/"))

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}" if self.key else f"{self.scheme}://{self.bucket}"

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectPath) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return ObjectPath, (self.scheme, self.bucket, self.key)

    def __truediv__(self, name: str) -> "ObjectPath":
        return ObjectPath(self.scheme, self.bucket, posixpath.normpath(posixpath.join("/", self.key, str(name)))[1:])

    @property
    def name(self) -> str:
        return PurePosixPath(self.key).name or self.bucket

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.key).suffix

    @property
    def parent(self) -> "ObjectPath":
        return ObjectPath(self.scheme, self.bucket, posixpath.dirname(self.key))

    def with_name(self, name: str) -> "ObjectPath":
        return self.parent / name

    def with_suffix(self, suffix: str) -> "ObjectPath":
        return self.parent / PurePosixPath(self.name).with_suffix(suffix).name

    def absolute(self) -> "ObjectPath":
        return self

    def mkdir(self, parents: bool = True, exist_ok: bool = True) -> None:
        """Nothing: a store has no folders."""

    @property
    def file_system(self) -> Any:
        """The `pyarrow.fs.FileSystem` of the bucket, one for each process."""
        with _told(self):
            return _file_system(self.scheme, self.bucket)[0]

    @property
    def path(self) -> str:
        """The object's path in `file_system`."""
        with _told(self):
            root = _file_system(self.scheme, self.bucket)[1]
        return f"{root}/{self.key}" if self.key else root

    def open(self, mode: str = "rb") -> BinaryIO:
        """The object as a file for reading at any place; the caller closes it."""
        if mode != "rb":
            raise ValueError(f"objects are not opened as {mode!r}: write_bytes writes them whole")
        file_system, path = self.file_system, self.path
        with _told(self):
            return file_system.open_input_file(path)

    def read_bytes(self) -> bytes:
        with self.open() as file, _told(self):
            return file.read()

    def read_text(self, encoding: str = "utf-8") -> str:
        return self.read_bytes().decode(encoding)

    def write_bytes(self, content: bytes | memoryview) -> None:
        """Write the object whole, with the content type that its name calls for.

        Up to 10 MB it is one request; more goes up in parts, and appears when the last one is there.
        """
        metadata = {"Content-Type": CONTENT_TYPES.get(self.suffix.lower(), "application/octet-stream")}
        try:
            file_system, path = self.file_system, self.path
            with _told(self), file_system.open_output_stream(path, metadata=metadata) as file:
                file.write(content)
        except ObjectError as error:
            if error.errno not in (errno.ENOENT, errno.ENXIO):
                raise
            # Only the bucket can be missing where an object is made, even if Google's says that the object is.
            raise in_writing(ObjectError(errno.ENXIO, NO_BUCKET, str(self))) from None

    def stat(self) -> SimpleNamespace:
        """`st_size` in bytes and `st_mtime_ns` of an object; ObjectError with ENOENT where there is none."""
        file_system, path = self.file_system, self.path
        with _told(self):
            found = file_system.get_file_info(path)
        if not found.is_file:
            raise ObjectError(errno.ENOENT, "there is no such object", str(self))
        return SimpleNamespace(st_size=found.size, st_mtime_ns=found.mtime_ns)

    def is_file(self) -> bool:
        try:
            self.stat()
        except ObjectError as error:
            if error.errno != errno.ENOENT:
                raise
            return False
        return True

    exists = is_file

    def unlink(self, missing_ok: bool = False) -> None:
        if missing_ok and not self.is_file():
            return
        file_system, path = self.file_system, self.path
        try:
            with _told(self):
                file_system.delete_file(path)
        except ObjectError as error:
            # Somebody else may have been faster.
            if not missing_ok or error.errno != errno.ENOENT:
                raise

    def iterdir(self) -> Iterator["ObjectPath"]:
        """The objects directly below, without the prefixes."""
        return (self / name for name in self.states(recursive=False))

    def states(self, recursive: bool = True) -> dict[str, tuple[int, int]]:
        """Name below this prefix → size in bytes and time of writing in ns, by one listing (a request per 1000)."""
        from pyarrow.fs import FileSelector

        file_system, path = self.file_system, self.path
        with _told(self):
            found = file_system.get_file_info(FileSelector(path, allow_not_found=True, recursive=recursive))
        return {one.path[len(path) + 1 :]: (one.size, one.mtime_ns) for one in found if one.is_file}

    def check_bucket(self) -> None:
        """Raise an ObjectError where there is no such bucket; reading cannot tell that from a missing object."""
        root = ObjectPath(self.scheme, self.bucket, "")
        file_system, path = root.file_system, root.path
        with _told(self):
            there = file_system.get_file_info(path).type.name != "NotFound"
        if not there:
            raise ObjectError(errno.ENXIO, f"there is no bucket {self.bucket!r}: check its name", str(self))


def states_of(addresses: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Size and time of writing of objects, by one listing for each of their folders.

    Those that are not there are left out.

    Raises:
        ObjectError: a store does not answer; errors as `place`.
    """
    by_folder: dict[ObjectPath, list[str]] = {}
    for address in addresses:
        by_folder.setdefault(ObjectPath.of(address).parent, []).append(address)
    found = {}
    for folder, own in by_folder.items():
        states = folder.states(recursive=False)
        found |= {one: states[name] for one in own if (name := ObjectPath.of(one).name) in states}
    return found


def read_named(path: "Path | ObjectPath") -> bytes:
    """The bytes of a file that a person named; errors as `read_bytes`, and of a bucket that is not there as its own."""
    try:
        return path.read_bytes()
    except ObjectError as error:
        if error.errno == errno.ENOENT:
            path.check_bucket()
        raise


def is_there(path: "Path | ObjectPath") -> bool:
    """Whether there is such a file.

    Raises:
        ObjectError: as `is_file`, and where there is not even such a bucket.
    """
    if path.is_file():
        return True
    if isinstance(path, ObjectPath):
        path.check_bucket()
    return False


def read_buffer(path: "Path | ObjectPath") -> "Path | BinaryIO":
    """What a reader of whole files takes: the path of one on a disk, the bytes of another."""
    return io.BytesIO(path.read_bytes()) if isinstance(path, ObjectPath) else path


@lru_cache(maxsize=32)
def _file_system(scheme: str, bucket: str) -> tuple[Any, str]:
    """(file system, path of the bucket in it)."""
    from pyarrow import fs

    if scheme == "s3":
        return fs.S3FileSystem(**s3_options(bucket, fs.resolve_s3_region)), bucket
    options = {"retry_time_limit": timedelta(seconds=GOOGLE_RETRY_SECONDS)}
    if bucket.startswith(ANONYMOUS):
        options["anonymous"] = True
    return fs.GcsFileSystem(**options), bucket.removeprefix(ANONYMOUS)


def s3_options(bucket: str, region_of: Callable[[str], str]) -> dict[str, Any]:
    """How to reach S3, by the variables that Amazon's own tools obey; pyarrow itself obeys some of them."""
    from pyarrow.fs import AwsStandardS3RetryStrategy

    options: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "request_timeout": REQUEST_SECONDS,
        "retry_strategy": AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        # Without it even the smallest object would be uploaded in parts.
        "allow_delayed_open": True,
    }
    ignored = os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true"
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if endpoint and not ignored:
        parts = urlsplit(endpoint if "://" in endpoint else f"https://{endpoint}")
        if parts.username or not parts.hostname:
            raise OSError("AWS_ENDPOINT_URL must be http://host:port or https://host:port, without credentials")
        options |= {"scheme": parts.scheme, "endpoint_override": parts.netloc + parts.path.rstrip("/")}
        region = region or "us-east-1"
    if authorities := os.environ.get("AWS_CA_BUNDLE"):
        options["tls_ca_file_path"] = authorities
    return options | {"region": region or region_of(bucket)}


@contextmanager
def _told(path: ObjectPath) -> Iterator[None]:
    """Turn what pyarrow raises into an ObjectError with a reason in words."""
    try:
        yield
    except ObjectError:
        raise
    except FileNotFoundError:
        raise ObjectError(errno.ENOENT, "there is no such object", str(path)) from None
    except Exception as error:
        # Imported late: it takes a while that a command line need not spend.
        from pyarrow import ArrowException

        if isinstance(error, OSError | ValueError | ArrowException):
            raise told(error, path) from None
        raise
