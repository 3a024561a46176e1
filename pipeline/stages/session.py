"""Ray, started quietly on this machine's loopback, or an existing cluster by address."""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.settings import RaySettings
from pipeline.stages.failures import ClusterError

OBJECT_STORE_BYTES = 256 * 2**20


@contextmanager
def ray_session(settings: RaySettings) -> Iterator[dict[str, float]]:
    """Yield the cluster's resources; shut down on leaving whatever was started here.

    Without an address a private Ray is started whose sockets all listen on loopback. This must be decided
    before Ray is imported, hence the import inside.

    Raises:
        ClusterError: the cluster does not answer, or refuses the token.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if settings.address is None:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray

    already = ray.is_initialized()
    try:
        if already:
            pass
        elif settings.address is None:
            ray.init(
                address="local",
                num_cpus=settings.cpus,
                num_gpus=settings.gpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=OBJECT_STORE_BYTES,
                _node_ip_address="127.0.0.1",
                _temp_dir=os.environ.get("RAY_TMPDIR") or os.path.join(tempfile.gettempdir(), "ray"),
            )
        else:
            ray.init(address=settings.address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, OSError, ValueError) as error:
        where = settings.address or "this machine"
        raise ClusterError(
            f"cannot start or reach Ray at {where}: {error}\n"
            "Check the address; a cluster with token authentication needs RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH) in the environment."
        ) from error
    try:
        yield ray.cluster_resources()
    finally:
        if not already:
            ray.shutdown()
