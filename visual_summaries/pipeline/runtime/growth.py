"""How a cluster is told to grow: what the waiting units could use is asked of its autoscaler, while the run lives.

Ray keeps such a request until another takes its place, even when whoever made it is gone, and nodes that are asked for
never count as idle. So the request is made by a small actor that outlives the run by a minute at most: where it hears
nothing for that long, it takes the request back and ends. A cluster without an autoscaler takes no notice.
"""

import contextlib
import math
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayError

LEASE_SECONDS = 60.0
RENEWED_SECONDS = 20.0
CLOSE_SECONDS = 10.0
UNITS_A_WORKER = 4
"""Units that must wait for a worker to be asked for: a node takes minutes to come."""

MOST_ASKED = 1000
"""Workers of a kind that are asked for at once at most; the autoscaler looks at each of them every few seconds."""

Needs = dict[str, float]


def needed(wanted: int, workers: int | None, needs: Mapping[str, float], most: Mapping[str, float]) -> list[Needs]:
    """What to ask for so that `wanted` units are done: as often the needs of one worker as there should be workers.

    Args:
        wanted: units that wait or are being done.
        workers: how many workers the settings allow, if they say.
        needs: of one worker, by resource; nothing of 0 is asked for.
        most: what the settings say that the cluster may come to, where they do.
    """
    needs = {name: amount for name, amount in needs.items() if amount}
    count = min(math.ceil(wanted / UNITS_A_WORKER), MOST_ASKED if workers is None else min(workers, MOST_ASKED))
    for name, amount in needs.items():
        if most.get(name):
            count = min(count, int(most[name] // amount))
    return [dict(needs) for _ in range(count)]


class Asker:
    """An actor that keeps a request for resources as long as it hears of the run, and takes it back then."""

    def __init__(self, lease: float = LEASE_SECONDS) -> None:
        self._lease = lease
        self._until = time.monotonic() + lease
        threading.Thread(target=self._watch, daemon=True).start()

    def ask(self, bundles: Sequence[Needs]) -> None:
        """Ask for these, in place of what was asked before."""
        self._until = time.monotonic() + self._lease
        _request(bundles)

    def _watch(self) -> None:
        while time.monotonic() < self._until:
            time.sleep(min(1.0, self._lease / 4))
        with contextlib.suppress(Exception):
            _request([])
        ray.kill(ray.get_runtime_context().current_actor)


def _request(bundles: Sequence[Needs]) -> None:
    # Imported late: a run on one machine has no use for it.
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=list(bundles))


class Growth:
    """What this run has asked its cluster to grow to."""

    def __init__(self, lease: float = LEASE_SECONDS) -> None:
        self._lease = lease
        self._asker: Any = None
        self._sent: Any = None
        self._asked: list[Needs] = []
        self._at = -math.inf

    def ask(self, bundles: Sequence[Needs]) -> None:
        """Let the cluster have room for all of these at once; said again now and then, others may have asked since."""
        bundles = list(bundles)
        if self._asker is None and not bundles:
            return
        if bundles == self._asked and time.monotonic() - self._at < RENEWED_SECONDS:
            return
        with contextlib.suppress(RayError):
            if self._asker is None or self._lost():
                # Detached: what a run owns is killed with it, before it could take anything back.
                options = {"num_cpus": 0, "lifetime": "detached", "namespace": "visual-summaries"}
                options["name"] = f"growth-{secrets.token_hex(8)}"
                self._asker = ray.remote(Asker).options(**options).remote(self._lease)
            self._sent = self._asker.ask.remote(bundles)
            self._asked, self._at = bundles, time.monotonic()

    def close(self) -> None:
        """Take back what was asked for."""
        if self._asker is not None:
            # Where it does not answer, it takes it back by itself.
            with contextlib.suppress(RayError):
                ray.get(self._asker.ask.remote([]), timeout=CLOSE_SECONDS)
                ray.kill(self._asker)
            self._asker = None

    def _lost(self) -> bool:
        """Whether the actor is gone, with its node for instance."""
        if self._sent is None or not ray.wait([self._sent], timeout=0)[0]:
            return False
        try:
            ray.get(self._sent)
        except RayError:
            return True
        return False
