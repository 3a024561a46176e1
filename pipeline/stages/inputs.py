"""What a run starts from: the classifier's identity and the catalog of classes and images."""

from dataclasses import dataclass

from pipeline.config import ConfigurationError, RunConfig
from pipeline.models.preprocessing import Preprocessing
from pipeline.stages.worker import classifier_of


@dataclass(frozen=True)
class CatalogImage:
    """One image file and its split (fit, held-out or test)."""

    uri: str
    split: str


@dataclass(frozen=True)
class CatalogClass:
    """One class of the run: its label, its index among the classifier's outputs, its images (maybe none)."""

    label: str
    class_index: int
    entries: tuple[CatalogImage, ...]


@dataclass(frozen=True)
class Catalog:
    """All classes of a run; `parts` is a CSV of true part boxes, where it is known."""

    classes: tuple[CatalogClass, ...]
    parts: str | None = None

    @property
    def image_count(self) -> int:
        return sum(len(group.entries) for group in self.classes)


@dataclass(frozen=True)
class Inputs:
    """Everything that planning needs of the outside world."""

    catalog: Catalog
    preprocessing: Preprocessing
    weights_digest: str
    classifier_name: str
    class_names: tuple[str, ...]


def gather_inputs(config: RunConfig) -> Inputs:
    """Load the classifier once for its identity, find the images, map their labels, split them.

    Raises:
        ConfigurationError: no images named, or both a folder and a manifest.
        ClassifierError, CatalogError: as the loaders say.
    """
    if (config.data.images is None) == (config.data.manifest is None):
        raise ConfigurationError("name the photographs: either data.images (a folder, or demo) or data.manifest")
    classifier = classifier_of(config)
    return Inputs(
        find_images(config, classifier),
        classifier.preprocessing,
        classifier.weights_digest,
        classifier.name,
        classifier.class_names,
    )
