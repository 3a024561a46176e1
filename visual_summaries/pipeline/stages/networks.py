"""The networks that made what lies in a run's folder, told apart by what they answer: `networks.json`."""

import errno
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from visual_summaries.pipeline.models.answers import same_answers
from visual_summaries.pipeline.objects import ObjectPath
from visual_summaries.pipeline.store.atomic import Write
from visual_summaries.pipeline.store.tables import MEND, StoreError, digest

FILE = "networks.json"
DIGITS = 7


def network_name(
    folder: Path | ObjectPath, weights: str, found: Sequence[float], remember: Write | None = None
) -> str:
    """The name by which the tables in `folder` know the network of these weights that answers so.

    Args:
        folder: of the run; it need not be there.
        weights: digest of the network's weights.
        found: its answers, see `pipeline.models.answers.answers`.
        remember: writes down one that is not known; only while nobody else writes there.

    Raises:
        StoreError: the file is there and cannot be read, or it cannot be written.
    """
    known = _known(folder)
    own = np.asarray(found, dtype=np.float32)
    for name, (weights_of, answered) in known.items():
        if weights_of == weights and same_answers(np.asarray(answered, dtype=np.float32), own):
            return name
    written = [float(f"{value:.{DIGITS}g}") for value in own.tolist()]
    name = digest(weights, written)
    if remember is not None:
        known[name] = (weights, written)
        entries = [{"name": one, "weights": of, "answers": said} for one, (of, said) in known.items()]
        try:
            remember(folder / FILE, json.dumps({"networks": entries}) + "\n")
        except OSError as error:
            raise StoreError(f"cannot write {folder / FILE}: {error.strerror or error}; {MEND}") from error
    return name


def _known(folder: Path | ObjectPath) -> dict[str, tuple[str, list[float]]]:
    """The networks that are written down; none where the file is damaged: what they made is made again."""
    try:
        text = (folder / FILE).read_bytes()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return {}
        raise StoreError(f"cannot read {folder / FILE}: {error.strerror or error}; {MEND}") from error
    try:
        entries = json.loads(text)["networks"]
        return {
            str(entry["name"]): (str(entry["weights"]), [float(value) for value in entry["answers"]])
            for entry in entries
        }
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return {}
