"""Another pipeline on the same runtime: words of texts, no image anywhere. On real Ray."""

import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import imageless
import pyarrow as pa
import pytest
from imageless import Inputs, Settings, inputs_of
from ray import cloudpickle

from visual_summaries.pipeline.runtime.context import Context
from visual_summaries.pipeline.runtime.exclusive import exclusive
from visual_summaries.pipeline.runtime.flow import run_stages
from visual_summaries.pipeline.runtime.observability import watched_run
from visual_summaries.pipeline.runtime.records import write_errors_manifest
from visual_summaries.pipeline.runtime.session import ray_session
from visual_summaries.pipeline.runtime.settings import RaySettings
from visual_summaries.pipeline.runtime.stage import Plan, Stage, units_per_class
from visual_summaries.pipeline.runtime.units import Output, Unit
from visual_summaries.pipeline.runtime.workers import Workers
from visual_summaries.pipeline.store.tables import TableStore
from visual_summaries.schemas import tables
from visual_summaries.schemas.columns import column, table

for module in (imageless, sys.modules[__name__]):
    cloudpickle.register_pickle_by_value(module)

TEXTS = {
    "prose": ("the cat sat on the mat", "kill the worker", "a cat is a cat"),
    "verse": ("tyger tyger burning bright", "in the forests of the night"),
}
WORDS = table(
    "words",
    "one row per text and word",
    column("label", pa.string(), "kind of text"),
    column("text", pa.string(), "its name"),
    column("word", pa.string(), "the word"),
    column("count", pa.int32(), "how often it is there"),
)
FREQUENT = table(
    "frequent",
    "the words of a kind of text that come most often",
    column("label", pa.string(), "kind of text"),
    column("word", pa.string(), "the word"),
    column("count", pa.int32(), "how often it is there"),
)
STRANGERS = re.compile(r"pipeline\.(stages|commands|models|explain|summarize|evaluate|data|config)\b|torch|PIL|cv2")


class Library(Context):
    """Where the texts are."""

    def __init__(self, folder: str, output: Path, gpu: bool, board: Any) -> None:
        super().__init__(output, gpu, board)
        self.folder = Path(folder)
        tables.TABLES.update({"words": WORDS, "frequent": FREQUENT})


class WordsStage(Stage):
    """Counts the words of each text, but for single letters; the text that says so kills its worker."""

    name, writes, counts = "words", "words", "texts"
    depends_on = ("version",)

    def settings(self, config: Settings) -> Any:
        return []

    def units(self, plan: Plan) -> list[Unit]:
        return [
            Unit(group.label, group.things, group.things, divisible=True, size=len(group.things))
            for group in plan.inputs.classes
        ]

    def compute(self, worker: Library, unit: Unit, items: Sequence[str]) -> Output:
        rows = []
        for item in items:
            text = (worker.folder / item).read_text()
            if "kill" in text:
                os.kill(os.getpid(), 9)
            found = Counter(word for word in text.split() if len(word) > 1)
            rows += [{"label": unit.label, "text": item, "word": word, "count": n} for word, n in found.items()]
            worker.advance(unit)
        return Output(rows)


class FrequentStage(Stage):
    """The most frequent words of each kind."""

    name, reads, writes, counts = "frequent", ("words",), "frequent", "texts"

    def settings(self, config: Settings) -> Any:
        return config.more["kept"]

    def units(self, plan: Plan) -> list[Unit]:
        return [replace(unit, payload=plan.config.more["kept"]) for unit in units_per_class(plan, ("words",))]

    def compute(self, worker: Library, unit: Unit, items: Sequence[str]) -> Output:
        # What a worker of this pipeline has loaded is the runtime and its own.
        assert not [name for name in sys.modules if STRANGERS.match(name)]
        counts = Counter()
        for row in worker.read(unit, "words", ["word", "count"]):
            counts[row["word"]] += row["count"]
        kept = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[: unit.payload]
        return Output([{"label": unit.label, "word": word, "count": n} for word, n in kept])


class LongestStage(Stage):
    """Without a table: the longest word of all, as a value."""

    name, reads, writes, by_class, counts = "longest", ("words",), "", False, "texts"

    def settings(self, config: Settings) -> Any:
        return []

    def units(self, plan: Plan) -> list[Unit]:
        paths = tuple(shard.path for shard in plan.shards["words"])
        return [Unit("", paths, ("",), {"words": paths}, size=len(paths))]

    def compute(self, worker: Library, unit: Unit, items: Sequence[str]) -> Output:
        return Output([], value=max((row["word"] for row in worker.read(unit, "words", ["word"])), key=len))


STAGES = (WordsStage(), FrequentStage(), LongestStage())


@pytest.fixture(scope="module")
def resources():  # noqa: ANN201
    with ray_session(RaySettings(cpus=2, gpus=0)) as found:
        yield found


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Inputs]:
    for name, schema in (("words", WORDS), ("frequent", FREQUENT)):
        monkeypatch.setitem(tables.TABLES, name, schema)
    (tmp_path / "texts").mkdir()
    inputs = replace(
        inputs_of((), 0),
        classes=tuple(
            imageless.Group(label, tuple(f"{label}{at}" for at in range(len(texts)))) for label, texts in TEXTS.items()
        ),
    )
    for group in inputs.classes:
        for name, text in zip(group.things, TEXTS[group.label], strict=True):
            (tmp_path / "texts" / name).write_text(text)
    return tmp_path, inputs


def run(folder: Path, inputs: Inputs, resources: dict[str, float], kept: int = 2) -> tuple[list[Any], dict[str, tuple]]:
    """What the last stage gave, and (planned, found complete) units of each."""
    output = folder / "out"
    ray = RaySettings(attempts=1)
    more = {"kept": kept}
    with exclusive(output):
        state = imageless.state_of(output, STAGES, inputs, error_tolerance=0.2, more=more)
        with watched_run(output, "run", inputs.image_count, resources) as state.watch:
            workers = Workers(ray, partial(Library, str(folder / "texts"), output), lambda: dict(resources))
            try:
                outcomes = run_stages(state, STAGES, workers)
                write_errors_manifest(state, complete=True)
            finally:
                workers.close()
    units = {row["stage"]: (row["units"], row["units_cached"]) for row in state.stage_rows}
    return [outcome.value for outcome in outcomes], units


def expected(kept: int) -> list[dict]:
    """The table `frequent`, counted here."""
    rows = []
    for label, texts in TEXTS.items():
        words = [word for text in texts if "kill" not in text for word in text.split() if len(word) > 1]
        order = sorted(set(words), key=lambda word: (-words.count(word), word))
        rows += [{"label": label, "word": word, "count": words.count(word)} for word in order[:kept]]
    return rows


def test_words_are_counted_on_the_same_runtime(library: tuple[Path, Inputs], resources: dict[str, float]) -> None:
    folder, inputs = library
    values, units = run(folder, inputs, resources)
    assert values == ["burning"] and units == {"words": (2, 0), "frequent": (2, 0), "longest": (1, 0)}
    store = TableStore(folder / "out")
    assert store.read_all("frequent").to_pylist() == expected(2)
    assert expected(2)[0] == {"label": "prose", "word": "cat", "count": 3}
    # The text that kills its worker is told, and nothing else is lost.
    (error,) = store.read_all("errors").to_pylist()
    assert (error["stage"], error["image_id"]) == ("words", "prose1") and "crashed the worker" in error["reason"]
    assert set(store.read_all("words").column("text").to_pylist()) == {"prose0", "prose2", "verse0", "verse1"}


def test_it_resumes_and_does_again_what_changed(library: tuple[Path, Inputs], resources: dict[str, float]) -> None:
    folder, inputs = library
    (folder / "texts" / "prose1").write_text("no harm")
    run(folder, inputs, resources)
    assert run(folder, inputs, resources)[1] == {"words": (2, 2), "frequent": (2, 2), "longest": (1, 0)}
    assert run(folder, inputs, resources, kept=1)[1] == {"words": (2, 2), "frequent": (2, 0), "longest": (1, 0)}
    assert [row["word"] for row in TableStore(folder / "out").read_all("frequent").to_pylist()] == ["cat", "the"]
    # Made anew for another reason, with the same rows: there it ends.
    other = replace(inputs, version="2")
    assert run(folder, other, resources, kept=1)[1] == {"words": (2, 0), "frequent": (2, 2), "longest": (1, 0)}
