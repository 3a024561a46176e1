"""How long a unit may take without progress, and what is not held against a worker."""

import pytest

from visual_summaries.pipeline.runtime.units import Unit
from visual_summaries.pipeline.runtime.vigil import Stall, Vigil, patience

SMALL = Unit("a", (), size=16)
LARGE = Unit("a", (), size=1000, quadratic=True)


class Times:
    """A vigil over the workers `small` and `large`, and a clock that stands still until it is moved."""

    def __init__(self, timeout: float = 10.0, silence: float = 600.0) -> None:
        self.now = 0.0
        self.vigil = Vigil(timeout, silence, lambda: self.now)
        self.vigil.begin("small", SMALL)
        self.vigil.begin("large", LARGE)

    def go(self, seconds: int, moved: tuple[str, ...] = (), heard: tuple[str, ...] = ("small", "large")) -> list[Stall]:
        """What is told in so many seconds, in which the board answers every second."""
        found = []
        for _ in range(seconds):
            self.now += 1
            self.vigil.answered(moved, heard)
            stalls = list(self.vigil.stalls())
            for stall in stalls:
                if stall.over:
                    self.vigil.end(stall.worker)
            found += stalls
        return found


def test_the_time_of_a_large_class_grows_with_its_square() -> None:
    assert patience(SMALL, 10.0) == 10.0
    assert patience(Unit("a", (), size=500, quadratic=True), 10.0) == 10.0
    assert patience(LARGE, 10.0) == 40.0
    # Many images one by one tell of each.
    assert patience(Unit("a", (), size=1000), 10.0) == 10.0


def test_a_stall_is_told_before_and_when_it_is_over() -> None:
    times = Times()
    told = [(stall.worker, stall.reason, stall.over) for stall in times.go(45)]
    assert told == [
        ("small", "no progress for 6 s; it is given up after 10 s", False),
        ("large", "no progress for 6 s; it is given up after 40 s", False),
        ("small", "no progress for 11 s", True),
        ("large", "no progress for 41 s", True),
    ]


def test_who_moves_is_left_alone_and_warned_of_again_after_it_moved() -> None:
    times = Times()
    assert times.go(100, moved=("small", "large")) == []
    assert [stall.seconds for stall in times.go(8, moved=("large",))] == [6.0]
    assert times.go(1, moved=("small", "large")) == []
    assert [(stall.worker, stall.seconds) for stall in times.go(8, moved=("large",))] == [("small", 6.0)]


def test_a_worker_without_a_heartbeat_is_given_up_though_its_class_may_take_longer() -> None:
    times = Times(timeout=1000.0, silence=30.0)
    found = times.go(40, heard=("small",))
    assert [(stall.worker, stall.over) for stall in found] == [("large", True)]
    assert found[0].reason == "no sign of life for 31 s: its process is frozen or its node out of reach"


def test_a_stall_says_whether_the_worker_lives() -> None:
    times = Times(timeout=30.0)
    found = [stall for stall in times.go(31, heard=("large",)) if stall.over]
    assert [stall.reason for stall in found] == ["no progress for 31 s, nor a sign of life for 31 s"]


@pytest.mark.parametrize("gap", [50.0, 86400.0])
def test_what_passes_while_nobody_listens_is_not_held_against_the_workers(gap: float) -> None:
    """The driver was frozen, or a laptop asleep, for longer than any unit may take."""
    times = Times(timeout=30.0, silence=30.0)
    times.go(10)
    times.now += gap
    assert [stall for stall in times.go(5, heard=()) if stall.over] == []
    assert [stall for stall in times.go(5) if stall.over] == []
