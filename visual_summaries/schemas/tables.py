"""The tables of a run. All are Parquet (zstd), partitioned by class, readable without our code.

Boxes are x0, y0, x1, y1 in pixels of the analyzed image (the square that the classifier sees), half-open.
Arrays are raw little-endian bytes, C order, with their shape beside them or in the column's description.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from visual_summaries.schemas.columns import (
    EDGES,
    IDS,
    IMAGE,
    KEPT,
    LABEL,
    REASON,
    VERSION,
    TableSchema,
    box,
    column,
    evidence,
    table,
)
from visual_summaries.schemas.volumes import VOLUME_TABLES

__all__ = ["EDGES", "TABLES", "VERSION", "TableSchema", "empty_table", "make_table", "validate"]

_ALL = [
    table(
        "images",
        "one row per image of the run, decoded or not",
        IMAGE,
        column("uri", pa.string(), "where the image was read from"),
        LABEL,
        column("class_index", pa.int32(), "index of the class among the classifier's outputs"),
        column("split", pa.string(), "fit (explained and clustered), held-out or test"),
        column("width", pa.int32(), "width of the photograph after its orientation tag", "pixel", nullable=True),
        column("height", pa.int32(), "height of the photograph", "pixel", nullable=True),
        column("mode", pa.string(), "color mode of the file, as Pillow names it", nullable=True),
        column("prediction", pa.int32(), "index of the predicted class; of several, its own first", nullable=True),
        column("prediction_name", pa.string(), "name of the predicted class", nullable=True),
        column("prediction_score", pa.float32(), "score of the prediction", "0..1", nullable=True),
        column("score", pa.float32(), "score of the image's own class", "0..1", nullable=True),
        column("explained", pa.bool_(), "whether the run's policy explains this image"),
        column("probabilities", pa.binary(), "scores of all classes, float32 [K]", "0..1", nullable=True),
        column("features", pa.binary(), "classifier features, float16 [D]", nullable=True),
        column("decode_error", pa.string(), "why the file could not be decoded; else null", nullable=True),
    ),
    table(
        "maps",
        "one row per explained image: its saliency map and what removing the salient pixels does",
        IMAGE,
        LABEL,
        column("explainer", pa.string(), "method and preset"),
        column("target", pa.int32(), "class index that was explained"),
        column("saliency", pa.binary(), "saliency map, uint8 (255 = most salient), C order, shape beside"),
        column("saliency_shape", pa.list_(pa.int32()), "channels, height, width of the saliency map", "pixel"),
        column("score_before", pa.float32(), "score of the target on the analyzed image", "0..1"),
        column(
            "score_after",
            pa.float32(),
            "the same after the method's own perturbation with the unrounded map; null if it has none",
            "0..1",
            nullable=True,
        ),
        column("drop", pa.float32(), "(before − after) / before", "share", nullable=True),
        column("area", pa.float32(), "mean saliency", "share of pixels"),
        column("binarization_error", pa.float32(), "mean 4m(1−m): 0 for a binary mask, 1 for 0.5 everywhere", "0..1"),
        column("iterations", pa.int32(), "passes through the network spent"),
        column(
            "seconds",
            pa.float32(),
            "time of its unit over its images; the one column that no seed fixes",
            "s",
            measured=True,
        ),
    ),
    table(
        "regions",
        "connected salient regions (saliency above the threshold) of each map",
        IMAGE,
        LABEL,
        column("region", pa.int32(), "number within the image, largest first"),
        *box("the region"),
        column("area", pa.float32(), "area of the region", "share of pixels"),
        column("run_length", pa.list_(pa.int32()), "row-major run lengths, zeros first", "pixel"),
        column("drop", pa.float32(), "(before − after) / before when this region alone is blurred", "share"),
    ),
    table(
        "proposals",
        "object proposals (selective search) of each explained image, with descriptors",
        IMAGE,
        LABEL,
        column("proposal", pa.int32(), "number within the image"),
        *box("the proposal"),
        column("salient_share", pa.float32(), "share of the proposal's area that is salient", "share"),
        KEPT,
        REASON,
        column("features", pa.binary(), "whitened descriptor of hog, float16, as many numbers as components are kept: "
                "similarity is max(0, a·b). Empty for conv, whose descriptors follow from the table features"),
        row_groups="image_id",
    ),
    table(
        "pairs",
        "image pairs that are matched: all of a small class, each image with its nearest neighbors in a large one",
        LABEL,
        column("image_a", pa.string(), "image id of the first image"),
        column("image_b", pa.string(), "image id of the second, not before the first in order"),
        column("task", pa.int32(), "number of the block of work within the class"),
        column("similarity", pa.float32(), "cosine of the classifier features of the two images", "-1..1"),
        column("component", pa.int32(), "connected component of the class's images that the pair belongs to"),
        row_groups="task",
    ),
    table(
        "scores",
        "proposal-flow scores between the proposals on the masks of two images, before redundant ones are known; and "
        "each image's best scores of a block of work, from which their strength comes",
        LABEL,
        column("image_a", pa.string(), "image id of the first image"),
        column("image_b", pa.string(), "image id of the second; null in the rows of best scores", nullable=True),
        column("shape", pa.list_(pa.int32()), "proposals on the mask of a and of b; of a and best scores of each"),
        column("values", pa.binary(), "matching confidence, float32, C order, shape beside"),
    ),
    table(
        "matches",
        "proposal-flow scores between the kept proposals of a class, self matches of an image included. Every "
        "proposal on the mask has a row with itself, which also says whether it was redundant",
        LABEL,
        column("image_a", IDS, "image id of the first proposal"),
        column("proposal_a", pa.int32(), "number of the first proposal within its image"),
        column("image_b", IDS, "image id of the second proposal, not before the first in order"),
        column("proposal_b", pa.int32(), "number of the second proposal"),
        column("score", pa.float32(), "matching confidence from a to b"),
        column("strength", pa.float32(), "mean of the proposal's 100 best scores against other images; null "
                "where the two proposals differ", nullable=True),
        KEPT,
        REASON,
    ),
    table(
        "clusters",
        "affinity-propagation clusters of a class's kept proposals, one row per proposal",
        LABEL,
        IMAGE,
        column("proposal", pa.int32(), "number within the image"),
        *box("the proposal"),
        column("cluster", pa.int32(), "cluster number within the class; null: it matches no exemplar", nullable=True),
        column("exemplar", pa.bool_(), "whether this proposal is its cluster's exemplar"),
        column("similarity", pa.float32(), "score between the proposal and its exemplar; 0 without one"),
        column("converged", pa.bool_(), "whether affinity propagation converged for this class"),
        column("iterations", pa.int32(), "message-passing steps"),
        column("preference", pa.float64(), "preference on the shifted scores"),
        column("net_similarity", pa.float64(), "sum of similarities to exemplars plus preferences"),
    ),
    table(
        "features",
        "what the classifier sees at each cell of a grid on each explained image, in the principal components of its "
        "class; to find the class's parts",
        IMAGE,
        LABEL,
        column("features", pa.binary(), "float16, C order, shape beside; the vector of every cell has length 1"),
        column("features_shape", pa.list_(pa.int32()), "rows and columns of cells, components"),
    ),
    table(
        "candidates",
        "every candidate for a summary, chosen or not: one row per candidate and image, at most one place in an image; "
        "from `source` on, what is known of the candidate is the same in all of its rows",
        LABEL,
        column("candidate", pa.int32(), "number within the class"),
        IMAGE,
        *box("the place"),
        column("segment", pa.list_(pa.int32()), "row-major run lengths of the cells that belong to it, others first",
                "cell"),
        column("side", pa.int32(), "cells to a side of the image", "cell"),
        column("likeness", pa.float32(), "mean likeness with the other places; null for a copy of another photograph",
                "-1..1", nullable=True),
        column("mirrored", pa.bool_(), "whether its mirror image is more like the others"),
        column("source", pa.string(), "where it comes from: regions or factors and how many there were, or proposals"),
        column("photographs", pa.int32(), "with a place, copies counted once", "images"),
        column("support", pa.float32(), "these / photographs of the class", "share"),
        column("coverage", pa.float32(), "salient pixels of the class that its places hold", "share"),
        column("coherence", pa.float32(), "mean likeness of two places laid on each other", "-1..1", nullable=True),
        column("chance", pa.float32(), "the same of random salient places of these shapes", "-1..1", nullable=True),
        column("chance_std", pa.float32(), "standard deviation of the latter", nullable=True),
        column("specificity", pa.float32(), "how much more often what looks like it is salient than any place",
                "0..1"),
        column("rank", pa.int32(), "among the chosen, from 0; null for others", nullable=True),
        column("gain", pa.float32(), "what it adds to those before it: salient pixels weighted by coherence", "share"),
        column("added", pa.float32(), "salient pixels that it adds to those before it", "share"),
        column("found_again", pa.float32(), "share of resamples of the images in which it is found again", "share",
                nullable=True),
        column("belongs_to", pa.int32(), "rank of the chosen one that it mostly lies on", nullable=True),
        column("relation", pa.string(), "to that one: near-duplicate, sub-part or whole of parts", nullable=True),
        column("reason", pa.string(), "why it is not chosen; null when chosen", nullable=True),
    ),
    table(
        "members",
        "where each summary is in each image, at most one place: of chosen candidates, or of clusters of proposals "
        "before and after pruning by structural similarity",
        LABEL,
        column("cluster", pa.int32(), "number of the cluster or candidate within the class"),
        column("source", pa.string(), "where it comes from: regions, factors or proposals"),
        IMAGE,
        column("proposal", pa.int32(), "number within the image; null where it is no proposal", nullable=True),
        *box("the member"),
        column("segment", pa.list_(pa.int32()), "row-major run lengths of the cells that belong to it, others first; "
                "null: all in the box", "cell", nullable=True),
        column("side", pa.int32(), "cells to a side of the image", "cell", nullable=True),
        column("rank", pa.int32(), "0 for the exemplar, then by falling similarity"),
        column("similarity", pa.float32(), "of proposals the score between the member and the exemplar, otherwise "
                "its mean likeness with the other members", nullable=True),
        column("ssim", pa.float32(), "median structural similarity to the other members", "-1..1", nullable=True),
        column("share_below", pa.float32(), "share of its structural similarities below the class's global "
                "median", "share", nullable=True),
        column("cluster_ssim", pa.float32(), "median structural similarity over the cluster's pairs", "-1..1",
                nullable=True),
        column("class_ssim", pa.float32(), "global figure: median of the clusters' medians", "-1..1",
                nullable=True),
        column("hull", pa.list_(pa.float32()), "x, y, x, y, … of the convex hull of the salient pixels inside "
                "the box", "pixel"),
        column("regions", pa.list_(pa.int32()), "numbers of the salient regions that the box touches"),
        column("drop", pa.float32(), "(before − after) / before when these regions are blurred together", "share",
                nullable=True),
        *evidence("the member"),
        column("cluster_reason", pa.string(), "why the whole cluster is no summary; else null", nullable=True),
        KEPT,
        REASON,
    ),
    table(
        "summaries",
        "visual summaries of a class: a common salient part each, kept and pruned",
        LABEL,
        column("summary", pa.int32(), "number within the class: kept ones first, by what they account for, clusters "
                "of proposals by falling support"),
        column("cluster", pa.int32(), "number of the cluster or candidate within the class"),
        column("source", pa.string(), "where it comes from: regions or factors and how many there were, or proposals"),
        column("exemplar_image", pa.string(), "image id of the exemplar"),
        column("exemplar_proposal", pa.int32(), "number of the exemplar within its image; null where it is no "
                "proposal", nullable=True),
        *box("the exemplar"),
        column("members", pa.int32(), "members kept", "images"),
        column("members_before", pa.int32(), "members before pruning", "images"),
        column("support", pa.float32(), "members kept / explained images of the class; of candidates, photographs "
                "with a member / photographs of the class, copies counted once", "share"),
        column("support_low", pa.float32(), "lower end of its 95 % interval (Wilson)", "share"),
        column("support_high", pa.float32(), "upper end of its 95 % interval", "share"),
        column("alone", pa.int32(), "kept members in images that have no member of another kept summary", "images"),
        column("coverage", pa.float32(), "salient pixels of the class that its members hold", "share", nullable=True),
        column("added", pa.float32(), "salient pixels that it adds to the summaries before it", "share",
                nullable=True),
        *evidence("a member, mean over those that were measured"),
        *(
            column(f"{figure}_{end}", pa.float32(), f"{side} end of its 95 % bootstrap interval over members", "share",
                    nullable=True)
            for figure in ("necessity", "sufficiency") for end, side in (("low", "lower"), ("high", "upper"))
        ),
        column("measured", pa.int32(), "members whose necessity and sufficiency were measured", "images"),
        column("coherence", pa.float32(), "mean likeness of two members laid on each other", "-1..1", nullable=True),
        column("chance", pa.float32(), "the same of random salient places of these shapes", "-1..1", nullable=True),
        column("found_again", pa.float32(), "share of resamples of the images in which it is found again", "share",
                nullable=True),
        column("similarity", pa.float32(), "mean similarity of the kept members", nullable=True),
        column("ssim", pa.float32(), "median structural similarity over pairs", "-1..1", nullable=True),
        column("class_ssim", pa.float32(), "median of the class's clusters' medians", "-1..1", nullable=True),
        column("drop", pa.float32(), "mean drop of the kept members", "share", nullable=True),
        KEPT,
        REASON,
    ),
    table(
        "tags",
        "names of each kept summary: the classifier's own best labels of the members' crops, the most common first",
        LABEL,
        column("summary", pa.int32(), "number of the summary within the class"),
        column("rank", pa.int32(), "0 for the most common"),
        column("tag", pa.string(), "the label"),
        column("share", pa.float32(), "members that have it among their best labels", "share"),
        column("features", pa.binary(), "mean over the members' crops of the classifier's features, each of length 1, "
                "float16 [D]; in the summary's first row alone", nullable=True),
    ),
    table(
        "negatives",
        "the photographs that every specialist is trained against, but for those of its own class: one draw over all "
        "classes",
        LABEL,
        IMAGE,
        column("features", pa.binary(), "classifier features, float16 [D]"),
    ),
    table(
        "specialists",
        "one linear support vector machine per kept summary, on L2-normalized classifier features",
        LABEL,
        column("summary", pa.int32(), "number of the summary within the class"),
        column("coefficients", pa.binary(), "weight vector, float32 [D]"),
        column("intercept", pa.float32(), "offset of the decision function"),
        column("positives", pa.int32(), "training images of the summary", "images"),
        column("negatives", pa.int32(), "training images of other summaries and classes", "images"),
        column("fit_accuracy", pa.float32(), "balanced accuracy on its own training images", "share"),
    ),
    table(
        "metrics",
        "figures of the run, each with its sample size, interval and how it was computed",
        column("label", pa.string(), "class; empty for a figure over all classes"),
        column("metric", pa.string(), "name of the figure"),
        column("value", pa.float64(), "the figure", nullable=True),
        column("low", pa.float64(), "lower end of its 95 % interval", nullable=True),
        column("high", pa.float64(), "upper end of its 95 % interval", nullable=True),
        column("n", pa.int32(), "items it was computed over"),
        column("unit", pa.string(), "unit of the figure"),
        column("method", pa.string(), "how it was computed, in words"),
    ),
    table(
        "measurements",
        "one row per image (or summary, or class), figure and variant of an experiment of the job `evaluate`; each "
        "experiment and its figures are described in docs/reference/evaluation.md",
        column("image_id", pa.string(), "sha256 of the image file's bytes; empty for a figure of a summary or class"),
        LABEL,
        column("summary", pa.int32(), "number of the summary within the class that it is about", nullable=True),
        column("study", pa.string(), "experiment, e.g. map stability"),
        column("variant", pa.string(), "what was compared, and how, e.g. overlap, horizontal flip"),
        column("model", pa.string(), "classifier, as the configuration names it"),
        column("explainer", pa.string(), "method and preset of the maps; empty where no map takes part"),
        column("value", pa.float64(), "the figure; for what either happens or not, 1 or 0"),
        column("curve", pa.list_(pa.float32()), "the curve whose area it is, at equal steps", nullable=True),
        column("protocol", pa.string(), "settings of the experiment that the figure depends on, JSON"),
    ),
    table(
        "ratings",
        "one row per answer that a person gave in the review server: names of parts, ratings of maps, images found "
        "from their maps. Only answers about what the run holds now",
        column("rater", pa.string(), "name that the person entered"),
        column("kind", pa.string(), "part name, map rating or find the image"),
        LABEL,
        column("summary", pa.int32(), "number of the summary within the class that was named", nullable=True),
        column("image_id", pa.string(), "image whose map was rated or looked for", nullable=True),
        column("text", pa.string(), "names of the part, separated by commas; null: could not tell", nullable=True),
        column("value", pa.float32(), "rating 0..6; 1 or 0: found or not; null for names", nullable=True),
        column("protocol", pa.string(), "what was shown and how it was chosen (pool of photographs, seed, model, "
                "explainer), JSON"),
        column("answered", pa.timestamp("ms", tz="UTC"), "when the answer was stored"),
    ),
    table(
        "errors",
        "one row for everything that was left out",
        column("stage", pa.string(), "stage that left it out"),
        LABEL,
        column("image_id", pa.string(), "image, where one is concerned and could be read", nullable=True),
        column("uri", pa.string(), "file, where one is concerned", nullable=True),
        column("reason", pa.string(), "what was wrong"),
        column("retry", pa.bool_(), "whether the next run tries again, because the cause may have passed"),
    ),
    table(
        "costs",
        "one row per unit of work that a run has done: what it cost",
        column("run", pa.string(), "run that did it, as in `runs`"),
        column("stage", pa.string(), "stage"),
        LABEL,
        column("unit", pa.string(), "name of the unit"),
        column("ended", pa.timestamp("ms", tz="UTC"), "when it was done"),
        column("seconds", pa.float64(), "time that it took in its worker", "s"),
        column("worker_seconds", pa.float64(), "processor time that it took", "s"),
        column("peak_memory", pa.int64(), "largest resident memory of the worker meanwhile", "byte"),
    ),
    table(
        "runs",
        "one row per stage of each run in the folder: configuration, versions, timings, host",
        column("run", pa.string(), "identity of the run (start time and configuration)"),
        column("stage", pa.string(), "stage"),
        column("started", pa.timestamp("ms", tz="UTC"), "start of the stage"),
        column(
            "seconds",
            pa.float64(),
            "from its first unit's beginning to its last one's end; stages overlap. Of shards found complete it adds "
            "what the runs took that made them, and so do the next two: a stage's last row is what its table cost",
            "s",
        ),
        column("worker_seconds", pa.float64(), "processor time spent in workers", "s"),
        column("peak_memory", pa.int64(), "largest resident memory of one worker", "byte"),
        column("units", pa.int32(), "shards planned"),
        column("units_cached", pa.int32(), "shards found complete and not computed again"),
        column("rows", pa.int64(), "rows in the stage's table"),
        column("seed", pa.int64(), "seed of the run"),
        column("weights", pa.string(), "sha256 of the classifier's weights"),
        column("configuration", pa.string(), "whole configuration as JSON"),
        column("inputs", pa.string(), "classifier, weights, preprocessing, class names and classes as JSON"),
        column("versions", pa.string(), "versions of Python and libraries as JSON"),
        column("host", pa.string(), "processors, memory, devices as JSON"),
    ),
]

TABLES: dict[str, TableSchema] = {table.name: table for table in (*_ALL, *VOLUME_TABLES)}


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
