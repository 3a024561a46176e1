"""What image files say of themselves, where the libraries that read them do not pass it on."""

import re
from collections.abc import Iterator

# Neither a byte of compressed data, nor a restart, nor filling, nor one of the two markers without a segment.
JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
# How a frame of JPEG begins: usual ones, and those without loss, hierarchical, or of arithmetic coding and these.
FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
RARE_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF}
# Where a PNG file says how many bits its samples have, and of what kind they are.
PNG_DEPTH, PNG_KIND = 24, 25
# Of a PNM file of colors, up to the largest value of a sample.
_BLANK = rb"(?:\s|#[^\r\n]*[\r\n])+"
PNM_HEAD = re.compile(rb"P[36]%s[0-9]+%s[0-9]+%s([0-9]{1,5})\s" % (_BLANK, _BLANK, _BLANK))


def jpeg_segments(content: bytes) -> Iterator[int]:
    """The kinds of a JPEG file's segments, up to its end."""
    place = 2
    while True:
        marker = JPEG_MARKER.search(content, place)
        if marker is None or marker[0] == b"\xff\xd9":
            return
        yield marker[0][1]
        # The data of a scan come after its segment; the search passes over them.
        place = marker.end() + int.from_bytes(content[marker.end() : marker.end() + 2])


def bits_of(content: bytes, kind: str | None) -> int:
    """How many bits the samples of a file have, of the format that Pillow calls `kind`; 8 where it is not known."""
    if kind == "PNG":
        return content[PNG_DEPTH]
    if kind == "JPEG2000":
        return max((depth % 128 + 1 for depth in _components(content)[::3]), default=8)
    if kind == "PPM" and (head := PNM_HEAD.match(content)):
        return int(head[1]).bit_length()
    return 8


def _components(content: bytes) -> bytes:
    """Of each component of a JPEG 2000 file its depth, less 1, and how far its samples are apart; 128: signed."""
    # The marker of the sizes, 38 bytes before the components, their number among them.
    at = content.find(b"\xff\x4f\xff\x51", 0, 2**16)
    return content[at + 42 : at + 42 + 3 * int.from_bytes(content[at + 40 : at + 42])] if at >= 0 else b""


def is_rare(content: bytes) -> bool:
    """Whether a JPEG or JPEG 2000 file says that it is of a form that the libraries do not read."""
    if content.startswith(b"\xff\xd8"):
        frame = next((kind for kind in jpeg_segments(content) if kind in FRAMES | RARE_FRAMES), None)
        return frame in RARE_FRAMES
    sizes = _components(content)
    if len(sizes) < 3:
        return False
    steps = sizes[1::3] + sizes[2::3]
    return any(depth % 128 > 15 for depth in sizes[::3]) or any(step > 2 for step in steps) or max(sizes[1:3]) > 1
