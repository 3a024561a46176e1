"""Weights in a bucket are read once for all workers of a node."""

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import safetensors.torch
import torch
from store_server import BUCKET

from visual_summaries.pipeline.models.weights import read_weights
from visual_summaries.pipeline.objects import ObjectError, ObjectPath
from visual_summaries.pipeline.stages import fetched as module
from visual_summaries.pipeline.stages.fetched import fetched

KEY = "models/net.safetensors"
ADDRESS = f"s3://{BUCKET}/{KEY}"


def weights(value: float) -> bytes:
    return safetensors.torch.save({"w": torch.full((4, 5), value)})


def loaded(folder: Path) -> tuple[float, str]:
    path = fetched(ObjectPath.of(ADDRESS), folder)
    return read_weights(path)["w"].sum().item(), type(path).__name__


def reads(server) -> int:  # noqa: ANN001
    return sum(method == "GET" and path.endswith(KEY) for method, path, _ in server.requests)


def test_workers_of_a_node_read_them_once_until_they_change(server, tmp_path: Path) -> None:  # noqa: ANN001
    folder = tmp_path / "run"
    server.client.put_object(Bucket=BUCKET, Key=KEY, Body=weights(1.0))
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(loaded, [folder] * 8)) == {(20.0, "PosixPath")}
    assert reads(server) == 1
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        assert set(pool.map(loaded, [folder] * 2)) == {(20.0, "PosixPath")}
    assert reads(server) == 1
    server.client.put_object(Bucket=BUCKET, Key=KEY, Body=weights(2.0) + b" ")
    with pytest.raises(Exception, match="safetensors"):
        loaded(folder)
    server.client.put_object(Bucket=BUCKET, Key=KEY, Body=safetensors.torch.save({"w": torch.full((4, 6), 2.0)}))
    assert loaded(folder)[0] == 48.0 and reads(server) == 3


def test_without_room_or_in_a_folder_of_somebody_else_they_are_read_from_the_bucket(
    server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch  # noqa: ANN001
) -> None:
    server.client.put_object(Bucket=BUCKET, Key=KEY, Body=weights(1.0))
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    assert loaded(shared) == (20.0, "ObjectPath") and list(shared.iterdir()) == []
    assert loaded(tmp_path / "there is no such folder" / "run") == (20.0, "ObjectPath")
    monkeypatch.setattr(module, "LEAST_FREE_BYTES", 2**70)
    assert loaded(tmp_path / "run") == (20.0, "ObjectPath")


def test_a_worker_that_dies_while_it_fetches_leaves_no_half_of_them(
    server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch  # noqa: ANN001
) -> None:
    server.client.put_object(Bucket=BUCKET, Key=KEY, Body=weights(1.0))

    def halved(path: Path, data: bytes) -> int:
        path.open("wb").write(data[: len(data) // 2])
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", halved)
        with pytest.raises(MemoryError):
            loaded(tmp_path / "run")
    assert loaded(tmp_path / "run") == (20.0, "PosixPath")
    server.refuses = lambda request: True
    with pytest.raises(ObjectError):
        loaded(tmp_path / "run")
