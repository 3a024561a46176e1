"""The foreseeable ways in which a command ends early: each is one message to a person, without a traceback."""

from visual_summaries.pipeline.config import ConfigurationError
from visual_summaries.pipeline.data.catalog import CatalogError
from visual_summaries.pipeline.models.classifier import ClassifierError
from visual_summaries.pipeline.names import shown_lines
from visual_summaries.pipeline.runtime.failures import ClusterError, PoolError, RunFailed, WorkerUnfit
from visual_summaries.pipeline.store.tables import StoreError

USAGE = (ConfigurationError, CatalogError, ClassifierError)
RESUMABLE = (PoolError, ClusterError)
FORESEEN = (*USAGE, *RESUMABLE, StoreError, WorkerUnfit, RunFailed)

LONGEST_LINE, LONGEST_MESSAGE = 500, 8000


def message_of(error: BaseException) -> str:
    """What an error says, fit for a terminal: names from data may hold signs that move its cursor, or be endless."""
    said = shown_lines("\n".join(str(error).splitlines())) or type(error).__name__
    lines = ["".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in line) for line in said.split("\n")]
    lines = [line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 1] + "…" for line in lines]
    message = "\n".join(lines)
    return message if len(message) <= LONGEST_MESSAGE else message[: LONGEST_MESSAGE - 1] + "…"
