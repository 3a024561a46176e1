"""Tar files of photographs: what is in them by their headers, and what becomes of damaged and odd ones."""

import io
import json
import os
import re
import tarfile
from pathlib import Path

import pytest
from packed import add, tar_bytes

from visual_summaries.pipeline.data.archives.address import member_of
from visual_summaries.pipeline.data.archives.contents import Contents
from visual_summaries.pipeline.data.archives.tar import tar_contents
from visual_summaries.pipeline.data.class_map import CatalogError
from visual_summaries.pipeline.data.decode import DecodeError, read_bytes
from visual_summaries.pipeline.data.sources import find_photographs


def written(folder: Path, content: bytes, name: str = "a.tar") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def looked(folder: Path, *members: tuple[str, bytes]) -> Contents:
    return tar_contents(written(folder, tar_bytes(members)))


def labels(found: Contents) -> dict[str, str]:
    return {photograph.name: photograph.label for photograph in found.photographs}


def told(found: Contents) -> list[str]:
    return [f"{fault.uri.rpartition('/')[2]}: {fault.reason}" for fault in found.faults]


def read_all(path: Path) -> dict[str, bytes]:
    return {one.name: read_bytes(one.uri) for some in find_photographs(path).listing.values() for one in some}


def test_labels_beside_the_photographs(tmp_path: Path) -> None:
    found = looked(
        tmp_path,
        ("000.cls", b"7\n"),
        ("000.jpg", b"a"),
        ("001.JPEG", b"b"),
        ("001.cls", " Größe\n".encode()),
        ("deep/er/002.png", b"c"),
        ("deep/er/002.json", json.dumps({"caption": "x", "label": "cat", "cls": None}).encode()),
        ("003.json", b'{"class": 3}'),
        ("003.webp", b"d"),
        ("003.txt", b"a caption"),
        ("004.json", b'{"cls": "said by json"}'),
        ("004.tiff", b"e"),
        ("004.cls", b"said by cls"),
        ("005.seg.png", b"mask"),
        ("005.jpg", b"f"),
        ("005.cls", b"2"),
        ("readme.txt", b"no photograph"),
        ("dataset.json", b'{"name": "birds"}'),
    )
    assert labels(found) == {
        "000.jpg": "7",
        "001.JPEG": "Größe",
        "002.png": "cat",
        "003.webp": "3",
        "004.tiff": "said by cls",
        "005.jpg": "2",
    }
    assert found.indices == {"7": 7, "3": 3, "2": 2} and found.faults == []
    places = [one.at for one in found.photographs]
    assert places == sorted(places)


def test_a_photograph_of_several_labels_is_under_each(tmp_path: Path) -> None:
    members = [
        ("000.jpg", b"a"), ("000.json", b'{"label": ["cat", "dog", "cat"]}'),
        ("001.jpg", b"b"), ("001.json", b'{"cls": [3]}'),
        ("002.jpg", b"c"), ("002.json", b'{"label": []}'),
        ("003.jpg", b"d"), ("003.json", b'{"label": ["cat", 0.5]}'),
    ]  # fmt: skip
    (tmp_path / "a.tar").write_bytes(tar_bytes(members))
    source = find_photographs(tmp_path / "a.tar", several_labels=True)
    assert {label: [read_bytes(one.uri) for one in some] for label, some in source.listing.items()} == {
        "3": [b"b"], "cat": [b"a"], "dog": [b"a"]
    }  # fmt: skip
    assert source.listing["cat"][0].uri == source.listing["dog"][0].uri and source.several_labels
    reasons = [fault.reason for fault in source.faults]
    assert reasons[0].startswith("an empty list of labels") and "nor a list of them" in reasons[1] and len(reasons) == 2
    source = find_photographs(tmp_path / "a.tar")
    assert list(source.listing) == ["3"] and "it has the labels cat, dog" in source.faults[-1].reason


def test_folders_of_classes_where_no_labels_are(tmp_path: Path) -> None:
    found = looked(
        tmp_path,
        ("./cat/1.jpg", b"a"),
        ("cat/sub/2.x.jpg", b"b"),
        ("cat/2.y.jpg", b"c"),
        ("12/3.jpg", b"d"),
        ("cat/.4.jpg", b"hidden"),
        (".git/5.jpg", b"hidden"),
        ("cat/notes.txt", b""),
    )
    assert labels(found) == {"1.jpg": "cat", "sub/2.x.jpg": "cat", "2.y.jpg": "cat", "3.jpg": "12"}
    assert found.indices == {} and found.faults == []
    # As on a disk: the split follows from class and name.
    assert [one.name for some in find_photographs(tmp_path / "a.tar").listing.values() for one in some] == [
        "12/3.jpg", "cat/1.jpg", "cat/sub/2.x.jpg", "cat/2.y.jpg"
    ]  # fmt: skip


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_bytes_are_those_of_each_member_whatever_the_format_of_the_headers(tmp_path: Path, form: int) -> None:
    members = [(f"{'long' * 20}/{'name' * 20}{number}.jpg", os.urandom(number * 700)) for number in range(1, 6)]
    path = written(tmp_path, tar_bytes(members, form))
    assert read_all(path) == {name: content for name, content in members}


def test_names_lead_nowhere(tmp_path: Path) -> None:
    """Whatever a member is called, its bytes are those in the archive, and its address can be shown and read again."""
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "1.jpg").write_bytes(b"on the disk")
    odd = (f"{tmp_path}/cat/1.jpg", "../../cat/2.jpg", "cat/a::b+1/3.jpg", "cat/\x1b[31m\n4.jpg", "cat/%2e%2e/5.jpg")
    members = [(name, f"{place}".encode()) for place, name in enumerate(odd)]
    members.append((os.fsdecode(b"cat/\xff.jpg"), b"5"))
    path = written(tmp_path, tar_bytes(members, tarfile.GNU_FORMAT), "odd::name.tar")
    found = find_photographs(path)
    read = [read_bytes(one.uri) for some in found.listing.values() for one in some]
    assert sorted(read) == [b"0", b"1", b"2", b"3", b"4", b"5"]
    for some in found.listing.values():
        for one in some:
            assert one.uri.isprintable() and "/../" not in one.uri
            assert member_of(one.uri).archive == f"file://{tmp_path}/odd%3A%3Aname.tar"
    assert set(found.listing) == {"cat", tmp_path.parts[1]} and found.faults == ()


def test_links_and_devices_are_rows_of_their_own_and_followed_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"outside")
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        add(archive, "cat/0.jpg", b"inside")
        kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE)
        for number, kind in enumerate(kinds, start=1):
            add(archive, f"cat/{number}.jpg", b"", type=kind, linkname=str(tmp_path / "secret.jpg"))
        add(archive, "dog/6.jpg", b"inside, too")
        add(archive, "dog/7.jpg", b"")
        add(archive, "dog/7.cls", b"", type=tarfile.SYMTYPE, linkname=str(tmp_path / "secret.jpg"))
    path = written(tmp_path, file.getvalue())
    found, reasons = find_photographs(path), {}
    for some in found.listing.values():
        for one in some:
            try:
                reasons[one.name] = read_bytes(one.uri)
            except DecodeError as error:
                reasons[one.name] = str(error).partition(", ")[0].removeprefix("the file cannot be read: ")
    assert reasons == {
        "cat/0.jpg": b"inside",
        "cat/1.jpg": "it is a symbolic link",
        "cat/2.jpg": "it is a hard link",
        "cat/3.jpg": "it is a named pipe",
        "cat/4.jpg": "it is a device",
        "dog/6.jpg": b"inside, too",
    }
    assert told(tar_contents(path)) == ["7.jpg: its label dog/7.cls is a symbolic link, which is not followed"]


def test_what_is_not_clear_is_left_out_alone_with_the_reason(tmp_path: Path) -> None:
    found = looked(
        tmp_path,
        ("0.jpg", b"good"),
        ("0.cls", b"1"),
        ("1.jpg", b"no label"),
        ("2.cls", b"1"),
        ("3.jpg", b"x"),
        ("3.png", b"x"),
        ("3.cls", b"1"),
        ("4.jpg", b"x"),
        ("4.cls", b"-1"),
        ("5.jpg", b"x"),
        ("5.cls", b" \n"),
        ("6.jpg", b"x"),
        ("6.json", b'{"label": 1'),
        ("7.jpg", b"x"),
        ("7.json", b'{"label": {"a": 1}}'),
        ("8.jpg", b"x"),
        ("8.json", b'{"label": 1, "cls": 2}'),
        ("9.jpg", b"x"),
        ("9.cls", b"x" * 5000),
        ("a.jpg", b"x"),
        ("a.cls", b"\xff"),
        ("0.jpg", b"again"),
        ("0.cls", b"2"),
        ("b.jpg", b"x"),
        ("b.cls", b"a\0b"),
        ("good.jpg", b"x"),
        ("good.cls", b"cat"),
    )
    assert labels(found) == {"0.jpg": "1", "good.jpg": "cat"}
    assert sorted(told(found)) == [
        "0.cls: the archive has two members of that name; the first is taken",
        "0.jpg: the archive has two members of that name; the first is taken",
        "1.jpg: it has no label: no .cls or .json beside it, and no folder of its class",
        "3.jpg: the key 3 has several images (3.jpg, 3.png): leave its photograph alone",
        "4.jpg: the label -1, which means none, in its label",
        "5.jpg: an empty label, in its label",
        "6.jpg: not valid JSON: Expecting ',' delimiter: line 1 column 12 (char 11)",
        "7.jpg: the field label of its JSON is neither a whole number nor text, nor a list of them",
        "8.jpg: its JSON has several labels (label, cls) that differ",
        "9.jpg: its label 9.cls has 5000 bytes, at most 4096 are read",
        "a.jpg: its label is not UTF-8",
        "a.tar::2.cls: the key 2 has a label and no image",
        "b.jpg: a label that is no text of a line, in its label",
    ]


CUT = [(f"cat/{number}.jpg", bytes([number]) * 3000) for number in range(4)]
WHOLE = tar_bytes(CUT)
STEP = 512 + 3072


@pytest.mark.parametrize(
    "content, readable, reason",
    [
        (WHOLE[: 2 * STEP + 512 + 1000], 2, "cut off after its member cat/2.jpg.*unexpected end of data"),
        (WHOLE[: 2 * STEP + 100], 2, "cut off after its member cat/1.jpg.*its end is missing"),
        (WHOLE[: 4 * STEP], 4, "cut off after its member cat/3.jpg.*its end is missing"),
        (WHOLE[: 2 * STEP] + b"\xff" * 512 + WHOLE[2 * STEP + 512 :], 2, "after its member cat/1.jpg.*a header is dam"),
    ],
    ids=["in a photograph", "in a header", "without an end", "a header"],
)
def test_what_comes_before_the_damage_is_used(tmp_path: Path, content: bytes, readable: int, reason: str) -> None:
    path = written(tmp_path, content)
    source = find_photographs(path)
    (fault,) = source.faults
    assert fault.uri == str(path)
    assert re.search(reason, fault.reason), fault.reason
    good = 0
    for one in source.listing["cat"]:
        try:
            good += read_bytes(one.uri) == dict(CUT)[one.name]
        except DecodeError as error:
            assert re.search(f"the archive ends after 1000 of its 3000 bytes, {path}", str(error))
    assert good == readable


@pytest.mark.parametrize(
    "name, content, reason",
    [
        ("a.tar.gz", b"", "compressed tar file: it cannot be read by range; decompress it"),
        ("a.TGZ", b"", "compressed tar file"),
        ("a.tar", b"\x1f\x8b\x08\x00" + bytes(600), r"a.tar is compressed \(gzip\): it cannot be read by range"),
        ("a.tar", b"\x28\xb5\x2f\xfd" + bytes(600), r"a.tar is compressed \(zstd\)"),
        ("a.tar", b"", "a.tar is no tar file, or is damaged: empty file"),
        ("a.tar", b"<html>" * 500, "a.tar is no tar file, or is damaged: "),
        ("a.tar", bytes(10240), "no photographs with a label in 1 tar file"),
        ("a.tar", tar_bytes([("1.jpg", b"x")]), "no photographs with a label in 1 tar file; tar://.*1.jpg: it has no"),
    ],
)
def test_what_cannot_be_used_at_all_is_one_message(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    path = written(tmp_path, content, name)
    for place in (path, tmp_path):
        with pytest.raises(CatalogError, match=reason) as raised:
            find_photographs(place)
        assert str(tmp_path) in str(raised.value) and "\n" not in str(raised.value)


def header(size: int) -> bytes:
    """A member whose header says that it has so many bytes."""
    info = tarfile.TarInfo("cat/1.jpg")
    block = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    block[124:136] = bytes([0x80 if size >= 0 else 0xFF]) + size.to_bytes(11, "big", signed=True)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize("size", [-512, -1024, -(2**60), 2**60])
def test_lengths_that_lead_back_or_far_away_end_the_search(tmp_path: Path, size: int) -> None:
    path = written(tmp_path, WHOLE[:STEP] + header(size) + WHOLE[STEP:])
    source = find_photographs(path)
    assert "damaged or cut off after its member cat/" in source.faults[0].reason
    assert read_bytes(source.listing["cat"][0].uri) == CUT[0][1]


def test_a_header_without_end_is_not_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 2**27
    with (tmp_path / "a.tar").open("wb") as file:
        file.write(WHOLE[:STEP] + info.tobuf(tarfile.USTAR_FORMAT))
        file.truncate(2**27 + 2 * STEP)
    (fault,) = find_photographs(tmp_path / "a.tar").faults
    assert "a header says that it has 134217728 bytes" in fault.reason


def test_an_archive_that_changed_is_not_read_as_it_was(tmp_path: Path) -> None:
    path = written(tmp_path, WHOLE)
    uri = find_photographs(path).listing["cat"][2].uri
    assert read_bytes(uri) == CUT[2][1]
    for content, reason in (
        (tar_bytes([(name, data[:2600]) for name, data in CUT]), "has changed since it was listed"),
        (tar_bytes([("cat/0.jpg", bytes(50_000))]), "has changed"),
        (WHOLE[:STEP], "the archive ends before it"),
    ):
        path.write_bytes(content)
        with pytest.raises(DecodeError, match=reason):
            read_bytes(uri)
    path.write_bytes(WHOLE)
    assert read_bytes(uri) == CUT[2][1]
    path.unlink()
    with pytest.raises(DecodeError, match="No such file"):
        read_bytes(uri)
