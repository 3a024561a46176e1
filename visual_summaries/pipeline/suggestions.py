"""What was probably meant by a name that is not known."""

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str], shown: int = 1) -> str:
    """"; did you mean …?" with at most so many of the `known` names that are near; empty if none is."""
    by_lower = {one.lower(): one for one in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=shown, cutoff=0.5)
    return f"; did you mean {' or '.join(by_lower[one] for one in close)}?" if close else ""


def few(names: Iterable[object], shown: int = 10) -> str:
    """Some names in a row, at most so many, and how many there are if that is not all: "a, b, … (1,000 in all)"."""
    names = [*names]
    listed = ", ".join(text if len(text := str(name)) <= 60 else text[:59] + "…" for name in names[:shown])
    return listed if len(names) <= shown else f"{listed}, … ({len(names):,} in all)"
