"""What lies in a run's folder was made by the network that answered so, under the name that it was given first."""

import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.stages.networks import FILE, network_name
from pipeline.store.tables import StoreError

ANSWERS = np.linspace(-3, 5, 300).astype(np.float32)


def test_a_network_keeps_its_name_on_another_processor(tmp_path) -> None:
    first = network_name(tmp_path, "weights", ANSWERS, remember=True)
    rounded = ANSWERS + np.random.default_rng(0).normal(size=300).astype(np.float32) * 1e-5
    assert network_name(tmp_path, "weights", rounded) == network_name(tmp_path, "weights", ANSWERS) == first
    assert network_name(tmp_path / "elsewhere", "weights", rounded) != first
    # Not one step after another away from where it was.
    for step in range(1, 12):
        network_name(tmp_path, "weights", ANSWERS + step * 1e-3, remember=True)
    assert len({network_name(tmp_path, "weights", ANSWERS + step * 1e-3) for step in range(12)}) > 1


def test_other_weights_or_other_answers_are_another_network(tmp_path) -> None:
    names = [
        network_name(tmp_path, "weights", ANSWERS, remember=True),
        network_name(tmp_path, "others", ANSWERS, remember=True),
        network_name(tmp_path, "weights", ANSWERS * 0.99, remember=True),
        network_name(tmp_path, "weights", ANSWERS[:-1], remember=True),
    ]
    assert len(set(names)) == 4
    assert names[0] == network_name(tmp_path, "weights", ANSWERS)
    assert len(json.loads((tmp_path / FILE).read_text())["networks"]) == 4


def test_only_who_may_write_writes(tmp_path) -> None:
    network_name(tmp_path / "out", "weights", ANSWERS)
    assert list(tmp_path.iterdir()) == []
    assert network_name(Path("/dev/null/out"), "weights", ANSWERS) == network_name(tmp_path, "weights", ANSWERS)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[]", b"{}", b'{"networks": 3}', b'{"networks": [{"name": "a"}]}', b"[" * 100_000,
     b'{"networks": [{"name": "a", "weights": "weights", "answers": ["x"]}]}'],
)  # fmt: skip
def test_a_damaged_list_is_begun_anew(tmp_path, content: bytes) -> None:
    expected = network_name(tmp_path, "weights", ANSWERS, remember=True)
    (tmp_path / FILE).write_bytes(content)
    assert network_name(tmp_path, "weights", ANSWERS, remember=True) == expected
    assert len(json.loads((tmp_path / FILE).read_text())["networks"]) == 1


def test_a_list_that_cannot_be_read_is_named(tmp_path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(StoreError, match="cannot read .*networks.json"):
        network_name(tmp_path, "weights", ANSWERS)
