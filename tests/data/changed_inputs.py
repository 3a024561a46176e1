"""Valid inputs of every kind that a user or a stored run gives, changed at random, and what must become of them."""

import io
import json
import random
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import safetensors.torch
import torch
from odd_images import FORMATS, encoded, picture
from packed import tar_bytes
from PIL import Image
from torch import nn

from visual_summaries.pipeline.commands.failures import FORESEEN, LONGEST_MESSAGE, message_of
from visual_summaries.pipeline.config import annotated_default, load_config
from visual_summaries.pipeline.data.annotations import read_boxes, read_landmarks
from visual_summaries.pipeline.data.catalog import load_catalog
from visual_summaries.pipeline.data.class_map import ClassMap, read_class_map
from visual_summaries.pipeline.data.decode import DecodeError, read_image
from visual_summaries.pipeline.data.parts import read_parts
from visual_summaries.pipeline.data.sources import find_photographs
from visual_summaries.pipeline.models.labels import read_labels
from visual_summaries.pipeline.models.weights import fit_weights, read_weights
from visual_summaries.pipeline.stages.images import file_states
from visual_summaries.pipeline.store.tables import TableStore
from visual_summaries.schemas import make_table

NAMES = ("tench, Tinca tinca", "goldfish", "great white shark")
LONGEST = 400_000
READ, TOLD = "read", "told"
"""What becomes of an input: it is read, or a message says why not."""

Change = Callable[[bytes, random.Random], bytes]


class Wrong(Exception):
    """An input that was neither read nor refused with a message fit to be shown."""


@dataclass(frozen=True)
class Kind:
    """One kind of input.

    Attributes:
        seeds: valid ones.
        read: reads the file at a path as the program does, and uses what it read.
        changes: how to change one, beside changes of bytes.
    """

    name: str
    suffix: str
    seeds: tuple[bytes, ...]
    read: Callable[[Path], None]
    changes: tuple[Change, ...] = ()


def check(kind: Kind, content: bytes, folder: Path) -> str:
    """Let the program read `content`; `READ` or `TOLD`.

    Raises:
        Wrong: anything but a result or an error of the documented classes, with words.
    """
    path = folder / f"input{kind.suffix}"
    path.write_bytes(content)
    try:
        kind.read(path)
    except (*FORESEEN, DecodeError) as error:
        said = message_of(error)
        if len(str(error)) < 9 or len(said) > LONGEST_MESSAGE or not said.replace("\n", "").isprintable():
            raise Wrong(f"a message that cannot be shown: {said[:300]!r}") from error
        return TOLD
    except Exception as error:
        raise Wrong(f"{type(error).__name__}: {str(error)[:300]}") from error
    return READ


def changed(kind: Kind, generator: random.Random) -> bytes:
    """One of the kind's valid inputs, with some changes."""
    content = generator.choice(kind.seeds)
    for _ in range(generator.choice((1, 1, 2, 4))):
        content = generator.choice((*kind.changes * 3, _bytes))(content, generator)
    return content[:LONGEST]


def _bytes(content: bytes, generator: random.Random) -> bytes:
    """Change, remove, repeat or cut bytes."""
    changed = bytearray(content)
    for _ in range(2 ** generator.randrange(5)):
        place = generator.randrange(len(changed) + 1)
        length = min(generator.choice((1, 1, 2, 4, 8, 40)), len(changed) - place)
        match generator.randrange(7):
            case 0:
                changed[place : place + length] = generator.randbytes(length)
            case 1:
                changed[place : place + length] = bytes([generator.choice((0, 1, 127, 128, 255))]) * length
            case 2:
                del changed[place : place + length * generator.choice((1, 10))]
            case 3:
                changed[place:place] = changed[place : place + length] * generator.choice((1, 3, 50))
            case 4 if generator.random() < 0.2:
                del changed[place:]
            case 5 if generator.random() < 0.2:
                changed += generator.randbytes(generator.randrange(300))
            case _ if length:
                changed[place] ^= 1 << generator.randrange(8)
    return bytes(changed)


WORDS = (
    *("", " ", "0", "-1", "-0", "3", "1.5", "nan", "inf", "-inf", "1e400", "1e308", "9" * 5000, "0x" + "f" * 5000),
    *("99999999999999999999", "1_000", "0b_", "1:60:60", "²", "٣", "null", "~", "true", "NaN", "2024-13-45"),
    *('"', "'", '"""', "\0", "\r", "\n\n", "\\", "\ufeff", "\x1b[2J\x1b]0;title\a", "\u202e", "\U0001f426", "\\ud800"),
    *('"\\ud800"', "..", "../../../etc/passwd", "/dev/zero", "file:///etc", "file://[", "s3://", "s3://b?x=1/a", "%00"),
    *("gs://b/\u0130", "http://[::1", "a" * 300, "x" * 200_000, "[" * 3000, "{" * 3000, '{"a":' * 3000, "- " * 2000),
    *("{}", "[]", "[[1]]", "*a", "&a", "&a [*a, *a]", "&a {b: *a}", "<<: *a", "!!python/object/apply:os.system [id]"),
    *("!!int x", "!!float x", "!!bool x", "!!timestamp x", "!!binary x", "!!set {a, b}", "!!omap [a]", "? [a]"),
    *("%YAML 9.9", "---", "...", "|", ">", "#", ": ", ",", ";", "\t", "@", "`", "=", "{a: {a: {}}}", "1" * 4301),
)
TOKEN = re.compile(rb"\w+|[^\w\s]+|\s+")


def _words(content: bytes, generator: random.Random) -> bytes:
    """Replace, insert or remove words and signs."""
    tokens = TOKEN.findall(content)
    for _ in range(generator.choice((1, 1, 2, 5))):
        place = generator.randrange(len(tokens) + 1)
        word = generator.choice(WORDS).encode("utf-8", "surrogatepass")
        match generator.randrange(5):
            case 0 | 1:
                tokens[place : place + 1] = [word]
            case 2:
                tokens.insert(place, word)
            case 3:
                del tokens[place : place + 1]
            case 4:
                tokens[place:place] = tokens[place : place + 1] * generator.choice((2, 100))
    return b"".join(tokens)


def _lines(content: bytes, generator: random.Random) -> bytes:
    """Repeat, remove, exchange or indent lines."""
    lines = content.split(b"\n")
    for _ in range(generator.choice((1, 2, 5))):
        first, second = generator.randrange(len(lines)), generator.randrange(len(lines))
        match generator.randrange(5):
            case 0:
                lines.insert(first, lines[second])
            case 1 if len(lines) > 1:
                del lines[first]
            case 2:
                lines[first], lines[second] = lines[second], lines[first]
            case 3:
                lines[first] = b"  " * generator.choice((1, 2, 900)) + lines[first]
            case 4:
                lines[first:first] = lines[first : first + 1] * generator.choice((2, 300))
    return b"\n".join(lines)


def _encoding(content: bytes, generator: random.Random) -> bytes:
    """Store the text otherwise."""
    text = content.decode("utf-8", "replace")
    return generator.choice(
        (
            lambda: b"\xef\xbb\xbf" + content,
            lambda: text.encode("utf-16"),
            lambda: text.encode("utf-16-le"),
            lambda: text.encode("utf-32"),
            lambda: text.encode("latin-1", "replace"),
            lambda: content.replace(b"\n", b"\r\n"),
            lambda: content.replace(b"\n", b"\r"),
            lambda: content.replace(b",", b";"),
        )
    )()


TEXT: tuple[Change, ...] = (_words, _lines, _encoding)


def _bomb(content: bytes, generator: random.Random) -> bytes:
    """Append values that name each other, so that a few lines stand for billions."""
    depth, width = generator.choice((3, 9, 30)), generator.choice((2, 9))
    form = generator.choice(("list", "mapping", "merge"))
    lines = ["a0: &a0 {x: 1, y: 2}"]
    for level in range(1, depth):
        inner = [f"*a{level - 1}"] * width
        value = {
            "list": f"[{', '.join(inner)}]",
            "mapping": f"{{{', '.join(f'k{place}: {one}' for place, one in enumerate(inner))}}}",
            "merge": f"{{<<: [{', '.join(inner)}], z{level}: 1}}",
        }[form]
        lines.append(f"a{level}: &a{level} {value}")
    key = generator.choice(("labels", "data", "model", "classes"))
    bomb = "\n".join([*lines, f"{key}: *a{depth - 1}"]).encode()
    levels = (f"&a{level} [{f'*a{level - 1}, *a{level - 1}' if level else 'lol'}]" for level in range(depth))
    inside = f"data:\n  classes: [{', '.join(levels)}]\n".encode()
    return generator.choice((content + b"\n" + bomb, bomb, inside))


def _png_chunk(content: bytes, generator: random.Random) -> bytes:
    """Change a chunk of a PNG and set its check sum right."""
    if not content.startswith(b"\x89PNG"):
        return _bytes(content, generator)
    chunks, place = [], 8
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4])
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    if not chunks:
        return content
    number = generator.randrange(len(chunks))
    kind, data = chunks[number]
    if kind == b"IDAT" and generator.random() < 0.5:
        try:
            data = zlib.compress(_bytes(zlib.decompress(data), generator))
        except zlib.error:
            pass
    else:
        data = _bytes(data, generator)
    chunks[number] = (generator.choice((kind, kind, b"tRNS", b"acTL", b"eXIf", b"iCCP")), data)
    packed = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return content[:8] + b"".join(packed)


def _header(content: bytes, generator: random.Random) -> bytes:
    """Change bytes near the beginning, where sizes are."""
    length = min(len(content), 200)
    return _bytes(content[:length], generator) + content[length:]


def _safetensors_header(content: bytes, generator: random.Random) -> bytes:
    """Change words or numbers of the header of a safetensors file, with or without setting its length right."""
    length = int.from_bytes(content[:8], "little")
    header, rest = content[8 : 8 + length], content[8 + length :]
    if generator.random() < 0.5:
        kinds = rb"F64|F32|F16|BF16|I64|I32|U8|BOOL"
        others = (b"F4", b"F6_E2M3", b"F8_E4M3", b"F8_E8M0", b"C64", b"U64", b"I8", b"BOOL", b"U16", b"F64", b"X")
        header = re.sub(kinds, lambda _: generator.choice(others), header, count=generator.randrange(1, 3))
    else:
        header = generator.choice((_words, _bytes))(header, generator)
    told = generator.choice((len(header), len(header), len(header), length, 2**63, 10**8, 0))
    return struct.pack("<Q", told) + header + rest


def _zip_member(content: bytes, generator: random.Random) -> bytes:
    """Change a member of a ZIP file, as torch writes them, and store it with the right check sum."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            members = {name: file.read(name) for name in file.namelist()}
    except Exception:
        return _bytes(content, generator)
    if not members:
        return content
    name = next((name for name in members if name.endswith("data.pkl")), None)
    if name is None or generator.random() < 0.3:
        name = generator.choice(sorted(members))
    members[name] = _bytes(members[name], generator)
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as file:
        for one, data in members.items():
            file.writestr(one, data)
    return written.getvalue()


def _columns(_: bytes, generator: random.Random) -> bytes:
    """A Parquet manifest with columns of other types and names."""
    columns = {
        "text": pa.array(["a.jpg", "b.jpg"]),
        "label": pa.array(["goldfish", "0"]),
        "nothing": pa.nulls(2),
        "number": pa.array([0, 1]),
        "huge": pa.array([2**63, 1], pa.uint64()),
        "real": pa.array([1.0, float("nan")]),
        "bytes": pa.array([b"\xff\xfe", b"a"]),
        "list": pa.array([["a"], ["b", "c"]]),
        "struct": pa.array([{"a": 1}, {"a": 2}]),
        "map": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int32())),
        "time": pa.array([2**62, 1], pa.timestamp("ns", "Nowhere/Place")),
        "late": pa.array([2**53, -(2**53)], pa.timestamp("s")),
        "date": pa.array([2**31 - 1, 1], pa.int32()).cast(pa.date32()),
        "duration": pa.array([2**62, 1], pa.duration("s")),
        "decimal": pa.array([1, 2], pa.decimal128(30, 2)),
        "dictionary": pa.array(["a", "b"]).dictionary_encode(),
        "null": pa.array(["a", None]),
        "control": pa.array(["a\n\x1b[2J", "b\u202e"]),
        "view": pa.array(["goldfish", "goldfish"], pa.string_view()),
        "truth": pa.array([True, False]),
    }
    names = generator.choices(("uri", "label", "URI", "x", "uri.element", "", "\x1b[2J"), (9, 9, 1, 1, 1, 1, 1), k=3)
    arrays = [columns[generator.choice(sorted(columns))] for _ in names]
    written = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_arrays(arrays, names), written, store_schema=generator.random() < 0.7)
    return written.getvalue()


def _must_be_storable(texts: Iterable[str]) -> None:
    for text in texts:
        text.encode()


def _read_manifest(path: Path) -> None:
    catalog = load_catalog(manifest=path, class_names=NAMES, test=0.1)
    _must_be_storable(text for entry in catalog.entries for text in (entry.uri, entry.label))


def _read_class_map(path: Path) -> None:
    found = ClassMap(NAMES, None, read_class_map(path), str(path))
    _must_be_storable(found.given)
    found.find(["goldfish"])


def _read_boxes(path: Path) -> None:
    for key, boxes in read_boxes(path).items():
        _must_be_storable([key])
        assert boxes.shape[1:] == (4,) and np.isfinite(boxes).all()
        assert (boxes[:, :2] <= boxes[:, 2:]).all(), "a box without an inside"


def _read_landmarks(path: Path) -> None:
    for key, places in read_landmarks(path).items():
        _must_be_storable([key, *places])
        assert np.isfinite(list(places.values())).all()


def _read_archive(path: Path) -> None:
    source = find_photographs(path)
    _must_be_storable([*source.listing, *(text for fault in source.faults for text in (fault.uri, fault.reason))])
    found = [one for some in source.listing.values() for one in some]
    _must_be_storable(text for one in found for text in (one.uri, one.name))
    file_states(one.uri for one in found)
    for one in found:
        try:
            read_image(one.uri)
        except DecodeError as error:
            _must_be_storable([str(error)])


def _read_parts(path: Path) -> None:
    for key, parts in read_parts(path).items():
        _must_be_storable([key, *(text for names in parts for text in names)])
        boxes = np.array([box for box, _ in parts.values()])
        assert np.isfinite(boxes).all() and (boxes[:, :2] <= boxes[:, 2:]).all()


def _read_labels(path: Path) -> None:
    labels = read_labels(path, 3)
    _must_be_storable((*labels.names, *(labels.wordnet_ids or ())))
    assert len(labels.names) == 3


def _use_configuration(config) -> None:  # noqa: ANN001
    annotated_default(config).encode()
    assert load_config(values={}) is not config
    json.dumps(config.model_dump(mode="json"), allow_nan=False)


def _read_configuration(path: Path) -> None:
    _use_configuration(load_config(path))


def _read_overrides(path: Path) -> None:
    _use_configuration(load_config(None, path.read_bytes().decode("utf-8", "surrogateescape").split("\n")))


@cache
def _network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))


def _read_weights(path: Path) -> None:
    state = read_weights(path)
    fit_weights(_network(), state, path, "the network")
    # Of what the network makes of finite values, nothing is promised here: `load_classifier` tries it.
    assert all(tensor.isfinite().all() for tensor in state.values())


def _read_table_manifest(path: Path) -> None:
    store = _store(path.parent)
    (store.folder("errors") / "manifest.json").write_bytes(path.read_bytes())
    store.listed("errors")
    store.read_all("errors", label="a").to_pylist()
    store.read_all("errors")


def _read_shard(path: Path) -> None:
    store = _store(path.parent)
    (shard,) = store.manifest("errors")
    (store.folder("errors") / shard.path).write_bytes(path.read_bytes())
    store.find("errors", shard.path, "a")
    store.read("errors", [shard.path], where=("label", ["a"]))
    _must_be_storable(row["reason"] or "" for row in store.read_all("errors").to_pylist())


def _store(folder: Path) -> TableStore:
    """A run with one table of one shard."""
    store = TableStore(folder / "run")
    path = store.shard_path("errors", "f", "a", "u")
    shard = store.write("errors", path, make_table("errors", ROWS), "a")
    store.write_manifest("errors", "f", [shard], complete=True)
    return store


ROWS = [
    {"stage": "s", "label": "a", "image_id": None, "uri": "u", "reason": reason, "retry": False}
    for reason in ("one", "another")
]
MANIFEST = json.dumps(
    {
        "table": "errors",
        "fingerprint": "f",
        "complete": True,
        "shards": [{"path": "f/label=a/u.parquet", "label": "a", "rows": 2, "bytes": 1, "sha256": ""}],
    },
    indent=1,
)
CONFIGURATION = """seed: 3
output: runs/one
data:
  images: photographs
  classes: [goldfish, tench]
  images_per_class: 12
  held_out: 0.25
model: {name: "torchvision:resnet50", weights: random, mean: [0.1, 0.2, 0.3]}
explain:
  explainer: gradient
ray:
  unit_timeout: 60
"""
OVERRIDES = "seed=4\ndata.classes=[a, b]\ndata.held_out=0.1\nexplain.explainer=grad-cam\nmodel.mean=[0.1, 0.2, 0.3]"


def _parquet(table: pa.Table) -> bytes:
    written = io.BytesIO()
    pyarrow.parquet.write_table(table, written, compression="zstd")
    return written.getvalue()


def _torch(content: object, **options: bool) -> bytes:
    written = io.BytesIO()
    torch.save(content, written, **options)
    return written.getvalue()


def _odd_checkpoint(_: bytes, generator: random.Random) -> bytes:
    """What torch stores and its safe reader lets through, but no network is made of."""
    one = torch.ones(1)
    values = (
        one.expand(10**12),
        torch.ones(3).as_strided((10**5, 10**5), (0, 0)),
        torch.sparse_coo_tensor([[0]], [1.0], (10**12,)),
        torch.eye(3).to_sparse_csr(),
        torch.empty(3, device="meta"),
        torch.quantize_per_tensor(one, 0.1, 0, torch.qint8),
        torch.ones(1, dtype=torch.complex64),
        torch.ones(3).to(torch.float8_e4m3fn),
        nn.Parameter(one),
        torch.tensor(float("inf")),
        one.bool(),
        torch.empty(0),
        {"deep": {}},
        5,
    )
    keys = ("0.weight", "a", 5, None, ("a",), b"x", "module.0.bias", "\x1b[2J", "n" * 9000, "state_dict")
    content = {generator.choice(keys): generator.choice(values) for _ in range(generator.randrange(1, 4))}
    if generator.random() < 0.3:
        content = _network().state_dict() | content
    return _torch({"model": content} if generator.random() < 0.2 else content)


def _tars(image: Image.Image) -> Iterable[bytes]:
    """Tar files of each layout and format of headers."""
    content = encoded(image, "JPEG")
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        yield tar_bytes([(f"cat/{'long' * 20}/{'name' * 20}{number}.jpg", content) for number in range(3)], form)
    yield tar_bytes([("0.cls", b"1"), ("0.jpg", content), ("1.jpg", content), ("1.json", b'{"label": "cat"}')])


def _image_columns(_: bytes, generator: random.Random) -> bytes:
    """A Parquet file of photographs with columns of other types, and without some of its values."""
    content = b"\xff\xd8\xff"
    images = (
        [{"bytes": content, "path": "a"}, None, {"bytes": None, "path": "../../etc/passwd"}],
        [{"bytes": None, "path": None}] * 3,
        [{"bytes": "text", "path": "a"}] * 3,
        [{"path": "a"}] * 3,
        [{"bytes": content, "path": 3}] * 3,
        pa.array([content, None, b""], pa.large_binary()),
        pa.array([content] * 3, pa.binary(3)),
        [[content]] * 3,
    )
    labels = ([0, 1, None], [-1, 2**62, 1], ["cat", "", "\x1b[2J"], ["a\0b", "x" * 5000, None], [0.5, 1.0, 2.0])
    names = generator.choice((("image", "label"), ("image", "x"), ("a", "b"), ("", "label")))
    columns = dict(zip(names, (generator.choice(images), generator.choice(labels)), strict=True))
    if generator.random() < 0.3:
        columns |= {generator.choice(("mask", "caption")): generator.choice((*images, *labels))}
    table = pa.table(columns)
    features = generator.choice((None, [], *({"label": {"names": n, "_type": "ClassLabel"}} for n in (["cat"], 3))))
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    return _parquet(table)


def _photographs(image: Image.Image) -> Iterable[bytes]:
    """Parquet files of photographs, of each layout."""
    content = encoded(image, "JPEG")
    features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    named = pa.table({"image": [{"bytes": content, "path": "a.jpg"}] * 3, "label": [0, 1, 1]})
    yield _parquet(named.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})}))
    yield _parquet(pa.table({"picture": [content] * 3, "class": ["cat", "cat", "dog"]}))


@cache
def kinds() -> dict[str, Kind]:
    """All kinds by name."""
    small = picture(0, 24, 18)
    images = [encoded(small, kind, **options) for kind, options in FORMATS.values()]
    images += [encoded(small.convert(mode), "PNG") for mode in ("1", "L", "P", "LA", "RGBA")]
    images += [encoded(small.convert("CMYK"), "JPEG"), encoded(small.convert("F"), "TIFF")]
    state = _network().state_dict()
    manifest = b"uri,label\na.jpg,goldfish\nb/c.jpg,1\nfile:///d/e.jpg,tench\ns3://bucket/f.jpg,goldfish\n"
    uris = pa.table({"uri": ["a.jpg", "s3://b/c.jpg", "file:///d.jpg"], "label": ["goldfish", "1", "tench"]})
    parts = b"file,class,part,x0,y0,x1,y1,discriminative\na/1.png,a,head,1,2,3,4,true\na/1.png,a,foot,5,6,7,8,false\n"
    boxes = b"file,x0,y0,x1,y1\na/1.jpg,1,2,3,4\nb/1.jpg,0,0,9,9.5\n"
    landmarks = b"species,file,part,x,y,visible\na,1.jpg,beak,1.5,2,1\na,1.jpg,tail,0,0,0\n"
    box = {"at": [{"file": "a/1.jpg", "x0": 1.5, "y0": 2.0}] * 2, "x1": [30, 40], "y1": ["30", "40"]}
    lines = b'{"file": "a/1.jpg", "part": "bill", "x": 1.5, "y": 2, "visible": true}\n' * 3
    table = (_parquet(make_table("errors", ROWS)),)
    old = {"_use_new_zipfile_serialization": False}
    every = (
        Kind("image", ".jpg", tuple(images), lambda path: read_image(str(path)) and None, (_png_chunk, _header)),
        Kind("manifest.csv", ".csv", (manifest,), _read_manifest, TEXT),
        Kind("manifest.parquet", ".parquet", (_parquet(uris),), _read_manifest, (_columns,)),
        Kind("tar", ".tar", tuple(_tars(small)), _read_archive, (_header,)),
        Kind("photographs.parquet", ".parquet", tuple(_photographs(small)), _read_archive, (_columns, _image_columns)),
        Kind("class map.csv", ".csv", (b"label,class_index\ncat,1\n7,goldfish\n",), _read_class_map, TEXT),
        Kind("class map.json", ".json", (b'{"cat": 1, "7": "goldfish"}',), _read_class_map, TEXT),
        Kind("class map.yaml", ".yaml", (b"cat: 1\n7: goldfish\n",), _read_class_map, (*TEXT, _bomb)),
        Kind("boxes", ".csv", (boxes,), _read_boxes, TEXT),
        Kind("landmarks", ".csv", (landmarks,), _read_landmarks, TEXT),
        Kind("boxes.parquet", ".parquet", (_parquet(pa.table(box)),), _read_boxes, (_columns,)),
        Kind("landmarks.jsonl", ".jsonl", (lines,), _read_landmarks, TEXT),
        Kind("parts", ".csv", (parts,), _read_parts, TEXT),
        Kind("labels.txt", ".txt", (b"tench\ngoldfish\nshark\n",), _read_labels, TEXT),
        Kind("labels.csv", ".csv", (b"index,name,wnid\n0,tench,n1\n1,goldfish,n2\n2,shark,n3\n",), _read_labels, TEXT),
        Kind("labels.yaml", ".yaml", (b"names:\n  0: no\n  1: goldfish\n  2: shark\n",), _read_labels, (*TEXT, _bomb)),
        Kind("labels by id", ".txt", (b"n01440764 tench\nn01443537 goldfish\nn01484850 shark\n",), _read_labels, TEXT),
        Kind("labels.json", ".json", (b'["a", "b", "c"]', b'{"0": "a", "1": "b", "2": "c"}'), _read_labels, TEXT),
        Kind("configuration", ".yaml", (CONFIGURATION.encode(),), _read_configuration, (*TEXT, _bomb)),
        Kind("overrides", ".txt", (OVERRIDES.encode(),), _read_overrides, (_words,)),
        Kind("table manifest", ".json", (MANIFEST.encode(),), _read_table_manifest, TEXT),
        Kind("shard", ".parquet", table, _read_shard, (_columns,)),
        Kind("safetensors", ".safetensors", (safetensors.torch.save(state),), _read_weights, (_safetensors_header,)),
        Kind("checkpoint", ".pt", (_torch(state),), _read_weights, (_zip_member, _odd_checkpoint)),
        Kind("old checkpoint", ".pth", (_torch(state, **old), _torch({"model": state}, **old)), _read_weights),
    )
    return {kind.name: kind for kind in every}
