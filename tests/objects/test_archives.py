"""Photographs in archives of a bucket: found and read by few requests for large ranges."""

import os
import sys
from pathlib import Path

import pytest
from store_server import BUCKET

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))

from packed import files_of, members_of, parquet_bytes, tar_bytes  # noqa: E402

from visual_summaries.pipeline.data.archives import reading  # noqa: E402
from visual_summaries.pipeline.data.archives.tar import tar_contents  # noqa: E402
from visual_summaries.pipeline.data.class_map import CatalogError  # noqa: E402
from visual_summaries.pipeline.data.decode import DecodeError, read_bytes  # noqa: E402
from visual_summaries.pipeline.data.sources import find_photographs  # noqa: E402
from visual_summaries.pipeline.objects import place  # noqa: E402
from visual_summaries.pipeline.stages.images import file_states  # noqa: E402

SIZE, NUMBER = 20_000, 60


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Photographs of two classes, of random bytes."""
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(NUMBER // 2):
            (tmp_path / label / f"{label}{number:02d}.jpg").write_bytes(os.urandom(SIZE + number))
    return files_of(tmp_path)


def put(server, key: str, body: bytes) -> None:  # noqa: ANN001
    server.client.put_object(Bucket=BUCKET, Key=key, Body=body)


def packed(files: list[Path], suffix: str) -> list[bytes]:
    halves = files[: NUMBER // 2], files[NUMBER // 2 :]
    if suffix == ".tar":
        return [tar_bytes(members_of(half, "cls")) for half in halves]
    return [parquet_bytes(half, "text", group=10) for half in halves]


@pytest.mark.parametrize("suffix, said", [(".tar", "2 tar shards"), (".parquet", "2 Parquet shards")])
def test_shards_are_found_and_read_by_few_requests(server, files: list[Path], suffix: str, said: str) -> None:
    shards = packed(files, suffix)
    for number, content in enumerate(shards):
        put(server, f"data set/{number}{suffix}", content)
    server.requests.clear()
    source = find_photographs(place(f"s3://{BUCKET}/data set"))
    # A listing, whether the bucket is there, and of each shard its length and its headers, or its end and its columns.
    assert source.said == said and source.faults == ()
    assert server.counted()["LIST"] == 1 and sum(server.counted().values()) <= 2 + 2 * 6
    uris = [one.uri for some in source.listing.values() for one in some]
    assert all(uri.startswith(f"{suffix[1:]}://s3://{BUCKET}/data set/") for uri in uris)
    server.requests.clear()
    assert [read_bytes(uri) for uri in uris] == [file.read_bytes() for file in files]
    assert sum(server.counted().values()) <= 2 * 8
    server.requests.clear()
    states = file_states(uris)
    assert server.counted() == {"LIST": 1}
    sizes = {-1} if suffix == ".parquet" else {*range(SIZE, SIZE + NUMBER // 2)}
    assert {size for size, _ in states.values()} == sizes
    assert all(written > 0 for _, written in states.values())


def test_one_photograph_of_a_tar_file_is_asked_for_alone(server, files: list[Path], monkeypatch) -> None:
    put(server, "one.tar", packed(files, ".tar")[0])
    uris = [one.uri for one in find_photographs(place(f"s3://{BUCKET}/one.tar")).listing["cat"]]
    asked = []
    read = reading.RangeFile.read
    monkeypatch.setattr(
        reading.RangeFile, "read", lambda self, start, length: asked.append(length) or read(self, start, length)
    )
    monkeypatch.setattr(reading, "NEAR", 5000)
    for number in (20, 3, 28, 11):
        assert read_bytes(uris[number]) == files[number].read_bytes()
    assert asked == [SIZE + 512 + number for number in (20, 3, 28, 11)]
    asked.clear()
    for number in range(12, 28):
        assert read_bytes(uris[number]) == files[number].read_bytes()
    assert asked[0] == reading.FIRST_AHEAD and len(asked) < 4


def test_what_the_store_says_is_one_message(server, files: list[Path]) -> None:
    put(server, "a/one.tar", packed(files, ".tar")[0])
    put(server, "a/one.parquet", packed(files, ".parquet")[0])
    put(server, "b/one.tar", packed(files, ".tar")[0])
    put(server, "b/cat/1.jpg", b"x")
    put(server, "c/a::b.tar", packed(files, ".tar")[0])
    put(server, "d/one.tar.gz", b"x")
    for prefix, message in (
        ("a", r"holds Parquet shards \(one.parquet\) and tar shards \(one.tar\)"),
        ("b", r"holds both images \(cat/1.jpg\) and archives \(one.tar\)"),
        ("c", r"s3://bucket/c/a::b.tar has :: in its name, which ends a name here"),
        ("d", "s3://bucket/d/one.tar.gz is a compressed tar file"),
        ("none/x.tar", "has no folders with files"),
    ):
        with pytest.raises(CatalogError, match=message):
            find_photographs(place(f"s3://{BUCKET}/{prefix}"))
    uris = {
        name: next(iter(find_photographs(place(f"s3://{BUCKET}/a/{name}")).listing.values()))[0].uri
        for name in ("one.tar", "one.parquet")
    }
    server.refuses = lambda request: request["REQUEST_METHOD"] in ("GET", "HEAD")
    for name, uri in uris.items():
        with pytest.raises(CatalogError, match=f"cannot look for s3://bucket/a/{name}: the store refuses access"):
            find_photographs(place(f"s3://{BUCKET}/a/{name}"))
        with pytest.raises(DecodeError, match="the file cannot be read: the store refuses access"):
            read_bytes(uri)
    # The archive is there, its bytes are not to be had; where few were wanted, Amazon's library loses the reason.
    server.refuses = lambda request: request["REQUEST_METHOD"] == "GET" and "one" in request["PATH_INFO"]
    for name, uri in uris.items():
        with pytest.raises(CatalogError, match=f"{name}.*the store (refuses access|is overloaded)"):
            find_photographs(place(f"s3://{BUCKET}/a/{name}"))
        with pytest.raises(DecodeError, match="the file cannot be read: the store refuses access"):
            read_bytes(uri)
    server.refuses = lambda request: False
    server.client.delete_object(Bucket=BUCKET, Key="a/one.tar")
    with pytest.raises(DecodeError, match="there is no such object"):
        read_bytes(uris["one.tar"])


def test_large_members_are_passed_over(server) -> None:
    """Where members are larger than a block, only their headers are read."""
    members = [(f"cat/{number}.jpg", bytes(10 * 2**20)) for number in range(3)]
    put(server, "large.tar", tar_bytes(members))
    read = []
    original = reading.RangeFile.read

    def counted(self, start: int, length: int) -> bytes:  # noqa: ANN001
        content = original(self, start, length)
        read.append(len(content))
        return content

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading.RangeFile, "read", counted)
        found = tar_contents(place(f"s3://{BUCKET}/large.tar"))
    assert len(found.photographs) == 3 and sum(read) < 15 * 2**20


def test_photographs_without_an_ending_are_found_in_a_bucket_and_the_rest_is_counted(server) -> None:  # noqa: ANN001
    png = b"\x89PNG\r\n\x1a\n" + bytes(2000)
    for key in ("cat/17", "cat/deep/18.data", "cat/19.JFIF", "loose"):
        put(server, f"mixed/{key}", png)
    for key in ("cat/17.txt", "cat/18.txt", "cat/x.NEF", "cat/.DS_Store", "__MACOSX/cat/._17", ".git/17"):
        put(server, f"mixed/{key}", b"II*\0, and no picture")
    put(server, "mixed/cat/notes", b"no picture")
    server.requests.clear()
    source = find_photographs(place(f"s3://{BUCKET}/mixed"))
    assert {label: [one.name for one in some] for label, some in source.listing.items()} == {
        "cat": ["cat/17", "cat/19.JFIF", "cat/deep/18.data"]
    }
    told = "2 .txt, 1 without extension, 1 .nef; 1 image in no class folder; 3 hidden or of the system"
    assert source.passed_over.said == told
    # Of those whose names do not tell, each is looked into once.
    assert server.counted()["GET"] <= 4
