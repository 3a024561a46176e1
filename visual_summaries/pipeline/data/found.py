"""A photograph that was found, photographs by their labels, and what lies beside them and is none."""

import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from visual_summaries.pipeline.data.formats import BEGINNING, is_named_image, may_be_image, read_format
from visual_summaries.pipeline.names import shown

# What systems leave in folders, beside hidden files.
OF_SYSTEMS = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "@eadir", "$recycle.bin"),
    *("system volume information", "lost+found"),
}
# Of endings that are said; longer ones are no endings.
ENDINGS_SHOWN, LONGEST_ENDING = 12, 12


@dataclass(frozen=True, slots=True)
class Found:
    """A photograph: where it is, and its name relative to its root, which is the same on every machine."""

    uri: str
    name: str


Listing = Mapping[str, Sequence[Found]]
"""Photographs by label; a label may have none."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder, by its bare name, is hidden or a system's own."""
    return name.startswith(".") or name.lower() in OF_SYSTEMS


def is_image(name: str) -> bool:
    """Whether a file, by its bare name, is a photograph that is not hidden."""
    return is_named_image(name) and not is_hidden(name)


def is_image_file(path: str | Path) -> bool:
    """As `is_image`, of a file on a disk; where its name does not tell, by how it begins."""
    name = PurePath(path).name
    if is_named_image(name) or is_hidden(name):
        return is_image(name)
    try:
        # Before it is opened: opening a pipe waits for a writer.
        if not may_be_image(name) or not stat.S_ISREG(Path(path).stat().st_mode):
            return False
        with open(path, "rb") as file:
            return read_format(file.read(BEGINNING)) is not None
    except OSError:
        return False


@dataclass
class PassedOver:
    """What lies where photographs were looked for, and is none.

    Attributes:
        endings: of files in no class folder, how many end so; "" for those without an ending.
        of_label: the same, of those in the folder of a label.
        hidden: files and folders that are hidden or a system's own.
        loose: photographs in no class folder.
    """

    endings: Counter[str] = field(default_factory=Counter)
    of_label: dict[str, Counter[str]] = field(default_factory=dict)
    hidden: int = 0
    loose: int = 0

    def add(self, name: str, label: str | None = None) -> None:
        """Count a file by its bare name."""
        if is_hidden(name):
            self.hidden += 1
            return
        ending = PurePath(name).suffix.lower()
        ending = ending if len(ending) <= LONGEST_ENDING else ""
        (self.endings if label is None else self.of_label.setdefault(label, Counter()))[ending] += 1

    def update(self, other: "PassedOver") -> None:
        """Add what was passed over elsewhere."""
        self.endings.update(other.endings)
        for label, endings in other.of_label.items():
            self.of_label.setdefault(label, Counter()).update(endings)
        self.hidden += other.hidden
        self.loose += other.loose

    @property
    def said(self) -> str:
        """In words, such as "12 .txt, 3 without extension"; empty if nothing was passed over."""
        everything = sum(self.of_label.values(), Counter(self.endings))
        parts = [told(everything)] if everything else []
        if self.loose:
            parts.append(f"{self.loose:,} {'image' if self.loose == 1 else 'images'} in no class folder")
        if self.hidden:
            parts.append(f"{self.hidden:,} hidden or of the system")
        return "; ".join(parts)

    def said_of(self, label: str) -> str:
        """In words, what in the folder of a label was passed over; empty if nothing was."""
        return told(self.of_label.get(label, Counter()))


def told(endings: Counter[str]) -> str:
    """Numbers of files by their endings, the most first."""
    ranked = sorted(endings.items(), key=lambda one: (-one[1], one[0]))
    parts = [f"{count:,} {shown(ending) or 'without extension'}" for ending, count in ranked[:ENDINGS_SHOWN]]
    if rest := ranked[ENDINGS_SHOWN:]:
        parts.append(f"{sum(count for _, count in rest):,} of {len(rest)} other kinds")
    return ", ".join(parts)


