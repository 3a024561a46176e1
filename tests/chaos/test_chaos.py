"""A run on three nodes, one of each of whose parts is killed; `benchmarks/chaos.py` does it again and again."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from disturbed import (
    KILLS,
    SmallCluster,
    choose_photographs,
    differences,
    disturbed,
    job,
    shards,
    small_cluster,
    write_small_tables,
)

SEED = 11


@pytest.fixture(scope="module")
def cluster(data_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SmallCluster, dict]]:
    with small_cluster(tmp_path_factory.mktemp("cluster") / "nodes.log") as started:
        yield started


def test_kills_of_every_kind_do_not_show_in_the_tables(cluster, data_directory: Path, tmp_path: Path) -> None:
    generator = random.Random(SEED)
    photographs = choose_photographs(data_directory, tmp_path / "photographs")
    undisturbed = job(data_directory, photographs, tmp_path / "undisturbed", *cluster)
    quiet = disturbed(undisturbed, cluster[0], [], generator.randrange)
    assert undisturbed.process.returncode == 0, undisturbed.log.read_text()
    assert shards(tmp_path / "undisturbed")["maps"]
    assert differences(tmp_path / "undisturbed", tmp_path / "undisturbed") == []

    planned = [(generator.uniform(0.05, 0.9) * quiet.seconds, kind) for kind in KILLS]
    running = job(data_directory, photographs, tmp_path / "run", *cluster)
    happened = disturbed(running, cluster[0], planned, generator.randrange)
    assert running.process.returncode == 0, running.log.read_text()
    assert sorted(kind for _, kind in happened.done) == sorted(KILLS)
    assert differences(tmp_path / "run", tmp_path / "undisturbed") == []


def test_what_differs_is_found(tmp_path: Path) -> None:
    """The comparison itself: a lost row, a half-written shard and a temporary file are told of."""



    write_small_tables(tmp_path / "one", ["a", "b"])
    write_small_tables(tmp_path / "same", ["a", "b"])
    write_small_tables(tmp_path / "other", ["a"])
    assert all("no page" in found for found in differences(tmp_path / "same", tmp_path / "one"))
    assert any("errors: other shards" in found for found in differences(tmp_path / "other", tmp_path / "one"))
    shutil.copytree(tmp_path / "one", tmp_path / "half")
    shard = next((tmp_path / "half" / "tables" / "errors").rglob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-9])
    (shard.parent / "x.part.tmp").write_bytes(b"")
    found = differences(tmp_path / "half", tmp_path / "one")
    assert any("is not whole" in text for text in found) and any("temporary file" in text for text in found)
