"""Whole runs of the job: end to end on real Ray, resumed after kills, recomputed only as needed."""

import os
import shutil
import signal
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from runs import SETTINGS, SMALL, STAGES, TABLE_OF, run_job, stage_units, start_job, tables, tables_here

from visual_summaries.pipeline.store.atomic import TEMPORARY_SUFFIX
from visual_summaries.pipeline.store.tables import TableStore
from visual_summaries.schemas import TABLES, validate
from visual_summaries.schemas.volumes import VOLUME_TABLES


def test_a_run_ends_with_tables_and_a_report(whole_run) -> None:
    output, result = whole_run
    store = TableStore(output)
    others = {table.name for table in VOLUME_TABLES}
    for name in set(TABLES) - {"measurements", "ratings", "features", "candidates"} - others:
        table = store.read_all(name)
        validate(name, table)
        assert name == "errors" or table.num_rows > 0, name
    report = output / "report" / "index.html"
    assert f"Report: {report}" in result.stdout
    assert all(line in result.stdout for line in STAGES)

    class Links(HTMLParser):
        found: list[str] = []

        def handle_starttag(self, tag: str, attributes: list) -> None:
            self.found += [value for name, value in attributes if name in ("src", "href")]

    links = Links()
    links.feed(report.read_text())
    pages = [link for link in links.found if link.endswith("index.html") and link.startswith("classes/")]
    assert len(set(pages)) == 2
    for link in links.found:
        assert link.startswith("#") or (report.parent / link.partition("#")[0]).is_file(), link


def test_tables_agree_with_each_other(whole_run) -> None:
    output, _ = whole_run
    rows = {name: table.to_pylist() for name, table in tables(output).items()}
    explained = {row["image_id"] for row in rows["images"] if row["explained"]}
    assert explained == {row["image_id"] for row in rows["maps"]}
    for row in rows["images"]:
        assert row["explained"] == (row["split"] == "fit" and row["prediction"] == row["class_index"])
    for row in rows["maps"]:
        assert len(row["saliency"]) == 128 * 128 and row["saliency_shape"] == [1, 128, 128]
        saliency = sum(row["saliency"]) / 255 / 128**2
        assert abs(saliency - row["area"]) < 2e-3
        assert abs((row["score_before"] - row["score_after"]) / row["score_before"] - row["drop"]) < 1e-5
    on_mask = {(row["image_id"], row["proposal"]) for row in rows["proposals"] if row["kept"]}
    assert all((row["salient_share"] > 0.75) == row["kept"] for row in rows["proposals"])
    fates = {
        (row["image_a"], row["proposal_a"]): row["kept"] for row in rows["matches"] if row["strength"] is not None
    }
    assert set(fates) == on_mask
    clustered = {(row["image_id"], row["proposal"]): row["cluster"] for row in rows["clusters"]}
    assert set(clustered) == {part for part, kept in fates.items() if kept}
    for label in {row["label"] for row in rows["members"]}:
        members = [row for row in rows["members"] if row["label"] == label]
        keys = [(row["cluster"], row["image_id"]) for row in members]
        assert len(keys) == len(set(keys))
        kept = [row for row in rows["summaries"] if row["label"] == label and row["kept"]]
        for summary in kept:
            own = [row for row in members if row["cluster"] == summary["cluster"] and row["kept"]]
            assert len(own) == summary["members"] >= 3
        assert len(kept) == sum(row["label"] == label for row in rows["specialists"])


def test_nothing_runs_twice_and_one_setting_reruns_only_what_follows(small_run, tmp_path) -> None:
    (first, photographs), output = small_run, tmp_path / "copy"
    shutil.copytree(first, output)
    touched = next(photographs.glob("*/*"))
    before = touched.stat().st_mtime_ns
    os.utime(touched, ns=(before, before + 10**9))
    tables_here(output, photographs, *SMALL)
    os.utime(touched, ns=(before, before))
    # Its class is looked at again; the same is found, and nothing that follows is done anew.
    units = stage_units(output)
    assert units["images"] == (2, 1)
    assert all(units[stage][0] == units[stage][1] > 0 for stage in STAGES[1:])
    assert tables(output) == tables(first)

    tables_here(output, photographs, *SMALL, "clustering.preference_factor=0.5")
    units = stage_units(output)
    before = STAGES[: STAGES.index("cluster")]
    assert all(units[stage][0] == units[stage][1] for stage in before)
    # The draw of negatives follows from the photographs alone.
    assert all(units[stage][1] == 0 for stage in STAGES[len(before) :] if stage != "negatives")
    assert units["negatives"][0] == units["negatives"][1] == 1
    changed = {name for name, table in tables(output).items() if table != tables(first)[name]}
    assert "clusters" in changed and not changed & {TABLE_OF[stage] for stage in before}


def test_one_process_gives_what_two_workers_give(whole_run, demo_folder, tmp_path) -> None:
    tables_here(tmp_path, demo_folder, *SETTINGS, f"data.parts={demo_folder.parent / 'parts.csv'}")
    one, two = tables(tmp_path), tables(whole_run[0])
    for name in one:
        assert one[name] == two[name], name


def test_blocks_of_pairs_change_nothing_and_a_lost_one_is_computed_alone(whole_run, demo_folder, tmp_path) -> None:
    output = tmp_path / "copy"
    shutil.copytree(whole_run[0], output)
    settings = (*SETTINGS, f"data.parts={demo_folder.parent / 'parts.csv'}")
    # As neighbors all others: the same pairs by another way, in another order and in blocks.
    blocks = ("matching.pairs_per_task=5", "matching.all_pairs_up_to=1", "matching.neighbors=1000")
    tables_here(output, demo_folder, *settings, *blocks)
    planned, complete = stage_units(output)["match"]
    assert complete == 0 and planned > 2 * stage_units(whole_run[0])["match"][0]
    together, apart = tables(whole_run[0]), tables(output)
    for name in set(together) - {"pairs", "scores"}:
        assert apart[name] == together[name], name

    lost = TableStore(output).manifest("scores")[1]
    (output / "tables" / "scores" / lost.path).unlink()
    tables_here(output, demo_folder, *settings, *blocks)
    assert stage_units(output)["match"] == (planned, planned - 1)
    assert stage_units(output)["parts"][0] == stage_units(output)["parts"][1]
    assert tables(output) == apart


def test_a_class_larger_than_the_setting_meets_its_neighbors_only(whole_run, demo_folder, tmp_path) -> None:
    output = tmp_path / "copy"
    shutil.copytree(whole_run[0], output)
    settings = (*SETTINGS, f"data.parts={demo_folder.parent / 'parts.csv'}")
    near = ("matching.all_pairs_up_to=2", "matching.neighbors=1", "clustering.exemplar_rounds=0")
    tables_here(output, demo_folder, *settings, *near)
    rows = tables(output)["pairs"].to_pylist()
    assert 0 < len(rows) < tables(whole_run[0])["pairs"].num_rows
    met = {(row["image_a"], row["image_b"]) for row in rows}
    for row in tables(output)["matches"].select(["image_a", "image_b"]).to_pylist():
        assert (row["image_a"], row["image_b"]) in met
    assert not far_from_their_exemplars(output, met)

    # A second round lets all images meet those of the exemplars, with the scores that all pairs would have given.
    tables_here(output, demo_folder, *settings, *near[:2])
    far = far_from_their_exemplars(output, met)
    known = {
        (row["image_a"], row["proposal_a"], row["image_b"], row["proposal_b"]): row["score"]
        for row in tables(whole_run[0])["matches"].to_pylist()
    }
    checked = 0
    for row, exemplar in far:
        sides = [(one["image_id"], one["proposal"]) for one in (row, exemplar)]
        score = known.get((*min(sides), *max(sides)))
        if score is not None:
            assert row["similarity"] == score
            checked += 1
    assert checked > 0


def far_from_their_exemplars(output: Path, met: set[tuple[str, str]]) -> list[tuple[dict, dict]]:
    """Parts with their exemplars, where the two images are no neighbors."""
    rows = [row for row in tables(output)["clusters"].to_pylist() if row["cluster"] is not None]
    exemplars = {(row["label"], row["cluster"]): row for row in rows if row["exemplar"]}
    pairs = [(row, exemplars[row["label"], row["cluster"]]) for row in rows]
    return [(a, b) for a, b in pairs if tuple(sorted((a["image_id"], b["image_id"]))) not in met]


def kill_in(stage: str, output: Path, demo_folder: Path, settings: tuple[str, ...]) -> None:
    """Start the job and kill its driver, without a chance to clean up, once the stage before has ended."""
    process = start_job(output, demo_folder, *settings)
    position = (*STAGES, "report").index(stage)
    lines = []
    try:
        if position == 0:
            deadline = time.monotonic() + 120
            while not (output / "tables").exists() and time.monotonic() < deadline:
                time.sleep(0.02)
        else:
            for line in process.stdout:
                lines.append(line)
                if line.startswith(f"{STAGES[position - 1]} ") and " rows" in line:
                    break
            else:
                pytest.fail(f"the run ended before {stage}:\n" + "".join(lines))
        if stage in ("explain", "match"):
            # Let the long stages finish some units, so that a half-done stage is what is resumed.
            folder = output / "tables" / TABLE_OF[stage]
            deadline = time.monotonic() + 120
            while not list(folder.rglob("*.parquet")) and time.monotonic() < deadline:
                time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()
        process.wait()


def test_killed_in_stages_of_each_kind_and_resumed(whole_run, demo_folder, tmp_path) -> None:
    settings = (*SETTINGS, f"data.parts={demo_folder.parent / 'parts.csv'}")
    # Of classes of files, of some photographs, of pairs, of whole classes, and pages.
    for stage in ("images", "explain", "match", "cluster", "report"):
        kill_in(stage, tmp_path, demo_folder, settings)
    result = run_job(tmp_path, demo_folder, *settings)
    assert result.returncode == 0, result.stderr
    units = stage_units(tmp_path)
    assert all(units[stage][1] == units[stage][0] > 0 for stage in STAGES)
    assert tables(tmp_path) == tables(whole_run[0])
    shards = {shard.path for shard in TableStore(tmp_path).manifest("maps")}
    assert len(shards) == units["explain"][0]
    assert list((tmp_path / "tables").rglob(f"*{TEMPORARY_SUFFIX}")) == []
