"""The tables of a run over volumes (`visual-summaries volumes`); its `errors`, `costs` and `runs` are every run's."""

import pyarrow as pa

from visual_summaries.schemas.columns import LABEL, column, table

SCAN = column("image_id", pa.string(), "sha256 of the scan file's bytes, hexadecimal")
SEGMENT = column("segment", pa.int64(), "label of the segment in the atlas")
NAME = column("name", pa.string(), "name of the segment; null where the names file has none", nullable=True)

VOLUME_TABLES = [
    table(
        "scans",
        "one row per scan of a run over volumes that could be read and classified",
        SCAN,
        column("uri", pa.string(), "where the scan was read from"),
        LABEL,
        column("class_index", pa.int32(), "index of the class among the classifier's outputs: what is explained"),
        column("channels", pa.int32(), "volumes that the file holds, 1 of a plain scan"),
        column("prediction", pa.int32(), "class index with the highest score"),
        column("prediction_score", pa.float32(), "score of the prediction", "0..1"),
        column("score", pa.float32(), "score of the scan's own class", "0..1"),
    ),
    table(
        "probes",
        "one row per scan: what light and shadow at each segment of the atlas do to the score of its class",
        SCAN,
        LABEL,
        column("segments", pa.list_(pa.int64()), "labels of the atlas's segments, ascending"),
        column("light", pa.list_(pa.float64()), "f_l of each, as `light` of the table segments", "0..1"),
        column("shadow", pa.list_(pa.float64()), "f_s of each, as `shadow` of the table segments", "0..1"),
    ),
    table(
        "segments",
        "one row per scan and segment of the atlas: how much the segment matters (GLAS)",
        SCAN,
        LABEL,
        SEGMENT,
        NAME,
        column("score", pa.float64(), "light × shadow"),
        column(
            "light",
            pa.float64(),
            "score where Gaussian light falls on the segment's center alone; 1 in the mode shadow",
            "0..1",
        ),
        column(
            "shadow",
            pa.float64(),
            "change of the score where a Gaussian shadow falls there, plus 10⁻⁵; 0 for all where no light shows the "
            "class, else 1 in the mode light",
            "0..1",
        ),
        column(
            "rank",
            pa.int32(),
            "place among the scan's segments, 1 for the largest score, equal ones alike; null where no light shows the "
            "class",
            nullable=True,
        ),
    ),
    table(
        "segment_means",
        "one row per class and segment: mean score over the class's scans",
        LABEL,
        SEGMENT,
        NAME,
        column("voxels", pa.int64(), "size of the segment in the atlas", "voxel"),
        column("center", pa.list_(pa.float32()), "its centroid along each axis, where light and shadow fall", "voxel"),
        column("scans", pa.int32(), "scans that the mean is over"),
        column("score", pa.float64(), "mean of the scans' scores"),
        column("low", pa.float64(), "lower end of its 95 % interval, by bootstrap over scans; null of fewer than two "
                "scans", nullable=True),
        column("high", pa.float64(), "upper end of it", nullable=True),
        column("relative", pa.float64(), "mean score over the largest mean score of the class", "0..1"),
        column("first", pa.int32(), "scans in which the segment is the first"),
        column("rank", pa.int32(), "place among the class's segments, 1 for the largest mean, equal ones alike; null "
                "where all are 0", nullable=True),
    ),
]
