"""The tables of a run. All are Parquet (zstd), partitioned by class, readable without our code.

Boxes are x0, y0, x1, y1 in pixels of the analyzed image (the square that the classifier sees), half-open.
Arrays are raw little-endian bytes, C order, with their shape beside them or in the column's description.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

VERSION = 1
EDGES = ("x0", "y0", "x1", "y1")


@dataclass(frozen=True)
class TableSchema:
    """Name, meaning and Arrow schema of one table; field metadata holds description and unit.

    `row_groups` names the column whose runs of equal values are row groups of the files: what belongs to one of them
    is read without the rest.
    """

    name: str
    description: str
    schema: pa.Schema
    row_groups: str | None = None


def _column(name: str, kind: pa.DataType, description: str, unit: str = "", nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"description": description, "unit": unit})


def _box(of: str) -> list[pa.Field]:
    sides = ("left", "top", "right (exclusive)", "bottom (exclusive)")
    return [
        _column(name, pa.float32(), f"{side} edge of {of}", "pixel") for name, side in zip(EDGES, sides, strict=True)
    ]


def _evidence(of: str) -> list[pa.Field]:
    shown = "score / score of the whole image where only {} is shown"
    figures = {
        "necessity": f"(before − after) / before when the salient pixels of {of} alone are removed",
        "random_necessity": "the same of random salient places of the same shape in the same images",
        "sufficiency": shown.format(of),
        "random_sufficiency": "the same of random salient places of the same shape in the same images",
        "region_sufficiency": shown.format("the salient regions that it touches"),
    }
    return [_column(name, pa.float32(), text, "share", nullable=True) for name, text in figures.items()]


_LABEL = _column("label", pa.string(), "class of the run (folder or manifest label)")
_IMAGE = _column("image_id", pa.string(), "sha256 of the image file's bytes, hexadecimal")
# Millions of rows name a few hundred images.
_IDS = pa.dictionary(pa.int32(), pa.string())
_KEPT = _column("kept", pa.bool_(), "false when it was left out; then `reason` says why")
_REASON = _column("reason", pa.string(), "why it was left out; null when kept", nullable=True)


def _table(name: str, description: str, *columns: pa.Field, row_groups: str | None = None) -> TableSchema:
    schema = pa.schema(columns, metadata={"table": name, "description": description, "version": str(VERSION)})
    return TableSchema(name, description, schema, row_groups)


_ALL = [
    _table(
        "images",
        "one row per image of the run, decoded or not",
        _IMAGE,
        _column("uri", pa.string(), "where the image was read from"),
        _LABEL,
        _column("class_index", pa.int32(), "index of the class among the classifier's outputs"),
        _column("split", pa.string(), "fit (explained and clustered), held-out or test"),
        _column("width", pa.int32(), "width of the photograph after its orientation tag", "pixel", nullable=True),
        _column("height", pa.int32(), "height of the photograph", "pixel", nullable=True),
        _column("mode", pa.string(), "color mode of the file, as Pillow names it", nullable=True),
        _column("prediction", pa.int32(), "class index with the highest score", nullable=True),
        _column("prediction_name", pa.string(), "name of the predicted class", nullable=True),
        _column("prediction_score", pa.float32(), "softmax score of the prediction", "0..1", nullable=True),
        _column("score", pa.float32(), "softmax score of the image's own class", "0..1", nullable=True),
        _column("explained", pa.bool_(), "whether the run's policy explains this image"),
        _column("probabilities", pa.binary(), "softmax over all classes, float32 [K]", "0..1", nullable=True),
        _column("features", pa.binary(), "classifier features, float16 [D]", nullable=True),
        _column("decode_error", pa.string(), "why the file could not be decoded; else null", nullable=True),
    ),
    _table(
        "maps",
        "one row per explained image: its saliency map and what removing the salient pixels does",
        _IMAGE,
        _LABEL,
        _column("explainer", pa.string(), "method and preset"),
        _column("target", pa.int32(), "class index that was explained"),
        _column("saliency", pa.binary(), "saliency map, uint8 (255 = most salient), C order, shape beside"),
        _column("saliency_shape", pa.list_(pa.int32()), "channels, height, width of the saliency map", "pixel"),
        _column("score_before", pa.float32(), "softmax score of the target on the analyzed image", "0..1"),
        _column(
            "score_after",
            pa.float32(),
            "the same after the method's own perturbation with the unrounded map; null if it has none",
            "0..1",
            nullable=True,
        ),
        _column("drop", pa.float32(), "(before − after) / before", "share", nullable=True),
        _column("area", pa.float32(), "mean saliency", "share of pixels"),
        _column("crispness", pa.float32(), "mean 4m(1−m): 0 for a binary mask, 1 for 0.5 everywhere", "0..1"),
        _column("iterations", pa.int32(), "passes through the network spent"),
        _column("seconds", pa.float32(), "time of its unit over its images; the one column that no seed fixes", "s"),
    ),
    _table(
        "regions",
        "connected salient regions (saliency above the threshold) of each map",
        _IMAGE,
        _LABEL,
        _column("region", pa.int32(), "number within the image, largest first"),
        *_box("the region"),
        _column("area", pa.float32(), "area of the region", "share of pixels"),
        _column("run_length", pa.list_(pa.int32()), "row-major run lengths, zeros first", "pixel"),
        _column("drop", pa.float32(), "(before − after) / before when this region alone is blurred", "share"),
    ),
    _table(
        "proposals",
        "object proposals (selective search) of each explained image, with descriptors",
        _IMAGE,
        _LABEL,
        _column("proposal", pa.int32(), "number within the image"),
        *_box("the proposal"),
        _column("salient_share", pa.float32(), "share of the proposal's area that is salient", "share"),
        _KEPT,
        _REASON,
        _column("features", pa.binary(), "whitened descriptor of hog, float16, as many numbers as components are kept: "
                "similarity is max(0, a·b). Empty for conv, whose descriptors follow from the table features"),
        row_groups="image_id",
    ),
    _table(
        "pairs",
        "image pairs that are matched: all of a small class, each image with its nearest neighbors in a large one",
        _LABEL,
        _column("image_a", pa.string(), "image id of the first image"),
        _column("image_b", pa.string(), "image id of the second, not before the first in order"),
        _column("task", pa.int32(), "number of the block of work within the class"),
        _column("similarity", pa.float32(), "cosine of the classifier features of the two images", "-1..1"),
        _column("component", pa.int32(), "connected component of the class's images that the pair belongs to"),
        row_groups="task",
    ),
    _table(
        "scores",
        "proposal-flow scores between the proposals on the masks of two images, before redundant ones are known; and "
        "each image's best scores of a block of work, from which their strength comes",
        _LABEL,
        _column("image_a", pa.string(), "image id of the first image"),
        _column("image_b", pa.string(), "image id of the second; null in the rows of best scores", nullable=True),
        _column("shape", pa.list_(pa.int32()), "proposals on the mask of a and of b; of a and best scores of each"),
        _column("values", pa.binary(), "matching confidence, float32, C order, shape beside"),
    ),
    _table(
        "matches",
        "proposal-flow scores between the kept proposals of a class, self matches of an image included. Every "
        "proposal on the mask has a row with itself, which also says whether it was redundant",
        _LABEL,
        _column("image_a", _IDS, "image id of the first proposal"),
        _column("proposal_a", pa.int32(), "number of the first proposal within its image"),
        _column("image_b", _IDS, "image id of the second proposal, not before the first in order"),
        _column("proposal_b", pa.int32(), "number of the second proposal"),
        _column("score", pa.float32(), "matching confidence from a to b"),
        _column("strength", pa.float32(), "mean of the proposal's 100 best scores against other images; null "
                "where the two proposals differ", nullable=True),
        _KEPT,
        _REASON,
    ),
    _table(
        "clusters",
        "affinity-propagation clusters of a class's kept proposals, one row per proposal",
        _LABEL,
        _IMAGE,
        _column("proposal", pa.int32(), "number within the image"),
        *_box("the proposal"),
        _column("cluster", pa.int32(), "cluster number within the class; null: it matches no exemplar", nullable=True),
        _column("exemplar", pa.bool_(), "whether this proposal is its cluster's exemplar"),
        _column("similarity", pa.float32(), "score between the proposal and its exemplar; 0 without one"),
        _column("converged", pa.bool_(), "whether affinity propagation converged for this class"),
        _column("iterations", pa.int32(), "message-passing steps"),
        _column("preference", pa.float64(), "preference on the shifted scores"),
        _column("net_similarity", pa.float64(), "sum of similarities to exemplars plus preferences"),
    ),
    _table(
        "features",
        "what the classifier sees at each cell of a grid on each explained image, in the principal components of its "
        "class; to find the class's parts",
        _IMAGE,
        _LABEL,
        _column("features", pa.binary(), "float16, C order, shape beside; the vector of every cell has length 1"),
        _column("features_shape", pa.list_(pa.int32()), "rows and columns of cells, components"),
    ),
    _table(
        "candidates",
        "every candidate for a summary, chosen or not: one row per candidate and image, at most one place in an image; "
        "from `source` on, what is known of the candidate is the same in all of its rows",
        _LABEL,
        _column("candidate", pa.int32(), "number within the class"),
        _IMAGE,
        *_box("the place"),
        _column("segment", pa.list_(pa.int32()), "row-major run lengths of the cells that belong to it, others first",
                "cell"),
        _column("side", pa.int32(), "cells to a side of the image", "cell"),
        _column("likeness", pa.float32(), "mean likeness with the other places; null for a copy of another photograph",
                "-1..1", nullable=True),
        _column("mirrored", pa.bool_(), "whether its mirror image is more like the others"),
        _column("source", pa.string(), "where it comes from: regions or factors and how many there were, or proposals"),
        _column("photographs", pa.int32(), "with a place, copies counted once", "images"),
        _column("support", pa.float32(), "these / photographs of the class", "share"),
        _column("coverage", pa.float32(), "salient pixels of the class that its places hold", "share"),
        _column("coherence", pa.float32(), "mean likeness of two places laid on each other", "-1..1", nullable=True),
        _column("chance", pa.float32(), "the same of random salient places of these shapes", "-1..1", nullable=True),
        _column("chance_deviation", pa.float32(), "standard deviation of the latter", nullable=True),
        _column("specificity", pa.float32(), "how much more often what looks like it is salient than any place",
                "0..1"),
        _column("rank", pa.int32(), "among the chosen, from 0; null for others", nullable=True),
        _column("gain", pa.float32(), "what it adds to those before it: salient pixels weighed by coherence", "share"),
        _column("added", pa.float32(), "salient pixels that it adds to those before it", "share"),
        _column("found_again", pa.float32(), "share of resamples of the images in which it is found again", "share",
                nullable=True),
        _column("belongs_to", pa.int32(), "rank of the chosen one that it mostly lies on", nullable=True),
        _column("relation", pa.string(), "to that one: near-duplicate, sub-part or whole of parts", nullable=True),
        _column("reason", pa.string(), "why it is not chosen; null when chosen", nullable=True),
    ),
    _table(
        "members",
        "where each summary is in each image, at most one place: of chosen candidates, or of clusters of proposals "
        "before and after pruning by structural similarity",
        _LABEL,
        _column("cluster", pa.int32(), "number of the cluster or candidate within the class"),
        _column("source", pa.string(), "where it comes from: regions, factors or proposals"),
        _IMAGE,
        _column("proposal", pa.int32(), "number within the image; null where it is no proposal", nullable=True),
        *_box("the member"),
        _column("segment", pa.list_(pa.int32()), "row-major run lengths of the cells that belong to it, others first; "
                "null: all in the box", "cell", nullable=True),
        _column("side", pa.int32(), "cells to a side of the image", "cell", nullable=True),
        _column("rank", pa.int32(), "0 for the exemplar, then by falling similarity"),
        _column("similarity", pa.float32(), "of proposals the score between the member and the exemplar, otherwise "
                "its mean likeness with the other members", nullable=True),
        _column("ssim", pa.float32(), "median structural similarity to the other members", "-1..1", nullable=True),
        _column("share_below", pa.float32(), "share of its structural similarities below the class's global "
                "median", "share", nullable=True),
        _column("cluster_ssim", pa.float32(), "median structural similarity over the cluster's pairs", "-1..1",
                nullable=True),
        _column("class_ssim", pa.float32(), "global figure: median of the clusters' medians", "-1..1",
                nullable=True),
        _column("hull", pa.list_(pa.float32()), "x, y, x, y, … of the convex hull of the salient pixels inside "
                "the box", "pixel"),
        _column("regions", pa.list_(pa.int32()), "numbers of the salient regions that the box touches"),
        _column("drop", pa.float32(), "(before − after) / before when these regions are blurred together", "share",
                nullable=True),
        *_evidence("the member"),
        _column("cluster_reason", pa.string(), "why the whole cluster is no summary; else null", nullable=True),
        _KEPT,
        _REASON,
    ),
    _table(
        "summaries",
        "visual summaries of a class: a common salient part each, kept and pruned",
        _LABEL,
        _column("summary", pa.int32(), "number within the class: kept ones first, by what they account for, clusters "
                "of proposals by falling support"),
        _column("cluster", pa.int32(), "number of the cluster or candidate within the class"),
        _column("source", pa.string(), "where it comes from: regions or factors and how many there were, or proposals"),
        _column("exemplar_image", pa.string(), "image id of the exemplar"),
        _column("exemplar_proposal", pa.int32(), "number of the exemplar within its image; null where it is no "
                "proposal", nullable=True),
        *_box("the exemplar"),
        _column("members", pa.int32(), "members kept", "images"),
        _column("members_before", pa.int32(), "members before pruning", "images"),
        _column("support", pa.float32(), "members kept / explained images of the class", "share"),
        _column("coverage", pa.float32(), "salient pixels of the class that its members hold", "share", nullable=True),
        _column("added", pa.float32(), "salient pixels that it adds to the summaries before it", "share",
                nullable=True),
        *_evidence("a member, mean over those that were measured"),
        _column("measured", pa.int32(), "members whose necessity and sufficiency were measured", "images"),
        _column("coherence", pa.float32(), "mean likeness of two members laid on each other", "-1..1", nullable=True),
        _column("chance", pa.float32(), "the same of random salient places of these shapes", "-1..1", nullable=True),
        _column("found_again", pa.float32(), "share of resamples of the images in which it is found again", "share",
                nullable=True),
        _column("similarity", pa.float32(), "mean similarity of the kept members", nullable=True),
        _column("ssim", pa.float32(), "median structural similarity over pairs", "-1..1", nullable=True),
        _column("class_ssim", pa.float32(), "median of the class's clusters' medians", "-1..1", nullable=True),
        _column("drop", pa.float32(), "mean drop of the kept members", "share", nullable=True),
        _KEPT,
        _REASON,
    ),
    _table(
        "tags",
        "names of each kept summary: the classifier's own best labels of the members' crops, the most common first",
        _LABEL,
        _column("summary", pa.int32(), "number of the summary within the class"),
        _column("rank", pa.int32(), "0 for the most common"),
        _column("tag", pa.string(), "the label"),
        _column("share", pa.float32(), "members that have it among their best labels", "share"),
    ),
    _table(
        "specialists",
        "one linear support vector machine per kept summary, on L2-normalized classifier features",
        _LABEL,
        _column("summary", pa.int32(), "number of the summary within the class"),
        _column("coefficients", pa.binary(), "weight vector, float32 [D]"),
        _column("intercept", pa.float32(), "offset of the decision function"),
        _column("positives", pa.int32(), "training images of the summary", "images"),
        _column("negatives", pa.int32(), "training images of other summaries and classes", "images"),
        _column("fit_accuracy", pa.float32(), "balanced accuracy on its own training images", "share"),
    ),
    _table(
        "metrics",
        "figures of the run, each with its sample size, interval and how it was computed",
        _column("label", pa.string(), "class; empty for a figure over all classes"),
        _column("metric", pa.string(), "name of the figure"),
        _column("value", pa.float64(), "the figure", nullable=True),
        _column("low", pa.float64(), "lower end of its 95 % interval", nullable=True),
        _column("high", pa.float64(), "upper end of its 95 % interval", nullable=True),
        _column("n", pa.int32(), "items it was computed over"),
        _column("unit", pa.string(), "unit of the figure"),
        _column("method", pa.string(), "how it was computed, in words"),
    ),
    _table(
        "measurements",
        "one row per image (or summary, or class), figure and variant of an experiment of the job `evaluate`; each "
        "experiment and its figures are described in evaluation.md",
        _column("image_id", pa.string(), "sha256 of the image file's bytes; empty for a figure of a summary or class"),
        _LABEL,
        _column("summary", pa.int32(), "number of the summary within the class that it is about", nullable=True),
        _column("study", pa.string(), "experiment, e.g. map stability"),
        _column("variant", pa.string(), "what was compared, and how, e.g. overlap, horizontal flip"),
        _column("model", pa.string(), "classifier, as the configuration names it"),
        _column("explainer", pa.string(), "method and preset of the maps; empty where no map takes part"),
        _column("value", pa.float64(), "the figure; for what either happens or not, 1 or 0"),
        _column("curve", pa.list_(pa.float32()), "the curve whose area it is, at equal steps", nullable=True),
        _column("protocol", pa.string(), "settings of the experiment that the figure depends on, JSON"),
    ),
    _table(
        "ratings",
        "one row per answer that a person gave in the review server: names of parts, ratings of maps, images found "
        "from their maps. Only answers about what the run holds now",
        _column("rater", pa.string(), "name that the person entered"),
        _column("kind", pa.string(), "part name, map rating or find the image"),
        _LABEL,
        _column("summary", pa.int32(), "number of the summary within the class that was named", nullable=True),
        _column("image_id", pa.string(), "image whose map was rated or looked for", nullable=True),
        _column("text", pa.string(), "names of the part, separated by commas; null: could not tell", nullable=True),
        _column("value", pa.float32(), "rating 0..6; 1 or 0: found or not; null for names", nullable=True),
        _column("protocol", pa.string(), "what was shown and how it was chosen (pool of photographs, seed, model, "
                "explainer), JSON"),
        _column("answered", pa.timestamp("ms", tz="UTC"), "when the answer was stored"),
    ),
    _table(
        "errors",
        "one row for everything that was left out",
        _column("stage", pa.string(), "stage that left it out"),
        _LABEL,
        _column("image_id", pa.string(), "image, where one is concerned and could be read", nullable=True),
        _column("uri", pa.string(), "file, where one is concerned", nullable=True),
        _column("reason", pa.string(), "what was wrong"),
        _column("retry", pa.bool_(), "whether the next run tries again, because the cause may have passed"),
    ),
    _table(
        "runs",
        "one row per stage of the run: configuration, versions, timings, host",
        _column("run", pa.string(), "identity of the run (start time and configuration)"),
        _column("stage", pa.string(), "stage"),
        _column("started", pa.timestamp("ms", tz="UTC"), "start of the stage"),
        _column("seconds", pa.float64(), "from its first unit's begin to its last one's end; stages overlap", "s"),
        _column("worker_seconds", pa.float64(), "processor time spent in workers", "s"),
        _column("peak_memory", pa.int64(), "largest resident memory of one worker", "byte"),
        _column("units", pa.int32(), "shards planned"),
        _column("units_cached", pa.int32(), "shards found complete and not computed again"),
        _column("rows", pa.int64(), "rows in the stage's table"),
        _column("seed", pa.int64(), "seed of the run"),
        _column("weights", pa.string(), "sha256 of the classifier's weights"),
        _column("configuration", pa.string(), "whole configuration as JSON"),
        _column("versions", pa.string(), "versions of Python and libraries as JSON"),
        _column("host", pa.string(), "processors, memory, devices as JSON"),
    ),
]

TABLES: dict[str, TableSchema] = {table.name: table for table in _ALL}


def make_table(name: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows to an Arrow table with the schema of table `name`, validated."""
    rows = list(rows)
    schema = TABLES[name].schema
    for row in rows[:1]:
        if unknown := set(row) - set(schema.names):
            raise ValueError(f"table {name} has no column {', '.join(sorted(unknown))}")
    return validate(name, pa.Table.from_pylist(rows, schema=schema))


def empty_table(name: str) -> pa.Table:
    """Table `name` without rows."""
    return TABLES[name].schema.empty_table()


def validate(name: str, table: pa.Table) -> pa.Table:
    """Return `table` if it fits the schema of table `name`.

    Raises:
        ValueError: a column is missing, superfluous, of another type, or null where that is not allowed.
    """
    schema = TABLES[name].schema
    if not table.schema.equals(schema):
        raise ValueError(f"table {name} does not fit its schema:\n{table.schema}\nexpected:\n{schema}")
    for field in schema:
        if not field.nullable and table.column(field.name).null_count:
            raise ValueError(f"table {name}: column {field.name} holds nulls")
    return table
