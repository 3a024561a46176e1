"""Every view of schemas/views.sql on a real small run, against pandas; several, old and damaged runs; hostile text."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import pandas
import pyarrow as pa
import pyarrow.parquet
import pytest

from visual_summaries.jobs.export import main
from visual_summaries.pipeline.store.tables import TableStore
from visual_summaries.schemas import TABLES, empty_table, make_table
from visual_summaries.schemas.views import PATH, sql_type, views_sql
from visual_summaries.schemas.volumes import VOLUME_TABLES

# Tables that a run over photographs does not have.
OTHERS = {table.name for table in VOLUME_TABLES}


def opened(*runs: Path | str) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("SET VARIABLE runs = ?", [[str(run) for run in runs]])
    connection.execute(PATH.read_text())
    return connection


def rows_of(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict]:
    cursor = connection.execute(query)
    return [dict(zip([column[0] for column in cursor.description], row, strict=True)) for row in cursor.fetchall()]


def frame(run: Path, table: str) -> pandas.DataFrame:
    """The table by our own reader, nulls as None."""
    return pandas.DataFrame(TableStore(run).read_all(table).to_pylist(), columns=TABLES[table].schema.names)


def rewritten(run: Path, table: str, change) -> None:  # noqa: ANN001
    """Change a table's rows, shard by shard; `change` gives the new rows."""
    store = TableStore(run)
    shards = []
    for shard in store.manifest(table):
        rows = change(store.read(table, [shard.path]).to_pylist())
        shards.append(store.write(table, f"changed/{shard.path}", make_table(table, rows), shard.label))
    store.write_manifest(table, "changed", shards, complete=True)


def added(run: Path, table: str, rows: list[dict]) -> None:
    store = TableStore(run)
    shard = store.write(table, store.shard_path(table, "added", "", "u"), make_table(table, rows), "")
    store.write_manifest(table, "added", [shard], complete=True)


def measurement(value: float, variant: str, **also: object) -> dict:
    base = {"image_id": "i", "label": "l", "summary": None, "study": "faithfulness", "variant": variant, "model": "m"}
    return base | {"explainer": "crisp", "value": value, "curve": None, "protocol": "{}"} | also


@pytest.fixture(scope="module")
def measured_run(named_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run with measurements and ratings, in a folder whose name DuckDB would take for a pattern."""
    run = tmp_path_factory.mktemp("views") / "r[1] a?b*'c"
    shutil.copytree(named_run, run)
    added(
        run,
        "measurements",
        [measurement(value, "deletion") for value in (0.1, 0.2, 0.6)]
        + [measurement(0.5, "deletion", explainer="it's"), measurement(9, "x", study="summaries", image_id="")],
    )
    label = frame(run, "summaries").label[0]
    answer = {"kind": "part name", "label": label, "summary": 0, "image_id": None, "value": None, "protocol": "{}"}
    times = [datetime(2026, 1, day, tzinfo=UTC) for day in (2, 1, 3)]
    texts = [("b", "wing'; --"), ("a", "tail"), ("c", None)]
    added(
        run,
        "ratings",
        [answer | {"rater": who, "text": text, "answered": at} for (who, text), at in zip(texts, times, strict=True)],
    )
    return run


def test_file_is_up_to_date() -> None:
    assert PATH.read_text() == views_sql(), "run: python -m visual_summaries.schemas.views"
    with pytest.raises(ValueError, match="say which type"):
        sql_type(pa.float16())


def test_each_table_is_read_as_its_manifest_says(measured_run: Path) -> None:
    connection = opened(measured_run)
    for name, table in TABLES.items():
        columns = rows_of(connection, f"DESCRIBE {name}")
        expected = ["folder", *table.schema.names]
        assert [column["column_name"] for column in columns] == expected, name
        own = empty_table(name) if name in OTHERS else TableStore(measured_run).read_all(name)
        found = connection.sql(f"SELECT * EXCLUDE (folder) FROM {name}").to_arrow_table()
        assert found.num_rows == own.num_rows, name
        for field in table.schema:
            ours, theirs = own.column(field.name), found.column(field.name)
            if pa.types.is_dictionary(field.type):
                ours = ours.cast(pa.string())
            if pa.types.is_timestamp(ours.type):
                theirs = theirs.cast(pa.timestamp("us", tz="UTC"))
            assert theirs.cast(ours.type).to_pylist() == ours.to_pylist(), f"{name}.{field.name}"
    assert connection.execute("SELECT DISTINCT folder FROM images").fetchall() == [(str(measured_run),)]
    listed = {row["table"]: row for row in rows_of(connection, "FROM manifests")}
    for name in ("images", "members", "errors"):
        shards = TableStore(measured_run).manifest(name)
        assert (listed[name]["files"], listed[name]["rows"]) == (len(shards), sum(shard.rows for shard in shards))
        manifest = json.loads((measured_run / "tables" / name / "manifest.json").read_text())
        assert listed[name]["complete"] is manifest["complete"]


def test_summaries_per_class(measured_run: Path) -> None:
    images, summaries, members = (frame(measured_run, name) for name in ("images", "summaries", "members"))
    found = {row["label"]: row for row in rows_of(opened(measured_run), "FROM summaries_per_class")}
    assert set(found) == set(images.label)
    for label, row in found.items():
        own = summaries[summaries.label == label]
        kept = own[own.kept]
        assert (row["summaries"], row["pruned"]) == (len(kept), len(own) - len(kept))
        assert row["explained"] == images[(images.label == label) & images.explained].shape[0]
        assert row["largest_support"] == pytest.approx(kept.support.max())
        assert row["mean_drop"] == pytest.approx(kept["drop"].mean())
        theirs = members[(members.label == label) & members.kept & members.cluster.isin(kept.cluster)]
        assert row["images_with_a_summary"] == theirs.image_id.nunique() > 0


def test_worst_classes(measured_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(measured_run, run)
    wrong = {"prediction": 1, "prediction_name": "none' of -- these"}
    readable = [row for row in TableStore(run).read_all("images").to_pylist() if row["decode_error"] is None]
    ids = {row["image_id"] for row in readable if row["label"] == "fan-tailed bird"}
    chosen = sorted(ids)[:2]
    other = next(row["class_index"] for row in readable if row["label"] != "fan-tailed bird")
    rewritten(
        run,
        "images",
        lambda rows: [row | wrong | {"prediction": other} if row["image_id"] in chosen else row for row in rows],
    )
    images, maps, regions = (frame(run, name) for name in ("images", "maps", "regions"))
    found = rows_of(opened(run), "FROM worst_classes")
    assert [row["accuracy"] for row in found] == [pytest.approx(4 / 6), 1.0]
    assert found[0]["most_common_mistake"] == wrong["prediction_name"] and found[1]["most_common_mistake"] is None
    assert found[1]["unreadable"] == 1 and found[1]["images"] == 7 and found[0]["class_name"] == "fan-tailed bird"
    for row in found:
        own = maps[maps.label == row["label"]]
        assert (row["maps"], row["mean_drop"]) == (len(own), pytest.approx(own["drop"].mean()))
        assert row["mean_area"] == pytest.approx(own.area.mean())
        largest = regions[(regions.label == row["label"]) & (regions.region == 0)]
        assert row["mean_region_drop"] == pytest.approx(largest["drop"].mean())
        scores = images[images.label == row["label"]].score.astype(float)
        assert row["mean_score"] == pytest.approx(scores.mean())


def test_faithfulness_by_explainer(measured_run: Path) -> None:
    first, second = rows_of(opened(measured_run), "FROM faithfulness_by_explainer ORDER BY explainer")
    values = np.array([0.1, 0.2, 0.6])
    half = 1.96 * values.std(ddof=1) / np.sqrt(3)
    assert (first["explainer"], first["n"], first["median"]) == ("crisp", 3, pytest.approx(0.2))
    assert [first[name] for name in ("mean", "low", "high")] == pytest.approx([0.3, 0.3 - half, 0.3 + half])
    assert (second["explainer"], second["n"], second["mean"], second["low"]) == ("it's", 1, 0.5, None)


def test_disagreement_between_models(measured_run: Path, tmp_path: Path) -> None:
    """The second run has four photographs of the second class changed: two wrong, one wrong before as well, …"""
    runs = tmp_path / "a", tmp_path / "b"
    label = "fan-tailed bird"
    ids = sorted(set(frame(measured_run, "images").query("label == @label").image_id))
    wrong = {"prediction": 99, "prediction_name": "cat"}
    for run, changed in zip(runs, ({0: wrong, 1: wrong}, {1: wrong, 2: wrong, 3: wrong}), strict=True):
        shutil.copytree(measured_run, run)
        numbers = {ids[number]: values for number, values in changed.items()}
        rewritten(run, "images", lambda rows, n=numbers: [row | n.get(row["image_id"], {}) for row in rows])
    connection = opened(*runs)
    found = {row["label"]: row for row in rows_of(connection, "FROM disagreement_by_class")}
    names = ("images", "both_right", "only_a_right", "only_b_right", "both_wrong")
    assert [found[label][name] for name in names] == [6, 2, 2, 1, 1]
    assert found[label]["disagreement"] == pytest.approx(3 / 6)
    (other,) = set(found) - {label}
    assert [found[other][name] for name in (*names, "disagreement")] == [6, 6, 0, 0, 0, 0.0]
    listed = rows_of(connection, "FROM disagreements")
    assert {row["image_id"] for row in listed} == {ids[0], ids[2], ids[3]}
    row = next(row for row in listed if row["image_id"] == ids[0])
    assert (row["prediction_a"], row["prediction_b"], row["right_a"], row["right_b"]) == ("cat", label, False, True)
    assert (row["folder_a"], row["folder_b"]) == tuple(map(str, runs))
    assert rows_of(opened(measured_run), "FROM disagreement_by_class") == []


def test_pruned_with_reasons(measured_run: Path) -> None:
    connection = opened(measured_run)
    summaries, members = (frame(measured_run, name) for name in ("summaries", "members"))
    found = pandas.DataFrame(rows_of(connection, "FROM pruned"))
    for label in set(summaries.label):
        own = summaries[(summaries.label == label) & ~summaries.kept]
        theirs = found[(found.label == label) & (found.what == "summary")]
        assert theirs.reason.tolist() == own.sort_values("summary").reason.tolist() and len(own)
    left_out = members[~members.kept & members.cluster_reason.isna()]
    assert sorted(found[found.what == "member"].image_id) == sorted(left_out.image_id)
    counted = {(row["label"], row["what"]): 0 for row in rows_of(connection, "FROM pruned_by_reason")}
    for row in rows_of(connection, "FROM pruned_by_reason"):
        assert not any(digit in row["reason"] for digit in "0123456789")
        counted[row["label"], row["what"]] += row["pruned"]
    proposals, matches = (frame(measured_run, name) for name in ("proposals", "matches"))
    own = matches[(matches.image_a == matches.image_b) & (matches.proposal_a == matches.proposal_b) & ~matches.kept]
    for label in set(summaries.label):
        assert counted[label, "proposal"] == ((proposals.label == label) & ~proposals.kept).sum()
        assert counted.get((label, "part"), 0) == (own.label == label).sum()
        assert counted.get((label, "member"), 0) == (left_out.label == label).sum()
        assert counted[label, "summary"] == ((summaries.label == label) & ~summaries.kept).sum()


def test_tags_names_and_errors(measured_run: Path) -> None:
    connection = opened(measured_run)
    tags, summaries = frame(measured_run, "tags"), frame(measured_run, "summaries")
    merged = tags.merge(summaries, on=["label", "summary"]).sort_values(["label", "summary", "rank"])
    found = rows_of(connection, "FROM tags_per_summary")
    assert len(found) > 0
    for row, (_, own) in zip(found, merged.iterrows(), strict=True):
        assert (row["label"], row["tag"], row["rank"], row["members"]) == (own.label, own.tag, own["rank"], own.members)
        assert (row["share"], row["drop"]) == (pytest.approx(own.share), pytest.approx(own["drop"]))
    (names,) = rows_of(connection, "FROM names_by_people")
    assert (names["answers"], names["named"], names["names"]) == (3, 2, "tail | wing'; --")
    (error,) = rows_of(connection, "FROM errors_by_reason")
    own = frame(measured_run, "errors").iloc[0]
    assert (error["stage"], error["reason"], error["errors"], error["classes"]) == ("images", own.reason, 1, 1)
    assert error["example"] == own.uri and error["retry"] is False


def test_places_of_summaries(measured_run: Path) -> None:
    members, summaries = frame(measured_run, "members"), frame(measured_run, "summaries")
    found = rows_of(opened(measured_run), "FROM places_of_summaries")
    assert [row["spread"] for row in found] == sorted(row["spread"] for row in found)
    assert {(row["label"], row["summary"]) for row in found} == set(
        summaries[summaries.kept][["label", "summary"]].itertuples(index=False, name=None)
    )
    clusters = summaries.set_index(["label", "summary"]).cluster
    for row in found:
        own = members[(members.label == row["label"]) & (members.cluster == clusters[row["label"], row["summary"]])]
        own = own[own.kept]
        x, y = (own.x0 + own.x1) / 2, (own.y0 + own.y1) / 2
        assert (row["x"], row["y"]) == (pytest.approx(x.median()), pytest.approx(y.median()))
        assert row["spread"] == pytest.approx(((x - x.median()).abs() + (y - y.median()).abs()).mean())


def test_stage_costs(measured_run: Path) -> None:
    found = rows_of(opened(measured_run), "FROM stage_costs")
    own = sorted(TableStore(measured_run).read_all("runs").to_pylist(), key=lambda row: row["started"])
    for row, theirs in zip(found, own, strict=True):
        assert (row["stage"], row["seconds"]) == (theirs["stage"], theirs["seconds"])
        assert row["started"] == theirs["started"].replace(tzinfo=None)
        assert row["units_computed"] == theirs["units"] - theirs["units_cached"]
        assert row["peak_mebibytes"] == pytest.approx(theirs["peak_memory"] / 2**20)


def test_old_unfinished_and_damaged_runs_break_nothing_else(measured_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "old"
    shutil.copytree(measured_run, run)
    for table in ("tags", "measurements", "ratings", "errors"):
        shutil.rmtree(run / "tables" / table)
    (run / "tables" / "maps" / "manifest.json").write_text('{"table": "maps", "sha')
    (run / "tables" / "regions" / "manifest.json").write_text("[]")
    store = TableStore(run)
    store.write_manifest("members", "f", store.manifest("members")[:1], complete=False)
    # A table as an earlier version wrote it, without a column, and a shard of other settings that no manifest lists.
    path = run / "tables" / "summaries" / store.manifest("summaries")[0].path
    pa.parquet.write_table(pa.parquet.ParquetFile(path).read().drop_columns(["class_ssim"]), path)
    stale = store.write("images", "stale/label=x/u.parquet", TableStore(run).read_all("images"), "x")
    connection = opened(run, tmp_path / "not there", measured_run)
    own = f"WHERE folder = '{run}'"
    for table in ("tags", "measurements", "ratings", "errors", "maps", "regions"):
        assert rows_of(connection, f"FROM {table} {own}") == [], table
        assert len(connection.execute(f"FROM {table}").fetchall()) > 0 or table == "errors"
    for view in ("tags_per_summary", "faithfulness_by_explainer", "errors_by_reason", "names_by_people"):
        assert rows_of(connection, f"FROM {view} {own}") == [], view
    assert connection.execute(f"SELECT count(*) FROM images {own}").fetchone()[0] == 13 < 13 + stale.rows
    classes = rows_of(connection, f"FROM worst_classes {own}")
    assert len(classes) == 2 and all(row["maps"] is None for row in classes)
    lacking = rows_of(connection, f"SELECT count(*) AS n, count(class_ssim) AS known FROM summaries {own}")[0]
    assert lacking["n"] == len(frame(measured_run, "summaries")) > lacking["known"] > 0
    listed = {row["table"]: row["complete"] for row in rows_of(connection, f"FROM manifests {own}")}
    assert (listed["members"], listed["maps"], listed["regions"], listed["images"]) == (False, None, None, True)


def test_no_run_at_all_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    connection = duckdb.connect()
    connection.execute(PATH.read_text())
    listed = connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()
    views = [name for (name,) in listed]
    assert len(views) > len(TABLES) + 10
    for view in views:
        assert connection.execute(f'FROM "{view}"').fetchall() == [], view


def test_working_directory_is_the_run(measured_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(measured_run)
    connection = duckdb.connect()
    connection.execute(PATH.read_text())
    assert connection.execute("SELECT DISTINCT folder FROM worst_classes").fetchall() == [(".",)]


def test_duckdb_file_answers_alike(measured_run: Path, named_run: Path, tmp_path: Path, capsys) -> None:  # noqa: ANN001
    output = tmp_path / "it's"
    runs = [str(measured_run), str(named_run)]
    arguments = ["--run", runs[0], "--run", runs[1], "--format", "duckdb", "--output", str(output)]
    assert main(arguments) == 0 and main(arguments) == 0
    assert [path.name for path in output.iterdir()] == ["run.duckdb"]
    live = opened(*runs)
    with duckdb.connect(output / "run.duckdb", read_only=True) as copied:
        views = {row[0] for row in copied.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal").fetchall()}
        assert {"worst_classes", "pruned_by_reason", "disagreements", "stage_costs"} <= views
        for view in sorted(views):
            assert copied.execute(f"FROM {view}").fetchall() == live.execute(f"FROM {view}").fetchall(), view
        kinds = {row[0] for row in copied.execute("SELECT DISTINCT data_type FROM duckdb_columns()").fetchall()}
        assert "BLOB" not in kinds
    attached = duckdb.connect()
    attached.execute("ATTACH '" + str(output / "run.duckdb").replace("'", "''") + "' AS mine (READ_ONLY)")
    query = "SELECT folder, label, summaries FROM {} ORDER BY ALL"
    expected = live.execute(query.format("summaries_per_class")).fetchall()
    assert attached.execute(query.format("mine.summaries_per_class")).fetchall() == expected
    assert json.dumps(expected).count("DROP TABLE") == 2
