"""Weights files: what is read, and what damaged, foreign and dangerous files say."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pipeline.models.classifier import ClassifierError
from pipeline.models.weights import classes_in, read_weights


class RunsACommand:
    def __reduce__(self) -> tuple:
        return os.system, ("touch pickle_ran",)


def test_reads_every_form_as_float32(tmp_path: Path) -> None:
    tensors = {"a": torch.tensor([1.5, -2.0], dtype=torch.float16), "steps": torch.tensor(3)}
    save_file(tensors, tmp_path / "a.safetensors")
    torch.save(tensors, tmp_path / "a.pt")
    torch.save({"epoch": 3, "model": {f"module.{k}": v for k, v in tensors.items()}}, tmp_path / "a.pth")
    for name in ("a.safetensors", "a.pt", "a.pth"):
        state = read_weights(tmp_path / name)
        assert set(state) == {"a", "steps"} and state["steps"].item() == 3
        assert state["a"].dtype == torch.float32 and state["a"].tolist() == [1.5, -2.0]


@pytest.mark.parametrize("new_format", [True, False])
def test_code_in_a_pickle_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_format: bool) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": RunsACommand()}, "evil.pt", _use_new_zipfile_serialization=new_format)
    with pytest.raises(ClassifierError, match=r"Python objects \((posix|nt).system\).*state_dict"):
        read_weights(Path("evil.pt"))
    assert not (tmp_path / "pickle_ran").exists()
    pickle.loads(pickle.dumps(RunsACommand()))
    assert (tmp_path / "pickle_ran").exists(), "the pickle was dangerous"


def test_bare_pickle_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("evil.pt").write_bytes(pickle.dumps({"a": RunsACommand()}))
    with pytest.raises(ClassifierError, match="evil.pt"):
        read_weights(Path("evil.pt"))
    assert not Path("pickle_ran").exists()


def test_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(ClassifierError, match=r"\(torch.nn.modules.linear.Linear\)"):
        read_weights(tmp_path / "module.pt")


def test_damaged_files(tmp_path: Path) -> None:
    save_file({"a": torch.rand(1000)}, tmp_path / "a.safetensors")
    torch.save({"a": torch.rand(1000)}, tmp_path / "a.pt")
    for name in ("a.safetensors", "a.pt"):
        whole = (tmp_path / name).read_bytes()
        for content, message in ((whole[: len(whole) // 2], "truncated"), (b"", "empty"), (b"<html>", "not a")):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(ClassifierError, match=message) as raised:
                read_weights(tmp_path / name)
            assert str(tmp_path / name) in str(raised.value) and "\n" not in str(raised.value)


def test_foreign_contents(tmp_path: Path) -> None:
    for content, message in (
        ([torch.zeros(1)], "holds list"),
        ({"a": 1}, "holds dict"),
        ({}, "no weights"),
        ({"a": torch.tensor([1.0, float("nan")])}, "a holds values that are not finite"),
    ):
        torch.save(content, tmp_path / "a.pt")
        with pytest.raises(ClassifierError, match=message):
            read_weights(tmp_path / "a.pt")
    with pytest.raises(ClassifierError, match="must end in .safetensors"):
        (tmp_path / "a.onnx").write_bytes(b"x")
        read_weights(tmp_path / "a.onnx")


def test_classes_in_a_file() -> None:
    network = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 10))

    def state(hidden: int, classes: int) -> dict:
        return nn.Sequential(nn.Linear(4, hidden), nn.Linear(hidden, classes)).state_dict()

    assert classes_in(state(6, 3), network, 10) == 3
    assert classes_in(state(6, 10), network, 10) == 10
    assert classes_in(state(5, 3), network, 10) == 10
