"""Networks from Hugging Face, by the clients' own requests to a server of this machine that answers as the hub does."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

Outcomes = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    folder = tmp_path_factory.mktemp("downloads")
    own = {name: value for name, value in os.environ.items() if not name.upper().startswith(("HF_", "HTTP"))}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("downloading.py")), str(folder)],
        env=own | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert not done.returncode, done.stderr
    # Neither into the caches of whoever runs the tests, nor from them.
    assert (folder / "home" / "hub" / "models--someone--whole").is_dir()
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("what", "names"), [("hf", ["fox", "owl", "elk"]), ("timm", ["tench", "goldfish", "great white shark"])]
)
def test_a_network_is_downloaded_once_and_then_needs_no_connection(
    what: str, names: list[str], outcomes: Outcomes
) -> None:
    first, again, offline = (outcomes[f"{what}{when}"] for when in ("", " again", " offline"))
    for found in (first, again, offline):
        assert found["off"] == 0 and found["names"] == names and found["name"] == first["name"]
    assert first["said"].startswith("downloading ") and first["asked"]
    for later in (again, offline):
        assert not later["said"] and not later["asked"]


def test_nothing_but_safetensors_and_settings_is_asked_for(outcomes: Outcomes) -> None:
    """The repository has a pickle and code besides; settings are asked for by their names, weights behind a link."""
    files = {one.rpartition("/")[2] for one in outcomes["hf"]["asked"] if "resolve" in one or "store" in one}
    assert files == {"config.json", "model.safetensors"}
    assert any(one.startswith("GET /store/") for one in outcomes["hf"]["asked"])
    assert not any(".bin" in one for found in outcomes.values() for one in found["asked"])


def test_a_revision_has_weights_of_its_own(outcomes: Outcomes) -> None:
    assert outcomes["revision"]["off"] == 0 and outcomes["revision"]["name"] == "hf:someone/whole@v2"
    # Of those of a repository without weights nothing is needed but its settings.
    assert outcomes["random"]["off"] > 0


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("pickled", "hf:someone/pickled: the repository has pytorch_model.bin but no model.safetensors"),
        ("other names", "has no model.safetensors; it has model.fp16.safetensors, which can be given as --weights"),
        ("no configuration", "hf:someone/bare: the repository has no config.json"),
        ("missing", "Hugging Face has no repository someone/nothing, or a private one; check the name"),
        ("no revision", "someone/whole@v3: the repository someone/whole has no such revision"),
        ("gated", "someone/gated: Hugging Face gives it only to those who have accepted its terms"),
        ("timm missing", "Hugging Face has no repository timm/test_convnext.r160_in1k"),
        ("timm pickled", "model.safetensors of timm/test_vit.r160_in1k: the repository timm/test_vit.r160_in1k has no"),
        ("not in the cache", "could not be downloaded (ConnectError: "),
        ("timm not in the cache", "could not be downloaded (ConnectError: "),
    ],
)
def test_what_cannot_be_had_is_one_line_that_names_it(what: str, said: str, outcomes: Outcomes) -> None:
    error = outcomes[what]["error"]
    assert said in error and "\n" not in error and len(error) < 500
    if what.endswith("in the cache"):
        assert "hf download" in error and "--model hf:FOLDER" in error
