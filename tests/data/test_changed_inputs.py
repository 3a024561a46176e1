"""Some hundred changed inputs of every kind, of the many thousand that `benchmarks/fuzz_inputs.py` tries."""

import random
import warnings
from pathlib import Path

import pytest
from changed_inputs import READ, TOLD, Kind, Wrong, changed, check, kinds

from visual_summaries.pipeline.data.catalog import CatalogError

TRIED = 150


@pytest.fixture(autouse=True)
def no_warnings():  # noqa: ANN201
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", kinds())
def test_each_is_read_or_refused_with_a_message(tmp_path: Path, name: str) -> None:
    kind = kinds()[name]
    assert {check(kind, seed, tmp_path) for seed in kind.seeds} == {READ}
    fates = [check(kind, changed(kind, random.Random(f"test {name} {number}")), tmp_path) for number in range(TRIED)]
    assert fates.count(TOLD) > TRIED / 3


def bad(path: Path) -> None:
    raise {b"other": KeyError("x"), b"silent": CatalogError(""), b"endless": RecursionError()}[path.read_bytes()]


@pytest.mark.parametrize("content", [b"other", b"silent", b"endless"])
def test_what_is_wrong_is_noticed(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(Wrong):
        check(Kind("bad", ".txt", (), bad), content, tmp_path)


def test_changes_follow_from_the_seed_alone() -> None:
    for kind in kinds().values():
        one, same, other = (changed(kind, random.Random(seed)) for seed in (1, 1, 2))
        assert kind.name == "checkpoint" or (one == same and one != other)
