"""Configuration: one annotated default, strict names with the nearest valid one, strict values."""

import json
import pickle
import re
from pathlib import Path

import pytest
import yaml

from visual_summaries.pipeline.config import ConfigurationError, RunConfig, annotated_default, load_config, valid_names
from visual_summaries.pipeline.objects import place
from visual_summaries.pipeline.settings import ModelSettings


def test_the_annotated_default_is_the_default_and_explains_every_setting() -> None:
    text = annotated_default()
    assert RunConfig.model_validate(yaml.safe_load(text)) == RunConfig()
    assert text.count("  # ") == len(valid_names())


def test_file_shortcuts_and_overrides_in_order_of_strength(tmp_path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("seed: 3\nmatching:\n  score: phm\n  mode: legacy\nclustering: {damping: 0.7}\n")
    config = load_config(path, ["matching.score=nam", "data.classes=[a, 'b']"], {"seed": 5, "data.images": "x"})
    assert (config.seed, config.matching.score, config.matching.mode) == (5, "nam", "legacy")
    assert (config.clustering.damping, config.data.classes, config.data.images) == (0.7, ("a", "b"), "x")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("matching.scor=lom", "did you mean matching.score"),
        ("clusterin.damping=0.6", "did you mean clustering"),
        ("damping=0.6", "did you mean clustering.damping"),
        ("matching.score=loom", "did you mean lom"),
        ("clustering.damping=1.5", "clustering.damping: Input should be less than 1"),
        ("explain.explainer=crips", "known: crisp.*did you mean crisp"),
        ("evaluation.explainers=[gradcam]", "evaluation.explainers.*did you mean grad-cam"),
        ("preset=papr", "did you mean paper"),
        ("data.held_out=2", "data.held_out"),
        ("seed=many", "seed: Input should be a valid integer"),
        ("seed", "must have the form"),
        ("seed.more=1", "unknown setting|not a section|valid integer"),
        ("data.classes=[", "not valid YAML"),
    ],
)
def test_wrong_settings_are_refused_with_a_hint(override: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_config(None, [override])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["explain.blur=paper"], "robust has a blur of its own.*choose preset=paper"),
        (["explain.blur=paper", "explain.preset=robust"], "robust has a blur of its own.*choose preset=paper"),
        (
            ["explain.explainer=meaningful-perturbation", "explain.preset=robust"],
            "meaningful-perturbation has no preset robust: leave preset out",
        ),
        (["explain.preset=robus"], "did you mean robust"),
    ],
)
def test_a_preset_that_does_not_fit_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_config(None, overrides)
    fitting = load_config(None, ["explain.blur=paper", "explain.preset=fast"])
    assert (fitting.explain.blur, fitting.explain.preset) == ("paper", "fast")


@pytest.mark.parametrize("number", [".inf", ".nan", "1.0e+400", "1" * 400])
def test_numbers_without_end_are_refused(number: str) -> None:
    with pytest.raises(ConfigurationError, match="model.mean.1: .*(finite|valid) number"):
        load_config(None, [f"model.mean=[0.1, {number}, 0.3]"])


def test_a_few_lines_that_stand_for_billions_are_refused(tmp_path: Path) -> None:
    levels = (f"&a{n} [{f'*a{n - 1}, *a{n - 1}' if n else 'cat'}]" for n in range(40))
    path = tmp_path / "run.yaml"
    path.write_text(f"data:\n  classes: [{', '.join(levels)}]\n")
    with pytest.raises(ConfigurationError, match="run.yaml.* stand for more than 100000 values"):
        load_config(path)


def test_locations_are_resolved_once_and_kept_as_they_were_written() -> None:
    written = {"output": "./runs//x/", "data.images": "file:///a%20b", "model.weights": "S3://bucket/w.pt/"}
    config = load_config(values=written)
    again = pickle.loads(pickle.dumps(config))
    for one in (config, again, RunConfig.model_validate(json.loads(config.model_dump_json()))):
        paths = (one.output.path, one.data.images.path, one.model.weights.path)
        assert paths == (Path("runs/x"), Path("/a b"), place("s3://bucket/w.pt"))
        assert (one.output, one.data.images, one.model.weights) == tuple(written.values())
        assert 'output: "./runs//x/"' in annotated_default(one)
    assert again == config


@pytest.mark.parametrize(
    ("weights", "found"),
    [("random", "random"), ("V1", "V1"), ("w.pt", Path("w.pt")), ("./w", Path("w")), (None, None)],
)
def test_weights_are_a_name_or_a_file(weights: str | None, found: str | Path | None) -> None:
    assert load_config(values={"model.weights": weights}).model.weights_or_file == found


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"output": ""}, "output: String should have at least 1 character"),
        ({"output": "s3://"}, "output: s3://: the address names no bucket"),
        ({"data.boxes": "s3://k:hunter2@b/x.csv"}, "data.boxes: the address holds credentials"),
        ({"data.boxes": "s3://b/x?secret_key=hunter2"}, "data.boxes: s3://b: secret_key cannot be set in an address"),
        (
            {"evaluation.other_models": [{"weights": "s3://k:hunter2@b/x.pt"}]},
            "evaluation.other_models.0.weights: s3://…@b: the address holds credentials",
        ),
    ],
)
def test_impossible_locations_are_refused_without_repeating_keys(values: dict, message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)) as caught:
        load_config(values=values)
    assert "hunter2" not in str(caught.value)


WRITTEN = ("001", "1e3", "yes", "12:30", "null", "2001-01-01", "=")


@pytest.mark.parametrize(
    ("override", "setting", "value"),
    [
        ("output=runs/exp #3", "output", "runs/exp #3"),
        ("output=2024", "output", "2024"),
        ("output=[a", "output", "[a"),
        ("output=a: b", "output", "a: b"),
        ("output=*.x", "output", "*.x"),
        ("output='2024 #3'", "output", "2024 #3"),
        ("output='null'", "output", "null"),
        ("output='it", "output", "'it"),
        ("model.name=1e3", "model.name", "1e3"),
        ("model.labels=null", "model.labels", None),
        ("model.labels=", "model.labels", None),
        ("model.feature_layer=4.1", "model.feature_layer", "4.1"),
        ("explain.cam.version=F1'", "explain.cam.version", "F1'"),
        ("data.classes=[001, 1e3, yes, 12:30, null, 2001-01-01, =]", "data.classes", WRITTEN),
        ("data.classes=null", "data.classes", None),
        ("seed=010", "seed", 10),
        ("model.squash=yes", "model.squash", True),
        ("model.mean=[0.5, 1e-1, 0]", "model.mean", (0.5, 0.1, 0.0)),
        ("evaluation.other_models=[{name: 007}]", "evaluation.other_models", (ModelSettings(name="007"),)),
        ("ray.cpus=null", "ray.cpus", None),
    ],
)
def test_a_value_is_what_stands_there(override: str, setting: str, value: object) -> None:
    found = load_config(None, [override])
    for name in setting.split("."):
        found = getattr(found, name)
    assert found == value


def test_texts_of_a_file_are_texts(tmp_path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(
        "output: 2024\nseed: 0012\nexplain:\nray: {}\nmodel: {name: 12:30, labels: ~, squash: no, mean: [0, 1, .5]}\n"
        "data:\n  classes:\n  - 001\n  - yes\n  - 1e3\n  - ~\n  - 'a #b'\n"
    )
    config = load_config(path)
    assert (config.output, config.seed, config.explain) == ("2024", 12, RunConfig().explain)
    assert config.model == ModelSettings(name="12:30", squash=False, mean=(0, 1, 0.5))
    assert config.data.classes == ("001", "yes", "1e3", "~", "a #b")
    assert load_config(path, ["explain.explainer=gradient"]).explain.explainer == "gradient"
    path.write_text("matching: &own\n  mode: legacy\nclustering:\n  <<: {damping: 0.7}\n  stable_iterations: 9\n")
    assert load_config(path).clustering.damping == 0.7
    path.write_text("")
    assert load_config(path) == RunConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\noutput: a\nseed: 2\n", "run.yaml: seed is set twice, on lines 1 and 3"),
        ("explain:\n  preset: fast\n\n  preset: robust\n", "run.yaml: preset is set twice, on lines 2 and 4"),
        ("data: {test: 0, test: 1}\n", "run.yaml: test is set twice, on lines 1 and 1"),
        ("[" * 3000, "run.yaml: not valid YAML: nested too deeply"),
        ("? [a]\n: b\n", "run.yaml: not valid YAML"),
        ("output:\n", "output: Input should be a valid string"),
        ("seed: true\n", "seed: Input should be a valid integer"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(text: str, message: str, tmp_path) -> None:
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=re.escape(message)) as caught:
        load_config(tmp_path / "run.yaml")
    assert "\n" not in str(caught.value)


def test_an_override_that_sets_twice_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="evaluation.other_models=.*name is set twice"):
        load_config(None, ["evaluation.other_models=[{name: a, name: b}]"])


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run.yaml").write_text("output: ~/out\nmodel: {weights: ~/w.pt}\n")
    config = load_config("~/run.yaml", ["data.images=~/photos"])
    assert (config.output.path, config.data.images.path) == (tmp_path / "out", tmp_path / "photos")
    assert config.model.weights_or_file == tmp_path / "w.pt" and config.output == "~/out"
    assert place("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")
    assert place("s3://b/~/x").key == "~/x"


def test_impossible_split_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="nothing would be left to explain"):
        load_config(None, ["data.held_out=0.5", "data.test=0.5"])


def test_unreadable_files_are_named(tmp_path) -> None:
    with pytest.raises(ConfigurationError, match="missing.yaml"):
        load_config(tmp_path / "missing.yaml")
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(ConfigurationError, match="broken.yaml: not valid YAML"):
        load_config(tmp_path / "broken.yaml")
    (tmp_path / "list.yaml").write_text("- a\n- b\n")
    with pytest.raises(ConfigurationError, match="must hold names and values"):
        load_config(tmp_path / "list.yaml")
