"""What goes to a cluster with a command: what is tracked, named or asked for; nothing that merely lies there."""

import subprocess
import zipfile
from pathlib import Path

import pytest

from visual_summaries import __version__
from visual_summaries.jobs import report, summarize
from visual_summaries.pipeline.commands import sent, submission
from visual_summaries.pipeline.commands.sent import chosen_files, is_secret_name
from visual_summaries.pipeline.commands.submission import named_files, named_modules, unseen_files
from visual_summaries.pipeline.config import ConfigurationError, load_config

SERVICE_ACCOUNT = '{"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----\\nabc"}'
SECRETS = {
    ".env": "TOKEN=hunter2",
    ".env.local": "TOKEN=hunter2",
    "production.env": "TOKEN=hunter2",
    ".envrc": "export TOKEN=hunter2",
    ".netrc": "machine a password hunter2",
    ".aws/credentials": "[default]",
    ".ray/auth_token": "0123",
    ".ssh/config": "Host a",
    "id_rsa": "hunter2",
    "keys/id_ed25519": "hunter2",
    "keys/id_work": "hunter2",
    "keys/server.pem": "hunter2",
    "keys/TLS.KEY": "hunter2",
    "keys/deploy": "-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2",
    "keys/project-1234.json": SERVICE_ACCOUNT,
    "sub/.git-credentials": "https://me:hunter2@host",
}
OTHERS = {
    "README.md": "read me",
    "mynet.py": "import helpers\nfrom layers.conv import Conv\nimport torch\nimport missing.thing\n",
    "helpers.py": "import json\n",
    "layers/__init__.py": "",
    "layers/conv.py": "from . import unnamed\n",
    "layers/unnamed.py": "",
    "layers/weights.bin": "1",
    "unrelated.py": "",
    "photos/cat/1.jpg": "1",
    "photos/cat/1.txt": "1",
    "photos/.hidden/2.jpg": "2",
    "run.yaml": "seed: 1",
    "map.json": '{"cat": 1}',
    "id_map.json": "{}",
    "labels.txt": "cat",
    "runs/latest/tables/a.parquet": "1",
}


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with secrets and other things, beside a file that links of it lead to."""
    (tmp_path / "outside.txt").write_text("not yours")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/3.jpg").write_text("3")
    root = tmp_path / "folder"
    for name, text in (SECRETS | OTHERS).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "out.txt").symlink_to("../outside.txt")
    (root / "env.txt").symlink_to(".env")
    (root / "again.md").symlink_to("README.md")
    (root / "photos/linked").symlink_to("../../elsewhere")
    (root / "linked.jpg").symlink_to("../elsewhere/3.jpg")
    return root


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True)


def test_of_a_plain_folder_nothing_is_sent_by_itself(folder) -> None:
    assert not chosen_files(folder).files


def test_of_a_checkout_what_is_tracked_is_sent_but_no_secret(folder) -> None:
    git(folder, "init")
    git(folder, "add", "-f", ".")
    (folder / "untracked.py").write_text("")
    (folder / "labels.txt").unlink()
    chosen = chosen_files(folder)
    assert set(chosen.files) == OTHERS.keys() - {"labels.txt"} | {"again.md"}
    assert {name for name, reason in chosen.left.items() if reason == sent.SECRET} == {*SECRETS, "env.txt"}
    assert {name for name, reason in chosen.left.items() if reason == sent.OUTSIDE} == {
        "out.txt",
        "linked.jpg",
        "photos/linked",
    }
    assert set(chosen_files(folder / "layers").files) == {"__init__.py", "conv.py", "unnamed.py", "weights.bin"}


def test_git_starts_nothing_that_the_folder_names(folder) -> None:
    git(folder, "init")
    git(folder, "add", "README.md")
    (folder / "monitor").write_text("#!/bin/sh\ntouch started\n")
    (folder / "monitor").chmod(0o755)
    git(folder, "config", "core.fsmonitor", str(folder / "monitor"))
    assert set(chosen_files(folder).files) == {"README.md"}
    assert not (folder / "started").exists()


def test_what_the_command_names_is_sent(folder) -> None:
    overrides = ["data.images=photos", "data.class_map=./map.json", "data.boxes=out.txt", "model.name=mynet:make"]
    config = load_config(None, [*overrides, "model.weights=keys/server.pem", "model.labels=../outside.txt"])
    paths = named_files(config) | {"--config": "run.yaml"}
    chosen = chosen_files(folder, [path for path in paths.values() if path], named_modules(config))
    network = {"mynet.py", "helpers.py", "layers/__init__.py", "layers/conv.py", "layers/unnamed.py"}
    assert set(chosen.files) == network | {"photos/cat/1.jpg", "run.yaml", "map.json"}
    assert chosen.left == {"keys/server.pem": sent.SECRET}
    unseen = [entry.split()[0] for entry in unseen_files(paths | {"--run": "runs/latest"}, chosen)]
    assert unseen == ["data.boxes", "model.weights", "model.labels", "--run"]
    further = {"a": "s3://b/x", "b": "/data", "c": "~/x", "d": None, "e": "photos/", "f": "./photos/cat", "g": "photo"}
    assert unseen_files(further, chosen) == ["g (photo)"]


def test_a_folder_of_hugging_face_is_a_file_that_the_command_names(folder, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    expected = {"hf:layers": "layers", "hf:./gone": "./gone", "hf:some/network": None, "timm:layers": None}
    for name, said in expected.items():
        config = load_config(None, [f"model.name={name}", f"evaluation.other_models=[{{name: '{name}'}}]"])
        files = named_files(config)
        assert (files["model.name"], files["evaluation.other_models.0.name"]) == (said, said)
        assert named_modules(config) == []


def test_a_package_and_other_networks_are_found() -> None:
    others = ["evaluation.other_models=[{name: mynet:f}, {name: demo}]", "evaluation.taggers=[{name: words:g}]"]
    config = load_config(None, ["model.name=layers.conv:make", *others])
    assert named_modules(config) == ["layers.conv", "mynet", "words"]
    assert named_modules(load_config()) == []


def test_secrets_are_sent_only_when_they_are_named_one_by_one(folder) -> None:
    every = set(chosen_files(folder, sent=["."]).files)
    hidden = {"photos/.hidden/2.jpg"}
    assert every == OTHERS.keys() - hidden | {"again.md"}
    assert set(chosen_files(folder, sent=["keys"]).files) == set()
    assert set(chosen_files(folder, sent=[".aws"]).files) == set()
    own = chosen_files(folder, sent=["keys", "keys/server.pem", ".env", ".aws/credentials"])
    assert set(own.files) == {"keys/server.pem", ".env", ".aws/credentials"}
    assert "keys/server.pem" not in own.left and "keys/id_work" in own.left


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nothing", "--send nothing: there is no such file"),
        ("../outside.txt", "--send ../outside.txt: it is not in the folder"),
        ("out.txt", "--send out.txt: it is not in the folder"),
        ("photos/linked", "--send photos/linked: it is not in the folder"),
    ],
)
def test_only_what_is_in_the_folder_can_be_asked_for(folder, path: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        chosen_files(folder, sent=[path])


def test_what_was_sent_is_said_on_one_line(folder) -> None:
    chosen = chosen_files(folder, ["photos", "run.yaml"], ["mynet"], ["keys"])
    said = chosen.described()
    assert said.startswith("sent 7 files, 1 kB: helpers.py, layers/ (3), mynet.py, photos/ (1), run.yaml; left behind")
    assert "keys/id_work (looks like a secret)" in said and "hunter2" not in said and "\n" not in said
    assert chosen_files(folder).described() == "sent 0 files, 0 kB"


def test_the_package_holds_the_files_and_is_the_same_twice(folder, tmp_path) -> None:
    (folder / "helpers.py").chmod(0o755)
    chosen = chosen_files(folder, ["run.yaml"], ["mynet"], ["again.md"])
    chosen.pack(tmp_path / "one.zip")
    chosen.pack(tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert set(archive.namelist()) == set(chosen.files)
        assert archive.read("again.md") == b"read me"
        assert archive.getinfo("helpers.py").external_attr >> 16 == 0o100755


def test_too_much_is_refused_before_it_is_sent(folder, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sent, "LARGEST_PACKAGE", 10)
    with pytest.raises(ConfigurationError, match="put photographs and weights where.*mynet.py"):
        chosen_files(folder, modules=["mynet"]).pack(tmp_path / "one.zip")


def test_a_name_that_is_not_utf8_and_a_file_that_goes_are_no_traceback(folder, tmp_path) -> None:
    (folder / "a\udcff.txt").write_text("x")
    git(folder, "init")
    git(folder, "add", ".")
    chosen = chosen_files(folder)
    assert chosen.left["a\N{REPLACEMENT CHARACTER}.txt"] == sent.NOT_UTF8
    (folder / "README.md").unlink()
    with pytest.raises(ConfigurationError, match="cannot send"):
        chosen.pack(tmp_path / "one.zip")


@pytest.mark.parametrize("name", ["environment.yml", "key.py", "monkey.csv", "id_map.json", "a/ray/b.py", "x.env.md"])
def test_other_names_are_no_secrets(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize("job", [summarize.main, report.main])
def test_files_for_no_cluster_are_a_usage_error(job, capsys) -> None:  # noqa: ANN001
    with pytest.raises(SystemExit) as ended:
        job(["--run", "x", "--send", "a"] if job is report.main else ["--send", "a"])
    assert ended.value.code == 2 and "goes with --submit" in capsys.readouterr().err


@pytest.mark.parametrize("checkout", [True, False])
def test_where_the_program_itself_comes_from_is_said(
    checkout: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """A folder without it sends none, and the cluster runs its own."""
    packed = []
    monkeypatch.setattr(submission, "submit", lambda address, command, chosen, *_: packed.append(chosen) or 0)
    monkeypatch.chdir(Path(__file__).parents[2] if checkout else tmp_path)
    command = ["--submit", "127.0.0.1:1", "--images", "demo", "--model", "demo", "--output", "/shared/run"]
    assert summarize.main(command) == 0
    assert ("visual_summaries/surface/explaining.py" in packed[0].files) == checkout
    said = f"should be version {__version__}, as here" in capsys.readouterr().err
    assert said != checkout
