"""Every example of docs/how-to/your-data.md, read by what reads such files in a run."""

import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from visual_summaries.pipeline.data.annotations import annotated, read_boxes, read_landmarks
from visual_summaries.pipeline.data.catalog import load_catalog
from visual_summaries.pipeline.data.class_map import ClassMap, read_class_map
from visual_summaries.pipeline.data.parts import read_parts
from visual_summaries.pipeline.data.sources import find_photographs
from visual_summaries.pipeline.models.labels import Labels, imagenet_labels, read_labels

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "your-data.md"
EXAMPLES = dict(re.findall(r'^```\w+ title="(\S+)"\n(.*?)^```$', PAGE.read_text(), re.DOTALL | re.MULTILINE))
NAMES = ("tench, Tinca tinca", "goldfish, Carassius auratus", "great white shark")
WORDNET_IDS = ("n01440764", "n01443537", "n01484850")
BIRDS = {"bunting": 2, "jay": 1}


def counts(listing) -> dict[str, int]:  # noqa: ANN001
    return {label: len(found) for label, found in listing.items()}


def folder(place: Path) -> Path:
    for line in EXAMPLES["photographs/"].splitlines():
        (place / line).parent.mkdir(parents=True, exist_ok=True)
        (place / line).touch()
    return place / "photographs"


def listed(path: Path) -> dict[str, int]:
    photographs = folder(path.parent)
    found = find_photographs(manifest=path).listing
    assert {one.uri for some in found.values() for one in some} == {*map(str, photographs.rglob("*.*"))}
    return counts(found)


def tar(path: Path) -> dict[str, int]:
    contents = {".cls": "bunting", ".json": '{"label": "bunting"}'}
    with tarfile.open(path, "w") as archive:
        for line in EXAMPLES["birds.tar"].splitlines():
            file = path.with_name("member")
            file.write_text(contents.get(Path(line).suffix, "a photograph"))
            archive.add(file, line)
    return counts(find_photographs(path).listing)


def parquet(path: Path) -> dict[str, int]:
    paths = [str(one) for one in folder(path.parent).rglob("*.*")]
    labels = [one.removeprefix(f"{path.parent}/photographs/").partition("/")[0] for one in paths]
    exec(EXAMPLES["birds.parquet"].replace('"birds.parquet"', repr(str(path))), {"paths": paths, "labels": labels})
    return counts(find_photographs(path).listing)


def class_map(path: Path) -> dict[str, int]:
    names = imagenet_labels()
    return ClassMap(names.names, names.wordnet_ids, read_class_map(path), str(path)).given


def of_bunting(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    return lambda path: annotated(read(path), "/data/photographs/bunting/17.jpg", "bunting")


def names_of(path: Path) -> Labels:
    return read_labels(path, 3)


READ: dict[str, tuple[Callable[[Path], Any], Any]] = {
    "photographs/": (lambda path: counts(find_photographs(folder(path.parent)).listing), BIRDS),
    "list.csv": (listed, BIRDS),
    "birds.tar": (tar, BIRDS),
    "birds.parquet": (parquet, BIRDS),
    **{f"map.{ending}": (class_map, {"0123": 11, "no": 251, "bunting": 14}) for ending in ("yaml", "json", "csv")},
    **{name: (names_of, Labels(NAMES)) for name in ("names.txt", "tabs.txt", "names.yaml")},
    **{name: (names_of, Labels(NAMES)) for name in ("config.json", "class_to_idx.json")},
    "synset_words.txt": (names_of, Labels(NAMES, WORDNET_IDS)),
    "names.csv": (names_of, Labels(NAMES, WORDNET_IDS)),
    "imagenet_class_index.json": (names_of, Labels(NAMES, WORDNET_IDS)),
    "boxes.csv": (lambda path: of_bunting(read_boxes)(path).tolist(), [[30, 20, 180, 140]]),
    "landmarks.csv": (of_bunting(read_landmarks), {"bill": (52, 61)}),
    "parts.csv": (of_bunting(read_parts), {("bunting", "head"): ([40, 30, 80, 70], True)}),
}


def test_the_page_has_an_example_of_each() -> None:
    assert {*EXAMPLES} == {*READ}


@pytest.mark.parametrize("name", READ)
def test_an_example_is_read_as_the_page_says(name: str, tmp_path: Path) -> None:
    read, value = READ[name]
    path = tmp_path / name
    if "birds" not in name and not name.endswith("/"):
        path.write_text(EXAMPLES[name])
    assert read(path) == value


def test_what_the_page_says_of_twelve_folders(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "1.jpg").touch()
    catalog = load_catalog(images=tmp_path, class_names=[f"bird {number}" for number in range(12)])
    assert {one.label: one.class_index for one in catalog.classes}["10"] == 10
    assert "10 → class 2" in catalog.notes[-1]
    assert "folder `10` of twelve is class 2" in " ".join(PAGE.read_text().split())
