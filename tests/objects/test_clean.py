"""`clean` on a run in a bucket."""

import io

import pytest
from rich.console import Console
from store_server import BUCKET

from visual_summaries.pipeline.commands import clean
from visual_summaries.pipeline.commands.clean import run_clean
from visual_summaries.pipeline.store.tables import StoreError, TableStore
from visual_summaries.schemas import make_table

RUN = f"s3://{BUCKET}/runs/one"


def cleaned(run: str = RUN, **options: bool) -> str:
    console = Console(file=io.StringIO(), width=200)
    run_clean(run, console, **options)
    return console.file.getvalue()


def test_only_what_no_manifest_lists_goes_from_a_bucket(server, monkeypatch) -> None:
    store = TableStore(RUN)
    for table in ("runs", "maps"):
        listed = store.write(table, f"f/label=a%2Fb/{table}.parquet", make_table(table, []), "a/b")
        store.write(table, f"e/label=a%2Fb/{table}.parquet", make_table(table, []), "a/b")
        store.write_manifest(table, "f", [listed], complete=True)
    # What has nothing to do with it, though its name begins alike.
    for key in ("runs/one/evaluation.md", "runs/one/explainers/a/tables/maps/e/label=a/a.parquet", "runs/one2/a"):
        server.client.put_object(Bucket=BUCKET, Key=key, Body=b"other")
    before = set(server.keys())
    assert "2 younger" not in cleaned() and "Nothing to remove" in cleaned(remove=True)
    assert set(server.keys()) == before
    # Two hours later.
    monkeypatch.setattr(clean, "YOUNG_SECONDS", -7200.0)
    assert "To be removed: 2 files" in cleaned() and set(server.keys()) == before
    assert "Removed: 2 files" in cleaned(remove=True)
    gone = {f"runs/one/tables/{table}/e/label=a%2Fb/{table}.parquet" for table in ("runs", "maps")}
    assert before - set(server.keys()) == gone and set(server.keys()) < before


def test_a_store_that_refuses_is_one_message(server, monkeypatch) -> None:
    with pytest.raises(StoreError, match="is no run"):
        cleaned(f"s3://{BUCKET}/photographs", remove=True)
    store = TableStore(RUN)
    store.write_manifest("runs", "f", [], complete=True)
    store.write("runs", "e/label=/a.parquet", make_table("runs", []), "")
    monkeypatch.setattr(clean, "YOUNG_SECONDS", -7200.0)
    server.refuses = lambda request: request["REQUEST_METHOD"] in ("DELETE", "POST") and "tables" in str(request)
    with pytest.raises(StoreError, match="the store refuses access"):
        cleaned(remove=True)
