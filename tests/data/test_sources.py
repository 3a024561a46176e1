"""Where photographs lie: folders, archives, a manifest; mixtures are refused, and splits are the same in all."""

import os
from pathlib import Path

import pytest
from packed import files_of, members_of, parquet_bytes, tar_bytes, write_shards

from visual_summaries.pipeline.data.archives.address import archive_of, member_of, parquet_row, tar_member
from visual_summaries.pipeline.data.catalog import load_catalog, read_manifest
from visual_summaries.pipeline.data.class_map import CatalogError
from visual_summaries.pipeline.data.decode import DecodeError, read_bytes
from visual_summaries.pipeline.data.sources import find_photographs
from visual_summaries.pipeline.objects import ObjectError
from visual_summaries.pipeline.stages.images import file_states

NAMES = ("tench", "cat", "dog")


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Files that hold their own names; those of two classes have no name in common."""
    for label in ("cat", "dog"):
        (tmp_path / "files" / label).mkdir(parents=True)
        for number in range(40):
            (tmp_path / "files" / label / f"{label}{number:02d}.jpg").write_bytes(f"{label} {number}".encode())
    return tmp_path / "files"


def split_of(images: Path) -> dict[bytes, tuple[str, int, str]]:
    source = find_photographs(images)
    catalog = load_catalog(
        listing=source.listing, indices=source.indices, class_names=NAMES, held_out=0.2, test=0.2, images_per_class=30
    )
    return {read_bytes(one.uri): (one.label, one.class_index, one.split) for one in catalog.entries}


@pytest.mark.parametrize("layout", ["folders", "cls", "json", "index", "datasets", "text"])
def test_the_same_photographs_have_the_same_splits(photographs: Path, layout: str, tmp_path: Path) -> None:
    files, expected = files_of(photographs), split_of(photographs)
    shards = files[:33], files[33:]
    if layout in ("datasets", "text"):
        packed, suffix = [parquet_bytes(shard, layout) for shard in shards], ".parquet"
        if layout == "datasets":
            packed = [parquet_bytes(files, layout)]
    else:
        packed, suffix = [tar_bytes(members_of(shard, layout, NAMES)) for shard in shards], ".tar"
    found = split_of(write_shards(tmp_path / "packed" / "deeper", packed, suffix).parent)
    if layout == "index":
        # The number is the label, and the split follows from the label.
        assert {one[:2] for one in found.values()} == {("1", 1), ("2", 2)} and len(found) == 60
    else:
        assert found == expected and len(found) == 60


def test_an_integer_is_a_class_index_whatever_classes_are_called(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar_bytes([("0.jpg", b"x"), ("0.cls", b"1")]))
    source = find_photographs(tmp_path / "a.tar")
    digits = ("2", "0", "1")
    (group,) = load_catalog(listing=source.listing, indices=source.indices, class_names=digits).classes
    assert (group.label, group.class_index) == ("1", 1)
    (group,) = load_catalog(listing={"1": source.listing["1"]}, class_names=digits).classes
    assert group.class_index == 2
    # A class map says otherwise.
    options = {"listing": source.listing, "indices": source.indices, "class_names": digits}
    (group,) = load_catalog(**options, class_map={"1": 0}).classes
    assert group.class_index == 0
    with pytest.raises(CatalogError, match="'1'"):
        load_catalog(listing=source.listing, indices=source.indices, class_names=("only",))


def test_it_is_said_what_was_found(photographs: Path, tmp_path: Path) -> None:
    files = files_of(photographs)
    tar, parquet = tar_bytes(members_of(files, "folders")), parquet_bytes(files, "text")
    many = write_shards(tmp_path / "many", [tar] * 12, ".tar")
    rows = write_shards(tmp_path / "rows", [parquet] * 2, ".parquet")
    (tmp_path / "m.csv").write_text(f"uri,label\n{files[0]},cat\n")
    said = [find_photographs(place).said for place in (photographs, many, many / "train-00003.tar", rows)]
    assert said == ["class folders", "12 tar shards", "1 tar file", "2 Parquet shards"]
    assert find_photographs(manifest=tmp_path / "m.csv").said == "a manifest"
    # Names that several shards have are told apart, so that splits are drawn for each.
    listing = find_photographs(many).listing
    assert len({one.name for some in listing.values() for one in some}) == 12 * len(files)


def test_mixtures_are_refused_by_name(photographs: Path, tmp_path: Path) -> None:
    tar, parquet = tar_bytes([("cat/1.jpg", b"x")]), parquet_bytes(files_of(photographs)[:2], "text")
    both = tmp_path / "both"
    both.mkdir()
    (both / "a.tar").write_bytes(tar)
    (both / "b.parquet").write_bytes(parquet)
    with pytest.raises(CatalogError, match=r"both holds tar shards \(a.tar\) and Parquet shards \(b.parquet\)"):
        find_photographs(both)
    (photographs / "dog" / "rest.tar").write_bytes(tar)
    with pytest.raises(CatalogError, match=r"both images \(cat/cat00.jpg\) and archives \(dog/rest.tar\): give one"):
        find_photographs(photographs)
    (photographs / "dog" / "rest.tar").rename(photographs / "dog" / ".rest.tar")
    assert find_photographs(photographs).said == "class folders"
    (both / "b.parquet").unlink()
    (both / "loose.jpg").touch()
    with pytest.raises(CatalogError, match=r"both images \(loose.jpg\) and archives \(a.tar\)"):
        find_photographs(both)
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "0.tar").write_bytes(tar_bytes([("0.jpg", b"x"), ("0.cls", b"1")]))
    (tmp_path / "mixed" / "1.tar").write_bytes(tar_bytes([("1/0.jpg", b"x")]))
    with pytest.raises(CatalogError, match="the label 1 is a class index in one place and text in another"):
        find_photographs(tmp_path / "mixed")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.tar")
    with pytest.raises(CatalogError, match="a.tar: it is no file"):
        find_photographs(tmp_path)


def test_states_of_photographs_in_archives(photographs: Path, tmp_path: Path) -> None:
    files = files_of(photographs)[:3]
    (tmp_path / "a.tar").write_bytes(tar_bytes(members_of(files, "folders")))
    (tmp_path / "a.parquet").write_bytes(parquet_bytes(files, "text"))
    tar, parquet = ([one.uri for one in find_photographs(tmp_path / name).listing["cat"]]
                    for name in ("a.tar", "a.parquet"))  # fmt: skip
    times = [(tmp_path / name).stat().st_mtime_ns for name in ("a.tar", "a.parquet")]
    gone = tar[0].replace("a.tar", "gone.tar")
    states = file_states([*tar, *parquet, gone, str(files[0])])
    assert states == {
        **{uri: (5, times[0]) for uri in tar},
        **{uri: (-1, times[1]) for uri in parquet},
        gone: (-1, -1),
        str(files[0]): (5, files[0].stat().st_mtime_ns),
    }


@pytest.mark.parametrize(
    "kind, archive, name",
    [
        ("tar", "/a/b.tar", "cat/1.jpg"),
        ("tar", "s3://bucket/b.tar", "cat/::000000000001+2/1.jpg"),
        ("tar", "file:///a%3A%3Ab/b.TAR", "\x1b\n"),
        ("parquet", "gs://bucket/x y.parquet", "../../../etc/passwd"),
    ],
)
def test_addresses_are_taken_apart_as_they_were_put_together(kind: str, archive: str, name: str) -> None:
    uri = tar_member(archive, 1536, 70, name) if kind == "tar" else parquet_row(archive, 1536, name)
    member = member_of(uri)
    assert (member.kind, member.archive, member.at) == (kind, archive, 1536) and uri.isprintable()
    assert member.size == (70 if kind == "tar" else 0) and archive_of(uri) == archive


SECRET = "a-secret-of-the-tests"
WRONG = (
    "tar://relative.tar::000000001536+20/x.jpg",
    "tar:///a.jpg::000000001536+20/x.jpg",
    "tar:///a.tar",
    "tar:///a.tar::12+20/x.jpg",
    "tar:///a.tar::000000001536+-20/x.jpg",
    "tar:///a.tar::00000000153²+20/x.jpg",
    "tar:///a.tar::x.tar::000000001536+20/x.jpg",
    "tar://tar:///a.tar::000000001536+20/x.jpg",
    "tar://http://127.0.0.1/a.tar::000000001536+20/x.jpg",
    "tar://s3://b?endpoint_override=127.0.0.1/a.tar::000000001536+20/x.jpg",
    f"tar://s3://key:{SECRET}@bucket/a.tar::000000001536+20/x.jpg",
    "parquet:///a.tar::00000001/x.jpg",
    "parquet:///a.parquet::x/x.jpg",
    "parquet://parquet:///a.parquet::00000001/x.jpg",
)


@pytest.mark.parametrize("uri", WRONG)
def test_addresses_that_are_none_are_refused_wherever_they_are_read(uri: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, ObjectError)):
        member_of(uri)
    assert archive_of(uri) is None
    with pytest.raises(DecodeError) as unread:
        read_bytes(uri)
    (tmp_path / "m.csv").write_text(f"uri,label\n{uri},cat\n")
    with pytest.raises(CatalogError, match="line 2: ") as unlisted:
        read_manifest(tmp_path / "m.csv")
    assert SECRET not in f"{unread.value}{unlisted.value}"


def test_a_manifest_may_list_photographs_in_archives_and_nothing_beside(photographs: Path, tmp_path: Path) -> None:
    """A row names a range of an archive: only that of a member, whose header lies before it, is read."""
    files = files_of(photographs)[:2]
    (tmp_path / "a.tar").write_bytes(tar_bytes([("cat/1.jpg", files[0].read_bytes()), ("key.pem", SECRET.encode())]))
    (tmp_path / "secret.tar").write_bytes(bytes(1000) + SECRET.encode() + bytes(1000))
    good = find_photographs(tmp_path / "a.tar").listing["cat"][0].uri
    (tmp_path / "m.csv").write_text(f"uri,label\n{good},cat\n")
    (one,) = read_manifest(tmp_path / "m.csv")["cat"]
    assert read_bytes(one.uri) == files[0].read_bytes()
    member = member_of(good)
    for archive, at, size in (
        (tmp_path / "secret.tar", 1000, len(SECRET)),
        (tmp_path / "a.tar", member.at, member.size + 512),
        (tmp_path / "a.tar", member.at + 1, member.size),
        (tmp_path / "a.tar", 0, 100),
        (tmp_path / "a.tar", 100_000, 100),
    ):
        with pytest.raises(DecodeError, match="the file cannot be read: ") as raised:
            read_bytes(tar_member(str(archive), at, size, "x.jpg"))
        assert SECRET not in str(raised.value)
    (tmp_path / "link.tar").symlink_to("/dev/zero")
    with pytest.raises(DecodeError, match="it is no file"):
        read_bytes(tar_member(str(tmp_path / "link.tar"), 512, 100, "x.jpg"))
