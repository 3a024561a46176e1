"""What is in a tar file, by its headers.

The layout is that of WebDataset (https://github.com/webdataset/webdataset): members whose names are equal up to the
first dot of the last part belong together; one is the photograph, one may be its label. Without labels the photographs
lie in folders of their classes. Members are only ever bytes here: names with `..`, links and devices lead nowhere.
"""

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from visual_summaries.pipeline.data.archives.address import SEPARATOR, tar_member
from visual_summaries.pipeline.data.archives.contents import Contents, Fault, Photograph, opened
from visual_summaries.pipeline.data.archives.reading import KINDS, Damaged, RangeFile
from visual_summaries.pipeline.data.class_map import CatalogError
from visual_summaries.pipeline.data.formats import BEGINNING, may_be_image, read_format
from visual_summaries.pipeline.data.found import is_hidden, is_image
from visual_summaries.pipeline.documents import DocumentError, parse_json
from visual_summaries.pipeline.names import readable, shown
from visual_summaries.pipeline.objects import ObjectPath

CLASS, DOCUMENT = "cls", "json"
FIELDS = ("label", "cls", "class")
LONGEST_CLASS, LONGEST_DOCUMENT = 2**12, 2**20
# 100 TB: what is said to be larger is damaged.
LARGEST = 10**14
# Of names; tarfile reads headers whole, however long they say they are.
LONGEST_HEADER = 2**16
LOCAL_BLOCK, REMOTE_BLOCK = 2**13, 2**22
TWICE = "the archive has two members of that name; the first is taken"
# As numbers are written; 007 is text.
INDEX = re.compile(r"0|-?[1-9][0-9]{0,14}")
BEGINNINGS = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\x00", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"))


def tar_contents(location: Path | ObjectPath) -> Contents:
    """The photographs of a tar file with their labels; in a bucket by requests for large ranges.

    Raises:
        CatalogError: it cannot be read, is no tar file, is compressed, or its key has `::` in it.
    """
    found, file = opened(location)
    try:
        beginning = file.read(0, 8)
        for magic, name in BEGINNINGS:
            if beginning.startswith(magic):
                raise CatalogError(f"{location} is compressed ({name}): {DECOMPRESS}")
        samples = _Samples(found)
        headers = _Headers(file, isinstance(location, Path))
        for member in _members(location, headers, found):
            samples.add(member, headers)
        samples.finish()
    except OSError as error:
        raise CatalogError(f"{location}: cannot be read: {error.strerror or error}") from None
    finally:
        file.close()
    return found


DECOMPRESS = "it cannot be read by range; decompress it (photographs are compressed already)"


class _Headers:
    """The file for tarfile, which reads a header here and there: in blocks."""

    def __init__(self, file: RangeFile, local: bool) -> None:
        self._file, self._block = file, LOCAL_BLOCK if local else REMOTE_BLOCK
        self._at, self._start, self._held = 0, 0, b""

    def tell(self) -> int:
        return self._at

    def seek(self, at: int) -> None:
        if at < 0:
            raise Damaged("a member begins before the file does")
        self._at = at

    def read(self, length: int) -> bytes:
        if length > LONGEST_HEADER:
            raise Damaged(f"a header says that it has {length} bytes")
        content = self.data(self._at, length)
        self._at += len(content)
        return content

    def data(self, start: int, length: int) -> bytes:
        """A few bytes elsewhere; what is read next stays what it was."""
        if not self._start <= start <= start + length <= self._start + len(self._held):
            self._start, self._held = start, self._file.read(start, max(length, self._block))
        return self._held[start - self._start :][:length]


def _members(location: Path | ObjectPath, headers: _Headers, found: Contents) -> Iterator[tarfile.TarInfo]:
    """Members up to the end, or to where the file is damaged, which becomes a fault.

    Raises:
        CatalogError: there is no tar file to begin with.
    """
    last, name, archive = -1, None, None
    while True:
        try:
            if archive is None:
                archive = tarfile.TarFile(fileobj=headers, encoding="utf-8", errors="surrogateescape")
            member = archive.next()
            if member is None:
                _check_end(headers, archive.offset)
                return
            if archive.offset <= last or not 0 <= member.size <= LARGEST:
                raise Damaged(f"a member of {member.size} bytes")
        except OSError:
            raise
        except Exception as error:
            # tarfile's parsers raise whatever damaged headers lead them to.
            reason = " ".join(str(error).split()) or type(error).__name__
            if name is None:
                raise CatalogError(f"{location} is no tar file, or is damaged: {reason}") from None
            said = f"damaged or cut off after its member {shown(name)}; what follows is left out ({reason})"
            found.faults.append(Fault("", found.address, readable(said)))
            return
        # They would all be kept, and a large archive has a million.
        archive.members.clear()
        last, name = archive.offset, member.name
        yield member


def _check_end(headers: _Headers, at: int) -> None:
    """Raise a Damaged where an archive does not end with its mark: tarfile takes any damage for an end."""
    headers.seek(at)
    block = headers.read(tarfile.BLOCKSIZE)
    if block.count(0) != tarfile.BLOCKSIZE:
        raise Damaged("a header is damaged" if len(block) == tarfile.BLOCKSIZE else "its end is missing")


class _Image(NamedTuple):
    """What is kept of a member: a `TarInfo` takes a kilobyte."""

    name: str
    at: int
    size: int
    regular: bool
    sparse: bool


@dataclass
class _Sample:
    """Members of one key: photographs by their endings, those that are so by their content alone, and the label."""

    images: dict[str, _Image] = field(default_factory=dict)
    others: list[_Image] = field(default_factory=list)
    label: int | str | list[int | str] | None = None
    wrong: str | None = None
    first: str = ""
    labeled: bool = False


class _Samples:
    """Members put together by their keys."""

    def __init__(self, found: Contents) -> None:
        self._found = found
        self._samples: dict[str, _Sample] = {}

    def add(self, member: tarfile.TarInfo, headers: _Headers) -> None:
        """Take a member in; a label is read at once."""
        path = _parts(member.name)
        if member.isdir() or not path:
            return
        if any(map(is_hidden, path)):
            self._found.passed_over.hidden += 1
            return
        folder, (stem, _, ending) = path[:-1], path[-1].partition(".")
        ending = ending.lower()
        known = is_image(path[-1]) or ending in (CLASS, DOCUMENT)
        if not known and not _begins_as_image(path[-1], member, headers):
            self._found.passed_over.add(path[-1])
            return
        sample = self._samples.setdefault("/".join((*folder, stem)), _Sample(first="/".join(path)))
        if ending in (CLASS, DOCUMENT):
            self._label(sample, member, ending, headers)
        elif not known:
            sample.others.append(_image(member))
        elif ending in sample.images:
            self._fault("", _image(member), TWICE)
        else:
            sample.images[ending] = _image(member)

    def _label(self, sample: _Sample, member: tarfile.TarInfo, ending: str, headers: _Headers) -> None:
        if ending == CLASS and sample.labeled:
            self._fault("", _image(member), TWICE)
            return
        longest = LONGEST_CLASS if ending == CLASS else LONGEST_DOCUMENT
        try:
            if sample.labeled:
                return
            if member.type not in tarfile.REGULAR_TYPES or member.issparse():
                raise ValueError(f"its label {shown(member.name)} is {KINDS.get(member.type, 'no file')}")
            if member.size > longest:
                raise ValueError(f"its label {shown(member.name)} has {member.size} bytes, at most {longest} are read")
            content = headers.data(member.offset_data, member.size)
            if len(content) < member.size:
                raise ValueError(f"its label {shown(member.name)} is cut off")
            value = _text(content) if ending == CLASS else _of_document(content)
        except (ValueError, DocumentError) as error:
            sample.wrong = str(error)
            return
        if value is not None:
            # A class of its own is believed before what a document says.
            sample.label, sample.wrong, sample.labeled = value, None, ending == CLASS

    def finish(self) -> None:
        """Photographs, in the order of their places, and what is left out."""
        for key, sample in self._samples.items():
            said = sample.label is not None or sample.wrong is not None
            # A mask or a thumbnail of another name must not stand in a photograph's way.
            if sample.images:
                for member in sample.others:
                    self._found.passed_over.add(_parts(member.name)[-1])
            else:
                sample.images = {f"{at}": member for at, member in enumerate(sample.others)}
            if not sample.images:
                if said:
                    uri = f"{self._found.address}{SEPARATOR}{shown(sample.first)}"
                    reason = f"the key {shown(key)} has a label and no image"
                    self._found.faults.append(Fault("", uri, reason))
                continue
            if said:
                self._of_key(key, sample)
            else:
                self._of_folder(sample)
        self._found.photographs.sort(key=lambda photograph: photograph.at)
        self._samples = {}

    def _of_key(self, key: str, sample: _Sample) -> None:
        """The photograph of a key with a label: the one whose name is the key and an ending, nothing between."""
        plain = {ending: member for ending, member in sample.images.items() if "." not in ending}
        images = plain or sample.images
        first = next(iter(images.values()))
        if sample.wrong is not None:
            self._fault("", first, sample.wrong)
        elif len(images) > 1:
            listed = ", ".join(_parts(member.name)[-1] for member in images.values())
            self._fault("", first, f"the key {shown(key)} has several images ({listed}): leave its photograph alone")
        else:
            try:
                labels = self._found.labels(first.at, sample.label, self._found.label)
            except ValueError as error:
                self._fault("", first, f"{error}, in its label")
                return
            for label in labels:
                self._photograph(label, _parts(first.name)[-1], first)

    def _of_folder(self, sample: _Sample) -> None:
        """Photographs without a label, each of the class of its folder."""
        for member in sample.images.values():
            folder, *rest = _parts(member.name)
            if not rest:
                self._fault("", member, "it has no label: no .cls or .json beside it, and no folder of its class")
                continue
            try:
                label = self._found.label(folder)
            except ValueError as error:
                self._fault("", member, f"{error}, by its folder")
                continue
            self._photograph(label, "/".join(rest), member)

    def _photograph(self, label: str, name: str, member: _Image) -> None:
        if member.sparse:
            self._fault(label, member, "it is a sparse file")
            return
        # Of a link there is the header alone, which reading it tells.
        size = member.size if member.regular else 0
        self._found.photographs.append(Photograph(label, readable(name), member.at, size))

    def _fault(self, label: str, member: _Image, reason: str) -> None:
        uri = tar_member(self._found.address, member.at, member.size, "/".join(_parts(member.name)))
        self._found.faults.append(Fault(label, uri, readable(reason)))


def _begins_as_image(name: str, member: tarfile.TarInfo, headers: _Headers) -> bool:
    """Whether a member whose name does not tell is a photograph by how it begins."""
    if not may_be_image(name) or member.type not in tarfile.REGULAR_TYPES or member.issparse():
        return False
    return read_format(headers.data(member.offset_data, min(member.size, BEGINNING))) is not None


def _image(member: tarfile.TarInfo) -> _Image:
    return _Image(member.name, member.offset_data, member.size, member.isreg(), member.issparse())


def _parts(name: str) -> tuple[str, ...]:
    """A member's name as text, part by part, without what would lead anywhere (`/` before it, `.`, `..`)."""
    return tuple(part for part in readable(name).split("/") if part not in ("", ".", ".."))


def _text(content: bytes) -> int | str:
    try:
        text = content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise ValueError("its label is not UTF-8") from None
    return int(text) if INDEX.fullmatch(text) else text


def _of_document(content: bytes) -> int | str | list[int | str] | None:
    """The label in a JSON document, or the list of them; None where it has none."""
    try:
        document = parse_json(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ValueError("its JSON is not UTF-8") from None
    values = {name: document[name] for name in FIELDS if isinstance(document, dict) and document.get(name) is not None}
    if not values:
        return None
    if len(set(map(repr, values.values()))) > 1:
        raise ValueError(f"its JSON has several labels ({', '.join(values)}) that differ")
    name, value = next(iter(values.items()))
    if any(type(one) not in (int, str) for one in (value if isinstance(value, list) else [value])):
        raise ValueError(f"the field {name} of its JSON is neither a whole number nor text, nor a list of them")
    return value
