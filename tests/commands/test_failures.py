"""What an error says is fit for a terminal, whatever the data are called."""

import pytest

from visual_summaries.jobs.command import run_command
from visual_summaries.pipeline.commands.failures import LONGEST_LINE, LONGEST_MESSAGE, message_of
from visual_summaries.pipeline.data.catalog import CatalogError


def test_signs_that_move_the_cursor_are_written_out(capsys: pytest.CaptureFixture) -> None:
    def fails(_console: object) -> None:
        raise CatalogError("labels:\n  \x1b]0;title\a\x1b[2J\u202ecat \ud800 ß 鳥")

    assert run_command(fails) == 2
    written = "visual-summaries: labels:\n  \\x1b]0;title\\x07\\x1b[2J\\u202ecat \\ud800 ß 鳥\n"
    assert capsys.readouterr().err == written


def test_endless_messages_are_cut() -> None:
    assert len(message_of(CatalogError("a" * 10**6))) == LONGEST_LINE
    assert len(message_of(CatalogError("a\n" * 10**5))) == LONGEST_MESSAGE
    assert message_of(CatalogError("a" * LONGEST_LINE)) == "a" * LONGEST_LINE
    assert message_of(RecursionError()) == "RecursionError"
