"""Torch functions by what they do to each value: which are pointwise, linear, comparisons, sums.

All are named without the underscores of their in-place variants and operators.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor

LINEAR = frozenset(
    "add subtract sub rsub neg negative positive mul multiply div divide true_divide lerp addcmul nan_to_num".split()
)
SAME = frozenset(
    "alias bfloat16 clone contiguous cpu cuda data detach double float half requires_grad to type type_as".split()
)
INTEGERS = frozenset("int long short byte char".split())
MORE_POINTWISE = frozenset("and invert or prelu prelu_kernel rdiv rpow rsub rtruediv xor".split())
# Their results pass no gradient.
STEPS = frozenset(
    "and ceil eq floor ge greater greater_equal gt heaviside invert isfinite isinf isnan le less less_equal lt ne "
    "not_equal or round sgn sign trunc xor".split()
)
POWERS = frozenset("abs absolute float_power pow rsqrt sqrt square".split())
EXPONENTIALS = frozenset("exp exp2 log log10 log1p log2 reciprocal rdiv rpow rtruediv".split())
REDUCTIONS = frozenset(
    "amax amin cumsum linalg_vector_norm logsumexp max mean min nansum norm prod std std_mean sum var var_mean "
    "linalg_norm vector_norm".split()
)
SHAPES = frozenset(
    "expand expand_as flatten get getitem movedim permute reshape squeeze t transpose unflatten unsqueeze view "
    "view_as".split()
)
EXTREMES = frozenset("fmax fmin max maximum min minimum".split())
LIMITS = frozenset("clamp clamp_max clamp_min clip".split())
# Of autograd's graph, without "Backward" and number: what no activation function can be made of alone.
LINEAR_NODES = frozenset(
    "AccumulateGrad AdaptiveAvgPool2D Add Addmm Alias AsStrided AvgPool2D Baddbmm Bmm Cat Clone Convolution "
    "CudnnBatchNorm Expand Linear MaxPool2DWithIndices Mean Mm NativeBatchNorm NativeGroupNorm NativeLayerNorm Neg "
    "Permute Repeat ReshapeAlias Select Slice Softmax Split SplitWithSizes Squeeze Stack Sub Sum T ToCopy Transpose "
    "Unbind UnsafeView Unsqueeze View".split()
)


@cache
def is_pointwise(name: str) -> bool:
    """Whether each value that a torch function of this name gives depends on the values in the same place alone."""
    if name in MORE_POINTWISE or (name.startswith("special_") and "softmax" not in name and "logsumexp" not in name):
        return True
    packet = getattr(torch.ops.aten, name, None)
    overloads = packet.overloads() if packet is not None else []
    return any(torch.Tag.pointwise in getattr(packet, overload).tags for overload in overloads)


def of_two_tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether `max` or `min` is of two tensors."""
    return len(args) > 1 and isinstance(args[1], Tensor) or isinstance(kwargs.get("other"), Tensor)


def is_over_features(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether the largest value is one of several features' in a place, as in maxout, not one of several places'."""
    dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
    keeps = kwargs.get("keepdim", args[2] if len(args) > 2 else False)
    if dim is None or keeps or not args or args[0].ndim < 2:
        return False
    dims = [one % args[0].ndim for one in (dim if isinstance(dim, tuple | list) else [dim])]
    places = args[0].ndim - 2 if args[0].ndim > 3 else args[0].ndim
    return all(one < places for one in dims) and not (args[0].ndim == 3 and dims == [1])
