"""What a run over volumes starts from: scans by class, the atlas, the classifier's identity."""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from visual_summaries.pipeline.config import ConfigurationError
from visual_summaries.pipeline.data.class_map import ClassMap, read_class_map
from visual_summaries.pipeline.data.found import Found
from visual_summaries.pipeline.data.volumes.atlas import LabelVolume, read_atlas
from visual_summaries.pipeline.data.volumes.files import VolumeError, open_volume
from visual_summaries.pipeline.data.volumes.scans import find_scans
from visual_summaries.pipeline.models.labels import numbered_labels, read_labels
from visual_summaries.pipeline.models.volumes import VolumeClassifier, load_volume_classifier
from visual_summaries.pipeline.names import shown
from visual_summaries.pipeline.objects import place
from visual_summaries.pipeline.runtime.settings import Location
from visual_summaries.pipeline.runtime.units import error_row
from visual_summaries.pipeline.stages.inputs import counted
from visual_summaries.pipeline.stages.networks import network_name
from visual_summaries.pipeline.stages.volumes.settings import VolumeConfig
from visual_summaries.pipeline.store.tables import digest

# What a stage may depend on.
ATLAS, CLASSIFIER, NAMES = "atlas", "classifier", "names"
HEADERS_READ = 20


@dataclass(frozen=True)
class ScanClass:
    """A label, the classifier's class that it means, and its scans in order."""

    label: str
    class_index: int
    uris: tuple[str, ...]


@dataclass(frozen=True)
class VolumeInputs:
    """The `RunInputs` of the runtime.

    Attributes:
        atlas: as its file has it.
        weights_digest: of the network's weights; empty of a plain function.
        answers: of the classifier on fixed volumes of `channels` channels.
        network: by what name the run's folder knows the classifier.
        class_names: of its outputs.
        found: what was found, in words.
    """

    missing: ClassVar[str] = "there are no scans: check --scans"

    classes: tuple[ScanClass, ...]
    atlas: LabelVolume
    model: str
    weights_digest: str
    answers: tuple[float, ...]
    channels: int
    network: str
    class_names: tuple[str, ...]
    found: str

    @property
    def image_count(self) -> int:
        return sum(len(group.uris) for group in self.classes)

    def identity(self, depends_on: Collection[str]) -> tuple[Any, ...]:
        """Of the atlas, the classifier and the segments' names those that are named; None for each of the others."""
        if unknown := {*depends_on} - {ATLAS, CLASSIFIER, NAMES}:
            raise ValueError(f"inputs know nothing of {', '.join(sorted(unknown))}")
        return (
            self.atlas.digest if ATLAS in depends_on else None,
            [self.model, self.weights_digest, self.network] if CLASSIFIER in depends_on else None,
            sorted(self.atlas.names.items()) if NAMES in depends_on else None,
        )

    def only(self, group: ScanClass) -> "VolumeInputs":
        return replace(self, classes=(group,))

    @property
    def recorded(self) -> str:
        """What the table `runs` says of them: JSON."""
        return json.dumps(
            {
                "classifier": self.model,
                "weights": self.weights_digest,
                "atlas": self.atlas.digest,
                "class_names": self.class_names,
                "classes": [{"label": one.label, "class_index": one.class_index} for one in self.classes],
            }
        )


def gather_volume_inputs(config: VolumeConfig) -> VolumeInputs:
    """Find the scans, read the atlas, load the classifier once for its identity, map the folders to its classes.

    Raises:
        ConfigurationError: a file that is not on a disk.
        CatalogError, ClassifierError: as the loaders say.
    """
    atlas = read_atlas(on_disk(config.atlas, "--atlas"), config.names and on_disk(config.names, "--names"))
    listing = find_scans(on_disk(config.scans, "--scans"))
    class_map = read_class_map(on_disk(config.class_map, "--class-map")) if config.class_map else None
    classifier = classifier_of(config)
    channels = _channels(listing, atlas)
    answers, count = classifier.answers(channels, atlas.labels.shape)
    labels = read_labels(on_disk(config.labels, "--labels"), count) if config.labels else None
    names = labels.names if labels else numbered_labels(count).names
    by_order = labels is None and class_map is None and _in_order(listing, count)
    if by_order:
        names = tuple(listing)
    indices = ClassMap(names, None, class_map, str(config.class_map)).find(listing)
    classes = tuple(
        ScanClass(label, indices[label], tuple(one.uri for one in listing[label])) for label in sorted(listing)
    )
    answered = tuple(answers.tolist())
    return VolumeInputs(
        classes,
        atlas,
        classifier.name,
        classifier.weights_digest,
        answered,
        channels,
        network_name(config.output.path, classifier.weights_digest, answered),
        tuple(names),
        _found(classes, atlas, by_order),
    )


def classifier_of(config: VolumeConfig) -> VolumeClassifier:
    """Load the classifier that the settings name."""
    return load_volume_classifier(config.model, config.weights and on_disk(config.weights, "--weights"))


def on_disk(location: Location, option: str) -> Path:
    """The absolute path of what must be a file or folder of this machine.

    Raises:
        ConfigurationError: it is in an object store.
    """
    if not isinstance(location.path, Path):
        raise ConfigurationError(f"{option} {location}: scans and what belongs to them are read from a disk; copy it")
    return location.path.absolute()


def catalog_errors(inputs: VolumeInputs) -> list[dict[str, Any]]:
    """Rows of `errors` of classes without scans."""
    empty = [group.label for group in inputs.classes if not group.uris]
    return [error_row("catalog", label, "the class has no scans") for label in empty]


def scan_path(uri: str) -> Path:
    """Where a scan lies."""
    return Path(place(uri))


def network_digest(inputs: VolumeInputs) -> str:
    """What stands for the classifier in the table `runs`."""
    return inputs.weights_digest or digest(inputs.model, inputs.network)


def _in_order(listing: Mapping[str, Sequence[Found]], count: int) -> bool:
    """Whether folders are the classes in the order of their names, as PyTorch's readers of folders number them."""
    numbered = any(label.strip().lstrip("-").isdigit() for label in listing)
    return len(listing) == count and not numbered


def _channels(listing: Mapping[str, Sequence[Found]], atlas: LabelVolume) -> int:
    """How many most of the first scans have that have the atlas's shape; 1 where none has."""
    counts: Counter[int] = Counter()
    for found in [one for some in listing.values() for one in some][:HEADERS_READ]:
        with suppress(VolumeError):
            file = open_volume(scan_path(found.uri))
            counts.update([file.channels] if file.spatial == atlas.labels.shape else [])
    return counts.most_common(1)[0][0] if counts else 1


def _found(classes: Sequence[ScanClass], atlas: LabelVolume, by_order: bool) -> str:
    segments = np.count_nonzero(np.unique(atlas.labels))
    indices = ", ".join(f"{one.label}: class {one.class_index}" for one in classes)
    scans = sum(len(one.uris) for one in classes)
    said = f"{counted(scans, 'scan', 'scans')} of {counted(len(classes), 'class', 'classes')} ({indices}"
    said += ", by the order of the folders' names; --labels or --class-map says otherwise" if by_order else ""
    return shown(f"{said}), {counted(segments, 'segment', 'segments')} in the atlas")


