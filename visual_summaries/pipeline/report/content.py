"""What the report shows, as plain data: a stage fills these dataclasses from the tables, `site` writes pages.

Pictures are of the analyzed image, the square of side S that the classifier sees. Figures that do not exist
(a cluster too small for structural similarity, a run without labels) are None and appear as a dash.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from visual_summaries.pipeline.report.altered import AlteredContent
from visual_summaries.pipeline.report.mistakes import MistakeContent, Mistakes
from visual_summaries.pipeline.report.near import Near


@dataclass(frozen=True, eq=False)
class MemberContent:
    """One member of a summary: a row of table `members` with its picture.

    Args:
        image: uint8 [S, S, 3], RGB.
        regions_mask: bool [S, S], the salient regions that the member's box touches.
        hull: float [n, 2], x and y of the convex hull of the salient pixels inside the box, in pixels from the
            image's top left corner. With fewer than 3 points the box is outlined instead.
        box: x0, y0, x1, y1 in pixels, half-open.
        image_id: sha256 of the image file.
        uri: where the image was read from.
        similarity: score between the member and the exemplar.
        ssim: median structural similarity to the other members, -1..1.
        drop: (before − after) / before when the regions are blurred together.
        necessity: the same when the member's own salient pixels alone are removed, where it was measured.
        sufficiency: score / score of the whole image when they alone are shown, where it was measured.
        exemplar: whether the summary was built around this member.
        kept: false when pruning left it out; then `reason` says why.
    """

    image: np.ndarray
    regions_mask: np.ndarray
    hull: np.ndarray
    box: Sequence[float]
    image_id: str
    uri: str
    similarity: float | None = None
    ssim: float | None = None
    drop: float | None = None
    necessity: float | None = None
    sufficiency: float | None = None
    exemplar: bool = False
    kept: bool = True
    reason: str | None = None


@dataclass(frozen=True, eq=False)
class SummaryContent:
    """One summary, kept or pruned: a row of table `summaries` with the members to show.

    Args:
        number: number within the class, kept ones first.
        kept: false when the summary was pruned; then `reason` says why.
        reason: why it was pruned.
        members: members to show, in order of rank; the exemplar is moved to the front. They may be fewer than
            `members_kept`; those that pruning left out are shown apart.
        members_kept: members kept, in images.
        members_before: members before pruning, in images.
        support: members kept / explained images of the class.
        similarity: mean score of the kept members to the exemplar.
        ssim: median structural similarity over the summary's pairs, -1..1.
        class_ssim: median of the medians of the class's clusters, -1..1.
        drop: mean drop of the kept members.
        source: what found it: regions or factors and how many there were, or proposals.
        coverage: salient pixels of the class that its members hold, share; `added` those that it adds to the summaries
            before it.
        necessity, sufficiency: means over `measured` members; `random_…` of random salient places of the same shape in
            the same images; `region_sufficiency` of the whole salient regions that the members touch.
        intervals: 95 % intervals of support, necessity and sufficiency, by name.
        coherence: mean likeness of two members laid on each other, `chance` that of random salient places, -1..1.
        found_again: share of resamples of the images in which it is found again.
        alone: images with a member of no other kept summary.
        relatives: other candidates that lie on it: what they are to it and how many.
        tags: what the classifier calls the members seen alone, each with the share of members that have it.
        signs: what is suspicious about it, fields of `pipeline.evaluate.suspicion.Sign`.
    """

    number: int
    kept: bool
    reason: str | None
    members: Sequence[MemberContent]
    members_kept: int
    members_before: int
    support: float
    similarity: float | None = None
    ssim: float | None = None
    class_ssim: float | None = None
    drop: float | None = None
    source: str = ""
    coverage: float | None = None
    added: float | None = None
    necessity: float | None = None
    random_necessity: float | None = None
    sufficiency: float | None = None
    random_sufficiency: float | None = None
    region_sufficiency: float | None = None
    measured: int = 0
    alone: int = 0
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    coherence: float | None = None
    chance: float | None = None
    found_again: float | None = None
    relatives: Sequence[tuple[str, int]] = ()
    tags: Sequence[tuple[str, float]] = ()
    signs: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, eq=False)
class RegionContent:
    """One salient region of an image: mask bool [S, S], and the drop when it alone is blurred."""

    mask: np.ndarray
    drop: float | None = None


@dataclass(frozen=True, eq=False)
class ExampleContent:
    """One explained image: photograph, saliency and the salient part.

    Args:
        image: uint8 [S, S, 3], RGB.
        saliency: uint8 [h, w], 255 = most salient; resized to the image. The caller averages a map of several
            channels.
        regions_mask: bool [S, S], the salient regions.
        image_id: sha256 of the image file.
        uri: where the image was read from.
        prediction_name: name of the predicted class.
        score_before: score of the explained class on the image.
        score_after: the same after the salient pixels are removed as the explainer does it, if it does.
        drop: (before − after) / before.
        area: mean saliency, share of pixels.
        binarization_error: mean 4m(1−m), 0 for a binary mask.
        regions: the salient regions, the largest first.
        proposals: float [n, 4], x0, y0, x1, y1 of the proposals that were kept as parts, in pixels; None where there
            are no proposals.
        parts: number of each kept summary that the image is a member of, with the member's pixels, bool [S, S].
    """

    image: np.ndarray
    saliency: np.ndarray
    regions_mask: np.ndarray
    image_id: str
    uri: str
    prediction_name: str | None = None
    score_before: float | None = None
    score_after: float | None = None
    drop: float | None = None
    area: float | None = None
    binarization_error: float | None = None
    regions: Sequence[RegionContent] = ()
    proposals: np.ndarray | None = None
    parts: Sequence[tuple[int, np.ndarray]] = ()


@dataclass(frozen=True)
class ErrorContent:
    """One row of table `errors`: something that was left out, and why."""

    stage: str
    label: str
    reason: str
    uri: str | None = None
    image_id: str | None = None


@dataclass(frozen=True)
class MetricContent:
    """One row of table `metrics`. A value of unit `share` is shown in percent."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    unit: str
    method: str


@dataclass(frozen=True)
class StageContent:
    """One row of table `runs`: `seconds` of wall time, `peak_memory` in bytes, `units` in shards."""

    stage: str
    seconds: float
    units: int
    units_cached: int
    worker_seconds: float
    peak_memory: int
    rows: int


@dataclass(frozen=True)
class ToldContent:
    """What the pages of a class say beside what is drawn of it; it may change while the pictures stay.

    Args:
        metrics: further figures of the class.
        evaluation: figures of the job `evaluate`, if it ran; those of each summary are means over its class.
        errors: what was left out of the class.
        names: what people call the part of each summary, by its number, each name with the raters who gave it.
        mistakes: photographs that are called something else.
        near: where the class is among the others.
        reliance: what it goes by that is no part of its pictures, fields of `pipeline.evaluate.reliance.RelianceSign`.
        previous, next: labels and names of the classes before and after, if there are any.
    """

    metrics: Sequence[MetricContent] = ()
    evaluation: Sequence[MetricContent] = ()
    errors: Sequence[ErrorContent] = ()
    names: Mapping[int, Sequence[tuple[str, int]]] = field(default_factory=dict)
    mistakes: Mistakes = Mistakes()
    near: Near = Near()
    reliance: Sequence[Mapping[str, Any]] = ()
    previous: tuple[str, str] | None = None
    next: tuple[str, str] | None = None


@dataclass(frozen=True, eq=False)
class ClassContent:
    """What is drawn of one class: a function of its own tables and photographs.

    Args:
        label: label of the class in the run (folder or manifest); any text.
        class_name: name of the class among the classifier's outputs.
        class_index: its index there.
        images: images of the class, decoded or not.
        explained: images that were explained.
        head: kind of the network's head, see `pipeline.models.heads`.
        resamples: of the photographs, in which each summary was sought again.
        accuracy: share of the decoded images that are predicted as this class.
        drop: mean drop of the explained images.
        area: mean saliency of the explained images, share of pixels.
        binarization_error: its mean over the explained images.
        accounted: share of the class's salient pixels that the kept summaries hold, where it is known.
        summaries: kept and pruned, each with its members.
        examples: explained images to show, about 8.
        mistakes: photographs that are called something else, to be shown.
        altered: photographs as they are and altered, of each kind of alteration that changes most of them.
        distributions: `plots.Histogram`s over the explained images, as dictionaries, by the name of the figure.
    """

    label: str
    class_name: str
    class_index: int
    images: int
    explained: int
    accuracy: float | None = None
    head: str = "softmax"
    resamples: int = 0
    drop: float | None = None
    area: float | None = None
    binarization_error: float | None = None
    accounted: float | None = None
    summaries: Sequence[SummaryContent] = ()
    examples: Sequence[ExampleContent] = ()
    mistakes: Sequence[MistakeContent] = ()
    altered: Sequence[AlteredContent] = ()
    distributions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class ClassCard:
    """What the index shows of a class. Written class pages return it; `dataclasses.asdict` makes it JSON.

    `page`, `strip` (the exemplars of the first summaries side by side; None without summaries) and `sheet`
    (the contact sheet of all kept summaries; None without) are paths relative to the report's folder, with
    forward slashes. `strip_width` and `strip_height` are in pixels. `deletion` is the mean deletion metric, where it
    was measured; `words` are tags and names of the summaries, for the search; `supports` are those of the kept
    summaries; `distributions` are as in `ClassContent`.

    `worries` are the kept summaries that have signs of something suspicious: label and class_name, number, page,
    picture of the exemplar (None without), signs and coverage. `reliance` is what it goes by that is no part of its
    pictures, as `altered.carded` gives it. `confused` is what the class's photographs are called
    instead: index (`called`), name and label (None outside the run) of that class, their count, its summary that most
    of them show first and how many do (None where none does), and the page. Of `asked` photographs that are called
    rightly and took no part in the summaries, `show` show one. `near` is as `near.carded` gives it.
    """

    label: str
    class_name: str
    class_index: int
    page: str
    strip: str | None
    strip_width: int
    strip_height: int
    sheet: str | None
    summaries: int
    pruned: int
    images: int
    explained: int
    accuracy: float | None
    drop: float | None
    errors: int
    deletion: float | None = None
    words: Sequence[str] = ()
    supports: Sequence[float] = ()
    distributions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    worries: Sequence[Mapping[str, Any]] = ()
    reliance: Sequence[Mapping[str, Any]] = ()
    confused: Sequence[Mapping[str, Any]] = ()
    asked: int = 0
    show: int = 0
    near: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class IndexContent:
    """Everything on the first page.

    Args:
        title: heading of the report.
        model: the classifier, as the person who ran it names it.
        weights: sha256 of the classifier's weights, hexadecimal.
        explainer: method and preset that made the saliency maps.
        head: kind of its head, see `pipeline.models.heads`.
        seed: seed of the run.
        started: when the run started, as text.
        classes: the cards that the class pages returned, in the order to show.
        metrics: figures over all classes.
        evaluation: figures of the job `evaluate` over all classes, if it ran.
        methods: how the figures of classes were computed: name of a figure, and the method in words.
        boxes: whether boxes of the objects were known.
        altered: whether photographs were named again without their frames, and in balanced colors.
        plots: of the run, as `plots.Plot`s.
        ratings: what people answered, as figures.
        stages: stages in the order they ran.
        errors: what was left out, all classes; the page shows the first ones and counts the others.
        configuration: whole configuration as text.
        versions: versions of Python, libraries and host as text.
    """

    title: str
    model: str
    weights: str
    explainer: str
    seed: int
    head: str = "softmax"
    started: str = ""
    classes: Sequence[ClassCard] = ()
    metrics: Sequence[MetricContent] = ()
    evaluation: Sequence[MetricContent] = ()
    methods: Sequence[tuple[str, str]] = ()
    boxes: bool = False
    altered: bool = False
    ratings: Sequence[MetricContent] = ()
    plots: Sequence[Any] = ()
    stages: Sequence[StageContent] = ()
    errors: Sequence[ErrorContent] = ()
    configuration: str = ""
    versions: str = ""
