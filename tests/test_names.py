"""Names as text: every byte has an address, and nothing that is shown obeys or breaks a line."""

import os

import pytest

from visual_summaries.pipeline.names import address_of, path_of, readable, shown, shown_lines


@pytest.mark.parametrize("name", [bytes([byte]) for byte in range(1, 256)] + [b"\xff\xc3\xa9?#%20", "größe ☃".encode()])
def test_every_path_is_found_again_by_its_address(name: bytes) -> None:
    path = os.fsdecode(b"/folder/" + name)
    address = address_of(path)
    address.encode()
    assert (path_of(address) if address.startswith("file://") else address) == path
    assert address.startswith("file://") == (readable(path) != path)


def test_names_are_shown_as_they_are_unless_they_would_do_something() -> None:
    for name in ("a b.jpg", "größe ☃.jpg", "日本　語", "می‌خواهم", "n\xa0b", "back\\slash"):
        assert readable(name) == shown(name) == name
    assert shown("\x1b[31mred\n|\ttab\x9b\u202egpj.exe\u2028\x7f") == (
        r"\x1b[31mred\n|\ttab\x9b\u202egpj.exe\u2028\x7f"
    )
    assert readable(os.fsdecode(b"\xff\x80") + "\ud800") == r"\xff\x80\ud800"
    assert readable("a\nb") == "a\nb" and shown_lines("a\n\x1bb") == "a\n\\x1bb"
