"""An address names an object, and nothing else: not how its store is reached, nor another kind of store."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from visual_summaries.pipeline.config import ConfigurationError, load_config
from visual_summaries.pipeline.data.catalog import CatalogError, read_manifest
from visual_summaries.pipeline.data.decode import DecodeError, read_bytes
from visual_summaries.pipeline.object_errors import in_writing, told
from visual_summaries.pipeline.objects import ObjectError, ObjectPath, place

SETTINGS = (
    "gs://b?endpoint_override={host}&scheme=http/x/a.jpg",
    "gs://anonymous@b?endpoint_override={host}&scheme=http/a.jpg",
    "gs://b%3Fendpoint_override={host}/a.jpg",
    "GS://b#{host}/a.jpg",
    "gs://b:80/a.jpg",
    "gs://../a.jpg",
    "s3://b?endpoint_override={host}/a.jpg",
    "s3://anonymous@b/a.jpg",
    "s3://Bucket/a.jpg",
)
KINDS = (
    "hdfs://{host}/a.jpg",
    "viewfs://{host}/a.jpg",
    "abfs://c@{host}/a.jpg",
    "gcs://b/a.jpg",
    "http://{host}/a.jpg",
    "https://{host}/a.jpg",
    "mock://b/a.jpg",
)


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A port of this machine that waits for callers, with credentials that one could be given."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        yield server


@pytest.mark.parametrize("address", SETTINGS + KINDS)
def test_nobody_is_asked_whom_an_address_names(listener: socket.socket, tmp_path: Path, address: str) -> None:
    address = address.format(host=f"127.0.0.1:{listener.getsockname()[1]}")
    reason = "no such kind of store" if address.startswith(tuple(kind[:5] for kind in KINDS)) else "bucket's name|holds"
    for ask in (place, ObjectPath.of):
        with pytest.raises(ObjectError, match=reason):
            ask(address)
    with pytest.raises(DecodeError, match=reason):
        read_bytes(address)
    manifest = tmp_path / "manifest.csv"
    manifest.write_text(f"uri,label\na.jpg,robin\n{address},robin\n")
    with pytest.raises(CatalogError, match=f"line 3: .*({reason})"):
        read_manifest(manifest)
    for setting in ("output", "data.images", "model.weights"):
        with pytest.raises(ConfigurationError, match=setting):
            load_config(None, [f"{setting}={address}"])
    with pytest.raises(TimeoutError):
        listener.accept()


def test_what_an_address_hides_is_not_repeated() -> None:
    for address in ("s3://b?secret_key=geheim/a.jpg", "gs://b?access_key=geheim", "hdfs://geheim@host/a.jpg"):
        with pytest.raises(ObjectError) as caught:
            place(address)
        assert "geheim" not in str(caught.value)


def test_buckets_and_keys_as_people_name_them() -> None:
    for address in ("s3://my-bucket.2024/a?b#c.jpg", "gs://my_bucket/ü%20.jpg", "gs://anonymous@public/a/b.jpg", "S3://b/x"):
        assert str(place(address)) == address.replace("S3:", "s3:")


def test_a_bucket_that_is_not_there_is_made_by_writers_alone() -> None:
    path = ObjectPath.of("s3://misspelled/x")
    reading = told(OSError("AWS Error NO_SUCH_BUCKET during GetObject operation"), path)
    assert str(reading) == "s3://misspelled/x: there is no such bucket: check its name"
    assert str(in_writing(reading)) == "s3://misspelled/x: there is no such bucket: make it first, or check its name"
    refused = told(OSError("ACCESS_DENIED"), path)
    assert in_writing(refused) is refused
