"""A weights file's names made those of the network: wrappers' prefixes, names of older versions, what goes along."""

from __future__ import annotations

import re
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from visual_summaries.pipeline.models.containers import Weights

# Names of older files, where the network has none such: torchvision's DenseNet, and TensorFlow's in layer norms.
RENAMED = (
    (re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"\.gamma$"), ".weight"),
    (re.compile(r"\.beta$"), ".bias"),
)
# What training loops store among the weights and no network needs.
ALONG = re.compile(
    r"(optimi[sz]ers?|optim|(lr_)?schedulers?|scaler|criterion|loss|loss_fn|loss_func|metrics?)\..*"
    r"|(.*\.)?(n_averaged|num_updates|decay)|epoch|step|global_step"
)
COUNTER = "num_batches_tracked"


def named_as(state: Mapping[str, Tensor], module: nn.Module) -> Weights:
    """The same tensors under the names that the network has for them, where that is beyond doubt.

    A prefix (`module.`, `model.`, `_orig_mod.`, several of them, or any other) that all or some names have is taken
    off, or put on where the network has it and the file has not, if then every tensor of the network has exactly one in
    the file; where some are lacking, the prefix that most have. Counters of batch norms that old files lack are set to
    zero, and tensors that the network has under two names are given both. What belongs to an optimizer, a loss or an
    average is left out. All other names stay as they are.

    Raises:
        ValueError: the network is there more than once; the message begins with "holds".
    """
    expected = module.state_dict()
    state = _with_new_names(state, expected)
    required = {name for name in expected if not name.endswith(COUNTER)} - _shared(module, expected, state)
    prefix, added = _prefix(state, set(expected), required)
    named = Weights()
    for name, tensor in state.items():
        own = name.removeprefix(prefix)
        if added and added + own in expected:
            own = added + own
        if own not in expected and ALONG.fullmatch(name):
            continue
        if own in named:
            raise ValueError(f"holds {own} twice, as {prefix}{own} as well; save one network alone")
        named[own] = tensor
    for name, tensor in expected.items():
        if name.endswith(COUNTER) and name not in named:
            named[name] = tensor.new_zeros(tensor.shape)
    _share(module, named)
    named.container = getattr(state, "container", ())
    versions = getattr(state, "_metadata", None)
    if versions is not None:
        moved: OrderedDict[str, dict[str, Any]] = OrderedDict()
        for name, version in versions.items():
            own = f"{name}.".removeprefix(prefix).removesuffix(".")
            moved[added + own if own else added.removesuffix(".")] = version
        named._metadata = moved
    return named


def _prefix(state: Mapping[str, Tensor], names: set[str], required: set[str]) -> tuple[str, str]:
    """(prefix to take off the names that have it, prefix to put on)."""
    covered: dict[str, set[str]] = defaultdict(set)
    for key in state:
        for before, name in _ends(key):
            if name in names:
                covered[before].add(name)
    if required <= covered[""]:
        return "", ""
    whole = [before for before, found in covered.items() if required <= found]
    if len(whole) > 1:
        raise ValueError(
            f"holds the network {len(whole)} times, as {', '.join(f'{one}…' for one in whole)}; save one of them alone"
        )
    if whole:
        return whole[0], ""
    bare = covered.pop("")
    best = max(covered, key=lambda before: len(covered[before]), default="")
    if best and required <= covered[best] | bare and not covered[best] & bare:
        return best, ""
    lacking: dict[str, set[str]] = defaultdict(set)
    for name in names:
        for before, key in _ends(name):
            if before and key in state:
                lacking[before].add(name)
    put_on = [before for before, found in lacking.items() if required <= found]
    if len(put_on) == 1:
        return "", put_on[0]
    return (best if best and len(covered[best]) > max(len(bare), len(required) / 2) else ""), ""


def _ends(name: str) -> Iterator[tuple[str, str]]:
    """A name in two at each of its dots, and whole: ("", "a.b"), ("a.", "b")."""
    yield "", name
    for dot in re.finditer(r"\.", name):
        yield name[: dot.end()], name[dot.end() :]


def _with_new_names(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> Weights:
    renamed = Weights()
    for name, tensor in state.items():
        new = name
        if not _known(name, expected):
            candidates = (pattern.sub(by, name) for pattern, by in RENAMED)
            new = next((one for one in candidates if one not in state and _known(one, expected)), name)
        renamed[new] = tensor
    renamed.container, renamed._metadata = getattr(state, "container", ()), getattr(state, "_metadata", None)
    return renamed


def _known(name: str, expected: Mapping[str, Tensor]) -> bool:
    return any(end in expected for _, end in _ends(name))


def _groups(module: nn.Module) -> list[list[str]]:
    """Names under which the network has one and the same tensor."""
    names: dict[int, list[str]] = defaultdict(list)
    for name, tensor in module.state_dict(keep_vars=True).items():
        if isinstance(tensor, Tensor):
            names[id(tensor)].append(name)
    return [group for group in names.values() if len(group) > 1]


def _shared(module: nn.Module, expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> set[str]:
    """Names that a file may lack, as it has the tensor under another one."""
    ends = {end for name in state for _, end in _ends(name) if end in expected}
    return {name for group in _groups(module) if ends & {*group} for name in group if name not in ends}


def _share(module: nn.Module, named: Weights) -> None:
    for group in _groups(module):
        there = next((name for name in group if name in named), None)
        if there is not None:
            for name in group:
                named.setdefault(name, named[there])
