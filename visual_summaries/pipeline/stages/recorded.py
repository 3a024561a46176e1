"""What the table `runs` says of the inputs that a run started from, and the inputs that follow from it.

A run may come from anywhere: this is data, checked by a strict schema. Nothing is imported, loaded or asked for.
"""

from collections import defaultdict
from dataclasses import asdict
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.data.catalog import CatalogClass, CatalogEntry
from visual_summaries.pipeline.models.heads import SOFTMAX, Kind
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.stages.inputs import Inputs
from visual_summaries.pipeline.store.tables import StoreError, TableStore

LARGEST_SIDE = 16384

Side = Annotated[int, Field(ge=1, le=LARGEST_SIDE)]
Channels = tuple[float, float, float]


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class RecordedPreprocessing(_Data):
    """The fields of `Preprocessing`."""

    resize_side: Side
    crop_side: Side
    mean: Channels
    std: Channels
    interpolation: str
    antialias: bool
    squash: bool
    squash_side: Side | None = None
    floor_crop: bool = False
    channels: str = "rgb"

    @model_validator(mode="after")
    def _possible(self) -> "RecordedPreprocessing":
        self.value()
        return self

    def value(self) -> Preprocessing:
        return Preprocessing(**self.model_dump())


class RecordedClass(_Data):
    """A class of the run."""

    label: str
    class_index: int = Field(ge=0)


class Recorded(_Data):
    """The classifier as far as a finished run's readers need it, and the classes of the run, empty ones too.

    Attributes:
        classifier: what the classifier calls itself.
        weights: digest of its weights.
        class_names: of its outputs.
        head: what its outputs mean.
    """

    classifier: str
    weights: str
    preprocessing: RecordedPreprocessing
    class_names: tuple[str, ...]
    classes: tuple[RecordedClass, ...]
    head: Kind = SOFTMAX

    @model_validator(mode="after")
    def _classes_are_the_classifiers(self) -> "Recorded":
        for group in self.classes:
            if group.class_index >= len(self.class_names):
                raise ValueError(f"class {group.class_index} is none of {len(self.class_names)}")
        return self


def recorded(inputs: Inputs) -> str:
    """The inputs as the table `runs` has them."""
    return Recorded(
        classifier=inputs.classifier_name,
        weights=inputs.weights_digest,
        preprocessing=RecordedPreprocessing(**asdict(inputs.preprocessing)),
        class_names=tuple(inputs.class_names),
        classes=tuple(RecordedClass(label=one.label, class_index=one.class_index) for one in inputs.classes),
        head=inputs.head,
    ).model_dump_json()


def read_recorded(text: str, folder: str) -> Recorded:
    """What `recorded` wrote.

    Raises:
        StoreError: it is something else; `folder` is where.
    """
    try:
        return Recorded.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise StoreError(
            f"the table runs in {folder} does not say what the run started from ({where or 'inputs'}: {first['msg']}): "
            "run summarize again as before; what is done stays"
        ) from None


def recorded_inputs(config: RunConfig, known: Recorded, store: TableStore) -> Inputs:
    """The inputs of a finished run by its tables alone.

    Raises:
        StoreError: the table `images` is missing or damaged.
    """
    entries: dict[str, list[CatalogEntry]] = defaultdict(list)
    indices = {one.label: one.class_index for one in known.classes}
    for shard in store.manifest("images"):
        for row in store.read("images", [shard.path], ["label", "uri", "split"]).to_pylist():
            if row["label"] in indices:
                own = CatalogEntry(row["uri"], row["label"], indices[row["label"]], row["split"])
                entries[row["label"]].append(own)
    return Inputs(
        classes=tuple(CatalogClass(one.label, one.class_index, tuple(entries[one.label])) for one in known.classes),
        parts=None,
        preprocessing=known.preprocessing.value(),
        weights_digest=known.weights,
        classifier_name=known.classifier,
        class_names=known.class_names,
        model=config.model.name,
        head=known.head,
    )
