"""The page of tables, from the schemas: `python -m visual_summaries.schemas.document > docs/reference/tables.md`."""

import pyarrow as pa

from visual_summaries.schemas.tables import TABLES, VERSION


def tables_document() -> str:
    """Markdown that says what every column of every table holds."""
    lines = [
        "# Tables",
        "",
        f"Schema version {VERSION}. Made by `python -m visual_summaries.schemas.document > docs/reference/tables.md`.",
        "",
        "Every table is a folder `tables/<name>/` of Parquet files (zstd), one folder per fingerprint and class. "
        "Its `manifest.json` lists the files that make up the table now; files of earlier settings may lie beside "
        "them, so read the manifest, not the folder:",
        "",
        "```python",
        "import json, pathlib, pyarrow.parquet as parquet",
        'folder = pathlib.Path("runs/demo/tables/summaries")',
        'shards = json.loads((folder / "manifest.json").read_text())["shards"]',
        'rows = [row for shard in shards for row in parquet.ParquetFile(folder / shard["path"]).read().to_pylist()]',
        "```",
        "",
        "Our own reader refuses links that lead out of the run's folder; the folder itself may be a link, or a mount.",
        "",
        "Boxes are x0, y0, x1, y1 in pixels of the analyzed image (the square that the classifier sees), half-open. "
        "Arrays are raw little-endian bytes in C order.",
        "",
        "For DuckDB, `visual_summaries/schemas/views.sql` has a view of each table and views that answer questions; "
        "[Dashboards and exports](../how-to/dashboards.md) shows them, pandas, Polars, SQL clients, and exports to "
        "COCO and FiftyOne.",
    ]
    for table in TABLES.values():
        lines += ["", f"## {table.name}", "", f"{table.description[0].upper()}{table.description[1:]}.", ""]
        lines += ["| column | type | null | unit | holds |", "| --- | --- | --- | --- | --- |"]
        lines += [_row(field) for field in table.schema]
    return "\n".join(lines) + "\n"


def _row(field: pa.Field) -> str:
    metadata = {key.decode(): value.decode() for key, value in field.metadata.items()}
    nullable = "yes" if field.nullable else ""
    kind = str(field.type).replace("element: ", "").replace("item: ", "")
    return f"| `{field.name}` | {kind} | {nullable} | {metadata['unit']} | {metadata['description']} |"


if __name__ == "__main__":
    print(tables_document(), end="")
