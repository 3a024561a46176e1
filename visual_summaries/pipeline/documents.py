"""YAML and JSON that somebody wrote, read with bounds: a few lines must neither fill the memory nor go on forever."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import yaml
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode

MOST_LEVELS = 100
MOST_REPEATED = 100_000
"""Values that aliases (`*name`) may stand for, beside those that are written out."""
MOST_BITS = 4096
LONGEST_REASON = 300


class DocumentError(ValueError):
    """Text that is no usable document; the message is one line, without the file's name."""


def parse_yaml(text: str, loader_type: type[yaml.SafeLoader] = yaml.SafeLoader) -> Any:
    """The value of a YAML document of plain values, dictionaries and lists; None where there is none.

    Raises:
        DocumentError: not YAML, objects of other kinds, one name twice in a dictionary, a dictionary inside itself, or
            beyond the bounds: more than `MOST_LEVELS` levels, more than `MOST_REPEATED` values by aliases, integers of
            more than `MOST_BITS` bits, half a character (a lone surrogate).
    """
    try:
        loader = loader_type(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_nodes(node)
            value = loader.construct_document(node)
        finally:
            loader.dispose()
    except DocumentError:
        raise
    except RecursionError:
        raise DocumentError(f"not valid YAML: {_TOO_DEEP}") from None
    except Exception as error:
        # Its constructors raise whatever a scalar with a wrong tag leads them to.
        raise DocumentError(f"not valid YAML: {_one_line(error)}") from None
    _check_values(value)
    return value


def parse_json(text: str) -> Any:
    """The value of a JSON document; errors and bounds as `parse_yaml`."""
    try:
        value = json.loads(text, object_pairs_hook=_unrepeated)
    except DocumentError:
        raise
    except RecursionError:
        raise DocumentError(f"not valid JSON: {_TOO_DEEP}") from None
    except ValueError as error:
        raise DocumentError(f"not valid JSON: {_one_line(error)}") from None
    _check_values(value)
    return value


GUESSED = ("bool", "int", "float", "timestamp", "value")


class Nothing(str):
    """YAML's null, as it was written: `null`, `~` or nothing at all."""


class TextLoader(yaml.SafeLoader):
    """Text for all scalars."""


for _tag in GUESSED:
    TextLoader.add_constructor(f"tag:yaml.org,2002:{_tag}", lambda loader, node: loader.construct_scalar(node))
TextLoader.add_constructor("tag:yaml.org,2002:null", lambda loader, node: Nothing(loader.construct_scalar(node)))


def read_yaml(text: str) -> Any:
    """Mappings, lists and texts; `Nothing` for null.

    Raises:
        DocumentError: with a message of one line, as `parse_yaml`.
    """
    read = parse_yaml(text, TextLoader)
    return Nothing() if read is None else read


class WholeNumbers(TextLoader):
    """Text for all scalars but whole numbers that are written as such: `7`, not `"7"`, `007` or `7_0`."""


def _whole_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int | str:
    text = loader.construct_scalar(node)
    return int(text) if re.fullmatch(r"0|-?[1-9][0-9]{0,17}", text) else text


WholeNumbers.add_constructor("tag:yaml.org,2002:int", _whole_number)


def read_whole_numbers(text: str) -> Any:
    """As `read_yaml`, with whole numbers among the values; names in mappings are text all the same."""
    read = parse_yaml(text, WholeNumbers)
    return Nothing() if read is None else _named_by_text(read)


def _named_by_text(read: Any) -> Any:
    if isinstance(read, dict):
        return {str(name): _named_by_text(value) for name, value in read.items()}
    return [_named_by_text(one) for one in read] if isinstance(read, list) else read


_TOO_DEEP = f"nested too deeply, more than {MOST_LEVELS} levels"


def _check_nodes(root: Node) -> None:
    """Before values are made of them: merging (`<<`) copies what aliases stand for."""
    nodes = _collections(root)
    for node in nodes:
        if isinstance(node, MappingNode):
            _check_names(node)
    sizes: dict[int, int | None] = {}

    def size(node: Node) -> int:
        if not isinstance(node, CollectionNode):
            return 1
        if id(node) in sizes:
            if (known := sizes[id(node)]) is None:
                raise DocumentError(f"line {node.start_mark.line + 1}: what begins here holds itself by an alias (*)")
            return known
        sizes[id(node)] = None
        inner = [one for pair in node.value for one in pair] if isinstance(node, MappingNode) else node.value
        sizes[id(node)] = total = 1 + sum(map(size, inner))
        return total

    whole = size(root)
    written = sum(1 + len(inner.value) for inner in nodes)
    if whole > 2 * written + MOST_REPEATED:
        raise DocumentError(f"its aliases (*) stand for more than {MOST_REPEATED} values; write them out")


def _check_names(node: MappingNode) -> None:
    # Two that differ by their quotes alone, as 1 and "1", are the same text.
    lines: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, ScalarNode):
            continue
        line, name = key.start_mark.line + 1, key.value
        if name in lines:
            raise DocumentError(f"{key.value[:60]} is set twice, on lines {lines[name]} and {line}: leave one of them")
        lines[name] = line


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise DocumentError(f"{twice[:60]} is set twice: leave one of them")
    return found


def _collections(root: Node) -> list[CollectionNode]:
    """Every dictionary and list below `root`, each once."""
    found: dict[int, CollectionNode] = {}
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if isinstance(node, CollectionNode) and id(node) not in found:
            found[id(node)] = node
            for one in node.value:
                waiting.extend(one if isinstance(node, MappingNode) else (one,))
    return list(found.values())


def _check_values(root: Any) -> None:
    waiting = [(root, 0)]
    while waiting:
        value, level = waiting.pop()
        if level > MOST_LEVELS:
            raise DocumentError(_TOO_DEEP)
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                raise DocumentError(f"{value[:60]!r} holds half a character (\\ud800 to \\udfff)") from None
        elif isinstance(value, int) and value.bit_length() > MOST_BITS:
            raise DocumentError(f"it holds an integer of {value.bit_length()} bits; quote it if it is a name")
        elif isinstance(value, Mapping):
            waiting.extend((one, level + 1) for pair in value.items() for one in pair)
        elif isinstance(value, list | tuple | set | frozenset):
            waiting.extend((one, level + 1) for one in value)


def _one_line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:LONGEST_REASON]
