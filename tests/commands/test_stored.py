"""Opening a finished run: nothing that it says is executed or believed beyond data, and nothing of it is lost."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from visual_summaries.jobs import compare, evaluate, export, report, review
from visual_summaries.pipeline.data.demo.scenes import NETWORK_CLASS_NAMES
from visual_summaries.pipeline.store.tables import Shard, StoreError, TableStore

CODE = "network_of_a_stranger:network"
STRANGER = """
from pathlib import Path
Path(__file__).with_name("executed").touch()

def network():
    from visual_summaries.pipeline.data.demo.network import load_demo_network
    return load_demo_network()
"""


def told(run: Path, change: Callable[[dict], dict], column: str = "configuration") -> Path:
    """Let the run say something else of itself."""
    store = TableStore(run)
    for shard in store.manifest("runs"):
        rows = store.read("runs", [shard.path])
        texts = [json.dumps(change(json.loads(text))) for text in rows.column(column).to_pylist()]
        place = rows.schema.get_field_index(column)
        rows = rows.set_column(place, rows.schema.field(place), [texts])
        store.write_manifest("runs", "", [store.write("runs", shard.path, rows, "")], complete=True)
    return run


def with_model(name: str, **sections: object) -> Callable[[dict], dict]:
    return lambda stored: stored | {"model": stored["model"] | {"name": name}} | sections


def manifests(run: Path) -> dict[str, bytes]:
    """All manifests but that of `runs`, which every job adds to."""
    found = {path.parent.name: path.read_bytes() for path in (run / "tables").glob("*/manifest.json")}
    return {name: content for name, content in found.items() if name != "runs"}


@pytest.fixture
def run(whole_run, tmp_path: Path) -> Path:  # noqa: ANN001
    shutil.copytree(whole_run[0], tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with a module in it that leaves a file behind when it is imported: the path of that file."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "network_of_a_stranger.py").write_text(STRANGER)
    monkeypatch.chdir(folder)
    path = list(sys.path)
    yield folder / "executed"
    sys.path[:] = path
    sys.modules.pop("network_of_a_stranger", None)


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session on nothing, for commands that must end before they give work to anybody."""
    from visual_summaries.pipeline.commands import opened

    @contextmanager
    def nothing(settings: object) -> Iterator[dict[str, float]]:
        yield {"CPU": 1.0}

    monkeypatch.setattr(opened, "ray_session", nothing)
    monkeypatch.setattr(opened, "resources_now", lambda settings: {"CPU": 1.0})


def test_a_run_is_read_without_its_network(run: Path, stranger: Path, tmp_path: Path, capsys) -> None:  # noqa: ANN001
    told(run, with_model(CODE))
    out = tmp_path / "out"
    assert export.main(["--run", str(run), "--format", "coco", "--output", str(out / "coco")]) == 0
    assert compare.main(["--run", str(run), "--run", str(run), "--output", str(out / "compared")]) == 0
    assert json.loads((out / "coco" / "regions.json").read_text())["annotations"]
    assert not stranger.exists()
    assert CODE in (out / "compared" / "comparison.csv").read_text()
    assert review.main(["--run", str(run), "--export"]) == 1 and "nobody has answered" in capsys.readouterr().err
    from visual_summaries.pipeline.commands.review import reviewed_run
    from visual_summaries.pipeline.commands.stored import stored_run

    known = reviewed_run(stored_run(str(run)))
    assert (known.facts["model"], known.facts["explainer"]) == ("demo", "crisp:fast")
    assert len(known.facts["weights"]) >= 24
    assert known.preprocessing.crop_side == 128 and "butterfly" in known.class_names
    assert not stranger.exists()


def test_a_report_needs_neither_the_network_nor_the_runs_cluster(run: Path, stranger: Path, capsys) -> None:  # noqa: ANN001
    told(run, with_model(CODE, ray={"address": "127.0.0.1:9", "workers": 1}, log="json"))
    told(run, lambda stored: stored | {"data": stored["data"] | {"images": "/nowhere", "parts": "/nowhere.csv"}})
    before, pages = manifests(run), sorted((run / "report").rglob("*.html"))
    shutil.rmtree(run / "report")
    assert report.main(["--run", str(run), "report.members=3", "ray.workers=2"]) == 0, capsys.readouterr().err
    assert not stranger.exists() and '"event"' not in capsys.readouterr().err
    assert sorted((run / "report").rglob("*.html")) == pages
    assert {name: content for name, content in manifests(run).items() if name != "errors"} == {
        name: content for name, content in before.items() if name != "errors"
    }


def test_code_is_what_this_command_line_names(run: Path, stranger: Path, tmp_path: Path, capsys) -> None:  # noqa: ANN001
    numbers = {name: number for number, name in enumerate(NETWORK_CLASS_NAMES)}
    (tmp_path / "map.json").write_text(json.dumps(numbers))
    told(run, with_model(CODE))
    told(run, lambda stored: stored | {"data": stored["data"] | {"class_map": str(tmp_path / "map.json")}})
    before = manifests(run)
    assert evaluate.main(["--run", str(run), "--study", "wholeness"]) == 2
    error = capsys.readouterr().err
    assert f"is the code {CODE}; to run it say --model {CODE} on this command line" in error
    assert evaluate.main(["--run", str(run), "--study", "wholeness", "--model", "demo"]) == 2
    assert "model.name (--model)" in capsys.readouterr().err
    assert not stranger.exists()
    # Named, it is imported: and as it is not what the run was made with, nothing is changed.
    assert evaluate.main(["--run", str(run), "--study", "wholeness", "--model", CODE]) == 2
    assert stranger.exists() and "stays as it is" in capsys.readouterr().err
    assert manifests(run) == before


def test_a_configuration_file_of_this_command_line_names_code_too(run: Path, stranger: Path) -> None:
    (stranger.parent / "mine.yaml").write_text(f"model:\n  name: {CODE}\n")
    told(run, with_model(CODE))
    assert evaluate.main(["--run", str(run), "--study", "wholeness", "--config", "mine.yaml"]) == 2
    assert stranger.exists()


def test_other_networks_are_code_as_well(run: Path, stranger: Path, capsys) -> None:  # noqa: ANN001
    from visual_summaries.pipeline.commands.stored import EVALUATE, reopened, stored_run

    others = [{"name": "demo"}, {"name": CODE, "weights": "their file.pt"}]
    told(run, lambda stored: stored | {"evaluation": stored["evaluation"] | {"other_models": others}})
    assert evaluate.main(["--run", str(run)]) == 2
    assert f"--other-model demo --other-model {CODE} --other-weights 'their file.pt'" in capsys.readouterr().err
    assert not stranger.exists()
    opened = stored_run(str(run))
    for given in ([], others[:1], others):
        config = reopened(opened, {"evaluation": {"other_models": given}}, EVALUATE, runs_network=True)
        assert [model.name for model in config.evaluation.other_models] == [one["name"] for one in given]


def test_taggers_are_code_as_well(run: Path, stranger: Path, capsys) -> None:  # noqa: ANN001
    taggers = [{"name": CODE, "weights": "their file.pt"}]
    told(run, lambda stored: stored | {"evaluation": stored["evaluation"] | {"taggers": taggers}})
    assert evaluate.main(["--run", str(run)]) == 2
    assert f"--tagger {CODE} --tagger-weights 'their file.pt'" in capsys.readouterr().err
    assert not stranger.exists()


REFUSED = {
    "explain.explainer=gradient": ("explain.explainer", "maps"),
    "regions.threshold=0.3": ("regions.threshold", "regions"),
    "seed=7": ("seed", "metrics"),
    "explain.shard_size=5": ("explain.shard_size", ""),
    "data.classes=[butterfly]": ("data.classes", ""),
    "report.members=3": ("report.members", "no effect"),
    "model.crop=96": ("model.crop", ""),
    "model.head=sigmoid": ("model.head", ""),
    "preset=paper": ("preset (--preset)", ""),
    "output=elsewhere": ("output (--output)", ""),
}


@pytest.mark.parametrize("override", REFUSED)
def test_a_setting_that_would_change_a_finished_table_is_refused_by_name(override: str, run: Path, capsys) -> None:  # noqa: ANN001
    before = manifests(run)
    assert evaluate.main(["--run", str(run), "--study", "faithfulness", override]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and all(said in error for said in REFUSED[override])
    assert manifests(run) == before


@pytest.mark.parametrize("flag", ["--images", "--manifest", "--weights", "--output", "--preset"])
def test_a_flag_without_effect_is_refused_by_name(flag: str, run: Path, capsys) -> None:  # noqa: ANN001
    value = "paper" if flag == "--preset" else "elsewhere"
    assert evaluate.main(["--run", str(run), flag, value]) == 2
    error = capsys.readouterr().err
    assert f"({flag})" in error and str(run) in error
    assert evaluate.main(["--run", str(run), "--print-config"]) == 2 and "--run" in capsys.readouterr().err


def test_what_is_so_may_be_said_and_what_changes_no_table_changed(run: Path) -> None:
    from visual_summaries.pipeline.commands.stored import EVALUATE, REPORT, reopened, stored_run
    from visual_summaries.pipeline.config import ConfigurationError, given_settings

    opened = stored_run(str(run))
    stored = opened.config
    same = ["model.name=demo", f"data.images={stored.data.images}/", "explain.shard_size=4", f"output={run}"]
    new = ["ray.address=auto", "evaluation.tags=9", "data.boxes=boxes.csv", "explain.batch_size=3", "error_tolerance=1"]
    config = reopened(opened, given_settings(overrides=[*same, *new]), EVALUATE, runs_network=True)
    assert (config.ray.address, config.evaluation.tags, config.data.boxes) == ("auto", 9, "boxes.csv")
    assert config.explain.explainer == stored.explain.explainer and config.output == str(run)
    assert reopened(opened, given_settings(overrides=["report.examples=1"]), REPORT, False).report.examples == 1
    for override in ("explain.explainer=grad-cam", "seed=3", "regions.threshold=0.2", "evaluation.tags=9"):
        with pytest.raises(ConfigurationError, match=override.partition("=")[0]):
            reopened(opened, given_settings(overrides=[override]), REPORT, False)


def test_an_evaluation_in_a_finished_runs_folder_does_not_replace_it(run: Path, demo_folder: Path, capsys) -> None:  # noqa: ANN001
    before = manifests(run)
    command = ["--images", str(demo_folder), "--model", "demo", "--output", str(run), "--study", "faithfulness"]
    assert evaluate.main([*command, "explain.explainer=gradient"]) == 2
    error = capsys.readouterr().err
    assert "explain.explainer" in error and "table maps" in error and "--output" in error
    assert manifests(run) == before


def repaint(folder: Path) -> None:
    path = next(folder.rglob("*.png"))
    ImageOps.invert(Image.open(path).convert("RGB")).save(path)


def remove_class(folder: Path) -> None:
    shutil.rmtree(next(path for path in folder.iterdir() if path.is_dir()))


def add_class(folder: Path) -> None:
    own = sorted(path for path in folder.iterdir() if path.is_dir())
    shutil.copytree(own[0], folder / "butterfly")


@pytest.mark.parametrize("change", [repaint, remove_class, add_class])
def test_changed_photographs_leave_a_finished_run_as_it_is(
    change: Callable, small_run, tmp_path: Path, without_ray: None, capsys  # noqa: ANN001
) -> None:
    run, photographs = small_run
    shutil.copytree(run, tmp_path / "run")
    shutil.copytree(photographs, tmp_path / "as they were")
    try:
        change(photographs)
        before = manifests(tmp_path / "run")
        status = evaluate.main(["--run", str(tmp_path / "run"), "--study", "wholeness"])
    finally:
        shutil.rmtree(photographs)
        shutil.copytree(tmp_path / "as they were", photographs)
    error = capsys.readouterr().err
    assert status == 1 and "the table images" in error and "run summarize again" in error
    assert manifests(tmp_path / "run") == before


def test_changed_weights_leave_a_finished_run_as_it_is(run: Path, capsys) -> None:  # noqa: ANN001
    told(run, lambda inputs: inputs | {"weights": "0" * 64}, "inputs")
    store = TableStore(run)
    store.write_manifest("images", "others", store.manifest("images"), complete=True)
    before = manifests(run)
    assert evaluate.main(["--run", str(run), "--study", "wholeness"]) == 2
    assert "the weights of the classifier" in capsys.readouterr().err
    assert manifests(run) == before


def test_an_unfinished_run_has_no_report(run: Path, capsys) -> None:  # noqa: ANN001
    TableStore(run).write_manifest("metrics", "", [], complete=False)
    pages = {path: path.read_bytes() for path in (run / "report").rglob("*.html")}
    assert report.main(["--run", str(run)]) == 1
    assert "is not finished" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in (run / "report").rglob("*.html")} == pages


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("configuration", lambda stored: []),
        ("configuration", lambda stored: stored | {"explain": {"explainer": "os.system"}}),
        ("configuration", lambda stored: stored | {"hook": "module:function"}),
        ("inputs", lambda inputs: {}),
        ("inputs", lambda inputs: inputs | {"preprocessing": inputs["preprocessing"] | {"crop_side": 10**9}}),
        ("inputs", lambda inputs: inputs | {"preprocessing": inputs["preprocessing"] | {"std": [0, 1, 1]}}),
        ("inputs", lambda inputs: inputs | {"class_names": ["one"]}),
        ("inputs", lambda inputs: inputs | {"classes": [{"label": "a", "class_index": -1}]}),
        ("inputs", lambda inputs: inputs | {"module": "os:system"}),
        ("inputs", lambda inputs: inputs | {"weights": 5}),
    ],
)
def test_what_a_run_says_of_itself_has_a_form(column: str, change: Callable, run: Path, tmp_path: Path, capsys) -> None:  # noqa: ANN001
    told(run, change, column)
    assert export.main(["--run", str(run), "--format", "coco", "--output", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") <= 2 and "the table runs" in error and "Traceback" not in error


@pytest.mark.parametrize("name", [".lock", "ratings.sqlite", "logs", "report/classes/butterfly", "explainers"])
def test_a_runs_links_do_not_lead_out_of_it(name: str, run: Path, tmp_path: Path, capsys) -> None:  # noqa: ANN001
    target = tmp_path / "mine"
    if name in (".lock", "ratings.sqlite"):
        target.write_text("my own file")
    else:
        target.mkdir()
    place = run / name
    shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    place.symlink_to(target)
    jobs = [report.main(["--run", str(run)]), review.main(["--run", str(run), "--export"])]
    jobs.append(evaluate.main(["--run", str(run), "--study", "wholeness"]))
    jobs.append(compare.main(["--run", str(run), "--run", str(run), "--output", str(tmp_path / "compared")]))
    assert jobs == [1] * 4 and capsys.readouterr().err.count("leads out of") == 4
    assert not any(target.iterdir()) if target.is_dir() else target.read_text() == "my own file"


@pytest.mark.parametrize("by_link", [True, False])
def test_an_export_takes_no_file_from_elsewhere(by_link: bool, run: Path, whole_run, tmp_path: Path, capsys) -> None:  # noqa: ANN001
    (tmp_path / "mine").mkdir()
    mine = tmp_path / "mine" / "private.parquet"
    store, others = TableStore(run), TableStore(whole_run[0])
    shard = store.manifest("images")[0]
    shutil.copy(others.folder("images") / shard.path, mine)
    place = store.folder("images") / shard.path
    if by_link:
        place.unlink()
        place.symlink_to(mine)
    else:
        away = Shard(f"../../../mine/{mine.name}", shard.label, shard.rows, shard.bytes, shard.sha256)
        store.write_manifest("images", "f", [away], complete=True)
    assert export.main(["--run", str(run), "--format", "duckdb", "--output", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert ("leads out of" if by_link else "is no shard in its folder") in error
    assert not list((tmp_path / "out").glob("*.duckdb"))


def test_a_comparison_shows_no_picture_that_is_a_link(run: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("my own file")
    pictures = list((run / "report").rglob("summary-*-01.webp"))
    assert pictures
    for picture in pictures:
        picture.unlink()
        picture.symlink_to(tmp_path / "secret")
    assert compare.main(["--run", str(run), "--run", str(run), "--output", str(tmp_path / "compared")]) == 0
    assert not list((tmp_path / "compared" / "pictures").iterdir())


def test_a_table_of_another_version_is_said(run: Path) -> None:
    import pyarrow.parquet as parquet

    store = TableStore(run)
    path = store.folder("runs") / store.manifest("runs")[0].path
    parquet.write_table(parquet.read_table(path, partitioning=None).drop_columns(["inputs"]), path)
    with pytest.raises(StoreError, match="another version of this program wrote it"):
        store.read_all("runs")
