"""What every table holds: one Arrow schema per table, a description and a unit per column."""

from visual_summaries.schemas.checked import empty_table, make_table, validate
from visual_summaries.schemas.tables import EDGES, TABLES, TableSchema

__all__ = ["EDGES", "TABLES", "TableSchema", "empty_table", "make_table", "validate"]
