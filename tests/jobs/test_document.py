"""The reference pages of settings and commands are those of the program."""

from pathlib import Path

import pytest

from visual_summaries.jobs.command import VERBS
from visual_summaries.jobs.document import DOCUMENTS
from visual_summaries.pipeline.config import RunConfig, valid_names

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_page_is_up_to_date(name: str) -> None:
    page = (REFERENCE / f"{name}.md").read_text()
    command = f"python -m visual_summaries.jobs.document {name} > docs/reference/{name}.md"
    assert page == DOCUMENTS[name](), f"run: {command}"
    assert command in page


def test_every_setting_has_a_row_and_every_section_a_heading() -> None:
    page = (REFERENCE / "settings.md").read_text()
    names = valid_names()
    sections = {name.rpartition(".")[0] for name in names} - {""}
    for name in set(names) - sections:
        assert page.count(f"\n| `{name}` | ") == 1, name
    for name in sections:
        assert page.count(f"# {name}\n") == 1, name


def test_rows_say_defaults_values_and_limits() -> None:
    page = (REFERENCE / "settings.md").read_text()
    assert RunConfig().explain.rise.masks == 4000
    for row in (
        "| `explain.rise.masks` | `4000` | whole number, at least 1 |",
        "| `explain.rise.keep` | `0.5` | number, above 0, below 1 |",
        "| `data.test` | `0.15` | number from 0 to 1 |",
        "| `regions.threshold` | `null` | number from 0 to 1 |",
        "| `data.classes` | `null` | list: text |",
        "| `model.channels` | `null` | `rgb`, `bgr` |",
        '| `summaries.sources` | `["regions", "factors"]` | list: `regions`, `factors`, `proposals` |',
    ):
        assert row in page


def test_every_verb_has_a_section_with_its_options() -> None:
    sections = dict(part.split("\n", 1) for part in (REFERENCE / "commands.md").read_text().split("\n## ")[1:])
    assert list(sections) == list(VERBS)
    assert "| `--dry-run` | " in sections["summarize"] and "| `--dry-run` | " not in sections["evaluate"]
    assert "(required) |" in sections["compare"]
