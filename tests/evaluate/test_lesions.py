"""Sensitivity for regions whose detected share is drawn by hand."""

import numpy as np
import pytest
import torch

from visual_summaries.pipeline.evaluate.lesions import image_sensitivities, region_overlaps


def test_overlap_is_the_detected_share_of_the_region() -> None:
    regions = torch.zeros(2, 3, 8, 8, dtype=torch.bool)
    regions[0, 0, :4, :4] = True
    regions[0, 1, 6:, 6:] = True
    regions[1, 0, :, 3] = True
    detected = torch.zeros(2, 8, 8, dtype=torch.bool)
    # All else that is detected, however much, does not count.
    detected[0, :2, :2] = detected[0, 4:, :4] = True
    detected[1, :, :4] = True
    expected = [[0.25, 0, np.nan], [1, np.nan, np.nan]]
    np.testing.assert_array_equal(region_overlaps(detected, regions), expected)


def test_one_region_found_is_enough_and_images_without_are_not_counted() -> None:
    overlaps = np.array([[0.25, 0.0, np.nan], [0.5, 0.1, 0.2], [0.24, 0.24, 0.24], [np.nan] * 3, [np.nan, 0.9, 0.3]])
    shares, count = image_sensitivities(overlaps)
    assert count == 4 and shares.tolist() == [3 / 4, 2 / 4]
    shares, count = image_sensitivities(overlaps, [0.51, 1.0])
    assert shares.tolist() == [1 / 4, 0]
    shares, count = image_sensitivities(overlaps[3:4])
    assert count == 0 and np.isnan(shares).all() and shares.shape == (2,)


def test_both_agree_with_counting_pixel_by_pixel() -> None:
    chance = np.random.default_rng(0)
    detected, regions = chance.random((6, 7, 9)) < 0.4, chance.random((6, 3, 7, 9)) < 0.2
    regions[1, 2] = regions[4] = False
    expected = np.full((6, 3), np.nan)
    found = {0.25: 0, 0.5: 0}
    for image in range(6):
        for region in range(3):
            places = [(y, x) for y in range(7) for x in range(9) if regions[image, region, y, x]]
            if places:
                expected[image, region] = sum(detected[image][place] for place in places) / len(places)
        for least in found:
            found[least] += any(share >= least for share in expected[image])
    overlaps = region_overlaps(torch.from_numpy(detected), torch.from_numpy(regions)).numpy()
    np.testing.assert_allclose(overlaps, expected)
    shares, count = image_sensitivities(overlaps)
    assert count == 5 and shares.tolist() == [found[0.25] / 5, found[0.5] / 5]


def test_wrong_input_is_refused() -> None:
    detected, regions = torch.zeros(2, 8, 8, dtype=torch.bool), torch.zeros(2, 3, 8, 8, dtype=torch.bool)
    for first, second in ((detected[:1], regions), (detected, regions[..., :7]), (detected.float(), regions)):
        with pytest.raises(ValueError, match="detected must be"):
            region_overlaps(first, second)
    for least in ([0.0], [1.1]):
        with pytest.raises(ValueError, match="least"):
            image_sensitivities(np.zeros((1, 1)), least)
