"""Pixels of public test pictures, file by file, against a second decoder.

    python benchmarks/image_suites.py [--folder FOLDER] [--offline] [--all]

Fetches the source archives of packages that carry such pictures (pillow, glymur, pypng; 52 MB), with pip, into the
folder, reads them there, and prints the files that are refused or differ, with the reasons that are known. With
`imagecodecs` installed tifffile reads more of them. `VISUAL_SUMMARIES_IMAGE_SUITES=FOLDER pytest
tests/data/test_image_suites.py` fails for those without a reason.
"""

import argparse
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "data")]

from image_suites import PACKAGES, SAME, explained, pictures_in, verdict  # noqa: E402


def fetch(folder: Path) -> None:
    """The source archives that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        if not list(folder.glob(f"{package}-*.tar.gz")):
            options = ("download", "--no-binary", ":all:", "--no-deps", "--quiet", "--dest", str(folder))
            subprocess.run([sys.executable, "-m", "pip", *options, package], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("image-suites"))
    parser.add_argument("--offline", action="store_true", help="read what is in the folder")
    parser.add_argument("--all", action="store_true", help="print the files that are the same, too")
    arguments = parser.parse_args()
    if not arguments.offline:
        fetch(arguments.folder)
    counts: Counter[str] = Counter()
    for archive in sorted(arguments.folder.glob("*.tar.gz")):
        for name, content in pictures_in(archive):
            found = verdict(content)
            counts[found.word] += 1
            if found.word != SAME or arguments.all:
                why = explained(name, found) or ("" if found.word == SAME else "???")
                print(f"{archive.name.split('-')[0]}\t{name}\t{found.word}\t{found.said}\t{why}")
    print(", ".join(f"{count} {word}" for word, count in counts.items()))


if __name__ == "__main__":
    main()
