"""A writer of TIFF files of any form, straight from the format's description; all forms, and the plain form of each."""

import itertools
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
NONE, DEFLATE, PACKBITS = 1, 8, 32773
HEIGHT, WIDTH = 5, 19
SAMPLES = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4}
DEPTHS = (1, 2, 4, 6, 8, 10, 12, 14, 16, 24, 32)
ASSOCIATED, UNASSOCIATED = 1, 2


@dataclass(frozen=True)
class Form:
    """How a picture is stored. `fraction`: its samples are floating-point. `tile`: sides, or strips of `strip` rows."""

    bits: int = 8
    format: int = 1
    photometric: int = BLACK_IS_ZERO
    order: str = "<"
    big: bool = False
    planes: bool = False
    compression: int = NONE
    predictor: int = 1
    reversed: bool = False
    tile: tuple[int, int] | None = None
    strip: int = 3
    extras: tuple[int, ...] = ()
    colors: tuple[int, ...] = ()
    tags: dict[int, Sequence[int]] = field(default_factory=dict)

    def but(self, **changes: object) -> "Form":
        return replace(self, **changes)

    @property
    def code(self) -> str:
        """Of a sample, as numpy calls it."""
        return f"{'' if self.bits == 8 else self.order}{'uif'[(1, 2, 3).index(self.format)]}{self.bits // 8}"


def tiff(samples: np.ndarray, form: Form) -> bytes:
    """A file of samples [H, W, S], whole numbers or fractions."""
    height, width, count = samples.shape
    planes = [samples[..., at : at + 1] for at in range(count)] if form.planes else [samples]
    pieces = [piece for plane in planes for piece in _pieces(plane, form)]
    data = [_compressed(_packed(piece, form), form) for piece in pieces]
    header = 16 if form.big else 8
    starts = np.cumsum([header, *map(len, data)]).tolist()
    tags = {
        256: [width],
        257: [height],
        258: [form.bits] * count,
        259: [form.compression],
        262: [form.photometric],
        277: [count],
        284: [2 if form.planes else 1],
        339: [form.format] * count,
    }
    counts = [len(one) for one in data]
    if form.tile:
        tags |= {322: [form.tile[1]], 323: [form.tile[0]], 324: starts[:-1], 325: counts}
    else:
        tags |= {273: starts[:-1], 278: [form.strip], 279: counts}
    if form.predictor != 1:
        tags[317] = [form.predictor]
    if form.reversed:
        tags[266] = [2]
    if form.extras:
        tags[338] = list(form.extras)
    if form.colors:
        tags[320] = list(form.colors)
    return _file(b"".join(data), starts[-1], tags | dict(form.tags), form)


def _pieces(plane: np.ndarray, form: Form) -> list[np.ndarray]:
    if not form.tile:
        return [plane[row : row + form.strip] for row in range(0, len(plane), form.strip)]
    high, wide = form.tile
    down, across = -(-plane.shape[0] // high), -(-plane.shape[1] // wide)
    padded = np.pad(
        plane, ((0, down * high - plane.shape[0]), (0, across * wide - plane.shape[1]), (0, 0)), mode="edge"
    )
    return [
        padded[row * high : (row + 1) * high, column * wide : (column + 1) * wide]
        for row in range(down)
        for column in range(across)
    ]


def _packed(piece: np.ndarray, form: Form) -> list[bytes]:
    """Bytes of each row."""
    rows = []
    for row in piece:
        if form.bits in (8, 16, 32, 64):
            values = row.astype(form.code.lstrip("<>"))
            if form.predictor == 2:
                whole = values.view(f"u{form.bits // 8}")
                whole[1:] = whole[1:] - whole[:-1].copy()
                packed = whole.astype(f"{form.order}u{form.bits // 8}").tobytes()
            elif form.predictor == 3:
                lines = np.ascontiguousarray(values).astype(f">f{form.bits // 8}").reshape(-1, 1)
                lines = np.ascontiguousarray(lines).view(np.uint8).reshape(-1, form.bits // 8).T.reshape(-1)
                steps = lines.copy()
                each = row.shape[1]
                steps[each:] = lines[each:] - lines[:-each]
                packed = steps.tobytes()
            else:
                packed = values.astype(form.code).tobytes()
        elif form.bits == 24:
            order = "little" if form.order == "<" else "big"
            packed = b"".join(int(value).to_bytes(3, order) for value in row.reshape(-1))
        else:
            text = "".join(f"{int(value):0{form.bits}b}" for value in row.reshape(-1))
            text += "0" * (-len(text) % 8)
            packed = int(text, 2).to_bytes(len(text) // 8, "big")
        rows.append(packed)
    return rows


def _compressed(rows: list[bytes], form: Form) -> bytes:
    if form.compression == DEFLATE:
        data = zlib.compress(b"".join(rows))
    elif form.compression == PACKBITS:
        # Runs of differing bytes only, at most 128 each, and never over the end of a row.
        runs = [row[at : at + 128] for row in rows for at in range(0, len(row), 128)]
        data = b"".join(bytes([len(run) - 1]) + run for run in runs)
    else:
        data = b"".join(rows)
    if form.reversed:
        data = np.packbits(np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")).tobytes()
    return data


def _file(data: bytes, at: int, tags: dict[int, Sequence[int]], form: Form) -> bytes:
    order, number = form.order, "Q" if form.big else "I"
    mark = b"II" if order == "<" else b"MM"
    room = 8 if form.big else 4
    short = {258, 259, 262, 266, 274, 277, 284, 317, 320, 338, 339, 530}
    directory = struct.pack(order + ("Q" if form.big else "H"), len(tags))
    end = at + len(directory) + len(tags) * (20 if form.big else 12) + room
    behind = b""
    for tag, values in sorted(tags.items()):
        kind, letter = (3, "H") if tag in short else (4, "I")
        packed = struct.pack(f"{order}{len(values)}{letter}", *values)
        directory += struct.pack(order + "HH" + number, tag, kind, len(values))
        if len(packed) <= room:
            directory += packed.ljust(room, b"\0")
        else:
            directory += struct.pack(order + number, end + len(behind))
            behind += packed + b"\0" * (len(packed) % 2)
    head = struct.pack(order + "HHHQ", 43, 8, 0, at) if form.big else struct.pack(order + "HI", 42, at)
    return mark + head + data + directory + bytes(room) + behind


def eight(values: np.ndarray, bits: int) -> np.ndarray:
    """The plain form's samples: the scale of fewer bits is spread, of more bits the upper 8 are kept."""
    if bits <= 8:
        return np.round(values * (255 / (2**bits - 1))).astype(int)
    return (values >> np.uint64(bits - 8)).astype(int)


def plain(samples: np.ndarray, form: Form) -> np.ndarray:
    """The picture that a file holds, RGB on white, 0 to 255."""
    if form.photometric == PALETTE:
        return (np.array(form.colors).reshape(3, -1).T >> 8)[samples[..., 0]]
    levels = np.round(samples * 255).astype(int) if form.format == 3 else eight(samples, form.bits)
    base = SAMPLES[form.photometric]
    colors = levels[..., :base] if base >= 3 else np.repeat(levels[..., :1], 3, axis=2)
    if form.photometric == WHITE_IS_ZERO:
        colors = 255 - colors
    if form.photometric == CMYK:
        colors = (255 - colors[..., :3]) * (255 - colors[..., 3:]) / 255
    alpha = levels[..., base : base + 1]
    if form.extras == (ASSOCIATED,):
        return colors + 255 - alpha
    if form.extras == (UNASSOCIATED,):
        return 255 + (colors - 255) * (alpha / 255)
    return colors


def drawn(form: Form, generator: np.random.Generator) -> np.ndarray:
    """Samples that use the whole scale."""
    count = SAMPLES[form.photometric] + len(form.extras)
    if form.format == 3:
        values = generator.random((HEIGHT, WIDTH, count)).astype(f"f{form.bits // 8}").astype(float)
    else:
        values = generator.integers(0, 2**form.bits, (HEIGHT, WIDTH, count), dtype=np.uint64)
        values[0, 0] = 2**form.bits - 1
    if form.extras == (ASSOCIATED,):
        values[..., :-1] = np.minimum(values[..., :-1], values[..., -1:])
    return values


def storages() -> Iterator[Form]:
    """Orders of bytes, both kinds of header, planes, compressions, orders of bits, strips and tiles."""
    for order, big, planes, compression, backwards, tile in itertools.product(
        "<>", (False, True), (False, True), (NONE, DEFLATE, PACKBITS), (False, True), (None, (16, 16))
    ):
        yield Form(order=order, big=big, planes=planes, compression=compression, reversed=backwards, tile=tile)


def forms(storage: Form) -> Iterator[Form]:
    """What can be stored so: photometric interpretations, depths, floating point, predictors, transparency."""
    for photometric, bits in itertools.product((WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, CMYK), DEPTHS):
        yield storage.but(photometric=photometric, bits=bits)
    for bits in (1, 2, 4, 8):
        colors = tuple(np.random.default_rng(bits).integers(0, 65536, 3 * 2**bits).tolist())
        yield storage.but(photometric=PALETTE, bits=bits, colors=colors)
    for photometric, extra in itertools.product((BLACK_IS_ZERO, RGB), (0, ASSOCIATED, UNASSOCIATED)):
        for bits in (4, 8, 12, 16):
            yield storage.but(photometric=photometric, bits=bits, extras=(extra,))
    floating = [storage.but(photometric=kind, bits=bits, format=3) for kind in (1, 2) for bits in (16, 32, 64)]
    yield from floating
    yield from (form.but(extras=(UNASSOCIATED,)) for form in floating)
    if storage.compression == DEFLATE:
        # Other compressions know no predictor.
        for form in floating:
            yield from (form.but(predictor=2), form.but(predictor=3))
        for photometric, bits in itertools.product((WHITE_IS_ZERO, RGB), (8, 16, 32)):
            yield storage.but(photometric=photometric, bits=bits, predictor=2)
