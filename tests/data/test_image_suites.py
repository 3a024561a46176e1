"""Public test pictures against a second decoder: every difference has a reason in `image_suites.EXPLAINED`."""

import os
from pathlib import Path

import pytest
import skimage.data
from image_suites import PACKAGES, REFUSED, SAME, explained, pictures_in, verdict

VARIABLE = "VISUAL_SUMMARIES_IMAGE_SUITES"


def unexplained(archive: Path) -> tuple[int, list[str]]:
    """How many pictures an archive or folder has, and those that differ for a reason that nobody knows, or are
    called damaged and are whole."""
    count, found = 0, []
    for name, content in pictures_in(archive):
        count += 1
        one = verdict(content)
        why = explained(name, one) or ""
        whole = one.word == REFUSED and ("not called damaged" in why or why.startswith("no scale"))
        if (one.word != SAME and not why) or (whole and not one.said.startswith("not supported: ")):
            found.append(f"{name}: {one.word} {one.said}")
    return count, found


def test_the_pictures_that_scikit_image_brings() -> None:
    count, found = unexplained(Path(skimage.data.__file__).parent)
    assert count >= 20 and not found, found


@pytest.mark.parametrize("package", PACKAGES)
def test_the_pictures_in_a_source_archive(package: str) -> None:
    folder = os.environ.get(VARIABLE)
    archives = sorted(Path(folder).glob(f"{package}-*.tar.gz")) if folder else []
    if not archives:
        pytest.skip(f"{VARIABLE} names no folder with {package}-*.tar.gz; python benchmarks/image_suites.py fetches it")
    count, found = unexplained(archives[-1])
    assert count >= {"pillow": 700, "glymur": 30, "pypng": 30}[package] and not found, found
