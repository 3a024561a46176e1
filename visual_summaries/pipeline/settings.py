"""Every setting of a run with its default, meaning and limits. The one annotated default is made from this."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from visual_summaries.pipeline.explain_settings import ExplainSettings, Share, check_explainer
from visual_summaries.pipeline.objects import ObjectPath
from visual_summaries.pipeline.runtime.settings import Location, RaySettings, Section


class DataSettings(Section):
    """Which photographs and classes, and how they are split."""

    images: Location | None = Field(
        None, description="folder <class>/**/*.jpg, or .tar or .parquet files; 'demo' draws the built-in demo set"
    )
    manifest: Location | None = Field(
        None, description="list (CSV, JSON, Parquet) with columns uri, label, instead of a folder"
    )
    class_map: Location | None = Field(
        None, description="list, JSON or YAML: label → class index; default: recognized by name or WordNet id"
    )
    classes: tuple[str, ...] | None = Field(None, description="labels to keep; default: all")
    images_per_class: int | None = Field(None, ge=1, description="images per class, all splits together; default: all")
    held_out: Share = Field(0.15, description="share of a class set aside to choose how strongly specialists are heard")
    test: Share = Field(0.15, description="share of a class set aside to report accuracy")
    parts: Location | None = Field(
        None, description="list of true part boxes (file, class, part, x0, y0, x1, y1, discriminative), if known"
    )
    boxes: Location | None = Field(
        None, description="list of the objects' boxes (file, x0, y0, x1, y1 in pixels of the photograph), if known"
    )
    landmarks: Location | None = Field(
        None, description="list of the parts' places (file, part, x, y, visible in pixels of the photograph), if known"
    )
    demo_images_per_class: int = Field(30, ge=1, description="images drawn per class of the demo set")

    @field_validator("classes", mode="before")
    @classmethod
    def _one_class_is_a_list_of_one(cls, classes: object) -> object:
        return (classes,) if isinstance(classes, str) else classes

    @model_validator(mode="after")
    def _splits_leave_something(self) -> "DataSettings":
        if self.held_out + self.test >= 1:
            raise ValueError("held_out + test must stay below 1: nothing would be left to explain")
        return self


# The word for the names of ImageNet's thousand classes.
IMAGENET = "imagenet"


class ModelSettings(Section):
    """The classifier and how images are brought to it."""

    name: str = Field(
        "torchvision:squeezenet1_1",
        description="torchvision:<name>, timm:<name>, hf:<repository or folder>, module:function, or demo",
    )
    weights: Location | None = Field(
        None, description="weights enum or 'pretrained' (downloads), .safetensors or weights-only .pt file, or 'random'"
    )
    labels: Location | None = Field(None, description="file of class names of any common form, or 'imagenet'")
    resize: int | None = Field(None, ge=1, description="shorter side before cropping, px; default: the weights'")
    crop: int | None = Field(None, ge=16, description="side of the analyzed square, px; default: the weights'")
    squash: bool | None = Field(None, description="resize the whole image to the square instead of cropping")
    feature_layer: str | None = Field(None, description="layer whose output describes images; default: found")
    head: Literal["auto", "softmax", "sigmoid", "binary", "probabilities"] = Field(
        "auto", description="what the outputs mean: classes of which an image has one or several, one logit, shares"
    )
    mean: tuple[float, ...] | None = Field(
        None, description="mean of red, green and blue, or of gray, as many as channels; default: the weights'"
    )
    std: tuple[float, ...] | None = Field(None, description="standard deviation of the same; default: the weights'")
    channels: Literal["rgb", "bgr"] | None = Field(
        None, description="order in which the network wants the normalized channels; default: the weights', mostly rgb"
    )
    self_check: bool = Field(
        True, description="try the network on some photographs first and warn where its accuracy looks wrong"
    )
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
    fusion: Literal["logarithmic", "convex"] = Field(
        "logarithmic",
        description="add their decision values, times a strength, to the network's logits, or scores to its "
        "probabilities (the paper's way); the strength is chosen on the images that data.held_out sets aside",
    )


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
    taggers: tuple[ModelSettings, ...] = Field(
        (), description="networks of any classes, not the run's own, that tag its photographs; each as section model"
    )
    tagger_tags: int = Field(8, ge=1, description="tags that a tagger gives a photograph or a crop")
    tags: int = Field(5, ge=1, description="tags of a member: the classifier's best labels of its crop")
    subsamples: int = Field(
        4, ge=1, description="random 80 % of a class's images, and other seeds, with which its summaries are made anew"
    )

    @property
    def networks(self) -> dict[str, ModelSettings]:
        """Networks besides the run's own, by the names of their sections."""
        several = {"other_models": self.other_models, "taggers": self.taggers}
        return {f"evaluation.{name}.{n}": one for name, models in several.items() for n, one in enumerate(models)}

    @field_validator("explainers")
    @classmethod
    def _explainers_are_known(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in names or ():
            check_explainer(name)
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
