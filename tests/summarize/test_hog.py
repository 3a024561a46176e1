from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from visual_summaries.pipeline.summarize.hog import crops, describe, felzenszwalb_hog, hog_map


def random_image(seed: int, shape: tuple[int, int] = (96, 128)) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (shape[0] // 8, shape[1] // 8, 3)).astype(np.uint8)
    return np.array(Image.fromarray(small).resize(shape[::-1], Image.Resampling.BICUBIC))


def pillow_crop(image: np.ndarray, box: tuple[float, ...], side: int = 80) -> np.ndarray:
    channels = [Image.fromarray(image[..., c].astype(np.float32), mode="F") for c in range(3)]
    resized = [one.resize((side, side), Image.Resampling.BILINEAR, box=box) for one in channels]
    return np.stack([np.asarray(one) for one in resized], axis=2)


@pytest.mark.parametrize("index", range(7))
def test_channels_equal_the_original_program(data_directory: Path, index: int) -> None:
    with np.load(data_directory / "reference" / "proposal_flow" / "hog_features_original.npz") as arrays:
        patch, expected = torch.from_numpy(arrays[f"patch{index}"]), arrays[f"hog{index}"]
    ours = felzenszwalb_hog(patch[None])[0]
    # The original's 32nd channel marks cells beyond the image; there are none.
    assert (expected[..., 31] == 0).all()
    np.testing.assert_allclose(ours.numpy(), expected[..., :31], rtol=0, atol=1e-10)
    single = felzenszwalb_hog(patch[None].float())[0]
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), expected[..., :31], rtol=0, atol=1e-5)


def brute_force_histogram(image: np.ndarray, rows: int, columns: int, cell: int) -> np.ndarray:
    """Gradient histograms, pixel by pixel."""
    height, width = image.shape[:2]
    angles = np.arange(9) * np.pi / 9
    directions = np.round(np.stack([np.cos(angles), np.sin(angles)], axis=1), 4)
    histogram = np.zeros((rows, columns, 18))
    for y in range(1, rows * cell - 1):
        for x in range(1, columns * cell - 1):
            v, u = min(y, height - 2), min(x, width - 2)
            dx, dy = image[v, u + 1] - image[v, u - 1], image[v + 1, u] - image[v - 1, u]
            channel = (dx**2 + dy**2).argmax()
            dots = directions @ (dx[channel], dy[channel])
            bin_ = max(range(18), key=lambda k: (dots[k % 9] * (1 if k < 9 else -1), -(k % 9)))
            magnitude = np.hypot(dx[channel], dy[channel])
            position = ((y + 0.5) / cell - 0.5, (x + 0.5) / cell - 0.5)
            for i in range(int(np.floor(position[0])), int(np.floor(position[0])) + 2):
                for j in range(int(np.floor(position[1])), int(np.floor(position[1])) + 2):
                    if 0 <= i < rows and 0 <= j < columns:
                        share = (1 - abs(position[0] - i)) * (1 - abs(position[1] - j))
                        histogram[i, j, bin_] += share * magnitude
    return histogram


@pytest.mark.parametrize("shape", [(28, 37), (31, 45), (24, 40)])
def test_sides_that_are_no_multiple_of_the_cell(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(sum(shape)).random((*shape, 3)) * 255
    rows, columns = int(shape[0] / 8 + 0.5), int(shape[1] / 8 + 0.5)
    histogram = brute_force_histogram(image, rows, columns, 8)
    undirected = histogram[..., :9] + histogram[..., 9:]
    energy = (undirected**2).sum(axis=2)
    ours = felzenszwalb_hog(torch.from_numpy(image)[None])[0].numpy()
    assert ours.shape == (rows - 2, columns - 2, 31)
    for i in range(rows - 2):
        for j in range(columns - 2):
            directed, free, texture = np.zeros(18), np.zeros(9), []
            for di, dj in ((1, 1), (0, 1), (1, 0), (0, 0)):
                norm = np.sqrt(energy[i + di : i + di + 2, j + dj : j + dj + 2].sum() + 1e-4)
                one = np.minimum(histogram[i + 1, j + 1] / norm, 0.2)
                directed += one / 2
                free += np.minimum(undirected[i + 1, j + 1] / norm, 0.2) / 2
                texture.append(0.2357 * one.sum())
            # Their sums are equal whatever the order of the four blocks.
            np.testing.assert_allclose(ours[i, j, :27], np.concatenate([directed, free]), atol=1e-9)
            np.testing.assert_allclose(np.sort(ours[i, j, 27:]), np.sort(texture), atol=1e-9)


def test_patches_do_not_depend_on_their_batch() -> None:
    patches = torch.from_numpy(np.random.default_rng(0).random((18, 80, 80, 3))).float() * 255
    together = felzenszwalb_hog(patches)
    for index in (0, 15, 16, 17):
        torch.testing.assert_close(felzenszwalb_hog(patches[index : index + 1])[0], together[index])


def test_images_too_small_for_a_cell() -> None:
    assert felzenszwalb_hog(torch.zeros(2, 16, 80, 3)).shape == (2, 0, 8, 31)
    assert felzenszwalb_hog(torch.zeros(0, 80, 80, 3)).shape == (0, 8, 8, 31)
    assert hog_map(np.zeros((8, 8, 3), np.uint8)).shape == (0, 0, 31)


def test_crops_equal_pillow_inside_the_image() -> None:
    image = random_image(0, (240, 320))
    # Enlarged, reduced, and one of each; sides of whole and of broken numbers.
    boxes = np.array([[100, 90, 140, 130], [60, 50, 260, 200], [50.5, 100.25, 250.5, 130.75]], np.float32)
    ours = crops(image, boxes)
    assert ours.dtype == torch.float32
    for index, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        grow_x, grow_y = (x1 - x0) / 8, (y1 - y0) / 8
        expected = pillow_crop(image, (x0 - grow_x, y0 - grow_y, x1 + grow_x, y1 + grow_y))
        np.testing.assert_allclose(ours[index].numpy(), expected, rtol=0, atol=5e-3)


def test_crops_continue_with_the_edge_pixels() -> None:
    image = random_image(1)
    boxes = np.array([[0, 0, 128, 96], [90, 0, 128, 30], [0, 60, 50, 96]], np.float32)
    padded = np.pad(image, ((60, 60), (60, 60), (0, 0)), mode="edge")
    ours = crops(image, boxes)
    for index, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        grow_x, grow_y = (x1 - x0) / 8, (y1 - y0) / 8
        box = (60 + x0 - grow_x, 60 + y0 - grow_y, 60 + x1 + grow_x, 60 + y1 + grow_y)
        np.testing.assert_allclose(ours[index].numpy(), pillow_crop(padded, box), rtol=0, atol=5e-3)


def test_descriptors_are_the_hog_of_the_crops_in_the_order_of_the_boxes() -> None:
    image = random_image(2)
    generator = np.random.default_rng(2)
    corners = generator.integers(0, 60, (40, 2))
    boxes = np.concatenate([corners, corners + generator.integers(4, 36, (40, 2))], axis=1).astype(np.float32)
    ours = describe(image, boxes)
    assert ours.shape == (40, 1984) and ours.dtype == torch.float32
    for index in (0, 7, 39):
        patch = crops(image, boxes[index : index + 1])
        expected = felzenszwalb_hog(patch.double())[0].flatten().float()
        torch.testing.assert_close(ours[index], expected, rtol=1e-4, atol=1e-4)
    assert describe(image, boxes[:0]).shape == (0, 1984)


def test_bad_input_is_named() -> None:
    image = random_image(3)
    with pytest.raises(ValueError, match="uint8"):
        describe(image.astype(np.float32), np.array([[0, 0, 9, 9]]))
    with pytest.raises(ValueError, match="uint8"):
        hog_map(image[..., 0])
    with pytest.raises(ValueError, match="x1 > x0"):
        describe(image, np.array([[5, 5, 5, 9]]))
    with pytest.raises(ValueError, match=r"\[M, 4\]"):
        describe(image, np.zeros(4))
    with pytest.raises(ValueError, match="floating"):
        felzenszwalb_hog(torch.zeros(1, 80, 80, 3, dtype=torch.uint8))
