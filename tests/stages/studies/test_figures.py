"""From measurements to figures and Markdown, by hand."""

import json

import numpy as np
import pytest

from visual_summaries.pipeline.commands.evaluate import needed_stages
from visual_summaries.pipeline.evaluate.intervals import mean_interval, wilson_interval
from visual_summaries.pipeline.report.evaluation import all_figures, paper_tables
from visual_summaries.pipeline.stages.studies.figures import curves, figures, figures_table
from visual_summaries.pipeline.store.tables import TableStore
from visual_summaries.schemas import make_table

TORCHRAY = "pointing game, torchray"
VALUES = {"a": [0.1, 0.4, 0.7], "b|": [0.2]}


@pytest.fixture
def store(tmp_path) -> TableStore:  # noqa: ANN001
    """Measurements of four images of two classes."""
    store = TableStore(tmp_path)
    common = {"model": "net", "explainer": "crisp:fast", "protocol": json.dumps({}), "summary": None}
    shards = []
    for label, values in VALUES.items():
        rows = []
        for number, value in enumerate(values):
            own = common | {"image_id": f"{label}{number}", "label": label}
            rows += [
                own | {"study": "faithfulness", "variant": "deletion", "value": value, "curve": [1.0, value, 0.0]},
                own | {"study": "specialists", "variant": "right after", "value": float(value > 0.3), "curve": None},
                own | {"study": "localization", "variant": TORCHRAY, "value": float(value > 0.3), "curve": None},
            ]
        of_summary = {"image_id": "", "label": label, "summary": 0, "study": "summaries", "variant": "distance"}
        rows.append(common | of_summary | {"value": 0.5, "curve": None})
        table = make_table("measurements", rows)
        shards.append(store.write("measurements", store.shard_path("measurements", "f", label, "u"), table, label))
    store.write_manifest("measurements", "f", shards, complete=True)
    return store


def test_means_of_each_class_and_of_all(store) -> None:  # noqa: ANN001
    found = {(figure.variant, figure.label): figure for figure in figures(store, seed=3)}
    everything = np.array([*VALUES["a"], *VALUES["b|"]])
    deletion = found["deletion", ""]
    assert (deletion.n, deletion.of, deletion.model, deletion.explainer) == (4, "images", "net", "crisp:fast")
    assert (deletion.mean, deletion.low, deletion.high) == mean_interval(everything, 3)
    assert deletion.std == pytest.approx(everything.std())
    assert found["deletion", "a"].mean == pytest.approx(0.4) and found["deletion", "b|"].n == 1
    right = found["right after", ""]
    assert (right.mean, right.low, right.high) == (0.5, *wilson_interval(2, 4))
    # Two of three in one class, none of one in the other.
    assert found[TORCHRAY, ""].mean == pytest.approx(1 / 3) and found[TORCHRAY, ""].n == 4
    assert (found[TORCHRAY, "a"].low, found[TORCHRAY, "a"].high) == wilson_interval(2, 3)
    assert (found["distance", ""].of, found["distance", ""].n) == ("summaries", 2)
    for label in ("", "a", "b|"):
        assert figures(store, seed=3, label=label) == [own for own in found.values() if own.label == label]
    table = figures_table(list(found.values())).to_pylist()
    assert len(table) == len(found) == 12 and {row["label"] for row in table} == {"", "a", "b|"}


def test_curves_are_means_with_the_middle_half(store) -> None:  # noqa: ANN001
    (curve,) = curves(store)
    assert (curve.variant, curve.explainer, curve.n) == ("deletion", "crisp:fast", 4)
    np.testing.assert_allclose(curve.mean, [1, 0.35, 0])
    np.testing.assert_allclose([curve.low[1], curve.high[1]], np.quantile([0.1, 0.4, 0.7, 0.2], [0.25, 0.75]))


def test_tables_of_a_paper_hold_ours_beside_theirs(store) -> None:  # noqa: ANN001
    found = figures(store)
    text = paper_tables("fgvis", found)
    assert "Table 2" in text and "| net | crisp\\:fast | 4 images | 0.350 |" in text
    assert "pointing game" not in text
    assert "| net | crisp\\:fast | deletion | 4 images | 0.350 |" in all_figures(found)


def test_a_study_gets_the_stages_that_it_needs() -> None:
    assert [stage.name for stage in needed_stages(["images"])] == ["images"]
    assert [stage.name for stage in needed_stages(["images", "maps"])] == ["images", "explain"]
    names = [stage.name for stage in needed_stages(["matches"])]
    assert names == ["images", "explain", "features", "propose", "neighbors", "match", "parts"]
