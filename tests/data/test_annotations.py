from pathlib import Path

import pytest

from visual_summaries.pipeline.data.annotations import keys_of, read_boxes, read_landmarks
from visual_summaries.pipeline.data.catalog import CatalogError


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "annotations.csv"
    path.write_text(text)
    return path


def test_boxes_of_a_photograph_are_gathered(tmp_path) -> None:  # noqa: ANN001
    path = written(tmp_path, "file,x0,y0,x1,y1\na/1.jpg,1,2,3,4\nb/1.jpg,0,0,9,9\na/1.jpg,5,6,7.5,8\n")
    boxes = read_boxes(path)
    assert boxes["a/1.jpg"].tolist() == [[1, 2, 3, 4], [5, 6, 7.5, 8]] and boxes["b/1.jpg"].shape == (1, 4)
    assert keys_of("/somewhere/a/1.jpg", "a") == ["somewhere/a/1.jpg", "a/1.jpg"]


def test_a_mark_of_the_byte_order_is_no_part_of_the_first_name(tmp_path) -> None:  # noqa: ANN001
    path = written(tmp_path, "\ufefffile,x0,y0,x1,y1\na/1.jpg,1,2,3,4\n")
    assert read_boxes(path)["a/1.jpg"].tolist() == [[1, 2, 3, 4]]


def test_a_part_without_a_name_is_refused(tmp_path) -> None:  # noqa: ANN001
    with pytest.raises(CatalogError, match="line 2: .*4 fields must be there"):
        read_landmarks(written(tmp_path, "file,x,y,part\na/1.jpg,1,2\n"))


@pytest.mark.parametrize("column", ["folder", "label", "species"])
def test_the_folder_may_stand_apart_and_hidden_parts_are_left_out(tmp_path, column: str) -> None:  # noqa: ANN001
    path = written(tmp_path, f"{column},file,part,x,y,visible\na,1.jpg,beak,1.5,2,1\na,1.jpg,tail,0,0,0\n")
    assert read_landmarks(path) == {"a/1.jpg": {"beak": (1.5, 2.0)}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,x0,y0,x1\n", "lacks the columns y1"),
        ("file,x0,y0,x1,y1\na/1.jpg,1,2,three,4\n", "line 2: 'three' is not a number"),
        ("file,x0,y0,x1,y1\na/1.jpg,1,2,nan,4\n", "line 2: nan is not finite"),
        ("file,x0,y0,x1,y1\na/1.jpg,1,2\n", "line 2: 3 fields, but 5"),
        ("file,x0,y0,x1,y1\na/1.jpg,1,2,1e400,4\n", "line 2: .*not finite"),
        ("file,x0,y0,x1,y1\na/1.jpg,3,2,1,4\n", "line 2: x1 .1. is not right of x0 .3., so that x0 < x1"),
        ("x0,y0,x1,y1,file\n1,2,3,4\n", "line 2: .*5 fields must be there"),
        ("file,x0,y0,x1,y1\na/1.jpg,1,2,3,4,5\n", "line 2: .*5 fields must be there"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, text: str, message: str) -> None:  # noqa: ANN001
    with pytest.raises(CatalogError, match=message):
        read_boxes(written(tmp_path, text))
    with pytest.raises(CatalogError, match="cannot read the boxes"):
        read_boxes(tmp_path / "nothing.csv")
