"""From templates to pages: one environment that escapes everything, and how figures are written."""

import base64
import hashlib
import math
import re
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from visual_summaries.pipeline.names import path_of, readable

_TEMPLATES = Path(__file__).parent / "templates"
STYLES = ("style.css", "plots.css")
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


@cache
def look() -> str:
    """Hash of all that decides how pages look: a page drawn by other code is drawn anew."""
    content = hashlib.sha256()
    for path in sorted([*Path(__file__).parent.glob("*.py"), *_TEMPLATES.iterdir()]):
        if path.is_file():
            content.update(path.name.encode() + path.read_bytes())
    return content.hexdigest()


def shared_files() -> dict[str, bytes]:
    """Files that all pages of a site use: name → content."""
    sheets = b"\n".join((_TEMPLATES / name).read_bytes() for name in STYLES)
    return {"style.css": sheets, "icon.svg": (_TEMPLATES / "icon.svg").read_bytes()}


def render(template: str, **values: Any) -> bytes:
    """A page as UTF-8.

    Its scripts stand in the page itself, allowed by their hashes alone: that works from a disk too, where browsers
    differ in what `'self'` means, and no script that data might smuggle in can run.
    """
    names = values.pop("scripts", ())
    scripts = [(_TEMPLATES / name).read_text() for name in ("page.js", *names)]
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts]
    policy = " ".join(f"'sha256-{value}'" for value in hashes)
    page = _ENVIRONMENT.get_template(template).render(
        scripts=[Markup(text) for text in scripts], script_policy=policy, **values
    )
    # A file name that is not UTF-8 reaches us with lone surrogates, which no page can hold.
    return page.encode("utf-8", "replace")


def _mark(svg: str) -> Markup:
    """SVG that `plots` made, with the text of data escaped there."""
    return Markup(svg)


def file_name(uri: str) -> str:
    """The last part of a path or address."""
    if uri.startswith("file://"):
        uri = readable(path_of(uri))
        return uri.rstrip("/").rpartition("/")[2] or uri
    return re.split(r"[/\\]", uri.rstrip("/\\"))[-1] or uri


def _shortened(name: str, length: int) -> str:
    """The name with its middle left out: the end of a file name tells more than what all names begin with."""
    return name if len(name) <= length else f"{name[: length // 3]}…{name[length // 3 + 1 - length :]}"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def percent(value: float | None, digits: int = 1) -> str:
    """A share in percent; near the whole with a digit more, where the distance to it is what matters."""
    if value is not None and 0.995 <= value < 1:
        digits += 1
    # Adding zero turns a rounded −0 into 0.
    return "–" if value is None or not math.isfinite(value) else f"{round(100.0 * value, digits) + 0.0:.{digits}f}%"


def _figure(value: float | None, unit: str = "") -> str:
    """About three digits and the unit; shares in percent, nothing for scales such as 0..1."""
    if value is None or not math.isfinite(value):
        return "–"
    if unit == "share":
        return percent(value)
    if ".." in unit:
        return f"{round(value, 3) + 0.0:.3f}"
    size = abs(value)
    counted = value == int(value) and unit
    if size >= 100 or counted:
        text = f"{value:,.0f}"
    elif size >= 0.001 or value == 0:
        text = f"{value:.{1 if size >= 10 else 2 if size >= 1 else 3}f}"
    elif size >= 0.0001:
        text = f"{value:.4f}"
    else:
        text = f"{value:.1e}"
    return f"{text}\N{NO-BREAK SPACE}{unit}" if unit else text


def _without_controls(value: Any) -> Any:
    """Text from data without the control characters that HTML cannot hold."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", value)
    return value


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_without_controls,
    )
    environment.filters.update(
        share=percent, figure=_figure, count=count, file_name=file_name, shortened=_shortened, mark=_mark
    )
    return environment


_ENVIRONMENT = _environment()
