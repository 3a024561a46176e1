"""An explained photograph: arrays, and a picture of itself for notebooks."""

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from PIL import Image

from visual_summaries.pipeline.names import shown
from visual_summaries.pipeline.report import pictures

SIDE, GAP = 224, 8
# Of many, a notebook shows the first.
SHOWN = 24


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """Which pixels of a photograph a score rests on. In a notebook it draws itself.

    Attributes:
        image: the square that the classifier sees, uint8 [S, S, 3], RGB.
        map: float32 [C, S, S] in [0, 1], larger is more salient; C is 1, or 3 of methods that tell colors apart.
        salient: bool [S, S], the pixels that count as salient, as a run cuts its maps into regions.
        method: the method and its preset.
        target: index of the class whose score is explained.
        target_name: its name.
        prediction: index of the class of the highest score; of a run's photograph None where none is at least ½.
        prediction_name: its name.
        score: of the target, in [0, 1].
        score_after: of the target once the photograph is perturbed by its map; None where the method does not.
        drop: by what share of it the score falls then.
        area: mean of the map.
        source: the photograph's path or address, where it has one.
    """

    image: np.ndarray
    map: np.ndarray
    salient: np.ndarray
    method: str
    target: int
    target_name: str
    prediction: int | None
    prediction_name: str | None
    score: float
    score_after: float | None
    drop: float | None
    area: float
    source: str | None = None

    @property
    def saliency(self) -> np.ndarray:
        """The map over all colors, float32 [S, S] in [0, 1]."""
        return self.map.mean(axis=0)

    def overlay(self) -> Image.Image:
        """The map in color, yellow where it is most salient, over the photograph in gray; S × S pixels."""
        return Image.fromarray(pictures.overlay(self.image, self._eight_bits()))

    def picture(self, side: int = SIDE) -> Image.Image:
        """The photograph, the map over it, and what is salient in it, side by side, each of `side` pixels."""
        photograph = pictures.photograph(self.image, side)
        drawn = [
            photograph,
            pictures.overlay(photograph, self._eight_bits()),
            pictures.salient_picture(self.image, self.salient, side),
        ]
        return Image.fromarray(pictures.contact_sheet(drawn, len(drawn), GAP))

    def __repr__(self) -> str:
        return f"Explanation({self._said()})"

    def _repr_png_(self) -> bytes:
        return _png(self.picture())

    def _repr_html_(self) -> str:
        said = html.escape(self._said())
        data = base64.b64encode(self._repr_png_()).decode()
        shows = html.escape(shown(f"Photograph, saliency map of {self.target_name} over it, what is salient"))
        return (
            f'<figure style="margin:0 0 1em"><img alt="{shows}" style="max-width:100%" '
            f'src="data:image/png;base64,{data}"><figcaption>{said}</figcaption></figure>'
        )

    def _said(self) -> str:
        said = [f"{self.target_name}: score {self.score:.3f}"]
        if self.score_after is not None:
            said[0] += f", perturbed by its map {self.score_after:.3f}"
        if self.prediction != self.target:
            said.append("predicted: " + (self.prediction_name if self.prediction_name is not None else "no class"))
        said.append(self.method)
        return shown(" · ".join(said if self.source is None else [*said, PurePath(self.source).name]))

    def _eight_bits(self) -> np.ndarray:
        return np.rint(self.saliency * 255).astype(np.uint8)


class Explanations(Sequence[Explanation]):
    """Several explanations in the order of their photographs; in a notebook they draw themselves."""

    def __init__(self, found: Sequence[Explanation]) -> None:
        self._found = tuple(found)

    def __getitem__(self, index: Any) -> Any:
        found = self._found[index]
        return Explanations(found) if isinstance(index, slice) else found

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return f"Explanations of {len(self)} photographs"

    def _repr_html_(self) -> str:
        more = len(self) - SHOWN
        drawn = "".join(one._repr_html_() for one in self._found[:SHOWN])
        return f"<div>{drawn}{f'<p>… and {more:,} more</p>' if more > 0 else ''}</div>"


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()
