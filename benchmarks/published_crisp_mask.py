"""The crisp mask of one photograph the way its authors' script computes it: what ours is compared with.

Written from the description of that script alone, not copied: one image, batch 1, the
network as it was loaded, autograd from the mask to the loss, a blur of the mask in NumPy at each step of the first
stage whose gradient is taken to be the identity's, `torch.optim.Adam`. Only the benchmarks use it.
"""

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn import functional


def published_crisp_mask(
    classifier: nn.Module, image: Tensor, target: int, iterations: tuple[int, int] = (300, 150)
) -> Tensor:
    """Saliency `[1,1,H,W]` of `image` `[3,H,W]` in [0,1]; `classifier` maps `[1,3,H,W]` in [0,1] to logits."""
    picture = image[None]
    side = image.shape[-1]
    blurred = torch.from_numpy(_blur11(image.permute(1, 2, 0).numpy())).permute(2, 0, 1)[None]
    coarse = np.ones((side // 8, side // 8), dtype=np.float32)
    center = (side // 8 - 1) / 2
    for row in range(side // 8):
        for column in range(side // 8):
            if np.hypot(row - center, column - center) <= side // 16:
                coarse[row, column] = 0
    mask = torch.from_numpy(coarse)[None, None].requires_grad_(True)
    optimizer = torch.optim.Adam([mask], lr=0.1)
    for _ in range(iterations[0]):
        upsampled = functional.interpolate(mask, size=(side, side), mode="bilinear", align_corners=False)
        smooth = gaussian_filter(upsampled.detach().numpy()[0, 0], sigma=5, mode="nearest")
        upsampled.data = torch.from_numpy(smooth)[None, None]
        _step(classifier, optimizer, mask, upsampled, picture, blurred, target, (0.5, 0.01, 0.0))
    with torch.no_grad():
        upsampled = functional.interpolate(mask, size=(side, side), mode="bilinear", align_corners=False)
        smooth = gaussian_filter(upsampled.numpy()[0, 0], sigma=5, mode="nearest")
        mask = torch.from_numpy(smooth)[None, None].clamp(0, 1)
    mask.requires_grad_(True)
    optimizer = torch.optim.Adam([mask], lr=0.1)
    for _ in range(iterations[1]):
        _step(classifier, optimizer, mask, mask, picture, blurred, target, (0.01, 1.0, 2.0))
    return 1 - mask.detach()


def _step(
    classifier: nn.Module,
    optimizer: torch.optim.Optimizer,
    mask: Tensor,
    full: Tensor,
    picture: Tensor,
    blurred: Tensor,
    target: int,
    weights: tuple[float, float, float],
) -> None:
    wide = full.expand(1, 3, *full.shape[-2:])
    perturbed = picture.mul(wide) + blurred.mul(1 - wide)
    score = functional.softmax(classifier(perturbed), dim=1)[0, target]
    rows = (mask[0, 0, 1:] - mask[0, 0, :-1]).abs().pow(3).mean()
    columns = (mask[0, 0, :, 1:] - mask[0, 0, :, :-1]).abs().pow(3).mean()
    loss = score + weights[0] * (1 - mask).abs().mean() + weights[1] * (rows + columns)
    loss = loss + weights[2] * (mask * (1 - mask)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    mask.data.clamp_(0, 1)


def _blur11(image: np.ndarray) -> np.ndarray:
    """OpenCV's GaussianBlur with an 11×11 kernel of σ = 10, borders mirrored."""
    return gaussian_filter(image, sigma=(10, 10, 0), mode="mirror", truncate=0.5)
