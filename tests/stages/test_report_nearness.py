"""Where classes are among each other, from the tables of a made-up run."""

from pathlib import Path

import numpy as np
import pytest
from made_up import MadeUp

from visual_summaries.pipeline.report.near import Near
from visual_summaries.pipeline.stages.report.nearness import classes_near


def described(folder: Path, known: bool = True) -> list[Near]:
    """Where the classes are: the first and third have a part in common, the first class's other one is its own."""
    run = MadeUp(folder, 4)
    directions = {(0, 0): [1, 0, 0], (0, 1): [0, 1, 0], (2, 0): [1, 0, 0.1]}
    for (at, number), features in directions.items():
        label = run.labels[at]
        unit = np.array(features, float) / np.linalg.norm(features)
        name = label if known else "something else"
        first = {"label": label, "summary": number, "rank": 0, "tag": name, "share": 1.0}
        second = first | {"rank": 1, "tag": "another", "share": 0.75}
        run.add("tags", label, [first | {"features": unit.astype(np.float16).tobytes()}, second], f"{number}")
        summary = {"label": label, "summary": number, "cluster": 20 + number, "kept": True, "members": 5, "added": 0.6}
        run.add("summaries", label, [summary | {"added": 0.2}] if number else [summary], f"{number}")
    near = classes_near(run.plan, run.plan.by_label("tags"), run.plan.by_label("summaries"))
    return [near[label] for label in run.labels]


def test_a_part_that_two_classes_have_is_shared(tmp_path: Path) -> None:
    near = described(tmp_path)
    assert [len(one.points) for one in near] == [2, 0, 1, 0]
    shared, own = near[0].points
    assert (shared.number, shared.label, shared.other, shared.shared) == (1, "class 0002", 1, True)
    assert not own.shared and shared.likeness > 0.9 > own.likeness
    assert (near[0].label, near[0].name, near[2].label) == ("class 0002", "class 0002", "class 0000")
    assert near[0].share == pytest.approx(0.6 / 0.8) and near[2].share == 1
    assert abs(shared.x - near[2].points[0].x) < 0.1 and {shared.x, own.x, near[2].points[0].x} >= {0.0, 1.0}


def test_nothing_is_shared_where_parts_are_not_known_alone(tmp_path: Path) -> None:
    near = described(tmp_path, known=False)
    assert [one.label for one in near] == [None] * 4 and near[0].recognized == 0
    assert not any(point.shared for one in near for point in one.points) and near[0].points[0].likeness > 0.9
