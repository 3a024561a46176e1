"""Ray, started quietly on this machine's loopback, or an existing cluster by address."""

import logging
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from visual_summaries.pipeline.runtime.failures import ClusterError
from visual_summaries.pipeline.runtime.settings import RaySettings

OBJECT_STORE_BYTES = 256 * 2**20
CONNECTION_SECONDS = 5.0
LOOPBACK_VARIABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


@contextmanager
def ray_session(settings: RaySettings) -> Iterator[dict[str, float]]:
    """Yield the cluster's resources, or those that it may come to; shut down on leaving whatever was started here.

    Without an address a private Ray is started whose sockets all listen on loopback.

    Raises:
        ClusterError: the cluster does not answer, or refuses the token.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    local = settings.address is None
    # Ray binds all interfaces unless it thinks that it runs where clusters are not supported. Its daemons read
    # the variable, this process the constant, which may have been made before the variable was set. On a cluster
    # that was started so (a test's), its own jobs find the variable set.
    before = os.environ.get(LOOPBACK_VARIABLE)
    os.environ[LOOPBACK_VARIABLE] = "0" if local else before or "1"
    if not local:
        _check_reachable(settings.address)
    import ray
    from ray._private import ray_constants

    ray_constants.ENABLE_RAY_CLUSTER = os.environ[LOOPBACK_VARIABLE] != "0"
    already = ray.is_initialized()
    try:
        if already:
            pass
        elif local:
            ray.init(
                address="local",
                num_cpus=settings.cpus,
                num_gpus=settings.gpus,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=os.environ.get("RAY_TMPDIR") or os.path.join(tempfile.gettempdir(), "ray"),
            )
        else:
            ray.init(address=settings.address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        # Ray raises exceptions of no particular class, too, of a node that does not start in time.
        raise ClusterError(_unreachable(settings.address, error)) from error
    try:
        _interrupt_on_termination()
        yield resources_now(settings)
    finally:
        if not already:
            ray.shutdown()
        if before is None:
            del os.environ[LOOPBACK_VARIABLE]
        else:
            os.environ[LOOPBACK_VARIABLE] = before


def resources_now(settings: RaySettings) -> dict[str, float]:
    """What the cluster has now, or may come to; Ray must have been started."""
    import ray

    found = ray.cluster_resources()
    return found if settings.address is None else _grown(found, settings)


def _grown(found: Mapping[str, float], settings: RaySettings) -> dict[str, float]:
    """What the cluster has or, where the settings say that it will have more, may come to."""
    declared = {"CPU": float(settings.cpus or 0), "GPU": settings.gpus or 0.0}
    more = {name: amount for name, amount in declared.items() if amount > found.get(name, 0)}
    if not more:
        return dict(found)
    # How much memory comes with them is not known.
    return {name: amount for name, amount in found.items() if name != "memory"} | more


def _interrupt_on_termination() -> None:
    """Take SIGTERM, by which jobs and pods are stopped, for Ctrl-C; Ray's own handler ends without a word."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _check_reachable(address: str) -> None:
    """Fail at once when nothing listens at host:port; Ray itself would end the process after a minute."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECTION_SECONDS).close()
    except OSError as error:
        raise ClusterError(_unreachable(address, error)) from None


def _unreachable(address: str | None, error: Exception) -> str:
    advice = (
        "Check the address; a cluster with token authentication needs RAY_AUTH_MODE=token and RAY_AUTH_TOKEN "
        "(or RAY_AUTH_TOKEN_PATH) in the environment."
        if address
        else "The machine may be busy: run the same again. If it fails again, check that there are free processors, "
        "memory and room in the temporary folder (RAY_TMPDIR)."
    )
    return f"cannot start or reach Ray at {address or 'this machine'}: {error}\n{advice}"
