"""What the report finds suspicious, from rows of tables as a run has them."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from visual_summaries.pipeline.config import load_config
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.stages.report import signs
from visual_summaries.schemas import EDGES

SIDE = Preprocessing().crop_side
COUNT = 12


def boxed(x: float, y: float, side: float = 0.1) -> dict:
    edges = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
    return dict(zip(EDGES, (edge * SIDE for edge in edges), strict=True))


class Tables:
    """A worker of one class: summary 3 (cluster 7) in the lower right corner of eleven of twelve photographs, and
    summary 0 (cluster 8) on the object, which moves."""

    def __init__(self, *settings: str) -> None:
        self.config = load_config(None, ["data.images=x", *settings])
        self.setup = SimpleNamespace(preprocessing=Preprocessing())
        ids = [f"{n:02}" for n in range(COUNT)]
        middles = [(0.2 + 0.05 * n, 0.75 - 0.03 * n) for n in range(COUNT)]
        marked = [boxed(0.93, 0.93) if n else boxed(0.5, 0.5) for n in range(COUNT)]
        member = {"kept": True, "regions": [0]}
        self.tables = {
            "summaries": [{"cluster": 7, "summary": 3, "kept": True}, {"cluster": 8, "summary": 0, "kept": True},
                          {"cluster": 9, "summary": 4, "kept": False}],
            "members": [
                *({"cluster": c, "image_id": i, **marked[n], **member} for c in (7, 9) for n, i in enumerate(ids)),
                *({"cluster": 8, "image_id": i, **boxed(*middles[n]), **member, "regions": [1]}
                  for n, i in enumerate(ids)),
            ],
            "regions": [
                *({"image_id": i, "region": 0, **marked[n]} for n, i in enumerate(ids)),
                *({"image_id": i, "region": 1, **boxed(*middles[n])} for n, i in enumerate(ids)),
            ],
            "maps": [{"image_id": i} for i in ids],
            "images": [
                *({"image_id": i, "uri": f"/p/finch/{i}.jpg", "width": 512, "height": 512} for i in ids),
                {"image_id": "lost", "uri": "/p/finch/lost.jpg", "width": None, "height": None},
            ],
        }  # fmt: skip

    def read(self, unit: SimpleNamespace, table: str, columns: list[str]) -> list[dict]:
        return [{column: row[column] for column in columns} for row in self.tables[table]]

    def step(self) -> None:
        pass


UNIT = SimpleNamespace(label="finch")


def test_a_mark_is_found_and_a_part_of_the_object_is_not() -> None:
    found = signs.class_signs(Tables(), UNIT)
    assert set(found) == {3}
    assert [(sign.kind, sign.where, sign.count, sign.of) for sign in found[3]] == [
        ("corner", "lower right corner", 11, 12), ("same place", "", 11, 12),
    ]  # fmt: skip


def test_what_lies_outside_the_boxes_of_objects_is_found(tmp_path: Path) -> None:
    # The middle square of 512 pixels resized to 256 and cut to 224: its boxes are in pixels of the photograph.
    lines = ["file,x0,y0,x1,y1", *(f"finch/{n:02}.jpg,0,0,400,400" for n in range(1, COUNT))]
    (tmp_path / "boxes.csv").write_text("\n".join(lines) + "\n")
    worker = Tables(f"data.boxes={tmp_path / 'boxes.csv'}")
    found = signs.class_signs(worker, UNIT)
    assert ("outside", 11, 11) in [(sign.kind, sign.count, sign.of) for sign in found[3]] and 0 not in found
    known = signs.object_boxes(worker.config)[0]
    assert len(known) == 64 and signs.object_boxes(Tables().config) == ("none", {})


def test_boxes_that_are_gone_are_no_reason_to_fail(tmp_path: Path) -> None:
    worker = Tables(f"data.boxes={tmp_path / 'gone.csv'}")
    assert signs.object_boxes(worker.config) == ("none", {})
    assert [sign.kind for sign in signs.class_signs(worker, UNIT)[3]] == ["corner", "same place"]


@pytest.mark.parametrize("size", [(512, 384), (512, 512)])
def test_photographs_of_one_size_are_a_source(size: tuple[int, int]) -> None:
    worker = Tables()
    others = [{"image_id": f"o{n:02}", "uri": f"/p/finch/o{n}.jpg", "width": size[0], "height": size[1]}
              for n in range(COUNT)]  # fmt: skip
    worker.tables["images"] += others
    worker.tables["maps"] += [{"image_id": row["image_id"]} for row in others]
    found = signs.class_signs(worker, UNIT)
    kinds = {number: [sign.kind for sign in own] for number, own in found.items()}
    if size == (512, 512):
        assert kinds == {3: ["corner", "same place"]}
    else:
        assert kinds == {0: ["source"], 3: ["corner", "same place", "source"]}
        assert found[0][-1].where == "512 × 512" and found[0][-1].chance == 0
