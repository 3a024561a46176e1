"""Settings of the explainers, and of what they explain."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from visual_summaries.pipeline.runtime.settings import Location, Section
from visual_summaries.pipeline.suggestions import did_you_mean

Share = Annotated[float, Field(ge=0, le=1)]


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
    divisor: Literal["drawn", "expected"] = Field(
        "drawn",
        description="what a pixel's sum of scores is divided by: how much the drawn masks show of it, or, as in the "
        "published program, how much masks show on average",
    )


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
    search: Literal["scales", "trials"] | None = Field(
        None, description="for λ by the explainer fgvis; default: the game's own (docs/explanation/fgvis.md)"
    )
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
        check_explainer(name)
        return name


def check_explainer(name: str) -> None:
    """Raise ValueError unless there is an explainer of that name."""
    from visual_summaries.pipeline.explain.registry import EXPLAINERS

    if name not in EXPLAINERS:
        raise ValueError(f"unknown explainer; known: {', '.join(EXPLAINERS)}{did_you_mean(name, EXPLAINERS)}")
