"""What a run starts from: the classifier's identity and the catalog of classes and images."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pipeline.config import ConfigurationError, RunConfig
from pipeline.data.catalog import CatalogClass, load_catalog
from pipeline.data.parts import read_parts
from pipeline.models.classifier import Classifier, ClassifierError
from pipeline.models.dense_features import layers_of
from pipeline.models.preprocessing import Preprocessing
from pipeline.objects import ObjectPath, place
from pipeline.stages.context import classifier_of

DEMO = "demo"


@dataclass(frozen=True)
class Inputs:
    """Everything that planning needs of the outside world.

    Attributes:
        classes: the run's classes with their images, in order of their labels.
        parts: CSV of true part boxes, where it is known.
    """

    classes: tuple[CatalogClass, ...]
    parts: str | None
    preprocessing: Preprocessing
    weights_digest: str
    classifier_name: str
    class_names: tuple[str, ...]

    @property
    def image_count(self) -> int:
        return sum(len(group.entries) for group in self.classes)


def gather_inputs(config: RunConfig) -> Inputs:
    """Load the classifier once for its identity, find the images, map their labels, split them.

    Raises:
        ConfigurationError: no images named, or both a folder and a manifest.
        ClassifierError, CatalogError: as the loaders say.
    """
    data = config.data
    if (data.images is None) == (data.manifest is None):
        raise ConfigurationError("name the photographs: either data.images (a folder, or demo) or data.manifest")
    if data.parts is not None:
        read_parts(data.parts)
    classifier = classifier_of(config)
    _check_layers(config, classifier)
    images, parts = data.images, data.parts
    if images == DEMO:
        images, parts = _demo_set(config)
    return Inputs(
        _classes(config, images, classifier),
        parts,
        classifier.preprocessing,
        classifier.weights_digest,
        classifier.name,
        classifier.class_names,
    )


def _check_layers(config: RunConfig, classifier: Classifier) -> None:
    """Notice now, not once all maps are made, that the network has no layers to find parts with."""
    if config.needs_features:
        try:
            layers_of(classifier, config.summaries.layers)
        except ClassifierError as error:
            raise ClassifierError(
                f"{classifier.name}: {error} (setting summaries.layers), or take --preset paper, which needs none"
            ) from None


def _classes(config: RunConfig, images: str | None, classifier: Classifier) -> tuple[CatalogClass, ...]:
    data = config.data
    return load_catalog(
        images=images,
        manifest=data.manifest,
        class_names=classifier.class_names,
        wordnet_ids=classifier.wordnet_ids,
        class_map=data.class_map,
        classes=data.classes,
        images_per_class=data.images_per_class,
        held_out=data.held_out,
        test=data.test,
        seed=config.seed,
    ).classes


def _demo_set(config: RunConfig) -> tuple[str, str]:
    """Draw the demo set beside the tables, unless it is there already; (folder, CSV of its parts)."""
    from pipeline.data.demo.scenes import write_demo_set

    count = config.data.demo_images_per_class
    folder = place(config.output) / f"demo-set-{count}-{config.seed}"
    if isinstance(folder, ObjectPath):
        if not (folder / "parts.csv").exists():
            with TemporaryDirectory() as drawn:
                write_demo_set(Path(drawn), count, config.seed)
                files = [one for one in Path(drawn).rglob("*") if one.is_file()]
                # The list comes last: with it the set is whole.
                for file in sorted(files, key=lambda one: one.suffix == ".csv"):
                    (folder / file.relative_to(drawn).as_posix()).write_bytes(file.read_bytes())
    elif not folder.exists():
        unfinished = folder.with_name(folder.name + ".part.tmp")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        write_demo_set(unfinished, count, config.seed)
        unfinished.rename(folder)
    return str(folder), str(folder / "parts.csv")
