"""One reader for all lists: each of the six kinds says the same in whatever form it is written, or what is wrong."""

import re
from pathlib import Path

import pytest
from written import KINDS, damaged, documents, tables, texts


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("forms", [texts, documents, tables], ids=["text", "JSON", "tables"])
def test_a_list_says_the_same_in_every_form(name: str, forms, tmp_path: Path) -> None:  # noqa: ANN001
    kind = KINDS[name]
    read = {}
    for number, (form, suffix, content) in enumerate(forms(kind.rows)):
        path = tmp_path / f"{number}{suffix}"
        path.write_bytes(content)
        try:
            read[form] = kind.read(path)
        except ValueError as error:
            read[form] = str(error)
    assert {form: value for form, value in read.items() if value != kind.value} == {}
    assert len(read) == {texts: 147, documents: 4, tables: 23}[forms]


@pytest.mark.parametrize("name", KINDS)
def test_what_is_wrong_with_a_list_is_one_message_with_its_line(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    wrong = {}
    for number, (form, suffix, content, message) in enumerate(damaged(kind.rows)):
        path = tmp_path / f"{number}{suffix}"
        path.write_bytes(content)
        try:
            said = f"read as {kind.read(path)}"
        except ValueError as error:
            said = str(error)
        if str(path) not in said or not re.search(message, said) or not said.isprintable() or len(said) > 400:
            wrong[form] = said
    assert wrong == {}
