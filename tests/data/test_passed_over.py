"""Whatever the decoder reads is found, whatever it is called; what is left is counted by ending."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from packed import files_of, members_of, tar_bytes
from PIL import Image

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.data.class_map import CatalogError
from visual_summaries.pipeline.data.decode import decode, read_image
from visual_summaries.pipeline.data.demo.scenes import CLASS_NAMES
from visual_summaries.pipeline.data.formats import BEGINNING, BESIDE, EXTENSIONS, FORMATS, RAW, read_format
from visual_summaries.pipeline.data.sources import Source, find_photographs
from visual_summaries.pipeline.stages.inputs import catalog_errors, gather_inputs

PICTURE = Image.fromarray(np.arange(108, dtype=np.uint8).reshape(6, 6, 3))


def encoded(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    PICTURE.convert("L" if kind == "PFM" else "RGB").save(file, kind, **options)
    return file.getvalue()


CONTENTS = {kind: encoded(kind) for kind in FORMATS if kind != "MPO"} | {
    "bare JPEG 2000": encoded("JPEG2000", no_jp2=True),
    "big TIFF": encoded("TIFF", big_tiff=True),
    "old bitmap": b"BM"
    + (26 + 24).to_bytes(4, "little")
    + bytes(4)
    + (26).to_bytes(4, "little")
    + (12).to_bytes(4, "little")
    + b"\2\0\3\0\1\0\x18\0"
    + bytes(range(24)),
    "plain bits": b"P1\n2 2\n1 0 0 1\n",
    "floating": b"Pf\n2 2\n-1\n" + np.full(4, 0.5, np.float32).tobytes(),
}


def names(source: Source) -> dict[str, list[str]]:
    return {label: sorted(one.name.partition("/")[2] for one in some) for label, some in source.listing.items()}


def write(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)


@pytest.mark.parametrize("kind", CONTENTS)
def test_every_format_is_found_without_an_ending_and_with_a_foreign_one(tmp_path: Path, kind: str) -> None:
    assert read_format(CONTENTS[kind][:BEGINNING]) is not None
    decode(CONTENTS[kind])
    found = ["17", "17.data", "x.jpg_large", "deep/er/x.0", "x.jpg!d"]
    write(tmp_path / "photos", {f"cat/{name}": CONTENTS[kind] for name in found})
    source = find_photographs(tmp_path / "photos")
    assert names(source) == {"cat": sorted(found)} and not source.passed_over.said
    for one in source.listing["cat"]:
        read_image(one.uri)
    archive = tmp_path / "photos.tar"
    archive.write_bytes(tar_bytes([(f"cat/{name}", CONTENTS[kind]) for name in found]))
    assert names(find_photographs(archive)) == {"cat": sorted(found)}


@pytest.mark.parametrize("ending", EXTENSIONS)
def test_every_ending_is_found_whatever_its_case(tmp_path: Path, ending: str) -> None:
    found = [f"a{ending}", f"B{ending.upper()}", f"c.x{ending.title()}"]
    write(tmp_path / "photos", {f"cat/{name}": b"" for name in found})
    assert names(find_photographs(tmp_path / "photos")) == {"cat": sorted(found)}


BESIDE_THEM = {
    **{f"cat/{number}.txt": b"a caption" for number in range(12)},
    **{f"cat/{number}.xml": b"<x/>" for number in range(3)},
    "cat/notes": b"not a picture",
    "cat/BMW.dat": b"BM, and no more of a bitmap than that",
    "cat/P5 notes": b"P5.5",
    "cat/raw.NEF": b"II*\0" + bytes(40),
    "cat/phone.heic": b"\0\0\0\x18ftypheic" + bytes(40),
    "cat/x." + "long" * 9: b"",
    "README.md": b"",
    "outside.png": b"",
    "cat/Thumbs.db": b"",
    "cat/.DS_Store": b"",
    "cat/._7.jpg": b"",
    "__MACOSX/cat/._7.jpg": b"",
    "cat/deep/.hidden/8.jpg": b"",
    "cat/@eaDir/7.jpg": b"",
}
TOLD = (
    "12 .txt, 4 without extension, 3 .xml, 1 .dat, 1 .heic, 1 .md, 1 .nef; 1 image in no class folder; "
    "{} hidden or of the system"
)


def test_what_is_passed_over_is_counted_by_ending(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    write(root, BESIDE_THEM | {"cat/7.jpg": CONTENTS["JPEG"]})
    os.mkfifo(root / "cat" / "pipe")
    source = find_photographs(root)
    assert names(source) == {"cat": ["7.jpg"]}
    assert source.passed_over.said == TOLD.format(6)


def test_what_is_passed_over_in_a_tar_file_is_counted(tmp_path: Path) -> None:
    members = BESIDE_THEM | {"cat/7.jpg": CONTENTS["JPEG"], "cat/pipe": b""}
    del members["outside.png"]
    (tmp_path / "a.tar").write_bytes(tar_bytes(list(members.items())))
    (tmp_path / "LICENSE").write_bytes(b"")
    source = find_photographs(tmp_path)
    assert names(source) == {"cat": ["7.jpg"]}
    told = TOLD.format(6).replace("4 without", "5 without").replace("; 1 image in no class folder", "")
    assert source.passed_over.said == told


def test_a_picture_of_another_name_does_not_stand_in_the_way_of_a_photograph(tmp_path: Path) -> None:
    members = [("1.jpg", CONTENTS["JPEG"]), ("1.mask", CONTENTS["PNG"]), ("1.cls", b"cat")]
    members += [("2.image", CONTENTS["PNG"]), ("2.cls", b"cat")]
    (tmp_path / "a.tar").write_bytes(tar_bytes(members))
    source = find_photographs(tmp_path / "a.tar")
    assert names(source) == {"cat": ["1.jpg", "2.image"]}
    assert source.faults == () and source.passed_over.said == "1 .mask"


def test_raw_files_and_what_lies_beside_are_not_looked_into(tmp_path: Path) -> None:
    assert not {*RAW, *BESIDE} & set(EXTENSIONS)
    files = {f"cat/x{ending}": CONTENTS["TIFF"] for ending in (*RAW, *BESIDE) if ending not in (".tar", ".parquet")}
    write(tmp_path, files)
    with pytest.raises(
        CatalogError, match=r"no images in its folder; there are 1 \.3fr, 1 \.arw, .* of \d+ other kinds"
    ):
        find_photographs(tmp_path)


def test_names_are_shown_without_their_signs_to_a_terminal(tmp_path: Path) -> None:
    write(tmp_path, {"cat/7.jpg": CONTENTS["JPEG"], "cat/x.\x1b[2J": b""})
    assert find_photographs(tmp_path).passed_over.said == r"1 .\x1b[2j"


def test_a_run_says_what_was_passed_over_and_which_classes_are_empty(tmp_path: Path) -> None:
    full, empty, other = CLASS_NAMES[:3]
    write(tmp_path, {f"{full}/7.jpg": CONTENTS["JPEG"], f"{empty}/8.heic": b"", f"{empty}/9.heic": b""})
    (tmp_path / other).mkdir()
    config = RunConfig(output=str(tmp_path / "out"), data={"images": str(tmp_path)}, model={"name": "demo"})
    inputs = gather_inputs(config)
    *photographs, head = inputs.found.splitlines()
    assert head.startswith("Head softmax") and photographs == [
        "class folders, 1 image of 3 classes",
        f"no images of 2 classes: {', '.join(sorted((empty, other)))}",
        "passed over: 2 .heic",
    ]
    reasons = {row["label"]: row["reason"] for row in catalog_errors(config, inputs)}
    assert reasons[empty] == "the class has no images; its folder holds 2 .heic"
    assert reasons[other] == "the class has no images"


def test_tar_files_and_folders_find_the_same(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    write(root, {f"cat/{number}": content for number, content in enumerate(CONTENTS.values())})
    (tmp_path / "a.tar").write_bytes(tar_bytes(members_of(files_of(root), "folders")))
    assert names(find_photographs(tmp_path / "a.tar")) == names(find_photographs(root))
