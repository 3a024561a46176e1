"""Photographs, manifests, class maps and weights from a real S3-compatible server, as from a disk."""

import shutil
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
import torch
from PIL import Image
from safetensors.torch import save
from store_server import BUCKET, SECRET

from visual_summaries.pipeline.config import load_config
from visual_summaries.pipeline.data.annotations import read_boxes
from visual_summaries.pipeline.data.catalog import CatalogError, image_folder, load_catalog
from visual_summaries.pipeline.data.decode import DecodeError, read_bytes
from visual_summaries.pipeline.models.classifier import ClassifierError
from visual_summaries.pipeline.models.labels import read_labels
from visual_summaries.pipeline.models.weights import read_weights
from visual_summaries.pipeline.objects import place
from visual_summaries.pipeline.stages.images import file_states
from visual_summaries.pipeline.stages.studies import STUDIES

NAMES = ("cat", "dog")


def put(server, key: str, body: bytes) -> None:  # noqa: ANN001
    server.client.put_object(Bucket=BUCKET, Key=key, Body=body)


def test_a_folder_in_a_bucket_is_split_as_on_the_disk(server, tmp_path) -> None:
    files = [f"{label}/{number % 3}/{number} ü%20.JPG" for label in NAMES for number in range(40)]
    files += ["cat/.hidden/1.jpg", "cat/.2.jpg", ".git/3.jpg", "dog/notes.txt", "4.jpg"]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
        put(server, f"photographs/{name}", name.encode())
    options = {"class_names": NAMES, "held_out": 0.2, "test": 0.2, "images_per_class": 30, "seed": 3}
    server.requests.clear()
    ours = load_catalog(images=place(f"s3://{BUCKET}/photographs/"), **options)
    assert server.counted() == {"LIST": 1, "HEAD": 1}
    theirs = load_catalog(images=tmp_path, **options)
    assert [(one.label, one.split, one.uri.removeprefix(f"s3://{BUCKET}/photographs")) for one in ours.entries] == [
        (one.label, one.split, one.uri.removeprefix(str(tmp_path))) for one in theirs.entries
    ]
    assert len(ours) == 60
    first = next(ours.entries).uri
    assert read_bytes(first).decode() == first.removeprefix(f"s3://{BUCKET}/photographs/")
    server.requests.clear()
    states = file_states([*(one.uri for one in ours.entries), f"s3://{BUCKET}/photographs/cat/none.jpg"])
    assert server.counted() == {"LIST": 7} and states.pop(f"s3://{BUCKET}/photographs/cat/none.jpg") == (-1, -1)
    assert all(size > 0 and written > 0 for size, written in states.values())


def test_wrong_folders_are_one_message(server) -> None:
    put(server, "flat/1.jpg", b"x")
    put(server, "empty/cat/notes.txt", b"x")
    for prefix, message in (
        ("bucket/flat", "holds images, but not in folders"),
        ("bucket/empty", "no images in its folder; there are 1 .txt"),
        ("bucket/none", "has no folders with files"),
        ("nowhere/x", "there is no bucket 'nowhere'"),
    ):
        with pytest.raises(CatalogError, match=message):
            image_folder(place(f"s3://{prefix}"))
    server.refuses = lambda request: True
    with pytest.raises(CatalogError, match="cannot list the images in s3://bucket/flat?.*: the store refuses access"):
        image_folder(place("s3://bucket/flat"))
    with pytest.raises(DecodeError, match="the file cannot be read: the store refuses access"):
        read_bytes("s3://bucket/flat/1.jpg")


def test_manifests_and_class_maps_in_a_bucket(server) -> None:
    rows = {"uri": ["a.jpg", "../b ü.jpg", "s3://other/c.jpg", "/x/../d.jpg"], "label": ["cat", "cat", "dog", "dog"]}
    table = BytesIO()
    parquet.write_table(pa.table(rows), table)
    lines = "".join(f"{uri},{label}\r\n" for uri, label in zip(*rows.values(), strict=True))
    put(server, "lists/m.csv", ("\ufeffuri,label\r\n" + lines).encode())
    put(server, "lists/m.parquet", table.getvalue())
    put(server, "lists/map.csv", b"label,class_index\ncat,1\ndog,0\n")
    wanted = ["/d.jpg", "s3://bucket/b ü.jpg", "s3://bucket/lists/a.jpg", "s3://other/c.jpg"]
    for name in ("m.csv", "m.parquet"):
        catalog = load_catalog(
            manifest=place(f"s3://{BUCKET}/lists/{name}"), class_names=NAMES, class_map=place(f"s3://{BUCKET}/lists/map.csv")
        )
        assert sorted(one.uri for one in catalog.entries) == wanted
        assert {one.label: one.class_index for one in catalog.entries} == {"cat": 1, "dog": 0}
    put(server, "lists/m.csv", f"uri,label\ns3://k:{SECRET}@bucket/x.jpg,cat\n".encode())
    with pytest.raises(CatalogError, match="line 2.*credentials") as caught:
        load_catalog(manifest=place(f"s3://{BUCKET}/lists/m.csv"), class_names=NAMES)
    assert SECRET not in str(caught.value)


def test_weights_in_a_bucket_by_the_same_rules(server, tmp_path) -> None:
    state = {"weight": torch.arange(6.0).reshape(2, 3)}
    put(server, "w.safetensors", save(state))
    torch.save(state, tmp_path / "w.pt")
    put(server, "w.pt", (tmp_path / "w.pt").read_bytes())
    torch.save({"weight": shutil.rmtree}, tmp_path / "evil.pt")
    put(server, "evil.pt", (tmp_path / "evil.pt").read_bytes())
    put(server, "half.safetensors", save(state)[:-3])
    for name in ("w.safetensors", "w.pt"):
        assert torch.equal(read_weights(place(f"s3://{BUCKET}/{name}"))["weight"], state["weight"])
    for name, message in (
        ("evil.pt", "holds Python objects"),
        ("half.safetensors", "truncated or not a safetensors file"),
        ("none.pt", "there is no such weights file"),
    ):
        with pytest.raises(ClassifierError, match=f"s3://bucket/{name}: {message}"):
            read_weights(place(f"s3://{BUCKET}/{name}"))
    server.refuses = lambda request: True
    with pytest.raises(ClassifierError, match="cannot read the weights: s3://bucket/w.pt: the store refuses access"):
        read_weights(place(f"s3://{BUCKET}/w.pt"))


def test_class_names_and_annotations_in_a_bucket(server) -> None:
    put(server, "names.txt", b"cat\ndog\n")
    put(server, "boxes.csv", b"file,x0,y0,x1,y1\ncat/1.jpg,1,2,3,4\n")
    assert read_labels(place(f"s3://{BUCKET}/names.txt"), 2).names == NAMES
    boxes = read_boxes(place(f"s3://{BUCKET}/boxes.csv"))
    assert {key: box.tolist() for key, box in boxes.items()} == {"cat/1.jpg": [[1, 2, 3, 4]]}
    config = load_config(values={"data.boxes": f"s3://{BUCKET}/boxes.csv"})
    first = STUDIES["localization"].settings(config)
    put(server, "boxes.csv", b"file,x0,y0,x1,y1\n")
    assert STUDIES["localization"].settings(config) != first


def test_a_picture_in_a_bucket_is_decoded(server) -> None:
    from visual_summaries.pipeline.data.decode import read_image

    content = BytesIO()
    Image.new("RGB", (5, 4), (1, 2, 3)).save(content, "PNG")
    put(server, "a b.png", content.getvalue())
    assert read_image("s3://bucket/a b.png").image.shape == (4, 5, 3)
