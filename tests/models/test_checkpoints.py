"""Checkpoints as training loops leave them: loaded into the network that they are of, or refused by what was found."""

import re
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file, save_model
from torch import Tensor, nn

from visual_summaries.pipeline.models.classifier import ClassifierError
from visual_summaries.pipeline.models.loading import load_classifier
from visual_summaries.pipeline.models.weights import fit_weights, read_weights


class Small(nn.Module):
    """A convolution, a batch norm, a mask that is infinite on purpose, and a head."""

    def __init__(self, classes: int = 4, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv = nn.Conv2d(3, 5, 3)
        self.norm = nn.BatchNorm2d(5)
        self.head = nn.Linear(5, classes)
        self.register_buffer("mask", torch.full((4, 4), float("-inf")).triu_(1))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.norm(self.conv(images)).relu().mean(dim=(2, 3)))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight


TRUE = Small(seed=1).state_dict()


def prefixed(prefix: str, state: dict[str, Tensor] = TRUE) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def loaded(path: Path, content: object, network: nn.Module | None = None) -> dict[str, Tensor]:
    """The state of a network after a file of this content has been loaded into it."""
    save_file(content, path) if path.suffix == ".safetensors" else torch.save(content, path)
    network = Small() if network is None else network
    fit_weights(network, read_weights(path), path, "the network")
    return network.state_dict()


def same(found: dict[str, Tensor], expected: dict[str, Tensor] = TRUE) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


AVERAGED = Small(seed=2).state_dict()
LOOP = {"epoch": 3, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}}
KINDS = {
    "plain": TRUE,
    "parallel": prefixed("module."),
    "compiled": prefixed("_orig_mod."),
    "compiled and parallel": {"epoch": 3, "state_dict": prefixed("module._orig_mod.")},
    "Lightning": {**LOOP, "pytorch-lightning_version": "2.4.0", "state_dict": prefixed("model.")},
    "Lightning with a loss": {"state_dict": prefixed("model.") | {"criterion.weight": torch.ones(4)}},
    "averaged model": prefixed("module.") | {"n_averaged": torch.tensor(5)},
    "backbone": prefixed("backbone."),
    "a prefix of one's own": prefixed("my_very.own.network."),
    "on some names only": {("module." if "conv" in name else "") + name: one for name, one in TRUE.items()},
    "net": {"net": TRUE, "acc": 71.0, "epoch": 3},
    "model in a state": {"state": {"model": prefixed("module.")}, "step": 7},
    "unknown name": {"the_weights_i_like": TRUE, **LOOP},
    "numbers among them": TRUE | {"epoch": 3, "arch": "small"},
    "optimizer in one file": TRUE | {"optimizer.state.0.exp_avg": torch.zeros(2), "epoch": torch.tensor(1)},
    "channels last": {n: t.to(memory_format=torch.channels_last) if t.ndim == 4 else t for n, t in TRUE.items()},
    "without counters": {name: one for name, one in TRUE.items() if "num_batches" not in name},
    "convolution as head": TRUE | {"head.weight": TRUE["head.weight"][..., None, None]},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_good_checkpoint_is_loaded(kind: str, tmp_path: Path) -> None:
    content = KINDS[kind]
    for suffix in (".pth", ".pth.tar", ".ckpt", ".bin"):
        assert same(loaded(tmp_path / f"a{suffix}", content))
    # Such files hold tensors by name and nothing else.
    tensors = {name: one.contiguous() for name, one in content.items() if isinstance(one, Tensor)}
    assert not tensors or same(loaded(tmp_path / "a.safetensors", tensors))


def test_averaged_weights_go_before_others_and_are_named(tmp_path: Path) -> None:
    content = {"state_dict": TRUE, "state_dict_ema": prefixed("module.", AVERAGED), **LOOP}
    assert same(loaded(tmp_path / "a.pth", content), AVERAGED)
    state = torchvision.models.squeezenet1_1(num_classes=2).state_dict()
    torch.save({"state_dict": state, "model_ema": state}, tmp_path / "b.pth")
    torch.save({"state_dict": state}, tmp_path / "c.pth")
    named = [load_classifier("torchvision:squeezenet1_1", tmp_path / f"{name}.pth").name for name in "bc"]
    assert named == ["torchvision:squeezenet1_1 (b.pth, model_ema)", "torchvision:squeezenet1_1 (c.pth)"]


def test_a_file_without_the_prefix_that_the_network_has(tmp_path: Path) -> None:
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = Small()

    assert same(loaded(tmp_path / "a.pth", TRUE, Wrapper()), prefixed("model."))


def test_tensors_that_the_network_has_twice_may_be_stored_once(tmp_path: Path) -> None:
    source, network = Tied(), Tied()
    save_model(source, str(tmp_path / "a.safetensors"))
    stored = read_weights(tmp_path / "a.safetensors")
    assert len(stored) == 3
    fit_weights(network, stored, "a", "tied")
    assert same(network.state_dict(), source.state_dict()) and network.first.weight is network.second.weight


def test_half_precision(tmp_path: Path) -> None:
    for dtype in (torch.float16, torch.bfloat16):
        halves = {n: t.to(dtype) if t.is_floating_point() else t for n, t in TRUE.items()}
        expected = {n: t.float() if t.is_floating_point() else t for n, t in halves.items()}
        assert same(loaded(tmp_path / "a.safetensors", halves), expected)


REFUSED = {
    "infinite weight": (
        TRUE | {"head.bias": torch.full((4,), float("inf"))},
        "head.bias holds values that are not fin",
    ),
    "mask elsewhere": (TRUE | {"mask": torch.full((4, 4), float("-inf"))}, "mask holds values that are not finite"),
    "no number": (TRUE | {"mask": torch.full((4, 4), float("nan"))}, "mask holds values that are not finite"),
    "quantized": (TRUE | {"conv.weight": TRUE["conv.weight"].to(torch.int8)}, "conv.weight holds int8 .*quantized"),
    "two networks": (
        prefixed("student.") | prefixed("teacher."),
        r"holds the network 2 times, as student\.…, teacher\.…; save one",
    ),
    "two unknown names": ({"first": TRUE, "second": TRUE}, "holds weights more than once, as first, second"),
    "one name twice": (prefixed("model.") | {"head.bias": torch.ones(4)}, "holds head.bias twice, as model.head.bias"),
    "head of another size": (Small(7).state_dict(), r"a network with 7 classes, this one has 4: build it with 7"),
    "head of several layers": (
        {n: t for n, t in TRUE.items() if "head" not in n}
        | prefixed("head.", nn.Sequential(nn.Dropout(), nn.Linear(5, 4)).state_dict()),
        r"2 missing \(head.weight, head.bias\); 2 unexpected .*several layers in place of 'head'",
    ),
    "more than the network": (TRUE | {"conv2.weight": torch.ones(3)}, r"1 unexpected \(conv2.weight\)"),
    "lacking under a prefix": (
        {name: one for name, one in prefixed("model.").items() if "head" not in name},
        r"2 missing \(head.weight, head.bias\)\. ",
    ),
    "nothing": ({"epoch": 3, "history": [1, 2]}, r"holds dict of epoch \(int\), history \(list\) rather than"),
    "arguments": ({"state_dict": TRUE, "args": Namespace(lr=1)}, r"\(argparse.Namespace\).*\['state_dict'\]"),
    "a number of numpy's": ({"state_dict": TRUE, "best": np.float64(71.2)}, r"\(numpy\S*scalar\)"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_fit_is_refused_by_what_was_found(kind: str, tmp_path: Path) -> None:
    content, said = REFUSED[kind]
    with pytest.raises(ClassifierError, match=said) as raised:
        loaded(tmp_path / "a.pth", content)
    assert "a.pth" in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_network_that_asks_for_the_version_of_its_file(tmp_path: Path, wrapped: bool) -> None:
    """torchvision's MNASNet refuses files that do not say, and rebuilds itself for those of version 1."""
    torch.manual_seed(0)
    network = torchvision.models.mnasnet0_5(num_classes=3)
    state = nn.DataParallel(network).state_dict() if wrapped else network.state_dict()
    assert state._metadata["module" if wrapped else ""]["version"] == 2
    torch.save(state, tmp_path / "a.pth")
    save_file(dict(state), tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        assert same(
            load_classifier("torchvision:mnasnet0_5", tmp_path / name).module.state_dict(), network.state_dict()
        )
    old = Old()
    fit_weights(old, read_with_version(tmp_path / "old.pth", 1), "old.pth", "old")
    assert old.weight.tolist() == [2.0]
    fit_weights(old, read_with_version(tmp_path / "new.pth", 2), "new.pth", "old")
    assert old.weight.tolist() == [1.0]


class Old(nn.Module):
    """Doubles what files of its first version hold."""

    _version = 2

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *others) -> None:  # noqa: ANN001, ANN002
        if local_metadata.get("version", 1) < 2:
            state_dict[prefix + "weight"] = state_dict[prefix + "weight"] * 2
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *others)


def read_with_version(path: Path, version: int) -> dict[str, Tensor]:
    state = OrderedDict({"module.weight": torch.ones(1)})
    state._metadata = OrderedDict({"": {"version": 1}, "module": {"version": version}})
    torch.save(state, path)
    return read_weights(path)


def test_names_of_torchvisions_first_densenets(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = torchvision.models.DenseNet(4, (2, 2), 8)
    expected = network.state_dict()
    old = {re.sub(r"(denselayer\d+\.(?:norm|relu|conv))([12]\.)", r"\1.\2", n): t for n, t in expected.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.manual_seed(1)
    found = loaded(
        tmp_path / "a.pth", {"state_dict": prefixed("module.", old)}, torchvision.models.DenseNet(4, (2, 2), 8)
    )
    assert same(found, expected)
