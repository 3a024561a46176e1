"""What people are asked about a run, the same for everybody, to each in an order of their own.

A question's key says what it is about and what that was computed from, so that an answer is never taken for one about
something else after the run was made again with other settings.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from visual_summaries.pipeline.evaluate.ratings import FIND_IMAGE, KINDS, MAP_RATING, PART_NAME
from visual_summaries.pipeline.store.tables import TableStore, digest

MAPS_PER_CLASS = 8
"""Maps of a class that are rated at most; as many others are looked for."""

POOL = 4
"""Photographs to choose from, the right one included."""

BLOCK = 24
"""Everybody meets the same blocks of questions in the same order, and the questions of each in an order of their own:
even of a large run, raters who stop early have answered much the same questions, without which there is no
agreement."""

TABLES_READ = ("images", "maps", "regions", "members", "summaries")

Shards = dict[str, dict[str, tuple[str, ...]]]


@dataclass(frozen=True)
class Photograph:
    """Where a photograph is read from."""

    image_id: str
    uri: str
    label: str


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        key: its identity, 24 hexadecimal digits.
        kind: part name, map rating or find the image.
        label, class_index: class of the run, and what the classifier numbers it.
        origin: what the question rests on, see `computed_from`.
        summary, cluster: the summary to be named, as in the table `summaries`; else None.
        image: the photograph whose map is rated or looked for; else None.
        pool: the photographs to choose from, `image` among them, in the order shown.
        distractors: where the others come from: "same class", "other classes", or both: "mixed".
    """

    key: str
    kind: str
    label: str
    class_index: int
    origin: tuple[str, ...]
    summary: int | None = None
    cluster: int | None = None
    image: Photograph | None = None
    pool: tuple[Photograph, ...] = ()
    distractors: str = ""


@dataclass(frozen=True)
class Questionnaire:
    """All questions about a run as its tables are now.

    Attributes:
        seed: of every choice.
        questions: kind → questions, in the order of the blocks.
        shards: table → class → paths of its files, as the manifests said when the questions were made: pictures are
            drawn from these even if the run is made again meanwhile.
    """

    seed: int
    questions: dict[str, tuple[Question, ...]]
    shards: Shards

    def in_order(self, kind: str, rater: str) -> list[Question]:
        """The questions of a kind in the order in which this rater meets them."""
        own = self.questions[kind]
        ordered = []
        for start in range(0, len(own), BLOCK):
            ordered += sorted(own[start : start + BLOCK], key=lambda question: digest(self.seed, rater, question.key))
        return ordered

    def by_key(self) -> dict[str, Question]:
        """All questions by their keys."""
        return {question.key: question for own in self.questions.values() for question in own}


def shards_by_class(store: TableStore, tables: Sequence[str]) -> Shards:
    """Table → class → paths of its files, as the manifests say now.

    Raises:
        StoreError: a table is missing.
    """
    found: Shards = {}
    for table in tables:
        by_label: dict[str, list[str]] = defaultdict(list)
        for shard in store.manifest(table):
            by_label[shard.label].append(shard.path)
        found[table] = {label: tuple(paths) for label, paths in by_label.items()}
    return found


def computed_from(kind: str, label: str, shards: Shards) -> tuple[str, ...]:
    """What a question about a class rests on: the files of its summaries, or the settings of its maps.

    A summary's number means something in these files only. A map is settled by its image and the settings, whatever
    other images the class has.
    """
    if kind == PART_NAME:
        return shards["summaries"].get(label, ())
    return tuple(sorted({path.partition("/")[0] for path in shards["maps"].get(label, ())}))


def questionnaire(store: TableStore, seed: int) -> Questionnaire:
    """The questions about a finished run.

    Kept summaries are named. Of each class at most `MAPS_PER_CLASS` maps, by a seeded choice, are rated, and as many
    others are looked for: nobody searches for a photograph that they have seen beside its map.

    Raises:
        StoreError: a table is missing or damaged.
    """
    shards = shards_by_class(store, TABLES_READ)
    found: dict[str, list[Question]] = {kind: [] for kind in KINDS}
    reserve: list[Photograph] = []
    for label in sorted(shards["images"]):
        photographs, class_index = _photographs(store, shards["images"][label], label)
        found[PART_NAME] += _parts(store, shards, label, class_index)
        reserve += _chosen(photographs, POOL - 1, seed, label, "reserve")
        maps = store.read("maps", shards["maps"].get(label, ()), ["image_id"])
        explained = set(maps.column("image_id").to_pylist())
        mapped = [photograph for photograph in photographs if photograph.image_id in explained]
        for place, image in enumerate(_chosen(mapped, 2 * MAPS_PER_CLASS, seed, label, "maps")):
            kind = FIND_IMAGE if place % 2 else MAP_RATING
            origin = computed_from(kind, label, shards)
            key = digest(kind, label, image.image_id, origin)
            question = Question(key, kind, label, class_index, origin, image=image)
            found[kind].append(question if kind == MAP_RATING else _with_pool(question, photographs, seed))
    searches = [_filled_up(question, reserve, seed) for question in found[FIND_IMAGE]]
    found[FIND_IMAGE] = [question for question in searches if len(question.pool) > 1]
    ordered = {kind: tuple(sorted(own, key=lambda question: digest(seed, question.key))) for kind, own in found.items()}
    return Questionnaire(seed, ordered, shards)


def _photographs(store: TableStore, paths: Sequence[str], label: str) -> tuple[list[Photograph], int]:
    """A class's photographs that could be decoded, each once, and the class's index."""
    rows = store.read("images", paths, ["image_id", "uri", "class_index", "decode_error"]).to_pylist()
    found = {
        row["image_id"]: Photograph(row["image_id"], row["uri"], label) for row in rows if row["decode_error"] is None
    }
    return [found[image_id] for image_id in sorted(found)], rows[0]["class_index"] if rows else -1


def _parts(store: TableStore, shards: Shards, label: str, class_index: int) -> list[Question]:
    """The kept summaries of a class."""
    rows = store.read("summaries", shards["summaries"].get(label, ()), ["summary", "cluster", "kept"]).to_pylist()
    origin = computed_from(PART_NAME, label, shards)
    return [
        Question(
            digest(PART_NAME, label, row["summary"], origin),
            PART_NAME,
            label,
            class_index,
            origin,
            summary=row["summary"],
            cluster=row["cluster"],
        )
        for row in rows
        if row["kept"]
    ]


def _with_pool(question: Question, photographs: Sequence[Photograph], seed: int) -> Question:
    """The question with distractors of its own class, as many as there are."""
    others = [photograph for photograph in photographs if photograph.image_id != question.image.image_id]
    return replace(question, pool=tuple(_chosen(others, POOL - 1, seed, question.key)))


def _filled_up(question: Question, reserve: Sequence[Photograph], seed: int) -> Question:
    """The question with the distractors that its class lacks taken from others, and the right photograph among them."""
    own = question.pool
    taken = {question.image.image_id, *(photograph.image_id for photograph in own)}
    others = {
        photograph.image_id: photograph
        for photograph in reserve
        if photograph.label != question.label and photograph.image_id not in taken
    }
    missing = POOL - 1 - len(own)
    filled = _chosen(list(others.values()), missing, seed, question.key, "others") if missing else []
    pool = _chosen([question.image, *own, *filled], POOL, seed, question.key, "places")
    kind = "same class" if not filled else "mixed" if own else "other classes"
    return replace(question, pool=tuple(pool), distractors=kind)


def _chosen(items: Sequence[Photograph], count: int, *identity: str | int) -> list[Photograph]:
    """At most `count` different items in random order, the same for the same identity and items."""
    generator = np.random.default_rng(int(digest(*identity), 16))
    return [items[place] for place in generator.permutation(len(items))[:count]]
