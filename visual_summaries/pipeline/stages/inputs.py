"""What a run starts from: the classifier's identity and the catalog of classes and images."""

import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from visual_summaries.pipeline.config import ConfigurationError, RunConfig
from visual_summaries.pipeline.data.archives.contents import Fault
from visual_summaries.pipeline.data.catalog import Catalog, CatalogClass, load_catalog
from visual_summaries.pipeline.data.class_map import read_class_map
from visual_summaries.pipeline.data.sources import Source, find_photographs
from visual_summaries.pipeline.models.answers import answers
from visual_summaries.pipeline.models.classifier import Classifier, ClassifierError
from visual_summaries.pipeline.models.dense_features import layers_of
from visual_summaries.pipeline.models.heads import SIGMOID, SOFTMAX, independent
from visual_summaries.pipeline.models.own_code import is_code
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.models.recognition import said_of_head
from visual_summaries.pipeline.models.self_check import Verdict
from visual_summaries.pipeline.models.weights import SUFFIXES
from visual_summaries.pipeline.names import shown
from visual_summaries.pipeline.objects import ObjectError, ObjectPath, is_there
from visual_summaries.pipeline.runtime.units import error_row
from visual_summaries.pipeline.stages.annotated import Annotations, annotation_notes, read_annotations
from visual_summaries.pipeline.stages.classifier import classifier_of
from visual_summaries.pipeline.stages.filtered import filter_notes
from visual_summaries.pipeline.stages.networks import network_name
from visual_summaries.pipeline.stages.self_check import NOTHING_TRIED, checked
from visual_summaries.pipeline.suggestions import few

DEMO = "demo"
# What a stage may depend on.
CLASSIFIER, PREPROCESSING, CLASS_NAMES = "classifier", "preprocessing", "class names"


@dataclass(frozen=True)
class Inputs:
    """Everything that planning needs of the outside world; the `RunInputs` of the runtime.

    Attributes:
        classes: the run's classes with their images, in order of their labels.
        parts: CSV of true part boxes, where it is known.
        classifier_name: what the classifier calls itself.
        model: what the configuration calls it.
        head: the kind of its head, see `pipeline.models.heads`.
        answers: the classifier's on fixed images; empty where it was not loaded.
        network: by what name the run's folder knows the classifier of these weights and answers.
        found: where the photographs lie, in words, where they were looked for.
        faults: what of archives was left out before any photograph was read.
        doubt: what looks wrong in the classifier's answers on some photographs, where they were asked for.
        empty: label without photographs → what lies in its folder, in words.
        notes: what a person should know of classes, annotations and the explainer before anything is done.
    """

    missing: ClassVar[str] = "there are no images: check data.images or data.manifest"

    classes: tuple[CatalogClass, ...]
    parts: Path | ObjectPath | None
    preprocessing: Preprocessing
    weights_digest: str
    classifier_name: str
    class_names: tuple[str, ...]
    model: str
    answers: tuple[float, ...] = ()
    network: str = ""
    found: str = ""
    head: str = SOFTMAX
    faults: tuple[Fault, ...] = ()
    doubt: str = ""
    empty: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def image_count(self) -> int:
        return sum(len(group.entries) for group in self.classes)

    def identity(self, depends_on: Collection[str]) -> tuple[Any, ...]:
        """Of the classifier (with its preprocessing), the preprocessing and the class names, those that are named in
        `depends_on`; None for each of the others."""
        if unknown := {*depends_on} - {CLASSIFIER, PREPROCESSING, CLASS_NAMES}:
            raise ValueError(f"inputs know nothing of {', '.join(sorted(unknown))}")
        pixels = CLASSIFIER in depends_on or PREPROCESSING in depends_on
        # Of all other heads the answers, which are logits, tell.
        head = [self.head] if independent(self.head) else []
        return (
            [self.model, self.weights_digest, self.network, *head] if CLASSIFIER in depends_on else None,
            asdict(self.preprocessing) if pixels else None,
            self.class_names if CLASS_NAMES in depends_on else None,
        )

    def only(self, group: CatalogClass) -> "Inputs":
        return replace(self, classes=(group,))


def gather_inputs(config: RunConfig, demo_below: Path | None = None, self_check: bool = False) -> Inputs:
    """Find the images, load the classifier once for its identity, map the images' labels, split them.

    `demo_below`: the folder to draw the demo set in if it has not been drawn; default: the output. `self_check`: try
    the classifier on some photographs, unless the configuration does not want it.

    Raises:
        ConfigurationError: no images or no network named, or both a folder and a manifest.
        ClassifierError, CatalogError: as the loaders say.
    """
    data = config.data
    if (data.images is None) == (data.manifest is None):
        raise ConfigurationError(
            "name the photographs: either --images (data.images: a folder, archives, or demo) or --manifest "
            "(data.manifest: a list)"
        )
    parts = data.parts and data.parts.path
    known = check_files(config)
    source = None if data.images == DEMO else _source(config, config.model.head in ("auto", SIGMOID))
    if "name" not in config.model.model_fields_set and config.model.weights is None:
        demo = "; that of the demo's pictures is --model demo" if data.images == DEMO else ""
        raise ConfigurationError(
            "name the network: --model torchvision:<name> with --weights, or module:function for your own (model.name)"
            f"{demo}"
        )
    # Only now: a classifier may have to be downloaded, or take its time.
    classifier = classifier_of(config)
    _check_layers(config, classifier)
    if source is not None and source.several_labels and not classifier.independent:
        # That it has none now says which photograph has them.
        source = _source(config, several_labels=False)
    if source is None:
        images, parts = _demo_set(config, demo_below)
        source = find_photographs(images)
    found = tuple(answers(classifier).tolist())
    catalog = _catalog(config, source, classifier)
    verdict = checked(config, classifier, catalog.classes) if self_check else NOTHING_TRIED
    return Inputs(
        catalog.classes,
        parts,
        classifier.preprocessing,
        classifier.weights_digest,
        classifier.name,
        classifier.class_names,
        config.model.name,
        found,
        network_name(config.output.path, classifier.weights_digest, found),
        f"{_found(source, catalog.classes)}\n{said_of_head(classifier.head, len(classifier.class_names))}",
        classifier.head.kind,
        source.faults,
        verdict.line,
        {group.label: source.passed_over.said_of(group.label) for group in catalog.classes if not group.entries},
        (
            *catalog.notes,
            *annotation_notes(config, known, catalog.classes),
            *filter_notes(config, classifier),
            *_of_the_network(config, verdict),
        ),
    )


def _of_the_network(config: RunConfig, verdict: Verdict) -> Iterator[str]:
    """Whose weights a network of one's own has where no file was named, and how many answers are right."""
    if is_code(config.model.name) and config.model.weights is None:
        yield f"Weights: none named (--weights), so the network is taken as {config.model.name} returns it."
    if verdict.plain:
        yield f"Self-check: {verdict.plain}."


def catalog_errors(config: RunConfig, inputs: Inputs) -> list[dict[str, Any]]:
    """Rows of `errors`: what of archives is left out, and which classes are empty or too small to have summaries."""
    rows = [error_row("catalog", fault.label, fault.reason, uri=fault.uri) for fault in inputs.faults]
    minimum = config.pruning.minimum_members
    for group in inputs.classes:
        fit = sum(entry.split == "fit" for entry in group.entries)
        if not group.entries:
            beside = inputs.empty.get(group.label)
            there = f"; its folder holds {beside}" if beside else ""
            rows.append(error_row("catalog", group.label, f"the class has no images{there}"))
        elif fit < minimum:
            explained = counted(fit, "image", "images")
            reason = f"{explained} to explain: maps are made, but a summary needs {minimum} images"
            rows.append(error_row("catalog", group.label, reason))
    return rows


def _check_layers(config: RunConfig, classifier: Classifier) -> None:
    """Notice now, not once all maps are made, that the network has no layers to find parts with."""
    if config.needs_features:
        try:
            layers_of(classifier, config.summaries.layers)
        except ClassifierError as error:
            raise ClassifierError(
                f"{classifier.name}: {error} (setting summaries.layers), or take --preset paper, which needs none"
            ) from None


def check_files(config: RunConfig) -> Annotations:
    """Notice now that a file which a setting names is not there, or is not what it should be.

    Returns:
        Those of them that are annotations, read.

    Raises:
        CatalogError: it names the file.
        ConfigurationError: it names the setting as well.
    """
    data, model = config.data, config.model
    annotations = read_annotations(config)
    if data.class_map:
        read_class_map(data.class_map.path)
    named = {}
    for section, one in {"model": model, **config.evaluation.networks}.items():
        named[f"{section}.labels"] = one.labels_file and one.labels_file.path
        weights = one.weights_or_file
        if isinstance(weights, Path | ObjectPath) and weights.suffix.lower() in SUFFIXES:
            named[f"{section}.weights"] = weights
    if config.explain.explainer == "feature-cam" and config.explain.cam.edges:
        named["explain.cam.edges"] = config.explain.cam.edges.path
    for setting, path in named.items():
        if isinstance(path, ObjectPath):
            _check_object(setting, path)
        elif path is not None and not os.path.exists(path):
            raise ConfigurationError(f"{setting}: there is no file {path}")
    return annotations


def _check_object(setting: str, path: ObjectPath) -> None:
    try:
        if not is_there(path):
            raise ConfigurationError(f"{setting}: there is no object {path}")
    except ObjectError as error:
        raise ConfigurationError(f"{setting}: {error}") from None


def _source(config: RunConfig, several_labels: bool) -> Source:
    data = config.data
    return find_photographs(data.images and data.images.path, data.manifest and data.manifest.path, several_labels)


def _found(source: Source, classes: Collection[CatalogClass]) -> str:
    images = sum(len(group.entries) for group in classes)
    said = [f"{source.said}, {counted(images, 'image', 'images')} of {counted(len(classes), 'class', 'classes')}"]
    if empty := [shown(group.label) for group in classes if not group.entries]:
        said.append(f"no images of {counted(len(empty), 'class', 'classes')}: {few(empty)}")
    if source.passed_over.said:
        said.append(f"passed over: {source.passed_over.said}")
    return "\n".join([*said, *([source.note] if source.note else [])])


def counted(number: int, one: str, several: str) -> str:
    """A number with its noun."""
    return f"{number:,} {one if number == 1 else several}"


def _catalog(config: RunConfig, source: Source, classifier: Classifier) -> Catalog:
    data = config.data
    return load_catalog(
        listing=source.listing,
        indices=source.indices,
        class_names=classifier.class_names,
        wordnet_ids=classifier.wordnet_ids,
        class_map=data.class_map and data.class_map.path,
        classes=data.classes,
        images_per_class=data.images_per_class,
        held_out=data.held_out,
        test=data.test,
        seed=config.seed,
    )


def _demo_set(config: RunConfig, below: Path | None) -> tuple[Path | ObjectPath, Path | ObjectPath]:
    """Draw the demo set beside the tables, or `below`, unless it is there already; (folder, CSV of its parts)."""
    from visual_summaries.pipeline.data.demo.scenes import write_demo_set

    count = config.data.demo_images_per_class
    folder = config.output.path / f"demo-set-{count}-{config.seed}"
    if below is not None and not (folder / "parts.csv").exists():
        folder = below / folder.name
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
    return folder, folder / "parts.csv"
