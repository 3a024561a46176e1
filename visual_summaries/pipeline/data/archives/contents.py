"""What was found in an archive, of either kind."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visual_summaries.pipeline.data.archives.address import archive_address
from visual_summaries.pipeline.data.archives.reading import Damaged, RangeFile
from visual_summaries.pipeline.data.class_map import CatalogError
from visual_summaries.pipeline.data.found import PassedOver
from visual_summaries.pipeline.names import readable
from visual_summaries.pipeline.objects import ObjectPath

NUL = "\0"
LONGEST_LABEL = 1000
LARGEST_INDEX = 10**9


@dataclass(frozen=True, slots=True)
class Fault:
    """What is left out of an archive, before anything is read: where, and why.

    label: empty where it is not known.
    """

    label: str
    uri: str
    reason: str


@dataclass(frozen=True, slots=True)
class Photograph:
    """A photograph in an archive; one of several labels is there under each.

    Attributes:
        label: text; of a class index its digits.
        name: its name without the label, as it would be in the label's folder; None where the archive has none.
        at, size: as in `Member`.
    """

    label: str
    name: str | None
    at: int
    size: int


@dataclass
class Contents:
    """Photographs of an archive in the order of their places.

    Attributes:
        address: of the archive, as `archive_address` names it.
        indices: labels that are class indices themselves.
        named: labels that are text.
        several: place → labels of photographs that have more than one.
        passed_over: members that are neither photographs nor labels.
        read_again: bytes that are read if each class is read by itself, over those of the archive.
    """

    address: str
    photographs: list[Photograph] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    indices: dict[str, int] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    several: dict[int, list[str]] = field(default_factory=dict)
    passed_over: PassedOver = field(default_factory=PassedOver)
    read_again: float = 1.0

    def label(self, value: int | str) -> str:
        """The label that a value of an archive means; it is kept whether it is an index.

        Raises:
            ValueError: it cannot be one; the message says why.
        """
        if isinstance(value, int):
            if not 0 <= value <= LARGEST_INDEX:
                raise ValueError(f"the label {value}, which means none")
            self.indices[str(value)] = value
            return str(value)
        text = readable(value).strip()
        if not text:
            raise ValueError("an empty label")
        if NUL in text or len(text) > LONGEST_LABEL:
            raise ValueError("a label that is no text of a line")
        self.named.add(text)
        return text

    def labels(self, at: int, value: Any, label_of: Callable[[Any], str]) -> list[str]:
        """The labels of the photograph at a place, each once: of a list those of its values, of anything else its own.

        Raises:
            ValueError: an empty list, or as `label_of`.
        """
        values = value if isinstance(value, list) else [value]
        if not values:
            raise ValueError("an empty list of labels")
        labels = list(dict.fromkeys(map(label_of, values)))
        if len(labels) > 1:
            self.several[at] = labels
        return labels


def opened(location: Path | ObjectPath) -> tuple[Contents, RangeFile]:
    """An archive of which nothing has been found yet, and its file, open.

    Raises:
        CatalogError: it cannot be read, is no file, or its key has `::` in it.
    """
    try:
        return Contents(archive_address(location)), RangeFile(location)
    except Damaged as error:
        raise CatalogError(f"{location}: {error}") from None
    except OSError as error:
        raise CatalogError(f"{location}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise CatalogError(str(error)) from None
