"""A finished run read from Python: tables, classes, pictures, maps; nothing that it says is executed."""

import builtins
import doctest
import json
import pickle
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visual_summaries import ConfigurationError, Explanations, Run, StoreError, explain, open_run, summarize
from visual_summaries.pipeline.config import RunConfig
from visual_summaries.pipeline.store.tables import TableStore
from visual_summaries.schemas import TABLES
from visual_summaries.surface import summarizing

STRANGER = "from pathlib import Path\nPath(__file__).with_name('executed').touch()\n"


@pytest.fixture(scope="module")
def run(finished: Path) -> Run:
    return open_run(finished)


def test_tables_are_data_frames(run: Run, finished: Path) -> None:
    import pandas

    assert {"images", "maps", "members", "summaries", "runs"} <= set(run.tables) <= set(TABLES)
    assert "ratings" not in run.tables
    frame = run.table("summaries")
    assert isinstance(frame, pandas.DataFrame) and list(frame.columns) == TABLES["summaries"].schema.names
    rows = TableStore(finished).read_all("summaries").to_pylist()
    assert frame["support"].tolist() == pytest.approx([row["support"] for row in rows]) and len(rows) >= 2
    own = run.table("images", columns=["uri", "label"], label="saxophone")
    assert list(own.columns) == ["uri", "label"] and set(own["label"]) == {"saxophone"} and len(own) == 4


def test_rows_of_a_class_are_found_among_those_of_all(run: Run) -> None:
    """The figures of all classes lie in one file."""
    every, own = run.table("metrics"), run.table("metrics", ["label", "metric", "value"], label="saxophone")
    assert set(every["label"]) == {"", "butterfly", "saxophone"}
    assert own["value"].tolist() == pytest.approx(every[every["label"] == "saxophone"]["value"].tolist(), nan_ok=True)
    assert len(own) >= 3 and set(own["label"]) == {"saxophone"}
    assert set(run.table("negatives", ["image_id"], "butterfly").columns) == {"image_id"}


def test_the_run_says_what_it_is(run: Run, photographs: Path, finished: Path) -> None:
    assert run.classes == {"butterfly": "butterfly", "saxophone": "saxophone"}
    assert run.settings["explain"]["explainer"] == "grad-cam" and "ray" not in run.settings
    assert run.folder == str(finished) and repr(run) == f"Run({str(finished)!r})"
    with pytest.raises(StoreError, match="has no report yet: visual-summaries report --run"):
        _ = run.report
    drawn = run._repr_html_()
    kept = run.table("summaries").query("kept and label == 'saxophone'")
    assert f"<tr><td>saxophone</td><td>saxophone</td><td>{len(kept)}</td></tr>" in drawn and len(kept) >= 1


def test_a_summary_is_drawn(run: Run) -> None:
    kept = run.table("summaries").query("kept and label == 'saxophone'").iloc[0]
    picture = run.pictures("saxophone", int(kept["summary"]))
    members = int(kept["members"])
    across = min(4, members)
    assert picture.width == across * 224 + (across - 1) * 6 and members <= 4
    assert run.pictures("saxophone", int(kept["summary"]), members=1).size == (224, 224)
    red = (np.asarray(picture).astype(int) - (214, 16, 38)).__abs__().sum(axis=2) < 60
    assert red[:, :224].sum() > 100
    with pytest.raises(ValueError, match="'saxophone' has no kept summary 77; its kept summaries are 0"):
        run.pictures("saxophone", 77)
    with pytest.raises(ValueError, match="no class 'saxofone'.*did you mean saxophone"):
        run.pictures("saxofone", 0)


def test_what_is_explained_alone_is_as_in_the_run(finished: Path) -> None:
    rows = TableStore(finished).read_all("maps").to_pylist()
    uris = {row["image_id"]: row["uri"] for row in TableStore(finished).read_all("images").to_pylist()}
    found = explain([uris[row["image_id"]] for row in rows], "demo", "grad-cam")
    assert isinstance(found, Explanations) and len(found) == len(rows) == 8
    for row, one in zip(rows, found, strict=True):
        stored = np.frombuffer(row["saliency"], np.uint8).reshape(row["saliency_shape"])
        assert np.abs(one.map * 255 - stored).max() <= 1 and stored.max() == 255
        assert (one.target, one.method, one.source) == (row["target"], row["explainer"], uris[row["image_id"]])
        assert one.score == pytest.approx(row["score_before"], abs=1e-5)
        assert one.area == pytest.approx(row["area"], abs=1e-4)


def test_a_map_of_the_run_is_the_explanation_of_the_photograph(run: Run) -> None:
    row = run.arrow("images", ["image_id", "uri"], "butterfly").to_pylist()[0]
    stored, made = run.explanation(row["image_id"]), explain(row["uri"], "demo", "grad-cam")
    assert np.array_equal(stored.image, made.image) and np.abs(stored.map - made.map).max() < 0.005
    assert (stored.salient == made.salient).mean() > 0.99
    assert repr(stored) == repr(made)
    with pytest.raises(ValueError, match="maps of .* has no image 'nobody'"):
        run.explanation("nobody")


def test_a_photograph_that_is_another_now_is_not_shown(finished: Path, tmp_path: Path) -> None:
    run = open_run(finished)
    row = run.arrow("images", ["image_id", "uri"], "butterfly").to_pylist()[0]
    shutil.copy(row["uri"], tmp_path / "kept")
    try:
        shutil.copy(Path(row["uri"]).with_name("003.png").parents[1] / "saxophone" / "002.png", row["uri"])
        with pytest.raises(StoreError, match="the file has changed since the run began"):
            run.explanation(row["image_id"])
    finally:
        shutil.copy(tmp_path / "kept", row["uri"])


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda run: run.table("sumaries"), ValueError, "no table 'sumaries'.*did you mean summaries"),
        (lambda run: run.table("summaries", ["suport"]), ValueError, "no column 'suport'.*did you mean support"),
        (lambda run: run.table("images", label="cat"), ValueError, "no class 'cat'; classes: butterfly, saxophone"),
        (lambda run: run.table("runs", label="saxophone"), ValueError, "runs is about no classes: leave label out"),
        (lambda run: run.table("ratings"), StoreError, "there is no table 'ratings'"),
        (lambda run: open_run(Path(run.folder) / "nowhere"), StoreError, "there is no table 'runs' in .*nowhere"),
        (lambda run: summarize("x", object(), "y"), ConfigurationError, "load the model by a text.*not object"),
    ],
)
def test_mistakes_are_told(run: Run, call: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        call(run)


def test_without_pandas_there_are_arrow_tables(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'visual-summaries\[pandas\]', or take run.arrow"):
        run.table("summaries")
    assert run.arrow("summaries", ["label"]).column_names == ["label"]


def test_a_strangers_run_executes_nothing(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It names code as its network, which lies in the current folder, and a pickle as its weights."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    (tmp_path / "stranger.py").write_text(STRANGER)
    store = TableStore(folder)
    (shard,) = store.manifest("runs")[-1:]
    rows = store.read("runs", [shard.path])
    said = [json.loads(text) for text in rows.column("configuration").to_pylist()]
    for one in said:
        one["model"] |= {"name": "stranger:network", "weights": "stranger.pt"}
    place = rows.schema.get_field_index("configuration")
    rows = rows.set_column(place, rows.schema.field(place), [[json.dumps(one) for one in said]])
    (folder / "tables" / "runs" / shard.path).unlink()
    written = store.write("runs", shard.path, rows, shard.label)
    others = [one for one in store.manifest("runs") if one.path != shard.path]
    store.write_manifest("runs", "f", [*others, written], complete=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(pickle, "loads", lambda *_: pytest.fail("something is unpickled"))
    run = open_run("run")
    assert run.settings["model"]["name"] == "stranger:network"
    for name in run.tables:
        run.table(name)
    run.explanation(run.table("maps", ["image_id"])["image_id"][0])
    assert run._repr_html_() and run.classes
    assert "stranger" not in sys.modules and not (tmp_path / "executed").exists()


def test_the_examples_of_the_docstrings_run(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """The run itself, which takes Ray, is the notebook's; here it is seen what it is asked for."""
    shutil.copytree(finished, tmp_path / "runs" / "demo")
    (tmp_path / "runs" / "demo" / "report").mkdir()
    (tmp_path / "runs" / "demo" / "report" / "index.html").touch()
    asked: list[RunConfig] = []

    def pretended(config: RunConfig, console: Any) -> None:
        asked.append(config)
        signal.signal(signal.SIGTERM, signal.default_int_handler)

    monkeypatch.setattr(summarizing, "run_pipeline", pretended)
    monkeypatch.chdir(tmp_path)
    before, known = signal.getsignal(signal.SIGTERM), {"open_run": open_run, "summarize": summarize}
    examples = [one for call in known.values() for one in doctest.DocTestParser().get_examples(call.__doc__)]
    assert len(examples) == 5
    for example in examples:
        exec(compile(example.source, "<example>", "single"), known)
    (config,) = asked
    assert (config.data.images, config.model.name, config.output) == ("demo", "demo", "runs/demo")
    assert config.summaries.price == 0.2
    assert signal.getsignal(signal.SIGTERM) is before
    said = capsys.readouterr().out
    assert "What the classifier looks at" in said and "runs/demo/report/index.html" in said
    summarize("demo", "demo", "runs/demo", settings={"data": {"classes": ["saxophone"]}}, quiet=True)
    assert asked[-1].data.classes == ("saxophone",) and capsys.readouterr().out == ""
