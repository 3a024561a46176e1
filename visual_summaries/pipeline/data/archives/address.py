"""Addresses of photographs in archives.

    tar:///data/birds-000.tar::000000001536+20480/bunting/17.jpg        20,480 bytes from byte 1,536 on
    tar://s3://bucket/birds-000.tar::000000001536+20480/bunting/17.jpg
    parquet:///data/birds-000.parquet::00000017/bunting/17.jpg          row 17, counted from 0

What says where to read is the archive and the numbers. Class and name stand behind them for people; they lead nowhere.
Numbers have a fixed width, so that addresses in order are places in order.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from visual_summaries.pipeline.names import address_of, shown
from visual_summaries.pipeline.objects import ObjectPath, place

TAR, PARQUET = "tar", "parquet"
SUFFIXES = {".tar": TAR, ".parquet": PARQUET}
# They can be read from their beginning alone.
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst", ".tar.lz4", ".tar.z")
SEPARATOR = "::"
_TAR = re.compile(r"tar://(?P<archive>.+?\.tar)::(?P<at>[0-9]{12,15})\+(?P<size>[0-9]{1,15})/(?P<name>.*)", re.S | re.I)
_PARQUET = re.compile(r"parquet://(?P<archive>.+?\.parquet)::(?P<at>[0-9]{8,15})/(?P<name>.*)", re.S | re.I)


@dataclass(frozen=True, slots=True)
class Member:
    """A photograph in an archive.

    Attributes:
        kind: `TAR` or `PARQUET`.
        archive: path or address of the file.
        at: of a tar file the byte where the photograph begins, of a Parquet file its row, from 0.
        size: bytes of the photograph in a tar file; 0 in a Parquet file, which does not say.
        name: class and name, for people.
    """

    kind: str
    archive: str
    at: int
    size: int
    name: str


def is_archive(name: str) -> bool:
    """Whether a file, by its name, may hold photographs, readable by range or not."""
    return name.lower().endswith((*SUFFIXES, *COMPRESSED))


def is_member(uri: str) -> bool:
    """Whether an address says that it is of a photograph in an archive; it may be wrong otherwise."""
    return uri.lower().startswith((f"{TAR}://", f"{PARQUET}://"))


def member_of(uri: str) -> Member:
    """Take the address of a photograph in an archive apart.

    Raises:
        ValueError: it is none, or its archive is no absolute path.
        ObjectError: its archive is no address of a store.
    """
    found = _TAR.fullmatch(uri) or _PARQUET.fullmatch(uri)
    if found is None or SEPARATOR in found["archive"]:
        raise ValueError(
            "not the address of a photograph in an archive, which is tar://<file>.tar::<byte>+<bytes>/<name> or "
            "parquet://<file>.parquet::<row>/<name>"
        )
    _check(found["archive"])
    kind = TAR if found.re is _TAR else PARQUET
    size = int(found["size"]) if kind == TAR else 0
    return Member(kind, found["archive"], int(found["at"]), size, found["name"])


@lru_cache(maxsize=4096)
def _check(archive: str) -> None:
    location = place(archive)
    if isinstance(location, Path) and not location.is_absolute():
        raise ValueError("the archive's path must be absolute")


def archive_of(uri: str) -> str | None:
    """Path or address of the archive that a photograph is in; None where it is in none."""
    try:
        return member_of(uri).archive if is_member(uri) else None
    except (OSError, ValueError):
        return None


def archive_address(archive: Path | ObjectPath) -> str:
    """How an archive is named in the addresses of its members.

    Raises:
        ValueError: a key in a bucket with `::`, which ends the archive's name.
    """
    if isinstance(archive, ObjectPath):
        if SEPARATOR in str(archive):
            raise ValueError(f"{archive} has {SEPARATOR} in its name, which ends a name here: copy it to another")
        return str(archive)
    return address_of(str(archive), SEPARATOR in str(archive))


def tar_member(archive: str, at: int, size: int, name: str) -> str:
    """The address of a member; `archive` as `archive_address` names it."""
    return f"{TAR}://{archive}{SEPARATOR}{at:012d}+{size}/{shown(name)}"


def parquet_row(archive: str, row: int, name: str) -> str:
    """The address of a row; `archive` as `archive_address` names it."""
    return f"{PARQUET}://{archive}{SEPARATOR}{row:08d}/{shown(name)}"
