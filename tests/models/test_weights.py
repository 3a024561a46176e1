"""Weights files: what is read, and what damaged, foreign and dangerous files say."""

import json
import os
import pickle
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from visual_summaries.pipeline.models.classifier import ClassifierError
from visual_summaries.pipeline.models.weights import classes_in, read_weights


class RunsACommand:
    def __reduce__(self) -> tuple:
        return os.system, ("touch pickle_ran",)


def test_reads_every_form_as_float32(tmp_path: Path) -> None:
    tensors = {"a": torch.tensor([1.5, -2.0], dtype=torch.float16), "steps": torch.tensor(3)}
    save_file(tensors, tmp_path / "a.safetensors")
    torch.save(tensors, tmp_path / "a.pt")
    torch.save({"epoch": 3, "model": tensors}, tmp_path / "a.pth")
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
        ({5: torch.zeros(1)}, "rather than tensors by name"),
        ({("a",): torch.zeros(1)}, "rather than tensors by name"),
        ({"a": torch.zeros(1).expand(10**12)}, "a has 1000000000000 values, more than are stored"),
        ({"a": torch.zeros(3).as_strided((10**6, 10**6), (0, 0))}, "more than are stored"),
        ({"a": torch.eye(3).to_sparse_coo()}, "a is sparse"),
        ({"a": torch.empty(10**9, device="meta")}, "without values"),
        ({"a": torch.zeros(1, dtype=torch.complex64)}, "values of the type torch.complex64"),
    ):
        torch.save(content, tmp_path / "a.pt")
        with pytest.raises(ClassifierError, match=message):
            read_weights(tmp_path / "a.pt")
    with pytest.raises(ClassifierError, match="must end in .safetensors"):
        (tmp_path / "a.onnx").write_bytes(b"x")
        read_weights(tmp_path / "a.onnx")


def test_what_the_readers_raise_for_damaged_bytes_is_a_message(tmp_path: Path) -> None:
    damaged = {
        "stack.pth": b"\x80\x02.",
        "mark.pth": b"\x80\x02e.",
        "memory.pth": b"\x80\x02\x8a\x7f" + b"\xff" * 126 + b"\x7f.",
        "type.safetensors": header({"a": {"dtype": "F6_E2M3", "shape": [4], "data_offsets": [0, 3]}}) + b"\0\0\0",
        "half.safetensors": header({"a": {"dtype": "F4", "shape": [2], "data_offsets": [0, 1]}}) + b"\0",
        "overlap.safetensors": header({n: {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]} for n in "ab"}) + b"\0",
        "size.safetensors": header({"a": {"dtype": "U8", "shape": [2**62, 4], "data_offsets": [0, 1]}}) + b"\0",
        "length.safetensors": struct.pack("<Q", 2**63) + b"{}",
    }
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ClassifierError, match="truncated(,| or not)|type torch.float4"):
            read_weights(tmp_path / name)


def header(content: dict) -> bytes:
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text


def test_classes_in_a_file() -> None:
    network = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 10))

    def state(hidden: int, classes: int) -> dict:
        return nn.Sequential(nn.Linear(4, hidden), nn.Linear(hidden, classes)).state_dict()

    assert classes_in(state(6, 3), network, 10) == 3
    assert classes_in(state(6, 10), network, 10) == 10
    assert classes_in(state(5, 3), network, 10) == 10
