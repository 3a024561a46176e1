"""What lies in a run's folder was made by the network that answered so, under the name that it was given first."""

import importlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.models.answers import answers
from visual_summaries.pipeline.runtime.failures import WorkerUnfit
from visual_summaries.pipeline.stages.classifier import classifier_of
from visual_summaries.pipeline.stages.context import WorkerContext, WorkerSetup
from visual_summaries.pipeline.stages.inputs import gather_inputs
from visual_summaries.pipeline.stages.networks import FILE, network_name
from visual_summaries.pipeline.stages.order import STAGES
from visual_summaries.pipeline.store.atomic import write_atomically
from visual_summaries.pipeline.store.tables import StoreError

ANSWERS = np.linspace(-3, 5, 300).astype(np.float32)


def test_a_network_keeps_its_name_on_another_processor(tmp_path) -> None:
    first = network_name(tmp_path, "weights", ANSWERS, remember=write_atomically)
    rounded = ANSWERS + np.random.default_rng(0).normal(size=300).astype(np.float32) * 1e-5
    assert network_name(tmp_path, "weights", rounded) == network_name(tmp_path, "weights", ANSWERS) == first
    assert network_name(tmp_path / "elsewhere", "weights", rounded) != first
    # Not one step after another away from where it was.
    for step in range(1, 12):
        network_name(tmp_path, "weights", ANSWERS + step * 1e-3, remember=write_atomically)
    assert len({network_name(tmp_path, "weights", ANSWERS + step * 1e-3) for step in range(12)}) > 1


def test_other_weights_or_other_answers_are_another_network(tmp_path) -> None:
    names = [
        network_name(tmp_path, "weights", ANSWERS, remember=write_atomically),
        network_name(tmp_path, "others", ANSWERS, remember=write_atomically),
        network_name(tmp_path, "weights", ANSWERS * 0.99, remember=write_atomically),
        network_name(tmp_path, "weights", ANSWERS[:-1], remember=write_atomically),
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
    expected = network_name(tmp_path, "weights", ANSWERS, remember=write_atomically)
    (tmp_path / FILE).write_bytes(content)
    assert network_name(tmp_path, "weights", ANSWERS, remember=write_atomically) == expected
    assert len(json.loads((tmp_path / FILE).read_text())["networks"]) == 1


def test_a_list_that_cannot_be_read_is_named(tmp_path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(StoreError, match="cannot read .*networks.json"):
        network_name(tmp_path, "weights", ANSWERS)


NETWORK = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(12, 4)
    def forward(self, images):
        return self.linear(torch.nn.functional.adaptive_avg_pool2d({argument}, 2).flatten(1))
def net():
    return Net()
"""


def test_results_do_not_survive_a_change_of_the_networks_code(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / "photographs" / name).mkdir(parents=True)
        Image.new("RGB", (40, 40)).save(tmp_path / "photographs" / name / "1.png")
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\n")
    config = RunConfig(
        output=str(tmp_path / "out"),
        data={"images": str(tmp_path / "photographs")},
        model={"name": "code_that_changes:net", "labels": str(tmp_path / "names.txt")},
        summaries={"sources": ["proposals"], "selection": "similarity"},
        proposals={"descriptor": "hog"},
    )

    def fingerprints(code: str) -> list[str]:
        (tmp_path / "code_that_changes.py").write_text(code)
        sys.modules.pop("code_that_changes", None)
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        importlib.invalidate_caches()
        inputs = gather_inputs(config)
        network_name(config.output.path, inputs.weights_digest, inputs.answers, remember=write_atomically)
        return [stage.fingerprint(config, inputs) for stage in STAGES]

    before = fingerprints(NETWORK.format(argument="images"))
    assert fingerprints("# A comment.\n" + NETWORK.format(argument="images.clone()")) == before
    after = fingerprints(NETWORK.format(argument="images.flip(1)"))
    changed = {stage.name for stage, old, new in zip(STAGES, before, after, strict=True) if old != new}
    assert changed == {stage.name for stage in STAGES if "classifier" in stage.depends_on}


def test_a_worker_whose_network_answers_otherwise_is_unfit() -> None:
    config = RunConfig(model={"name": "demo"})
    classifier = classifier_of(config)
    own = tuple(answers(classifier).tolist())
    setup = WorkerSetup(config, Path("out"), classifier.preprocessing, classifier.weights_digest, answers=own)
    assert WorkerContext(setup).classifier.name == classifier.name
    other = (own[0] + 0.1 * max(map(abs, own)), *own[1:])
    with pytest.raises(WorkerUnfit, match="gives other scores on this worker"):
        _ = WorkerContext(replace(setup, answers=other)).classifier
