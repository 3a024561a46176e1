"""A label is the text that stands there, wherever it stands; and what it may mean besides is said."""

import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from visual_summaries.pipeline.config import annotated_default, load_config
from visual_summaries.pipeline.data.catalog import load_catalog, read_manifest
from visual_summaries.pipeline.data.class_map import CatalogError, ClassMap, read_class_map
from visual_summaries.pipeline.data.readings import readings
from visual_summaries.pipeline.data.sources import find_photographs
from visual_summaries.pipeline.models.labels import read_labels

# What YAML 1.1, JSON, spreadsheets and data frames make numbers, truths, times or nothing of.
TEXTS = (
    *("no", "No", "NO", "yes", "on", "off", "y", "n", "true", "False", "null", "Null", "~", "none", "NaN", ".nan"),
    *("0123", "010", "08", "0o17", "0x1F", "0b11", "1_000", "12:30", "1:2:3", "190:20:30", "2024-01-01", "00"),
    *("1e3", "1E5", "1.50", ".5", "5.", "+1", "-0", ".inf", "-.Inf", "685_230.15", "2001-12-14 21:59:43.10 -5"),
    *("=", "10", "2", "999999999999999999999", "١٢", "²", "1,5", "ja", "ﬁ", "é", "TRUE"),
)
NAMES = tuple(f"class of {number}" for number in range(len(TEXTS)))


def written_yaml(text: str) -> str:
    return f'"{text}"' if text in ("1,5", "=") else text


def test_a_class_map_keeps_its_labels(tmp_path: Path) -> None:
    wanted = {text: index for index, text in enumerate(TEXTS)}
    (tmp_path / "map.yaml").write_text("".join(f"{text}: {index}\n" for text, index in wanted.items()))
    (tmp_path / "map.json").write_text(json.dumps(wanted))
    lines = "".join(f'"{text}",{index}\n' for text, index in wanted.items())
    (tmp_path / "map.csv").write_text("label,class_index\n" + lines)
    pyarrow.parquet.write_table(
        pa.table({"folder": [*wanted], "class_index": [*wanted.values()]}), tmp_path / "map.parquet"
    )
    for path in sorted(tmp_path.iterdir()):
        assert read_class_map(path) == wanted, path.name
        assert ClassMap(NAMES, class_map=read_class_map(path)).find(TEXTS) == wanted
    # The other side: names of classes.
    lines = [f"{name}: {written_yaml(text)}" for name, text in zip(NAMES, TEXTS, strict=True)]
    (tmp_path / "turned.yaml").write_text("\n".join(lines))
    turned = {name: str(value) for name, value in read_class_map(tmp_path / "turned.yaml").items()}
    assert turned == dict(zip(NAMES, TEXTS, strict=True))


def test_class_names_are_kept(tmp_path: Path) -> None:
    forms = {
        "list.yaml": "".join(f"- {written_yaml(text)}\n" for text in TEXTS),
        "names.yaml": "names:\n" + "".join(f"  {index}: {written_yaml(text)}\n" for index, text in enumerate(TEXTS)),
        "lines.txt": "\n".join(TEXTS),
        "list.json": json.dumps(TEXTS),
        "list.csv": "index;name\n" + "".join(f"{index};{text}\n" for index, text in enumerate(TEXTS)),
        "inverse.json": json.dumps({text: index for index, text in enumerate(TEXTS)}),
        "tabs.txt": "".join(f"{index}\t{text}\n" for index, text in enumerate(TEXTS)),
    }
    for name, content in forms.items():
        (tmp_path / name).write_text(content)
        assert read_labels(tmp_path / name, len(TEXTS)).names == TEXTS, name


def test_photographs_keep_their_labels(tmp_path: Path) -> None:
    lines = "".join(f'{index}.jpg,"{text}"\n' for index, text in enumerate(TEXTS))
    (tmp_path / "list.csv").write_text("uri,label\n" + lines)
    uris = [f"{index}.jpg" for index in range(len(TEXTS))]
    pyarrow.parquet.write_table(pa.table({"uri": uris, "label": TEXTS}), tmp_path / "list.parquet")
    for name in ("list.csv", "list.parquet"):
        assert tuple(read_manifest(tmp_path / name)) == TEXTS
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        for index, text in enumerate(TEXTS):
            for suffix, content in (("jpg", b"x"), ("cls", text.encode())):
                member = tarfile.TarInfo(f"{index}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    assert {*find_photographs(tmp_path / "all.tar").listing} == {*TEXTS}


def test_settings_keep_labels(tmp_path: Path) -> None:
    listed = ", ".join(written_yaml(text) for text in TEXTS)
    (tmp_path / "run.yaml").write_text(f"data:\n  classes: [{listed}]\n")
    for config in (load_config(tmp_path / "run.yaml"), load_config(overrides=[f"data.classes=[{listed}]"])):
        assert config.data.classes == TEXTS
        (tmp_path / "again.yaml").write_text(annotated_default(config))
        assert load_config(tmp_path / "again.yaml").data.classes == TEXTS
    for text in TEXTS:
        if text not in ("null", "Null", "~"):
            assert load_config(overrides=[f"data.classes={written_yaml(text)}"]).data.classes == (text,)


def photographs(root: Path, labels) -> Path:  # noqa: ANN001
    for label in labels:
        (root / label).mkdir(parents=True)
        (root / label / "1.jpg").touch()
    return root


@pytest.mark.parametrize("present", [range(12), (2, 10, 11)], ids=["all classes", "some of them"])
def test_folders_that_are_numbers_have_two_readings(tmp_path: Path, present) -> None:  # noqa: ANN001
    birds = [f"bird {number}" for number in range(12)]
    catalog = load_catalog(images=photographs(tmp_path, map(str, present)), class_names=birds)
    assert {group.label: group.class_index for group in catalog.classes} == {str(n): n for n in present}
    as_text = sorted(map(str, range(12)))
    (note,) = [one for one in catalog.notes if "ImageFolder" in one]
    for label in ("2", "10"):
        assert f"{label} → class {label}" in note and f"{label} → class {as_text.index(label)}" in note
    assert "11 comes before 2" in note


def test_folders_with_one_reading_are_not_talked_about(tmp_path: Path) -> None:
    for number, labels in enumerate((range(10), (f"{n:03}" for n in range(12)))):
        labels = [*map(str, labels)]
        catalog = load_catalog(images=photographs(tmp_path / str(number), labels), class_names=["a bird"] * len(labels))
        assert [group.class_index for group in catalog.classes] == [*range(len(labels))]
        assert not any("ImageFolder" in note for note in catalog.notes)


def test_a_number_that_is_the_name_of_another_class_has_two_readings() -> None:
    # As torchvision's ImageFolder numbers folders 0 to 11.
    names = ClassMap(sorted(map(str, range(12))))
    notes = readings(names, ["2", "10"], {})
    assert "Classes: 2 labels for 2 of the network's 12: 2 by name." in notes[0]
    assert "2 → class 4, 10 → class 2; not for class indices: 2 → class 2, 10 → class 10" in notes[1]


def test_entries_of_a_map_that_are_of_no_folder_are_named(tmp_path: Path) -> None:
    images = photographs(tmp_path / "photographs", ["0123", "no"])
    class_map = tmp_path / "map.yaml"
    class_map.write_text("0123: 2\nno: a\nyes: b\n0o123: c\n")
    catalog = load_catalog(images=images, class_map=class_map, class_names="abc")
    assert {group.label: group.class_index for group in catalog.classes} == {"0123": 2, "no": 0}
    assert catalog.notes[-1] == (
        f"{class_map}: 2 of 4 entries are of no label: 0o123, yes; the labels are 0123, no."
    )
    class_map.write_text("123: 1\nNo: a\n")
    with pytest.raises(CatalogError, match="2 of 2 entries are of no label: 123, No; the labels are 0123, no"):
        load_catalog(images=images, class_map=class_map, class_names="abc")
    class_map.write_text("no: a\nn0: b\n")
    with pytest.raises(CatalogError, match="(?s)'0123'.*Numbers are class indices, 0 … 2.*1 of 2 entries .*: n0;"):
        load_catalog(images=images, class_map=class_map, class_names="abc")


def test_a_name_that_fits_two_classes_is_named(tmp_path: Path) -> None:
    names = ("crane", "Crane", "7", "b", "c", "d", "e", "f", "seven, 7th")
    for value, said in (("CRANE", r"fits the classes 0 \('crane'\), 1 \('Crane'\): give the index"),):
        with pytest.raises(CatalogError, match=said):
            ClassMap(names, class_map={"x": value})
    # In a column of classes 7 may be a name or an index.
    (tmp_path / "map.csv").write_text("label,class\nx,7\n")
    with pytest.raises(CatalogError, match=r"the name of class 2 and the index of class 7 \('f'\): give the index"):
        ClassMap(names, class_map=read_class_map(tmp_path / "map.csv"))
    (tmp_path / "map.csv").write_text("label,class_index\nx,7\n")
    assert ClassMap(names, class_map=read_class_map(tmp_path / "map.csv")).find(["x"]) == {"x": 7}
    listing = photographs(tmp_path / "photographs", ["jay", "Jay", "crane"])
    catalog = load_catalog(images=listing, class_names=["jay", "crane", "Jay"], classes=["Jay"])
    assert [group.label for group in catalog.classes] == ["Jay"]
    with pytest.raises(CatalogError, match="the class 'JAY' may be any of the labels Jay, jay"):
        load_catalog(images=listing, class_names=["jay", "crane", "Jay"], classes=["JAY"])


def test_a_network_without_names_is_said_and_how_to_name_its_classes(tmp_path: Path) -> None:
    names = [f"class {index}" for index in range(3)]
    with pytest.raises(CatalogError, match="model.labels") as raised:
        load_catalog(images=photographs(tmp_path / "a", ["goldfinch"]), class_names=names)
    assert "nearest" not in str(raised.value)
    catalog = load_catalog(images=photographs(tmp_path / "b", ["2", "0"]), class_names=names)
    assert "3, which have no names here (model.labels gives them): 2 by number" in catalog.notes[0]
