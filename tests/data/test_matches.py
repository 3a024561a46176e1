"""Annotations and the photographs of a run: found however they are named, and said where they are of none."""

import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from visual_summaries.pipeline.data.annotations import annotated, boxes_in, read_boxes, read_landmarks
from visual_summaries.pipeline.data.class_map import CatalogError
from visual_summaries.pipeline.data.matches import Photograph, beyond, matched, repeated, sizes_instead
from visual_summaries.pipeline.data.parts import read_parts

FOLDER = Photograph("/data/photographs/jäy/1 a.jpg", "jäy")
NESTED = Photograph("/data/photographs/jäy/2024/1 a.jpg", "jäy")
BUCKET = Photograph("s3://bucket/photographs/jäy/1 a.jpg", "jäy")
TAR = Photograph("tar:///data/birds.tar::000000001536+20480/jäy/1 a.jpg", "jäy")
ROW = Photograph("parquet:///data/birds.parquet::00000017/jäy/1 a.jpg", "jäy")
LISTED = Photograph("/data/all/1 a.jpg", "jäy")
DECOMPOSED = Photograph(*(unicodedata.normalize("NFD", one) for one in (FOLDER.uri, FOLDER.label)))
NOT_UTF_8 = Photograph("file:///data/photographs/caf%E9/%FF.jpg", "caf\\xe9")

# Photograph → what annotations may call it.
NAMES = {
    FOLDER: ("jäy/1 a.jpg", "jäy\\1 a.jpg", "./jäy/1 a.jpg", "photographs/jäy/1 a.jpg", FOLDER.uri),
    NESTED: ("jäy/2024/1 a.jpg", "2024/1 a.jpg", "jäy/1 a.jpg", "photographs\\jäy\\2024\\1 a.jpg"),
    BUCKET: ("jäy/1 a.jpg", "s3://bucket/photographs/jäy/1 a.jpg"),
    TAR: ("jäy/1 a.jpg", "jäy\\1 a.jpg"),
    ROW: ("jäy/1 a.jpg",),
    LISTED: ("jäy/1 a.jpg", "all/1 a.jpg"),
    DECOMPOSED: ("jäy/1 a.jpg", unicodedata.normalize("NFD", "jäy/1 a.jpg")),
    NOT_UTF_8: ("caf\\xe9/\\xff.jpg",),
}
LISTS = {
    "boxes": (read_boxes, "file,x0,y0,x1,y1", "1,2,30,40"),
    "landmarks": (read_landmarks, "file,part,x,y", "bill,1,20"),
    "parts": (read_parts, "file,class,part,x0,y0,x1,y1,discriminative", "jay,bill,1,2,30,40,1"),
}


@pytest.mark.parametrize("kind", LISTS)
def test_a_photograph_is_found_by_every_name_that_is_its(kind: str, tmp_path: Path) -> None:
    read, head, rest = LISTS[kind]
    path = tmp_path / "list.csv"
    for photograph, names in NAMES.items():
        for name in names:
            path.write_text(f"{head}\n{name},{rest}\n")
            known = read(path)
            assert annotated(known, photograph.uri, photograph.label) is known[next(iter(known))], (photograph, name)
            found, said = matched("boxes.csv", kind, dict.fromkeys(known, 3), [photograph])
            assert [*found.values()] == [photograph]
            assert said == f"boxes.csv: 3 of 3 {kind} are of photographs of this run, on 1 of its 1."


@pytest.mark.parametrize("column", ["folder", "label", "species"])
def test_the_folder_may_stand_apart_or_in_the_name_as_well(column: str, tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    for name in ("1 a.jpg", "jäy/1 a.jpg", "jäy\\1 a.jpg"):
        path.write_text(f"{column},file,x0,y0,x1,y1\njäy,{name},1,2,30,40\n")
        np.testing.assert_array_equal(annotated(read_boxes(path), FOLDER.uri, FOLDER.label), [[1, 2, 30, 40]])


def test_more_of_the_path_wins_and_what_fits_two_photographs_is_refused() -> None:
    others = [Photograph(f"/data/{label}/2024/1.jpg", label) for label in ("jay", "wren")]
    known = {"jay/2024/1.jpg": "a", "wren/2024/1.jpg": "b", "2024/1.jpg": "c"}
    assert [annotated(known, one.uri, one.label) for one in others] == ["a", "b"]
    matched("b.csv", "boxes", dict.fromkeys(known, 1), others)
    with pytest.raises(CatalogError, match="2024/1.jpg is /data/jay/2024/1.jpg and /data/wren/2024/1.jpg: write more"):
        matched("b.csv", "boxes", {"2024/1.jpg": 1}, others)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("1 a.jpg", "2.jpg"), "0 of 2 boxes .*<class>/<name>, such as jäy/1 a.jpg; found 1 a.jpg, 2.jpg without its"),
        (("Jäy/1 a.jpg",), "0 of 1 boxes .*; found Jäy/1 a.jpg$"),
        (("jäy/1 a.JPG", "x/2.jpg", "y/3.jpg"), "0 of 3 boxes .*; found jäy/1 a.JPG, x/2.jpg, … .3 in all.$"),
        ((), "there are no boxes in it"),
    ],
)
def test_annotations_of_no_photograph_are_an_error_with_an_example_of_each_side(names, said: str) -> None:  # noqa: ANN001
    with pytest.raises(CatalogError, match=said):
        matched("data.boxes: b.csv", "boxes", dict.fromkeys(names, 1), [FOLDER])


def test_some_that_are_of_none_are_counted() -> None:
    _, said = matched("b.csv", "boxes", {"jäy/1 a.jpg": 2, "wren/1.jpg": 5}, [FOLDER, NOT_UTF_8])
    assert said == "b.csv: 2 of 7 boxes are of photographs of this run, on 1 of its 2; the others are of wren/1.jpg."


WRONG_BOXES = {
    "200,150,80,60": r"line 2: x1 \(80\) is not right of x0 \(200\).*width, height, write x0 \+ width as x1",
    "20,150,80,60": r"line 2: y1 \(60\) is not below y0 \(150\).*write y0 \+ height as y1",
    "10,10,10,20": r"x1 \(10\) is not right of x0",
    "0.1,0.2,0.5,0.6": "line 2: the box is between 0 and 1: fractions of the width and height. Give pixels",
    "0,0,1,1": "fractions",
    "-30,10,-10,20": r"x0 \(-30\) and x1 \(-10\) are negative",
    '"1,5",2,30,40': "'1,5' is not a number; write 1.5",
    "1,2,30,": "line 2: '' is not a number",
    "1,2,inf,4": "inf is not finite",
}


@pytest.mark.parametrize("box", WRONG_BOXES)
def test_boxes_that_are_none_are_named_with_their_line(box: str, tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    for lines, count in (("", ""), ("a/2.jpg,1,2,30,40\n" + f"a/3.jpg,{box}\n" * 3, r"\(4 of 5 lines are wrong\)")):
        path.write_text(f"file,x0,y0,x1,y1\na/1.jpg,{box}\n{lines}")
        with pytest.raises(CatalogError, match=f"the boxes {path}, line 2: ") as raised:
            read_boxes(path)
        assert re.search(f"{WRONG_BOXES[box]}.*{count}", str(raised.value))


@pytest.mark.parametrize(
    "names, said",
    [
        ("x,y,w,h", "write x0 = x, y0 = y, x1 = x . w, y1 = y . h"),
        ("bbox_x,bbox_y,bbox_width,bbox_height", "write x0 = bbox_x, .* x1 = bbox_x . bbox_width"),
        ("xmin,ymin,xmax,ymax", "xmin, ymin, xmax, ymax are called x0, y0, x1, y1 here"),
        ("x1,y1,x2,y2", "x1, y1, x2, y2 are called x0, y0, x1, y1 here"),
    ],
)
def test_columns_of_other_programs_are_told_their_names(names: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text(f"file,{names}\na/1.jpg,1,2,3,4\n")
    with pytest.raises(CatalogError, match=f"lacks the columns .*; found file, .*; {said}"):
        read_boxes(tmp_path / "boxes.csv")


def test_landmarks_that_are_fractions_or_at_two_places_are_named(tmp_path: Path) -> None:
    path = tmp_path / "landmarks.csv"
    path.write_text("file,part,x,y\na/1.jpg,bill,0.25,0.5\na/2.jpg,bill,1,0\n")
    with pytest.raises(CatalogError, match="the landmarks are all between 0 and 1: fractions"):
        read_landmarks(path)
    path.write_text("file,part,x,y\na/1.jpg,bill,0.25,0.5\na/1.jpg,bill,3,0\n")
    with pytest.raises(CatalogError, match="line 3: bill of a/1.jpg is elsewhere on line 2: leave one"):
        read_landmarks(path)
    path.write_text("file,part,x,y,visible\na/1.jpg,bill,5,5,maybe\n")
    with pytest.raises(CatalogError, match="line 2: 'maybe' is neither 1 nor 0"):
        read_landmarks(path)


def test_what_goes_beyond_its_photograph_is_said(tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    rows = ["1.jpg,10,10,99,80", "2.jpg,10,10,500,80", "3.jpg,-5,10,50,80", "1.jpg,10,10,99,80", "4.jpg,0,0,9,9"]
    path.write_text("file,x0,y0,x1,y1\n" + "".join(f"a/{row}\n" for row in rows))
    boxes = boxes_in(path)
    sizes = {f"a/{number}.jpg": (100, 80) for number in (1, 2, 3)}
    edges = [(box.place, box.key, box.edges) for box in boxes]
    assert beyond("b.csv", "boxes", edges, sizes) == [
        "b.csv: 1 of 4 boxes go beyond their photographs, such as line 3, of a/2.jpg: x to 500, y to 80 in a "
        "photograph of 100 × 80 pixels.",
        "b.csv: 1 of 4 boxes begin at negative coordinates, such as line 4, of a/3.jpg: -5, 10.",
    ]
    (said,) = repeated("b.csv", boxes)
    assert said == "b.csv: 1 of 5 boxes are there more than once, such as of a/1.jpg; they count once."
    assert {key: len(found) for key, found in read_boxes(path).items()}["a/1.jpg"] == 1
    with pytest.raises(CatalogError, match="all of 1 boxes .* go beyond them, such as line 3, of a/2.jpg: x to 500"):
        beyond("b.csv", "boxes", edges, {"a/2.jpg": (100, 80)})


def test_boxes_that_may_be_widths_and_heights_are_suspected(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    place, size = generator.uniform(0, 40, (30, 2)), generator.uniform(45, 60, (30, 2))
    sizes = {f"a/{number}.jpg": (100, 100) for number in range(30)}
    for edges, suspected in ((np.hstack([place, size]), True), (np.hstack([place, place + size]), False)):
        lines = "".join(f"a/{n}.jpg,{','.join(map(str, row))}\n" for n, row in enumerate(edges.tolist()))
        (tmp_path / "b.csv").write_text("file,x0,y0,x1,y1\n" + lines)
        notes = sizes_instead("b.csv", boxes_in(tmp_path / "b.csv"), sizes)
        assert bool(notes) == suspected and all("x, y, width, height as well" in one for one in notes)
