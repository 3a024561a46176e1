"""Parquet files of photographs: which columns hold them, and what becomes of rows that hold none."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from visual_summaries.pipeline.data.archives import reading
from visual_summaries.pipeline.data.archives.parquet import parquet_contents
from visual_summaries.pipeline.data.class_map import CatalogError
from visual_summaries.pipeline.data.decode import DecodeError, read_bytes
from visual_summaries.pipeline.data.sources import find_photographs

BYTES = [b"0", b"1", b"2"]


def written(folder: Path, columns: dict, names: list[str] | None = None, column: str = "label", **options) -> Path:  # noqa: ANN003
    table = pa.table(columns)
    if names is not None:
        features = {column: {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pyarrow.parquet.write_table(table, folder / "a.parquet", **options)
    return folder / "a.parquet"


def structs(contents: list, paths: list | None = None) -> list:
    paths = paths or [None] * len(contents)
    return [{"bytes": content, "path": path} for content, path in zip(contents, paths, strict=True)]


def found(path: Path) -> dict[str, list[bytes]]:
    return {label: [read_bytes(one.uri) for one in some] for label, some in find_photographs(path).listing.items()}


@pytest.mark.parametrize(
    "images",
    [
        structs(BYTES),
        structs(BYTES, ["a.jpg", "b/c.jpg", None]),
        [{"bytes": content} for content in BYTES],
        BYTES,
        pa.array(BYTES, pa.large_binary()),
        pa.array(BYTES, pa.binary_view()),
        pa.array(structs(BYTES), pa.struct({"path": pa.large_string(), "bytes": pa.large_binary()})),
    ],
)
def test_photographs_are_found_by_the_kind_of_their_column(tmp_path: Path, images: list) -> None:
    for image, label in (("image", "label"), ("img", "fine_label"), ("x", "y")):
        assert found(written(tmp_path, {"size": [[1], [2], [3]], image: images, label: ["cat", "dog", "cat"]})) == {
            "cat": [b"0", b"2"], "dog": [b"1"]
        }  # fmt: skip


@pytest.mark.parametrize(
    "labels, names, listed, indices",
    [
        (["cat", "7", " dog "], None, {"cat", "7", "dog"}, {}),
        (pa.array([b"cat", b"7", "jäy".encode()]), None, {"cat", "7", "jäy"}, {}),
        ([7, 0, 7], None, {"7", "0"}, {"7": 7, "0": 0}),
        (pa.array([1, 0, 1], pa.uint8()), ["dog", "cat"], {"dog", "cat"}, {}),
        (pa.array(["a", "b", "a"]).dictionary_encode(), None, {"a", "b"}, {}),
    ],
    ids=["text", "text without its mark", "integers", "named integers", "dictionary"],
)
def test_labels(tmp_path: Path, labels: list, names: list | None, listed: set, indices: dict) -> None:
    source = find_photographs(written(tmp_path, {"image": structs(BYTES), "label": labels}, names))
    assert set(source.listing) == listed and source.indices == indices and source.faults == ()


@pytest.mark.parametrize("kind", ["text", "indices", "named", "named by an earlier datasets"])
def test_a_photograph_of_several_labels_is_under_each(tmp_path: Path, kind: str) -> None:
    indices = [[0, 1], [1], [1, 0, 1], []]
    labels = [[("cat", "dog")[one] for one in row] for row in indices] if kind == "text" else indices
    table = pa.table({"image": structs([*BYTES, b"3"], ["a.jpg", "b.jpg", None, None]), "labels": labels})
    if kind.startswith("named"):
        inner = {"names": ["cat", "dog"], "_type": "ClassLabel"}
        feature = [inner] if "earlier" in kind else {"feature": inner, "_type": "List"}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": {"labels": feature}}})})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    source = find_photographs(tmp_path / "a.parquet", several_labels=True)
    cat, dog = ("0", "1") if kind == "indices" else ("cat", "dog")
    uris = {label: [one.uri.rpartition("::")[2] for one in some] for label, some in source.listing.items()}
    both = f"{cat}, {dog}"
    assert uris == {
        cat: [f"00000000/{both}/a.jpg", f"00000002/{dog}, {cat}/2"],
        dog: [f"00000000/{both}/a.jpg", f"00000001/{dog}/b.jpg", f"00000002/{dog}, {cat}/2"],
    }
    assert [read_bytes(one.uri) for one in source.listing[cat]] == [b"0", b"2"]
    assert source.several_labels and [fault.reason for fault in source.faults] == ["an empty list of labels"]
    # Of a network for which they contradict each other.
    source = find_photographs(tmp_path / "a.parquet")
    assert {label: len(some) for label, some in source.listing.items()} == {dog: 1} and source.several_labels
    assert [fault.reason.partition(";")[0] for fault in source.faults] == [
        "an empty list of labels", f"it has the labels {both}", f"it has the labels {dog}, {cat}",
    ]  # fmt: skip


def test_the_usual_names_are_taken_before_others_of_their_kind(tmp_path: Path) -> None:
    columns = {"image": structs(BYTES), "mask": structs([b"x"] * 3), "caption": ["x", "y", "z"], "label": [1, 1, 2]}
    assert found(written(tmp_path, columns)) == {"1": [b"0", b"1"], "2": [b"2"]}
    # Where the file says of one integer what its classes are called.
    columns = {"image": structs(BYTES), "width": [4, 5, 6], "caption": ["x", "y", "z"], "kind": [1, 1, 0]}
    assert found(written(tmp_path, columns, ["cat", "dog"], "kind")) == {"cat": [b"2"], "dog": [b"0", b"1"]}


@pytest.mark.parametrize(
    "columns, said",
    [
        ({"a": BYTES, "b": BYTES, "label": [1, 2, 3]}, "several columns could hold the photographs ('a', 'b')"),
        ({"image": BYTES, "a": [1, 2, 3], "b": [1, 2, 3]}, "several columns could hold the label ('a', 'b')"),
        ({"image": BYTES, "score": [1.0, 2.0, 3.0]}, "no column can hold the label (integers or text)"),
        ({"image": ["a", "b", "c"], "label": [1, 2, 3]}, "no column can hold the photographs (bytes, or structs with"),
        ({"uri": ["a", "b", "c"], "label": [1, 2, 3]}, "no column can hold the photographs"),
    ],
)  # fmt: skip
def test_columns_that_are_not_clear_are_named(tmp_path: Path, columns: dict, said: str) -> None:
    path = written(tmp_path, columns)
    with pytest.raises(CatalogError) as raised:
        find_photographs(path)
    assert str(raised.value).startswith(f"{path}: {said}")


def test_rows_without_a_label_are_left_out_and_told(tmp_path: Path) -> None:
    columns = {"image": structs([b"0", b"1", b"2", b"3"], ["a.jpg", "b.jpg", None, None]), "label": [0, None, 5, -1]}
    path = written(tmp_path, columns, ["cat", "dog"])
    source = find_photographs(path)
    assert found(path) == {"cat": [b"0"]}
    assert [(fault.uri.removeprefix(f"parquet://{path}::"), fault.reason) for fault in source.faults] == [
        ("00000001/b.jpg", "the row has no label in the column 'label'"),
        ("00000002/", "the label 5, but the file names 2 classes"),
        ("00000003/", "the label -1, which means none"),
    ]


def test_rows_without_bytes_are_lost_alone_and_their_paths_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"outside")
    images = [None, *structs([None, b"", b"good"], [f"{tmp_path}/secret.jpg", "../../x/empty.jpg", "c:\\d\\e.jpg"])]
    path = written(tmp_path, {"image": images, "label": ["cat"] * 4})
    said = []
    for one in find_photographs(path).listing["cat"]:
        try:
            said.append((one.name, read_bytes(one.uri)))
        except DecodeError as error:
            said.append((one.name, str(error)))
    assert said == [
        ("cat/a.parquet/0", f"the file cannot be read: the row holds no image, {path}"),
        ("cat/secret.jpg", "the file cannot be read: the row holds no bytes of the image, perhaps its path, which is "
                           f"not followed: store the bytes, {path}"),
        ("cat/empty.jpg", b""),
        ("cat/e.jpg", b"good"),
    ]  # fmt: skip


def test_what_is_no_parquet_or_empty_is_one_message(tmp_path: Path) -> None:
    path = written(tmp_path, {"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())})
    with pytest.raises(CatalogError, match="no photographs with a label in 1 Parquet file$"):
        find_photographs(path)
    whole = written(tmp_path, {"image": BYTES, "label": [1, 2, 3]}).read_bytes()
    for content in (b"", b"PAR1", whole[: len(whole) // 2], b"<html>" * 100):
        path.write_bytes(content)
        with pytest.raises(CatalogError, match="a.parquet cannot be read as Parquet: ") as raised:
            find_photographs(tmp_path)
        assert "\n" not in str(raised.value)


def test_a_damaged_column_loses_its_rows_alone(tmp_path: Path) -> None:
    contents = [bytes([number]) * 4000 for number in range(20)]
    options = {"row_group_size": 5, "compression": "none", "use_dictionary": False}
    path = written(tmp_path, {"image": contents, "label": ["cat"] * 20}, **options)
    content = bytearray(path.read_bytes())
    place = content.index(contents[7])
    # The length that stands before the bytes.
    content[place - 4 : place] = b"\xff\xff\xff\x7f"
    path.write_bytes(content)
    lost = []
    for number, one in enumerate(find_photographs(path).listing["cat"]):
        try:
            assert read_bytes(one.uri) == contents[number]
        except DecodeError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            lost.append(number)
    assert lost and set(lost) <= set(range(5, 10))


def test_rows_are_read_in_any_order(tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    contents = [generator.bytes(int(size)) for size in generator.integers(0, 3000, 200)]
    path = written(tmp_path, {"image": structs(contents), "label": [0] * 200}, row_group_size=23)
    uris = [one.uri for one in find_photographs(path).listing["0"]]
    assert uris == sorted(uris)
    for number in generator.permutation(200)[:60]:
        assert read_bytes(uris[number]) == contents[number]
    with pytest.raises(DecodeError, match="the file has 200 rows: it has changed since it was listed"):
        read_bytes(uris[0].replace("::00000000/", "::00000200/"))


def test_a_row_group_is_read_once_for_rows_that_follow_each_other(tmp_path: Path, monkeypatch) -> None:
    path = written(tmp_path, {"image": structs(BYTES * 20), "label": [0] * 60}, row_group_size=10)
    begun = []
    rows = reading._ParquetReader._rows
    monkeypatch.setattr(reading._ParquetReader, "_rows", lambda self, group: begun.append(group) or rows(self, group))
    uris = [one.uri for one in find_photographs(path).listing["0"]]
    for uri in uris:
        read_bytes(uri)
    assert begun == list(range(6))


def test_rows_that_are_read_again_for_each_class_are_told(tmp_path: Path) -> None:
    images = structs([bytes(1000)] * 40)
    mixed = written(tmp_path, {"image": images, "label": [0, 1, 2, 3] * 10}, row_group_size=10)
    assert parquet_contents(mixed).read_again == 4
    assert "up to 4 times" in find_photographs(mixed).note
    in_order = written(tmp_path, {"image": images, "label": sorted([0, 1, 2, 3] * 10)}, row_group_size=10)
    assert find_photographs(in_order).note == ""
