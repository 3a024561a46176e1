"""Text files as people and their programs save them: in which encoding, and where a line ends."""

import codecs
import re
from collections.abc import Sequence

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
OTHERS = (
    (b"PK\x03\x04", "a zip file, as Excel's and Numbers' are: save it as CSV"),
    (b"\xd0\xcf\x11\xe0", "an Excel file: save it as CSV"),
    (b"\x1f\x8b", "compressed by gzip: decompress it"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd: decompress it"),
    (b"%PDF", "a PDF"),
)


class ListError(ValueError):
    """A text or list that cannot be read; the message names the line, not the file."""


class ColumnsError(ListError):
    """A list lacks columns: those `missing`, and those `found`, as they are written."""

    def __init__(self, message: str, missing: Sequence[str], found: Sequence[str]) -> None:
        super().__init__(message)
        self.missing, self.found = missing, found


EMPTY = "the file is empty"


def decoded(content: bytes) -> str:
    """Text without the mark of its byte order.

    Raises:
        ListError: it is empty, no text at all, or in another encoding; says in which line.
    """
    for start, what in OTHERS:
        if content.startswith(start):
            raise ListError(f"this is {what}")
    mark, encoding = next(((mark, name) for mark, name in MARKS if content.startswith(mark)), (b"", "utf-8"))
    if encoding == "utf-8" and b"\0" in content:
        line = _lines(content.partition(b"\0")[0].decode("latin-1"))
        raise ListError(f"line {line} holds a NUL byte: the file is damaged, or UTF-16; save it as UTF-8")
    try:
        text = content.removeprefix(mark).decode("utf-8") if encoding == "utf-8" else content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise ListError(f"the file is damaged {encoding.upper()}: save it as UTF-8") from None
        raise ListError(_not_utf_8(content, error.start)) from None
    if "\0" in text:
        raise ListError(f"line {_lines(text.partition(chr(0))[0])} holds a NUL: the file is damaged; save it as UTF-8")
    if not text.strip():
        raise ListError(EMPTY)
    return text


def _lines(before: str) -> int:
    return len(re.findall(r"\r\n|\r|\n", before)) + 1


def _not_utf_8(content: bytes, at: int) -> str:
    line = _lines(content[:at].decode("latin-1"))
    sign = bytes([content[at]]).decode("cp1252", "replace")
    shown = f", {sign} in Latin-1" if sign.isalpha() else ""
    return f"line {line} is not UTF-8 (byte 0x{content[at]:02x}{shown}): save the file as UTF-8"


def lines_of(text: str) -> list[str]:
    """Lines, ended by LF, CR or both and by nothing else: names may hold the other signs that Python ends lines at."""
    return re.split(r"\r\n|\r|\n", text)
