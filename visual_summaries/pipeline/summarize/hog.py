"""Felzenszwalb's histograms of oriented gradients, the default descriptor of a proposal.

Felzenszwalb, Girshick, McAllester & Ramanan, "Object detection with discriminatively trained part-based models", PAMI
2010, §6 (31 analytic channels).
"""

from collections.abc import Iterator

import numpy as np
import torch

CHANNELS = 31
PATCH_SIDE = 80
"""Side in pixels of the patch that a proposal's crop is resized to."""

CELL = 8
"""Side of a cell in pixels."""

GROWTH = 1.0 / 8.0
"""A crop is grown by this share of its width and height on each side."""

_ORIENTATIONS = 9
# The nine unit vectors with the original program's four decimals, so that its decisions are reproduced.
_COSINES = (1.0, 0.9397, 0.7660, 0.5, 0.1736, -0.1736, -0.5, -0.7660, -0.9397)
_SINES = (0.0, 0.3420, 0.6428, 0.8660, 0.9848, 0.9848, 0.8660, 0.6428, 0.3420)
_NORM_EPSILON = 0.0001
_TRUNCATION = 0.2
_TEXTURE_WEIGHT = 0.2357
# So many patches at a time keep the intermediate arrays in the processor's cache.
_PATCHES_AT_ONCE = 16
_BOXES_AT_ONCE = 16


def felzenszwalb_hog(patches: torch.Tensor, cell: int = CELL) -> torch.Tensor:
    """31-channel HOG of images of one size.

    Args:
        patches: floating [N, H, W, 3], values 0..255. The precision of the computation is that of the input.
        cell: side of a cell in pixels.

    Returns:
        [N, round(H / cell) - 2, round(W / cell) - 2, 31], values 0..1: 18 directed orientations, 9 undirected
        ones, 4 texture energies. The outermost cells serve for normalization only. Zero cells if H or W is
        less than about three cells.

    Raises:
        ValueError: `patches` is not floating [N, H, W, 3].
    """
    if patches.ndim != 4 or patches.shape[-1] != 3 or not patches.is_floating_point():
        raise ValueError(f"HOG needs floating [N, H, W, 3] images; got {patches.dtype} {list(patches.shape)}")
    rows, columns = (int(side / cell + 0.5) for side in patches.shape[1:3])
    output = patches.new_zeros(len(patches), max(rows - 2, 0), max(columns - 2, 0), CHANNELS)
    if output.numel() == 0:
        return output
    pixels = max(patches.shape[1] * patches.shape[2], 1)
    at_once = max(1, _PATCHES_AT_ONCE * PATCH_SIDE**2 // pixels)
    if patches.is_cuda:
        at_once = max(1, 2**24 // pixels)
    for start in range(0, len(patches), at_once):
        chunk = patches[start : start + at_once].permute(0, 3, 1, 2).contiguous()
        histogram = _orientation_histogram(chunk, rows, columns, cell)
        output[start : start + at_once] = _normalized_channels(histogram)
    return output


def describe(
    image: np.ndarray | torch.Tensor, boxes: np.ndarray | torch.Tensor, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """HOG descriptor of every box of an image.

    Each box is grown by 1/8 of its width and height on each side, resized to 80 x 80 pixels and described by
    8 x 8 cells. See `crops` for the resizing.

    Args:
        image: uint8 [H, W, 3], RGB.
        boxes: [M, 4], x0, y0, x1, y1 in pixels, half-open, inside the image.
        device: where to compute.

    Returns:
        float32 [M, 1984], the cells row by row, 31 channels each; not normalized.

    Raises:
        ValueError: the image is not uint8 [H, W, 3], or a box is empty or not finite.
    """
    output = torch.empty(len(boxes), (PATCH_SIDE // CELL - 2) ** 2 * CHANNELS, device=device)
    for chosen, patches in _resized(image, boxes, PATCH_SIDE, GROWTH, device):
        output[chosen] = felzenszwalb_hog(patches).flatten(1)
    return output


def hog_map(image: np.ndarray | torch.Tensor, cell: int = CELL) -> torch.Tensor:
    """HOG of a whole image, for the background statistics of whitening.

    Args:
        image: uint8 [H, W, 3], RGB.
        cell: side of a cell in pixels.

    Returns:
        float32 [round(H / cell) - 2, round(W / cell) - 2, 31].

    Raises:
        ValueError: the image is not uint8 [H, W, 3].
    """
    return felzenszwalb_hog(_checked_image(image)[None].float(), cell)[0]


def crops(
    image: np.ndarray | torch.Tensor,
    boxes: np.ndarray | torch.Tensor,
    side: int = PATCH_SIDE,
    growth: float = GROWTH,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Grown boxes of an image, resized to one size.

    Resizing is bilinear with antialiasing, as PIL's `Image.resize(..., box=...)` does it: where a crop is
    enlarged the triangle filter spans one source pixel to each side, where it is reduced one target pixel.
    Beyond its edge the image continues with its edge pixels.

    Args:
        image: uint8 [H, W, 3].
        boxes: [M, 4], x0, y0, x1, y1 in pixels, half-open.
        side: width and height of the results in pixels.
        growth: share of width and height to add on each side of a box.
        device: where to compute.

    Returns:
        float32 [M, side, side, 3], values 0..255.

    Raises:
        ValueError: the image is not uint8 [H, W, 3], or a box is empty or not finite.
    """
    output = torch.empty(len(boxes), side, side, 3, device=device)
    for chosen, patches in _resized(image, boxes, side, growth, device):
        output[chosen] = patches
    return output


def _resized(
    image: np.ndarray | torch.Tensor,
    boxes: np.ndarray | torch.Tensor,
    side: int,
    growth: float,
    device: torch.device | str,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Box indices [m] and their crops [m, side, side, 3], some at a time, so that they stay in the cache."""
    source = _checked_image(image).to(device).permute(2, 0, 1)
    boxes = torch.as_tensor(boxes).to(device=device, dtype=torch.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes must be [M, 4]; got {list(boxes.shape)}")
    extent = boxes[:, 2:] - boxes[:, :2]
    if not bool(torch.isfinite(boxes).all() and (extent > 0).all()):
        raise ValueError("every box needs finite corners with x1 > x0 and y1 > y0")
    if len(boxes) == 0:
        return
    origin = boxes[:, :2] - growth * extent
    extent = extent * (1 + 2 * growth)
    height, width = source.shape[1:]
    # Boxes of similar size share one window size, so that little of the products is multiplication by zero.
    order = torch.argsort(extent.amax(dim=1))
    for chosen in order.split(_BOXES_AT_ONCE if source.device.type == "cpu" else 128):
        first_x, weights_x = _resizing_weights(origin[chosen, 0], extent[chosen, 0], side)
        first_y, weights_y = _resizing_weights(origin[chosen, 1], extent[chosen, 1], side)
        columns = _window_span(first_x, weights_x.shape[2])
        rows = _window_span(first_y, weights_y.shape[2])
        pixels = source.index_select(1, rows.clamp(0, height - 1))
        pixels = pixels.index_select(2, columns.clamp(0, width - 1)).float()
        tops, lefts = (first_y - rows[0]).tolist(), (first_x - columns[0]).tolist()
        windows = torch.stack(
            [
                pixels[:, top : top + weights_y.shape[2], left : left + weights_x.shape[2]]
                for top, left in zip(tops, lefts, strict=True)
            ]
        )
        narrowed = torch.bmm(windows.flatten(1, 2), weights_x.transpose(1, 2))
        narrowed = narrowed.view(len(chosen), 3, -1, side)
        yield chosen, torch.matmul(weights_y[:, None], narrowed).permute(0, 2, 3, 1)


def _checked_image(image: np.ndarray | torch.Tensor) -> torch.Tensor:
    # A copy, because pillow's arrays are read-only and PyTorch warns about those.
    tensor = torch.from_numpy(image.copy()) if isinstance(image, np.ndarray) else image
    if tensor.ndim != 3 or tensor.shape[2] != 3 or tensor.dtype != torch.uint8 or tensor.numel() == 0:
        raise ValueError(f"HOG needs an RGB image, uint8 [H, W, 3]; got {tensor.dtype} {list(tensor.shape)}")
    return tensor


def _window_span(first: torch.Tensor, length: int) -> torch.Tensor:
    """All source positions that windows of a length with the given first positions cover."""
    return torch.arange(int(first.min()), int(first.max()) + length, device=first.device)


def _resizing_weights(
    origin: torch.Tensor, extent: torch.Tensor, side: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """First source pixel [m] and weights [m, side, window] of the resize along one axis."""
    step = extent / side
    reach = step.clamp(min=1.0)
    centers = origin[:, None] + (torch.arange(side, device=origin.device) + 0.5) * step[:, None] - 0.5
    first = torch.floor(centers[:, 0] - reach).long() + 1
    last = torch.ceil(centers[:, -1] + reach).long() - 1
    length = int((last - first).max()) + 1
    relative = ((centers - first[:, None]) / reach[:, None]).float()
    positions = torch.arange(length, device=origin.device) / reach[:, None].float()
    weights = (1.0 - (positions[:, None, :] - relative[:, :, None]).abs_()).clamp_(min=0.0)
    return first, weights.div_(weights.sum(dim=2, keepdim=True))


def _orientation_histogram(image: torch.Tensor, rows: int, columns: int, cell: int) -> torch.Tensor:
    """[n, 18, rows, columns]: gradient magnitudes by direction, shared bilinearly among neighboring cells.

    `image` is [n, 3, H, W]. Every pixel counts with the strongest of its three channels' gradients.
    """
    count = len(image)
    # The cells may end before the image does, or stick out by up to half a cell: then, as in the original
    # program, the last gradients are repeated.
    y = torch.arange(1, rows * cell - 1, device=image.device)
    x = torch.arange(1, columns * cell - 1, device=image.device)
    dx = _fitted(image[:, :, 1:-1, 2:] - image[:, :, 1:-1, :-2], len(y), len(x))
    dy = _fitted(image[:, :, 2:, 1:-1] - image[:, :, :-2, 1:-1], len(y), len(x))
    energy = dx * dx + dy * dy
    strongest, best_dx, best_dy = energy[:, 0], dx[:, 0], dy[:, 0]
    for channel in (1, 2):
        # Sums of products, which are exact, because torch.where takes twenty times as long on the CPU.
        better = (energy[:, channel] > strongest).to(image.dtype)
        worse = 1 - better
        best_dx = best_dx * worse + dx[:, channel] * better
        best_dy = best_dy * worse + dy[:, channel] * better
        strongest = torch.maximum(strongest, energy[:, channel])
    bins = _directions(best_dx, best_dy)
    magnitude = strongest.sqrt()

    cells_y, share_y = _cell_shares(y, cell, image.dtype)
    cells_x, share_x = _cell_shares(x, cell, image.dtype)
    padded_rows, padded_columns = rows + 2, columns + 2
    patch = torch.arange(count, device=image.device)[:, None, None] * (2 * _ORIENTATIONS)
    target = (patch + bins) * (padded_rows * padded_columns)
    target += cells_y[:, None] * padded_columns + cells_x
    histogram = image.new_zeros(count * 2 * _ORIENTATIONS * padded_rows * padded_columns)
    for step_y, weight_y in ((0, 1 - share_y), (1, share_y)):
        for step_x, weight_x in ((0, 1 - share_x), (1, share_x)):
            shared = magnitude * (weight_y[:, None] * weight_x)
            index = target + (step_y * padded_columns + step_x)
            histogram.scatter_add_(0, index.flatten(), shared.flatten())
    return histogram.view(count, -1, padded_rows, padded_columns)[:, :, 1:-1, 1:-1]


def _cell_shares(pixel: torch.Tensor, cell: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """The lower of each pixel's two cells, counted from a padding cell at -1, and the upper one's share."""
    position = (pixel.to(dtype) + 0.5) / cell - 0.5
    lower = torch.floor(position)
    return lower.long() + 1, position - lower


def _fitted(gradient: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """[n, 3, rows, columns]: cut off, or with the last row and column repeated."""
    for axis, length in ((2, rows), (3, columns)):
        available = gradient.shape[axis]
        if available >= length:
            gradient = gradient.narrow(axis, 0, length)
        else:
            index = torch.arange(length, device=gradient.device).clamp_(max=available - 1)
            gradient = gradient.index_select(axis, index)
    return gradient


def _directions(dx: torch.Tensor, dy: torch.Tensor) -> torch.Tensor:
    """Index 0..17, int64, of the direction nearest to each gradient; of equals the first."""
    best = torch.zeros_like(dx)
    # Twice the best undirected orientation, plus 1 if the gradient points the other way. Later orientations
    # have greater codes, so that a maximum serves to overwrite.
    code = torch.zeros(dx.shape, dtype=torch.uint8, device=dx.device)
    for index, (cosine, sine) in enumerate(zip(_COSINES, _SINES, strict=True)):
        projection = dx * cosine + dy * sine
        size = projection.abs()
        better = (size > best).view(torch.uint8)
        code = torch.maximum(code, better * ((projection < 0).view(torch.uint8) + 2 * index))
        best = torch.maximum(best, size)
    return (code.bitwise_right_shift(1) + code.bitwise_and(1) * _ORIENTATIONS).long()


def _normalized_channels(histogram: torch.Tensor) -> torch.Tensor:
    """[n, rows - 2, columns - 2, 31] from [n, 18, rows, columns]."""
    undirected = histogram[:, :_ORIENTATIONS] + histogram[:, _ORIENTATIONS:]
    energy = undirected.square().sum(dim=1)
    block = energy[:, :-1, :-1] + energy[:, 1:, :-1] + energy[:, :-1, 1:] + energy[:, 1:, 1:]
    scale = (block + _NORM_EPSILON).rsqrt()
    # The four blocks that a cell belongs to, in the order of the texture channels.
    scales = [scale[:, 1:, 1:], scale[:, :-1, 1:], scale[:, 1:, :-1], scale[:, :-1, :-1]]
    directed = histogram[:, :, 1:-1, 1:-1]
    undirected = undirected[:, :, 1:-1, 1:-1]
    directed_sum = torch.zeros_like(directed)
    undirected_sum = torch.zeros_like(undirected)
    texture = []
    for one in scales:
        truncated = (directed * one[:, None]).clamp_(max=_TRUNCATION)
        directed_sum += truncated
        undirected_sum += (undirected * one[:, None]).clamp_(max=_TRUNCATION)
        texture.append(_TEXTURE_WEIGHT * truncated.sum(dim=1))
    channels = torch.cat([0.5 * directed_sum, 0.5 * undirected_sum, torch.stack(texture, dim=1)], dim=1)
    return channels.permute(0, 2, 3, 1)
