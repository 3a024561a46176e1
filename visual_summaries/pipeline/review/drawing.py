"""The pictures of a question, drawn from tables and photographs when somebody is asked it."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import torch

from visual_summaries.pipeline.data.decode import DecodeError, read_image
from visual_summaries.pipeline.evaluate.ratings import MAP_RATING, PART_NAME
from visual_summaries.pipeline.explain.feature_cam import PERCENTILE, explanation_images
from visual_summaries.pipeline.models.preprocessing import Preprocessing
from visual_summaries.pipeline.report import pictures
from visual_summaries.pipeline.review.questions import Photograph, Question, Questionnaire, Shards
from visual_summaries.pipeline.store.tables import TableStore
from visual_summaries.pipeline.summarize.regions import decode_run_length
from visual_summaries.schemas import EDGES

MEMBERS_SHOWN = 12
MEMBER_SIDE, MAP_SIDE, POOL_SIDE = 224, 448, 320
PHOTOGRAPHS_KEPT, QUESTIONS_KEPT = 64, 32

HIDDEN = 0.92
"""Gray, in 0..1, of what an explanation hides: lighter than most of a photograph, darker than the page."""


class Unreadable(Exception):
    """A photograph that cannot be read (any more); the message names it and says why."""


class Cache:
    """The values made last, safe to use from several threads; a value may be made twice, and is then the same."""

    def __init__(self, size: int) -> None:
        self._size, self._values, self._lock = size, OrderedDict(), threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value of `key`, made if it is not there."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self._lock:
            self._values[key] = value
            while len(self._values) > self._size:
                self._values.popitem(last=False)
        return value


class Drawer:
    """Draws the pictures of questions and keeps the last ones."""

    def __init__(self, store: TableStore, questions: Questionnaire, preprocessing: Preprocessing) -> None:
        self._store, self._preprocessing = store, preprocessing
        self._shards: Shards = questions.shards
        self._photographs, self._drawn = Cache(PHOTOGRAPHS_KEPT), Cache(QUESTIONS_KEPT)

    def pictures(self, question: Question) -> dict[str, bytes]:
        """The question's pictures by name, as WebP files, in the order shown.

        A part: its members "0", "1", …, the exemplar first, at most `MEMBERS_SHOWN` and only those whose photographs
        can be read. A map to be rated: "photograph", "map". One to be looked for: "map", then the pool, "0", "1", ….

        Raises:
            Unreadable: a photograph that the question cannot do without cannot be read.
            StoreError: a table cannot be read.
        """
        return self._drawn.get(question.key, lambda: self._draw(question))

    def _draw(self, question: Question) -> dict[str, bytes]:
        if question.kind == PART_NAME:
            members = member_pictures(self._store, self._shards, self._analyzed, question.label, question.cluster)
            drawn = {str(place): picture for place, picture in enumerate(members)}
        else:
            image, saliency = self._analyzed(question.image), self._saliency(question)
            if question.kind == MAP_RATING:
                photograph = pictures.photograph(image, MAP_SIDE)
                drawn = {"photograph": photograph, "map": pictures.overlay(photograph, saliency)}
            else:
                drawn = {"map": pictures.photograph(explanation(image, saliency), MAP_SIDE)}
                for place, other in enumerate(question.pool):
                    drawn[str(place)] = pictures.photograph(self._analyzed(other), POOL_SIDE)
        return {name: pictures.encode(picture) for name, picture in drawn.items()}

    def _analyzed(self, photograph: Photograph) -> np.ndarray:
        """The square that the classifier sees, uint8 [S, S, 3]."""

        return self._photographs.get(
            photograph.image_id, lambda: analyzed_photograph(photograph, self._preprocessing)
        )

    def _saliency(self, question: Question) -> np.ndarray:
        """The saliency map, uint8 [H, W], mean over colors."""
        paths = self._shards["maps"][question.label]
        wanted = ("image_id", [question.image.image_id])
        row = self._store.read("maps", paths, ["saliency", "saliency_shape"], wanted).to_pylist()[0]
        saliency = np.frombuffer(row["saliency"], np.uint8).reshape(row["saliency_shape"])
        return saliency.mean(axis=0).round().astype(np.uint8)


def analyzed_photograph(photograph: Photograph, preprocessing: Preprocessing) -> np.ndarray:
    """The square that the classifier sees, uint8 [S, S, 3].

    Raises:
        Unreadable: it cannot be read, or is not the file that the run began with.
    """
    try:
        decoded = read_image(photograph.uri)
    except DecodeError as error:
        raise Unreadable(f"{photograph.uri}: {error}") from None
    if decoded.image_id != photograph.image_id:
        raise Unreadable(f"{photograph.uri}: the file has changed since the run began")
    return preprocessing.analyzed_image(decoded.image).permute(1, 2, 0).contiguous().numpy()


def member_pictures(
    store: TableStore,
    shards: Shards,
    analyzed: Callable[[Photograph], np.ndarray],
    label: str,
    cluster: int,
    most: int = MEMBERS_SHOWN,
) -> list[np.ndarray]:
    """The kept members of a summary, the exemplar first, uint8 `[MEMBER_SIDE,MEMBER_SIDE,3]` each: at most `most`,
    and only those whose photographs can be read.

    Args:
        shards: table → class → paths of its files, of members, images and regions at least.
        analyzed: gives the square uint8 [S, S, 3] that the classifier sees of a photograph, or raises `Unreadable`.
        cluster: of the summary, as in the table `summaries`.

    Raises:
        Unreadable: none of the photographs can be read.
        StoreError: a table cannot be read.
    """
    columns = ["image_id", *EDGES, "rank", "hull", "regions", "kept"]
    rows = store.read("members", shards["members"][label], columns, ("cluster", [cluster]))
    members = sorted((row for row in rows.to_pylist() if row["kept"]), key=lambda row: row["rank"])
    members = members[:most]
    wanted = ("image_id", [member["image_id"] for member in members])
    places = store.read("images", shards["images"][label], ["image_id", "uri"], wanted).to_pylist()
    uris = {row["image_id"]: row["uri"] for row in places}
    regions = {
        (row["image_id"], row["region"]): row["run_length"]
        for row in store.read(
            "regions", shards["regions"][label], ["image_id", "region", "run_length"], wanted
        ).to_pylist()
    }
    drawn, unreadable = [], None
    for member in members:
        image_id = member["image_id"]
        try:
            image = analyzed(Photograph(image_id, uris[image_id], label))
        except Unreadable as error:
            unreadable = error
            continue
        mask = np.zeros(image.shape[:2], dtype=bool)
        for number in member["regions"]:
            mask |= decode_run_length(regions[image_id, number], image.shape[:2])
        hull, box = np.array(member["hull"]).reshape(-1, 2), [member[edge] for edge in EDGES]
        drawn.append(pictures.member_picture(image, mask, hull, box, MEMBER_SIDE))
    if not drawn:
        raise unreadable or Unreadable("the summary has no members")
    return drawn


def explanation(image: np.ndarray, saliency: np.ndarray) -> np.ndarray:
    """What a map says by itself: the photograph in gray where the map is above its own 80th percentile, else nothing.

    In gray, because with colors the photograph is found by its colors. (Feature CAM §4, Fig. 3.)

    Args:
        image: uint8 [S, S, 3].
        saliency: uint8 [S, S].

    Returns:
        uint8 [S, S, 3].
    """
    gray = torch.from_numpy(image).float().div(255) @ torch.tensor([0.299, 0.587, 0.114])
    pixels = gray[None, None].expand(1, 3, -1, -1)
    maps = torch.from_numpy(saliency).float()[None, None]
    shown = explanation_images(pixels, maps, torch.full((3, 1, 1), HIDDEN), PERCENTILE)
    return shown[0].permute(1, 2, 0).mul(255).round().to(torch.uint8).contiguous().numpy()
