"""What it costs to decode a photograph again, and to read its square from where a run keeps it.

    VISUAL_SUMMARIES_DATA=../shared/data python benchmarks/decoding.py --photographs 20

Photographs as they are, and enlarged to 12 million pixels as those of a telephone; processor milliseconds an image.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from photographs import data_directory, machine
from PIL import Image

from visual_summaries.pipeline.data.decode import read_image
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.stages.squares import Squares

LARGE = 12e6


def milliseconds(action: Callable[[Path], object], paths: Sequence[Path]) -> float:
    started = time.process_time()
    for path in paths:
        action(path)
    return 1000 * (time.process_time() - started) / len(paths)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=int, default=20)
    number = parser.parse_args().photographs
    preprocessing = Preprocessing()
    with tempfile.TemporaryDirectory() as folder:
        small = sorted((data_directory() / "photos").glob("*/*"))[:number]
        large = []
        for path in small:
            image = Image.open(path).convert("RGB")
            scale = (LARGE / (image.width * image.height)) ** 0.5
            large.append(Path(folder) / f"{path.stem}.jpg")
            image.resize((round(image.width * scale), round(image.height * scale))).save(large[-1], quality=90)
        squares = Squares("benchmark", preprocessing.crop_side, parent=Path(folder))
        print(machine())
        for name, paths in (("as they are", small), ("12 million pixels", large)):
            made = {path: preprocessing.analyzed_image(read_image(str(path)).image).numpy() for path in paths}
            decoded = milliseconds(lambda path: preprocessing.analyzed_image(read_image(str(path)).image), paths)
            kept = milliseconds(lambda path, made=made: squares.put(path.name, made[path]), paths)
            read = milliseconds(lambda path: squares.get(path.name), paths)
            print(f"{name}: decode and resize {decoded:.1f} ms, keep the square {kept:.2f} ms, read it {read:.2f} ms, "
                  f"{made[paths[0]].nbytes / 1000:.0f} kB")


if __name__ == "__main__":
    main()
