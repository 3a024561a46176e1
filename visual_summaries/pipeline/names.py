"""Names of files and classes as text: any that a disk can hold has an address, and can be shown on one line.

A name that is not UTF-8 reaches Python with a lone surrogate for each byte that does not fit. No table, page or message
can hold those.
"""

import os
import re
from urllib.parse import quote, unquote_to_bytes, urlsplit
from urllib.request import url2pathname

_BYTE = re.compile("[\udc80-\udcff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
# Control characters (a terminal obeys them), ends of lines, marks that turn text around.
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def readable(name: str) -> str:
    """A name as text that UTF-8 can hold: bytes that are not UTF-8 as `\\xff`, all else as it is."""

    def escape(found: re.Match[str]) -> str:
        code = ord(found[0])
        return f"\\x{code - 0xDC00:02x}" if _BYTE.match(found[0]) else f"\\u{code:04x}"

    return _SURROGATE.sub(escape, name)


def shown(text: str) -> str:
    """Text from data for one line of a terminal, a log or a list: what cannot be shown as its escape, as `\\x1b`."""
    return _UNSHOWN.sub(lambda found: found[0].encode("unicode_escape").decode(), readable(text))


def shown_lines(text: str) -> str:
    """A message of several lines, each as `shown`."""
    return "\n".join(map(shown, text.split("\n")))


def address_of(path: str, quoted: bool = False) -> str:
    """The path itself where it is UTF-8; else, or if `quoted`, a `file://` address, which says every byte."""
    return f"file://{quote(os.fsencode(path))}" if quoted or _BYTE.search(path) else path


def path_of(address: str) -> str:
    """The path that a `file://` address stands for."""
    path = urlsplit(address, allow_fragments=False).path
    return url2pathname(path) if os.name == "nt" else os.fsdecode(unquote_to_bytes(path))


def unnamed(index: int) -> str:
    """What the class of this index is called where nobody has named it."""
    return f"class {index}"
