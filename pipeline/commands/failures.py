"""The foreseeable ways in which a command ends early: each is one message to a person, without a traceback."""

from pipeline.config import ConfigurationError
from pipeline.data.catalog import CatalogError
from pipeline.models.classifier import ClassifierError
from pipeline.runtime.failures import ClusterError, PoolError, RunFailed, WorkerUnfit
from pipeline.store.tables import StoreError

USAGE = (ConfigurationError, CatalogError, ClassifierError)
RESUMABLE = (PoolError, ClusterError)
FORESEEN = (*USAGE, *RESUMABLE, StoreError, WorkerUnfit, RunFailed)
