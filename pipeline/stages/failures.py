"""The foreseeable ways in which a run ends early: each is one message to a person, without a traceback."""

from pipeline.config import ConfigurationError
from pipeline.data.catalog import CatalogError
from pipeline.models.classifier import ClassifierError
from pipeline.store.tables import StoreError


class PoolError(Exception):
    """Workers cannot be started or kept; the message says why and what to do."""


class WorkerUnfit(Exception):
    """A worker that cannot give the driver's results; the message says why and what to do."""


class ClusterError(Exception):
    """Ray cannot be started or reached; the message says what to do."""


class RunFailed(Exception):
    """The run ended early; its tables stay. The message says why."""


USAGE = (ConfigurationError, CatalogError, ClassifierError)
FATAL_IN_WORKER = (StoreError, ClassifierError, WorkerUnfit)
FORESEEN = (*USAGE, StoreError, WorkerUnfit, PoolError, ClusterError, RunFailed)
