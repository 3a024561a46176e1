"""Batch norms folded into the convolutions before them: the same function in fewer steps."""

import copy
from collections import Counter

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


def fold_batch_norms(module: nn.Module) -> tuple[nn.Module, int]:
    """A copy of a network, for evaluation, in which batch norms are part of convolutions where they can be; how many.

    Those are the ones that get the output of a convolution which nothing else gets, each called once in a forward pass,
    as the network's graph shows. An identity takes their place: every other submodule is called as before, by the same
    name, so that hooks find what they look for. Only what such a convolution gives is different: what its batch norm
    gave.

    Raises:
        Exception: whatever tracing the network's graph runs into (`torch.fx`): control flow on data, tensors of a class
            of their own, a network that cannot be copied.
    """
    module = copy.deepcopy(module).eval().requires_grad_(False)
    pairs = _foldable(module)
    for convolution, norm in pairs:
        convolution.weight, convolution.bias = fuse_conv_bn_weights(
            convolution.weight,
            convolution.bias,
            norm.running_mean,
            norm.running_var,
            norm.eps,
            norm.weight,
            norm.bias,
        )
    gone = {norm for _, norm in pairs}
    for name, layer in list(module.named_modules(remove_duplicate=False)):
        if layer in gone:
            module.set_submodule(name, nn.Identity())
    return module, len(pairs)


def _foldable(module: nn.Module) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    calls = [node for node in fx.Tracer().trace(module).nodes if node.op == "call_module"]
    times = Counter(module.get_submodule(node.target) for node in calls)
    pairs = []
    for node in calls:
        norm, source = module.get_submodule(node.target), node.args[0] if node.args else None
        if type(norm) is not nn.BatchNorm2d or not isinstance(source, fx.Node) or source.op != "call_module":
            continue
        convolution = module.get_submodule(source.target)
        # Not subclasses, which may compute something else, and no weights that are made anew at every pass.
        if type(convolution) is not nn.Conv2d or "weight" not in dict(convolution.named_parameters(recurse=False)):
            continue
        alone = len(source.users) == 1 and times[norm] == times[convolution] == 1
        if alone and norm.running_mean is not None:
            pairs.append((convolution, norm))
    return pairs
