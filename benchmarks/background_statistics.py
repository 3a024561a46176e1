"""The statistics of natural images that descriptors are whitened with: makes `background.npz`.

    VISUAL_SUMMARIES_DATA=… python benchmarks/background_statistics.py \
        visual_summaries/pipeline/summarize/background.npz

Mean and covariances of HOG cells over every third validation photograph, resized to 224 px. Only these
sums are kept. Which photographs hardly matters: see `willow.py`.
"""

import csv
import sys
from pathlib import Path

import numpy as np
from photographs import data_directory

from visual_summaries.pipeline.data.decode import read_image
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.summarize.hog import hog_map
from visual_summaries.pipeline.summarize.whitening import background_statistics

EVERY = 3


def main(path: Path) -> None:
    preprocessing = Preprocessing(resize_side=224, crop_side=224)
    folder = data_directory() / "imagenet"
    with open(folder / "val.csv", newline="") as file:
        names = [row["file"] for row in csv.DictReader(file)][::EVERY]
    maps = []
    for name in names:
        image = preprocessing.analyzed_image(read_image(str(folder / "val" / name)).image)
        maps.append(hog_map(image.permute(1, 2, 0).contiguous().numpy()))
    statistics = background_statistics(maps)
    np.savez_compressed(
        path,
        mean=statistics.mean.numpy().astype(np.float32),
        covariance=statistics.covariance.numpy().astype(np.float32),
        offsets=statistics.offsets.numpy().astype(np.int8),
    )
    print(f"{len(maps)} photographs, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
