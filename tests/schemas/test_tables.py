"""Schemas: validation refuses what does not fit, and the documentation is not stale."""

from pathlib import Path

import pyarrow as pa
import pytest

from visual_summaries.schemas import TABLES, empty_table, make_table, validate
from visual_summaries.schemas.document import tables_document

ERROR = {"stage": "explain", "label": "robin", "image_id": None, "uri": "a.jpg", "reason": "truncated", "retry": False}


def test_every_column_says_what_it_holds() -> None:
    for table in TABLES.values():
        assert table.schema.metadata[b"description"]
        for field in table.schema:
            assert field.metadata[b"description"], f"{table.name}.{field.name}"


def test_rows_become_a_table() -> None:
    table = make_table("errors", [ERROR])
    assert table.to_pylist() == [ERROR]
    assert empty_table("errors").num_rows == 0


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="no column colour"):
        make_table("errors", [ERROR | {"colour": "red"}])
    with pytest.raises(ValueError, match="reason holds nulls"):
        make_table("errors", [ERROR | {"reason": None}])
    with pytest.raises(ValueError, match="does not fit"):
        validate("errors", make_table("errors", [ERROR]).drop_columns(["uri"]))
    wrong = make_table("errors", [ERROR])
    with pytest.raises(ValueError, match="does not fit"):
        validate("errors", wrong.set_column(0, "stage", pa.array([1])))


def test_documentation_is_up_to_date() -> None:
    path = Path(__file__).parents[2] / "docs" / "reference" / "tables.md"
    command = "python -m visual_summaries.schemas.document > docs/reference/tables.md"
    assert path.read_text() == tables_document(), f"run: {command}"
