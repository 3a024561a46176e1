"""Finding photographs: torchvision's ImageFolder is the reference for which; counting, for the splits."""

import os
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image
from torchvision.datasets import DatasetFolder
from torchvision.datasets.folder import IMG_EXTENSIONS

from visual_summaries.pipeline.data.catalog import (
    CatalogError,
    Found,
    image_folder,
    load_catalog,
    make_catalog,
    read_manifest,
)
from visual_summaries.pipeline.data.decode import local_path, read_image
from visual_summaries.pipeline.data.formats import EXTENSIONS, FORMATS
from visual_summaries.pipeline.data.sources import find_photographs


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def uris(listing: dict) -> dict[str, list[str]]:
    return {label: [found.uri for found in photographs] for label, photographs in listing.items()}


def listing_of(**counts: int) -> dict[str, list[Found]]:
    return {
        label: [Found(f"/data/{label}/{number}.jpg", f"{label}/{number}.jpg") for number in range(count)]
        for label, count in counts.items()
    }


def test_endings_are_torchvisions_and_those_of_the_formats_that_are_read() -> None:
    ours = {ending for ending, name in Image.registered_extensions().items() if name in FORMATS}
    assert set(EXTENSIONS) == {*IMG_EXTENSIONS, *ours}


def test_image_folder_finds_what_torchvision_finds_by_these_endings(tmp_path: Path) -> None:
    root = tmp_path / "data"
    touch(root, "cat/a.jpg", "cat/B.JPEG", "cat/c.txt", "cat/deep/er/d.PnG", "cat/e.jpg.bak", "cat/jpg")
    touch(root, "dog/a.tiff", "dog/b.webp", "dog/c.gif", "Zebra/x y.ppm", "Zebra/ü.bmp", "outside.jpg", "ant/notes")
    touch(tmp_path / "elsewhere", "linked.jpg")
    (root / "dog" / "link").symlink_to(tmp_path / "elsewhere")
    reference = DatasetFolder(str(root), read_image, extensions=EXTENSIONS, allow_empty=True)
    expected = {name: [] for name in reference.classes}
    for path, index in reference.samples:
        expected[reference.classes[index]].append(path)
    assert uris(image_folder(root)) == expected
    assert expected["ant"] == [] and len(expected["dog"]) == 4, "the reference has the cases"


def test_image_folder_leaves_out_hidden_files_and_circles(tmp_path: Path) -> None:
    touch(tmp_path, "cat/a.jpg", "cat/.hidden.jpg", "cat/._a.jpg", "cat/.thumbnails/a.jpg", ".git/a.jpg")
    (tmp_path / "cat" / "circle").symlink_to(tmp_path / "cat")
    assert uris(image_folder(tmp_path)) == {"cat": [str(tmp_path / "cat" / "a.jpg")]}
    assert image_folder(tmp_path)["cat"][0].name == "cat/a.jpg"


def test_image_folder_gone_wrong(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="none does not exist"):
        image_folder(tmp_path / "none")
    touch(tmp_path, "a.jpg")
    with pytest.raises(CatalogError, match="is a file, not a folder"):
        image_folder(tmp_path / "a.jpg")
    with pytest.raises(CatalogError, match="holds images, but not in folders"):
        image_folder(tmp_path)
    (tmp_path / "cat").mkdir()
    with pytest.raises(CatalogError, match="no images in its folder; there are 1 image in no class folder"):
        image_folder(tmp_path)


def test_names_that_are_not_utf_8_have_an_address(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    odd, plain = folder / os.fsdecode(b"\xff #1%.jpg"), tmp_path / "cat" / "a.jpg"
    touch(tmp_path, "cat/a.jpg")
    Image.new("RGB", (3, 2), (250, 0, 0)).save(odd)
    listing = image_folder(tmp_path)
    (found,) = listing["caf\\xe9"]
    assert found.name == "caf\\xe9/\\xff #1%.jpg"
    assert found.uri == f"file://{tmp_path}/caf%E9/%FF%20%231%25.jpg"
    assert read_image(found.uri).width == 3 and local_path(found.uri) == odd
    assert listing["cat"][0].uri == str(plain)
    # As a manifest says it.
    (tmp_path / "m.csv").write_text(f"uri,label\n{found.uri},cat\n")
    assert read_manifest(tmp_path / "m.csv")["cat"][0].uri == found.uri
    # A folder that is called what the other one is shown as is of the same class.
    touch(tmp_path, "caf\\xe9/b.jpg")
    assert len(image_folder(tmp_path)["caf\\xe9"]) == 2


ROWS = [
    ("cat/a.jpg", "cat"),
    ("../other/b c.jpg", "7"),
    ("/absolute/c.jpg", "cat"),
    ("file:///absolute/d%20e.jpg", "cat"),
    ("s3://bucket/f.jpg", "007"),
    ("./cat/a.jpg", "cat"),
]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_manifest(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "lists" / f"manifest{suffix}"
    path.parent.mkdir()
    if suffix == ".csv":
        path.write_text("\ufeffnumber,label,uri\n" + "".join(f"1,{label},{uri}\n" for uri, label in ROWS))
    else:
        columns = {"label": [label for _, label in ROWS], "number": [1] * 6, "uri": [uri for uri, _ in ROWS]}
        table = pa.table(columns)
        table = table.set_column(0, "label", table["label"].dictionary_encode())
        pyarrow.parquet.write_table(table, path)
    listing = read_manifest(path)
    assert uris(listing) == {
        "cat": [str(tmp_path / "lists" / "cat" / "a.jpg"), "/absolute/c.jpg", "/absolute/d e.jpg"],
        "7": [str(tmp_path / "other" / "b c.jpg")],
        "007": ["s3://bucket/f.jpg"],
    }
    assert listing["cat"][0].name == "cat/a.jpg"


@pytest.mark.parametrize(
    "text, message",
    [
        ("uri,class\na.jpg,cat\n", "lacks the columns label; found uri, class"),
        ("uri label\na.jpg cat\n", "lacks the columns uri, label; found uri label"),
        ("", "the file is empty"),
        ("uri,label\n", "lists no images"),
        ("uri,label\na.jpg,cat\n,dog\n", "line 3: it has no uri"),
        ("uri,label,uri\na.jpg,cat,b.jpg\n", "the column uri is there twice"),
        ("uri,label\nfile://[,cat\n", "line 2: Invalid IPv6 URL"),
        ("uri,label\na.jpg\n", "line 2: 1 field, but 2 fields must be there"),
        ("uri,label\na.jpg,cat\n./a.jpg,dog\n", "line 3: gives ./a.jpg the label 'dog', an earlier one 'cat'"),
    ],
)
def test_bad_manifests_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text(text)
    with pytest.raises(CatalogError, match=message) as raised:
        read_manifest(path)
    assert str(path) in str(raised.value)


def test_unreadable_manifests(tmp_path: Path) -> None:
    for name, content in (("a.csv", b"uri,label\n\xff\xfe,x\n"), ("a.parquet", b"PAR1 not"), ("a.xlsx", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CatalogError, match=name):
            read_manifest(tmp_path / name)
    with pytest.raises(CatalogError, match="No such file"):
        read_manifest(tmp_path / "none.csv")
    pyarrow.parquet.write_table(
        pa.table({"uri": ["a.jpg"], "label": pa.array([None], pa.string())}), tmp_path / "b.parquet"
    )
    with pytest.raises(CatalogError, match="row 1: it has no label"):
        read_manifest(tmp_path / "b.parquet")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"uri,label\na.jpg,cat\nb\0.jpg,cat\n", "line 3 holds a NUL byte: the file is damaged, or UTF-16"),
        (b"uri,label\na.jpg,c\0t\n", "line 2 holds a NUL byte"),
        (b"\0\0\0\0", "line 1 holds a NUL byte"),
        ("uri,label\na.jpg,cat\n".encode("utf-16-le"), "line 1 holds a NUL byte"),
        (b"uri,label\na.jpg,cat\nfile:///b%00.jpg,cat\n", "line 3: it has a NUL in its uri"),
        (b"uri,label\n" + b"x" * 200_000 + b",cat\n", "cannot read the manifest: line 2: field larger than"),
    ],
    ids=["uri", "label", "nothing else", "UTF-16", "escaped", "endless"],
)
def test_manifests_with_nul_bytes_and_endless_fields_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "manifest.csv"
    path.write_bytes(content)
    with pytest.raises(CatalogError, match=message) as raised:
        read_manifest(path)
    said = str(raised.value)
    assert said.startswith(f"{path}: ") and said.isprintable() and len(said) < 300


@pytest.mark.parametrize("uri, label, where", [("a\0.jpg", "cat", "uri"), ("a.jpg", "c\0t", "label")])
def test_a_nul_in_a_parquet_manifest_is_named(tmp_path: Path, uri: str, label: str, where: str) -> None:
    path = tmp_path / "manifest.parquet"
    pyarrow.parquet.write_table(pa.table({"uri": ["b.jpg", uri], "label": ["cat", label]}), path)
    with pytest.raises(CatalogError, match=f"manifest.parquet: row 2: it has a NUL in its {where}$"):
        read_manifest(path)


@pytest.mark.parametrize(
    "label, kind",
    [
        (pa.array([[["cat"]]]), "list"),
        (pa.array([True]), "bool"),
        (pa.array([1.5]), "double"),
        (pa.array([2**62], pa.timestamp("ns", "Nowhere/Place")), "timestamp"),
    ],
)
def test_a_parquet_manifest_holds_text(tmp_path: Path, label: pa.Array, kind: str) -> None:
    path = tmp_path / "manifest.parquet"
    for columns, name in (({"uri": ["a.jpg"], "label": label}, "label"), ({"uri": label, "label": ["cat"]}, "uri")):
        pyarrow.parquet.write_table(pa.table(columns), path)
        with pytest.raises(CatalogError, match=f"manifest.parquet: .*the column {name} holds {kind}.*give text"):
            read_manifest(path)
    for own in (pa.array([7]), pa.array(["7"]).dictionary_encode(), pa.array(["7"], pa.large_string())):
        pyarrow.parquet.write_table(pa.table({"uri": ["a.jpg"], "label": own}), path)
        assert set(read_manifest(path)) == {"7"}


def test_a_photograph_is_listed_under_each_of_its_labels_where_it_may_have_several(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("uri,label\na.jpg,cat\nb.jpg,dog\n./a.jpg,dog\na.jpg,cat\n")
    lists = pa.table({"uri": ["a.jpg", "b.jpg", "a.jpg"], "label": [["cat", "dog"], ["dog"], ["dog", "dog"]]})
    pyarrow.parquet.write_table(lists, tmp_path / "manifest.parquet")
    coded = lists.set_column(1, "label", lists["label"].combine_chunks().cast(pa.large_list(pa.large_string())))
    pyarrow.parquet.write_table(coded, tmp_path / "large.parquet")
    for name in ("manifest.csv", "manifest.parquet", "large.parquet"):
        found = find_photographs(manifest=tmp_path / name, several_labels=True)
        listing = {label: sorted(one.name for one in some) for label, some in found.listing.items()}
        assert listing == {"cat": ["a.jpg"], "dog": ["a.jpg", "b.jpg"]} and found.several_labels
        row = "line 4" if name == "manifest.csv" else "row 1"
        said = f"{name}: {row}: gives .*a.jpg the label 'dog', an earlier one 'cat'"
        with pytest.raises(CatalogError, match=said):
            find_photographs(manifest=tmp_path / name)
    single = pa.table({"uri": ["a.jpg", "b.jpg"], "label": [["cat"], ["dog"]]})
    pyarrow.parquet.write_table(single, tmp_path / "single.parquet")
    assert set(read_manifest(tmp_path / "single.parquet")) == {"cat", "dog"}
    assert not find_photographs(manifest=tmp_path / "single.parquet", several_labels=True).several_labels
    for empty in ([], None, [None]):
        none = pa.table({"uri": ["a.jpg", "b.jpg"], "label": pa.array([["cat"], empty], pa.list_(pa.string()))})
        pyarrow.parquet.write_table(none, tmp_path / "none.parquet")
        with pytest.raises(CatalogError, match="none.parquet: row 2: it has no label"):
            read_manifest(tmp_path / "none.parquet", several_labels=True)


def test_a_parquet_manifest_is_the_file_alone(tmp_path: Path) -> None:
    folder = tmp_path / "label=elsewhere"
    folder.mkdir()
    pyarrow.parquet.write_table(pa.table({"uri": ["a.jpg"], "label": ["cat"]}), folder / "manifest.parquet")
    assert set(read_manifest(folder / "manifest.parquet")) == {"cat"}
    twice = pa.Table.from_arrays([pa.array(["a.jpg"]), pa.array(["b.jpg"]), pa.array(["cat"])], ["uri", "uri", "label"])
    pyarrow.parquet.write_table(twice, folder / "manifest.parquet")
    with pytest.raises(CatalogError, match="the column uri is there twice"):
        read_manifest(folder / "manifest.parquet")


def test_shares_hold_in_every_class() -> None:
    listing = listing_of(a=1, b=2, c=3, d=7, e=40, f=101)
    catalog = make_catalog(listing, dict.fromkeys(listing, 0), held_out=0.15, test=0.25, seed=3)
    for group in catalog.classes:
        counts, total = Counter(entry.split for entry in group.entries), len(listing[group.label])
        assert sum(counts.values()) == total
        assert counts["fit"] >= 1
        for split, share in (("test", 0.25), ("held-out", 0.15), ("fit", 0.6)):
            assert abs(counts[split] - share * total) <= 1, (group.label, split)


def test_choice_does_not_depend_on_order_root_or_other_classes() -> None:
    listing = listing_of(a=50, b=30)
    options = {"images_per_class": 20, "held_out": 0.2, "test": 0.2, "seed": 5}
    catalog = make_catalog(listing, {"a": 0, "b": 1}, **options)
    shuffled = {label: list(reversed(listing[label])) for label in reversed(listing)}
    assert make_catalog(shuffled, {"a": 0, "b": 1}, **options) == catalog
    elsewhere = {"a": [Found("/elsewhere" + found.uri, found.name) for found in listing["a"]]}
    moved = make_catalog(elsewhere, {"a": 0}, **options).classes[0]
    assert [(entry.uri.removeprefix("/elsewhere"), entry.split) for entry in moved.entries] == [
        (entry.uri, entry.split) for entry in catalog.classes[0].entries
    ]
    other_seed = make_catalog(listing, {"a": 0, "b": 1}, **{**options, "seed": 6})
    assert {entry.uri for entry in other_seed.entries} != {entry.uri for entry in catalog.entries}


def test_choice_is_nested_and_uniform() -> None:
    """A smaller number is chosen from the larger one's; over seeds every photograph is chosen equally often."""
    listing = listing_of(a=12)
    chosen = Counter()
    for seed in range(400):
        few, more = (
            {entry.uri for entry in make_catalog(listing, {"a": 0}, images_per_class=n, seed=seed).entries}
            for n in (3, 6)
        )
        assert few < more and len(more) == 6
        chosen.update(few)
    # Binomial(400, 1/4): mean 100, standard deviation 8.7.
    assert len(chosen) == 12 and all(abs(count - 100) < 4.5 * 8.7 for count in chosen.values())


def test_split_is_independent_of_the_choice() -> None:
    """Were both by one ranking, the first 100 chosen would be just the first half of the split."""
    listing = listing_of(a=200)
    chosen = {entry.uri for entry in make_catalog(listing, {"a": 0}, images_per_class=100).entries}
    tested = {entry.uri for entry in make_catalog(listing, {"a": 0}, test=0.5).entries if entry.split == "test"}
    assert len(chosen) == len(tested) == 100
    # Hypergeometric: mean 50, standard deviation 3.5.
    assert abs(len(chosen & tested) - 50) < 4.5 * 3.5


def test_order_and_empty_classes() -> None:
    catalog = make_catalog(listing_of(b=2, c=0, a=3), {"a": 5, "b": 1, "c": 2})
    assert [(group.label, group.class_index, len(group.entries)) for group in catalog.classes] == [
        ("a", 5, 3),
        ("b", 1, 2),
        ("c", 2, 0),
    ]
    assert [group.label for group in catalog.classes if not group.entries] == ["c"] and len(catalog) == 5
    entries = list(catalog.entries)
    assert entries == sorted(entries, key=lambda entry: (entry.label, entry.uri))
    assert {entry.split for entry in entries} == {"fit"}


def test_settings_that_leave_nothing() -> None:
    listing = listing_of(a=3)
    for options, message in (
        ({"held_out": 0.5, "test": 0.5}, "leave a share to fit"),
        ({"test": -0.1}, "not be negative"),
        ({"images_per_class": 0}, "at least 1"),
    ):
        with pytest.raises(CatalogError, match=message):
            make_catalog(listing, {"a": 0}, **options)
    with pytest.raises(CatalogError, match="no images of b"):
        make_catalog(listing_of(b=0), {"b": 0})


def test_load_catalog_from_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "n01/a.jpg", "n02/a.jpg", "n02/b.jpg", "strange/a.jpg")
    names = {"class_names": ["great cat", "dog, hound", "fox"], "wordnet_ids": ["n01", "n02", "n03"]}
    with pytest.raises(CatalogError, match="1 of 3 labels .*\n  'strange'"):
        load_catalog(images=tmp_path, **names)
    for class_map in ({"strange": 2}, {"strange": "fox"}):
        catalog = load_catalog(images=tmp_path, class_map=class_map, **names)
        assert [(group.label, group.class_index) for group in catalog.classes] == [
            ("n01", 0),
            ("n02", 1),
            ("strange", 2),
        ]
    for wanted in (["n02"], ["Hound"], ["dog", "N02"]):
        catalog = load_catalog(images=tmp_path, classes=wanted, **names)
        assert [(group.label, len(group.entries)) for group in catalog.classes] == [("n02", 2)]
    with pytest.raises(CatalogError, match="no images of the class 'fox'; the labels are n01, n02, strange"):
        load_catalog(images=tmp_path, classes=["fox"], **names)
    with pytest.raises(CatalogError, match="either a folder"):
        load_catalog(**names)


def test_load_catalog_from_a_manifest_with_a_class_map_file(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("uri,label\na.jpg,left\nb.jpg,right\n")
    (tmp_path / "map.yaml").write_text("left: 1\nright: 3\n")
    names = {"class_names": ["a", "b", "c"]}
    with pytest.raises(CatalogError, match="map.yaml: 'right' is mapped to 3, .* 0 … 2"):
        load_catalog(manifest=tmp_path / "manifest.csv", class_map=tmp_path / "map.yaml", **names)
    (tmp_path / "map.yaml").write_text("left: 1\nright: c\n")
    catalog = load_catalog(manifest=tmp_path / "manifest.csv", class_map=tmp_path / "map.yaml", **names)
    assert [(entry.uri, entry.class_index) for entry in catalog.entries] == [
        (str(tmp_path / "a.jpg"), 1),
        (str(tmp_path / "b.jpg"), 2),
    ]


def test_photographs_of_the_data(data_directory: Path) -> None:
    """Twelve WordNet-id folders, recognized through the built-in list."""
    import csv

    from visual_summaries.pipeline.models.labels import imagenet_labels

    labels = imagenet_labels()
    catalog = load_catalog(images=data_directory / "photos", class_names=labels.names, wordnet_ids=labels.wordnet_ids)
    with (data_directory / "photos" / "classes.csv").open(newline="") as file:
        expected = {row["folder"]: (int(row["class_index"]), int(row["images"])) for row in csv.DictReader(file)}
    assert {group.label: (group.class_index, len(group.entries)) for group in catalog.classes} == expected
