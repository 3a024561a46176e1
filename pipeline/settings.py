"""Every setting of a run with its default, meaning and limits. The one annotated default is made from this."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.objects import ObjectPath
from pipeline.runtime.settings import Location, RaySettings, Section
from pipeline.suggestions import did_you_mean

Share = Annotated[float, Field(ge=0, le=1)]


class DataSettings(Section):
    """Which photographs and classes, and how they are split."""

    images: Location | None = Field(
        None, description="folder <class>/**/*.jpg, or .tar or .parquet files; 'demo' draws the built-in demo set"
    )
    manifest: Location | None = Field(None, description="CSV or Parquet with columns uri, label, instead of a folder")
    class_map: Location | None = Field(
        None, description="JSON, YAML or CSV: label → class index; default: recognized by name or WordNet id"
    )
    classes: tuple[str, ...] | None = Field(None, description="labels to keep; default: all")
    images_per_class: int | None = Field(None, ge=1, description="images per class, all splits together; default: all")
    held_out: Share = Field(0.15, description="share of a class set aside to choose the fusion weight")
    test: Share = Field(0.15, description="share of a class set aside to report accuracy")
    parts: Location | None = Field(
        None, description="CSV of true part boxes (file, class, part, x0, y0, x1, y1, discriminative), if known"
    )
    boxes: Location | None = Field(
        None, description="CSV of the objects' boxes (file, x0, y0, x1, y1 in pixels of the photograph), if known"
    )
    landmarks: Location | None = Field(
        None, description="CSV of the parts' places (file, part, x, y, visible in pixels of the photograph), if known"
    )
    demo_images_per_class: int = Field(30, ge=1, description="images drawn per class of the demo set")

    @model_validator(mode="after")
    def _splits_leave_something(self) -> "DataSettings":
        if self.held_out + self.test >= 1:
            raise ValueError("held_out + test must stay below 1: nothing would be left to explain")
        return self


# The word for the names of ImageNet's thousand classes.
IMAGENET = "imagenet"


class ModelSettings(Section):
    """The classifier and how images are brought to it."""

    name: str = Field("torchvision:squeezenet1_1", description="torchvision:<name>, module:function, or demo")
    weights: Location | None = Field(
        None, description="weights enum (downloads), .safetensors or weights-only .pt file, or 'random'"
    )
    labels: Location | None = Field(None, description="file of class names (txt, csv, json), or 'imagenet'")
    resize: int | None = Field(None, ge=1, description="shorter side before cropping, px; default: the weights'")
    crop: int | None = Field(None, ge=16, description="side of the analyzed square, px; default: the weights'")
    squash: bool | None = Field(None, description="resize the whole image to the square instead of cropping")
    feature_layer: str | None = Field(None, description="layer whose output describes images; default: found")
    mean: tuple[float, ...] | None = Field(
        None, description="mean of red, green and blue, or of gray, as many as channels; default: the weights'"
    )
    std: tuple[float, ...] | None = Field(None, description="standard deviation of the same; default: the weights'")
    batch_size: int = Field(32, ge=1, description="images per forward pass")

    @property
    def weights_or_file(self) -> str | Path | ObjectPath | None:
        """The weights' name where they have one, as torchvision's and "random" have; else where they are."""
        is_name = self.weights is None or not {"/", "."} & set(self.weights)
        return self.weights if is_name else self.weights.path

    @property
    def labels_file(self) -> Location | None:
        """Where the class names are, unless they are named by a word."""
        return None if self.labels == IMAGENET else self.labels


class GlasSection(Section):
    """Light and shadow: the explainers glas and rglas. Lengths in cells of the grid; default: the preset's."""

    preset: Literal["localize", "fine-grained"] = Field("localize", description="σ of light, shadow and spread")
    grid: int = Field(15, ge=1, le=256, description="search points along each axis")
    light: float | None = Field(None, gt=0, description="σ of the light, cells; default: the preset's, 5 or 3")
    shadow: float | None = Field(None, gt=0, description="σ of the shadow, cells; default: the preset's, 3")
    spatial: float | None = Field(
        None, gt=0, description="how far a search point's score spreads, cells; default: the preset's, 6 or 3"
    )
    mode: Literal["fusion", "light", "shadow"] = Field("fusion", description="light times shadow, or one alone")
    saliency_threshold: Share = Field(
        0.8, description="rglas: search points with more saliency are not searched again (t1)"
    )
    stop_threshold: float = Field(
        5.0, gt=0, description="rglas: ends when √(mean saliency / score left) exceeds it (t2)"
    )
    rounds: int = Field(5, ge=1, description="rglas: rounds at most")


class RiseSection(Section):
    """Random masks: the explainer rise."""

    masks: int = Field(4000, ge=1, description="masked images, forward passes, per image")
    cells: int = Field(7, ge=1, description="side of the random grids")
    keep: float = Field(0.5, gt=0, lt=1, description="probability that a cell is shown")
    hidden: Literal["mean", "black"] = Field("mean", description="what is where a mask hides: the data mean, or black")


class OcclusionSection(Section):
    """A sliding window: the explainer occlusion."""

    window: int = Field(32, ge=1, lt=224, description="side of the window, px of a 224-px image")
    stride: int = Field(16, ge=1, description="from one window to the next, px of a 224-px image")

    @model_validator(mode="after")
    def _windows_touch(self) -> "OcclusionSection":
        if self.stride > self.window:
            raise ValueError("stride must be at most window: pixels between the windows would never be hidden")
        return self


class SamplingSection(Section):
    """Numbers of samples: the explainers integrated-gradients, smoothgrad and lime."""

    steps: int = Field(50, ge=1, description="integrated-gradients: images on the way from gray")
    noisy_copies: int = Field(50, ge=1, description="smoothgrad: noisy copies per image")
    noise: float = Field(0.15, gt=0, description="smoothgrad: σ of the noise, share of the image's range of values")
    lime: int = Field(1000, ge=1, description="lime: perturbed images per image")
    superpixel: int = Field(32, ge=1, lt=150, description="lime: side of a superpixel, px of a 224-px image")


class CamSection(Section):
    """Class activation maps: the explainers cam, grad-cam, grad-cam++, smooth-grad-cam++ and feature-cam."""

    layer: str | None = Field(None, description="submodule whose output is the map; default: the last spatial one")
    copies: int = Field(8, ge=1, description="smooth-grad-cam++: noisy copies per image")
    noise: float = Field(0.15, ge=0, description="smooth-grad-cam++: σ of the noise, share of the image's range")
    version: Literal["F1+", "F2+", "F3+", "F1*", "F2*", "F3*", "F1'", "F2'", "F3'"] = Field(
        "F2+",
        description="feature-cam: feature image (F1 edges, F2 and F3 blended with the image 2:1 and 1:1), then + "
        "added, * multiplied, ' its complement multiplied",
    )
    localizer: Literal["cam", "grad-cam", "grad-cam++", "smooth-grad-cam++"] = Field(
        "grad-cam++", description="feature-cam: the class activation map that it refines"
    )
    edges: Location | None = Field(
        None, description="feature-cam: weights file of PiDiNet or HED; default: Sobel's operator"
    )


class ExplainSettings(Section):
    """How saliency maps are made, and of which images."""

    explainer: str = Field(
        "crisp",
        description="method that makes the maps: crisp, fgvis, glas, rglas, rise, occlusion, meaningful-perturbation, "
        "thresholded-perturbation, gradient, guided-backpropagation, integrated-gradients, smoothgrad, lime, cam, "
        "grad-cam, grad-cam++, smooth-grad-cam++, feature-cam",
    )
    preset: Literal["robust", "fast", "authors", "paper"] | None = Field(
        None,
        description="how crisp masks are made; default: robust, and fast for the perturbations they are compared with",
    )
    blur: Literal["authors", "paper"] | None = Field(None, description="perturbation; default: the preset's")
    game: Literal["preservation", "deletion", "generation", "repression"] = Field(
        "deletion", description="of the explainer fgvis"
    )
    similarity: Literal["cross-entropy", "score"] = Field("cross-entropy", description="of the explainer fgvis")
    policy: Literal["predicted-correctly", "all"] = Field(
        "predicted-correctly", description="which images are explained"
    )
    target: Literal["label", "prediction"] = Field("label", description="class whose score is explained")
    batch_size: int | None = Field(
        None, ge=1, description="images optimized together; default: as many as memory allows"
    )
    shard_size: int = Field(64, ge=1, description="images per unit of work and of resume")
    precision: Literal["float32", "tf32", "bfloat16", "float64"] = Field(
        "float32",
        description="of the network's passes; tf32 and bfloat16 are faster on GPUs that have them, float64 makes maps "
        "independent of the batch size down to rounding",
    )
    glas: GlasSection = Field(GlasSection(), description="of the explainers glas and rglas")
    rise: RiseSection = Field(RiseSection(), description="of the explainer rise")
    occlusion: OcclusionSection = Field(OcclusionSection(), description="of the explainer occlusion")
    sampling: SamplingSection = Field(
        SamplingSection(), description="of the explainers integrated-gradients, smoothgrad and lime"
    )
    cam: CamSection = Field(CamSection(), description="of the explainers cam to feature-cam")
    pass_memory: int = Field(
        16 * 2**20,
        ge=1,
        description="black-box explainers and class activation maps: bytes of the images in one forward pass; never "
        "changes a result",
    )

    @model_validator(mode="after")
    def _preset_fits(self) -> "ExplainSettings":
        if self.explainer == "crisp" and self.preset in (None, "robust") and self.blur == "paper":
            raise ValueError("the preset robust has a blur of its own; with blur=paper choose preset=paper or another")
        if self.explainer.endswith("-perturbation") and self.preset == "robust":
            raise ValueError(f"{self.explainer} has no preset robust: leave preset out or choose another")
        return self

    @field_validator("explainer")
    @classmethod
    def _explainer_is_known(cls, name: str) -> str:
        _check_explainer(name)
        return name


def _check_explainer(name: str) -> None:
    from pipeline.explain.registry import EXPLAINERS

    if name not in EXPLAINERS:
        raise ValueError(f"unknown explainer; known: {', '.join(EXPLAINERS)}{did_you_mean(name, EXPLAINERS)}")


class RegionSettings(Section):
    """What counts as a salient region."""

    threshold: Share | None = Field(
        None, description="saliency above this is salient; default: the explainer's own, 0.5 for crisp masks"
    )
    smoothing: float | None = Field(
        None, ge=0, description="blur of maps before the cut, σ in px of a 224-px image; default: the explainer's own"
    )
    share: Share | None = Field(
        None, description="in place of threshold, the most salient share of pixels; default: the explainer's own"
    )
    minimum_area: Share = Field(0.01, description="smaller regions are dropped, share of the image")


class SummarySettings(Section):
    """Where the candidates for visual summaries come from, and which of them are chosen."""

    sources: tuple[Literal["regions", "factors", "proposals"], ...] = Field(
        ("regions", "factors"),
        min_length=1,
        description="of candidates: groups of salient regions, factors of the classifier's own features, clusters of "
        "matched proposals (the papers' way; slow)",
    )
    selection: Literal["evidence", "similarity"] = Field(
        "evidence",
        description="the fewest candidates that account for the salient evidence, or all clusters of proposals that "
        "pruning by structural similarity leaves (the papers' way)",
    )
    layers: tuple[str, ...] = Field(
        (), description="submodules whose outputs describe each place; default: the last ones of strides 16 and 8"
    )
    least_support: Share = Field(0.4, description="share of a class's photographs that a summary is found in at least")
    price: Share = Field(
        0.1, description="what a summary must add, as a share of what the best candidate accounts for; lower for more"
    )
    resamples: int = Field(
        4, ge=0, description="of 80 % of a class's images, in which its summaries are sought again"
    )
    measured: int = Field(
        24, ge=1, description="members of a summary that are removed, or shown alone, to measure its evidence; at most"
    )

    @property
    def by_evidence(self) -> bool:
        """Whether summaries are chosen among candidates, not left over from pruned clusters."""
        return self.selection == "evidence"

    @property
    def with_proposals(self) -> bool:
        """Whether proposals are made, matched and clustered."""
        return "proposals" in self.sources

    @model_validator(mode="after")
    def _selection_fits(self) -> "SummarySettings":
        if self.selection == "similarity" and set(self.sources) != {"proposals"}:
            raise ValueError(
                "selection=similarity prunes clusters of proposals alone: set sources to [proposals], or preset=paper"
            )
        return self


class ProposalSettings(Section):
    """Selective search, where proposals are a source of candidates."""

    search: Literal["fast", "published"] = Field(
        "fast", description="segmentations that boxes come from: few, of a smaller image, or the authors' 80"
    )
    limit: int = Field(250, ge=1, description="proposals per image at most; published: 500")
    descriptor: Literal["conv", "hog"] = Field(
        "conv", description="what proposals are compared by: the classifier's own features in them, or whitened HOG"
    )
    components: int | None = Field(
        64, ge=1, le=1984, description="hog: principal components that are kept; null: all 1984, as published"
    )
    minimum_side: float = Field(20.0, gt=0, description="shortest side, px of a 224-px image")


class MatchingSettings(Section):
    """Proposal flow, whitening, and pruning by mask and redundancy."""

    score: Literal["lom", "phm", "nam"] = Field("lom", description="local offset, Hough or appearance matching")
    mode: Literal["frozen", "legacy"] = Field("frozen", description="lom on a frozen table, or as published")
    mask_overlap: Share = Field(0.75, description="a proposal counts if more of its area than this is salient")
    redundancy_overlap: Share = Field(0.5, description="intersection / smaller area that makes two redundant")
    redundancy_area_ratio: float = Field(2.0, ge=1, description="… if their areas differ by less than this")
    all_pairs_up_to: int = Field(100, ge=1, description="images; beyond, a class's images meet their neighbors only")
    neighbors: int = Field(30, ge=1, description="nearest images, by the classifier's features, of a larger class")
    pairs_per_task: int = Field(256, ge=1, description="image pairs per unit of work and of resume")


class ClusteringSettings(Section):
    """Affinity propagation."""

    preference_factor: float = Field(1.3, ge=0, le=1000, description="preference = factor × median of shifted scores")
    damping: float = Field(0.9, ge=0.5, lt=1, description="damping of affinity propagation")
    maximum_iterations: int = Field(1000, ge=1, description="message-passing steps at most")
    stable_iterations: int = Field(100, ge=1, description="steps without change that count as converged")
    exemplar_rounds: int = Field(
        2, ge=0, description="times that a large class's images meet the exemplars' images and are clustered again"
    )
    dense_up_to: int = Field(2000, ge=1, description="parts; beyond, only scores above 0 are held and passed over")


class PruningSettings(Section):
    """Members of a cluster and pruning by structural similarity (SSIM), with summaries.selection=similarity."""

    maximum_members: int = Field(50, ge=1, description="members per summary at most")
    minimum_members: int = Field(3, ge=2, description="a cluster with fewer images is no summary")
    cluster_threshold: float | None = Field(
        0.9, ge=0, description="keep a cluster if its median SSIM ≥ this × class median; null: whatever its SSIM"
    )
    member_share: Share = Field(0.6, description="drop a member if this share of its SSIMs is below class median")


class SpecialistSettings(Section):
    """Linear support vector machines, one per summary."""

    regularization: float = Field(1.0, gt=0, description="C of the linear support vector machines")
    negatives_per_class: int = Field(50, ge=1, description="negative images drawn from each other class at most")
    negatives: int = Field(5000, ge=1, description="negative images drawn from all classes together at most")


class EvaluationSettings(Section):
    """The experiments of the papers, by the job `evaluate`."""

    photographs: int = Field(1000, ge=1, description="of the adversarial study: the surest, all classes together")
    iterations: int = Field(200, ge=1, description="steps of the adversarial study, with and without the filter")
    explainers: tuple[str, ...] | None = Field(
        None, description="explainers that a paper's experiments compare; default: the paper's"
    )
    sanity_images: int = Field(4, ge=1, description="images of each class whose maps are made with randomized weights")
    sanity_steps: int = Field(4, ge=1, description="how many times more layers are randomized, from the output back")
    stability_images: int = Field(
        4, ge=1, description="images of each class whose maps are made again, five times, of hardly changed images"
    )
    other_models: tuple[ModelSettings, ...] = Field(
        (), description="networks with the same classes that are shown what the maps say; each as the section model"
    )
    tags: int = Field(5, ge=1, description="tags of a member: the classifier's best labels of its crop")
    subsamples: int = Field(
        4, ge=1, description="random 80 % of a class's images, and other seeds, with which its summaries are made anew"
    )

    @field_validator("explainers")
    @classmethod
    def _explainers_are_known(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in names or ():
            _check_explainer(name)
        return names


class ReportSettings(Section):
    """How much the pages show."""

    examples: int = Field(8, ge=0, description="photographs with their maps on a class page")
    members: int = Field(16, ge=1, description="members shown per summary")


class RunConfig(Section):
    """The whole configuration of a run."""

    preset: Literal["default", "paper"] = Field(
        "default",
        description="what all other settings start from; paper: the chain of the visual summaries paper, with its "
        "authors' masks, proposals and pruning by structural similarity",
    )
    output: Location = Field(Location("runs/latest"), description="folder of tables and report")
    seed: int = Field(0, ge=0, description="seed of everything random")
    error_tolerance: Share = Field(
        0.05,
        description="share of images that may be lost before the run fails; one of several always may, unless it is 0",
    )
    log: Literal["file", "json"] = Field(
        "file", description="events of the run: JSON lines in <output>/logs, or with json on standard error as well"
    )
    data: DataSettings = Field(DataSettings(), description="photographs and classes")
    model: ModelSettings = Field(ModelSettings(), description="classifier")
    explain: ExplainSettings = Field(ExplainSettings(), description="saliency maps")
    regions: RegionSettings = Field(RegionSettings(), description="salient regions")
    summaries: SummarySettings = Field(SummarySettings(), description="candidates and their selection")
    proposals: ProposalSettings = Field(ProposalSettings(), description="object proposals")
    matching: MatchingSettings = Field(MatchingSettings(), description="proposal flow and pruning by mask")
    clustering: ClusteringSettings = Field(ClusteringSettings(), description="affinity propagation")
    pruning: PruningSettings = Field(PruningSettings(), description="members and pruning by similarity")
    specialists: SpecialistSettings = Field(SpecialistSettings(), description="one SVM per summary")
    evaluation: EvaluationSettings = Field(EvaluationSettings(), description="experiments of the job evaluate")
    report: ReportSettings = Field(ReportSettings(), description="pages")
    ray: RaySettings = Field(RaySettings(), description="workers; never changes a result")

    @property
    def needs_features(self) -> bool:
        """Whether summaries are found, or proposals compared, by what the classifier sees at each place."""
        return self.summaries.by_evidence or (self.summaries.with_proposals and self.proposals.descriptor == "conv")
