"""A process of its own, so that Hugging Face's clients read HF_ENDPOINT as a user's do: loads networks from a server of
this machine, then without it. Run with an empty folder; prints what came of it as JSON."""

import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

from hub_server import HubServer

folder = Path(sys.argv[1])
(folder / "hub").mkdir()
server = HubServer(folder / "hub")
os.environ |= {"HF_ENDPOINT": server.endpoint, "HF_HOME": str(folder / "home"), "no_proxy": "127.0.0.1"}

import huggingface_hub  # noqa: E402
import timm  # noqa: E402
import torch  # noqa: E402

from visual_summaries.pipeline.models.classifier import ClassifierError  # noqa: E402
from visual_summaries.pipeline.models.loading import load_classifier  # noqa: E402

ARCHITECTURE = "test_resnet"
outcomes: dict[str, dict[str, Any]] = {}
images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def repository(name: str, revision: str = "main", seed: int = 0, classes: int = 3) -> tuple[Path, torch.nn.Module]:
    """A network of timm's, saved by timm."""
    torch.manual_seed(seed)
    network = timm.create_model(ARCHITECTURE, num_classes=classes).eval()
    place = server.folder / name / revision
    named = {} if classes != 3 else {"label_names": ["fox", "owl", "elk"]}
    timm.models.save_for_hf(network, place, model_config=named, safe_serialization=True)
    return place, network


def load(what: str, spec: str, weights: Any = None, network: torch.nn.Module | None = None) -> None:
    """Note what comes of it: the error, or how far the logits are off; what was printed; what was asked for."""
    before, said = len(server.asked), io.StringIO()
    found: dict[str, Any] = {}
    try:
        with contextlib.redirect_stderr(said):
            classifier = load_classifier(spec, weights)
        expected = network(classifier.normalized(images))
        found = {
            "off": float((classifier.logits(images) - expected).abs().max()),
            "names": list(classifier.class_names[:3]),
            "name": classifier.name,
        }
    except ClassifierError as error:
        found = {"error": str(error)}
    outcomes[what] = found | {"said": said.getvalue(), "asked": server.asked[before:]}


with torch.no_grad():
    whole, first = repository("someone/whole")
    # What is downloaded by nobody.
    torch.save(first.state_dict(), whole / "pytorch_model.bin")
    (whole / "modeling.py").write_text("raise SystemExit")
    _, tagged = repository("someone/whole", "v2", seed=1)
    pickled, _ = repository("someone/pickled")
    (pickled / "model.safetensors").unlink()
    torch.save(first.state_dict(), pickled / "pytorch_model.bin")
    other, _ = repository("someone/other")
    (other / "model.safetensors").rename(other / "model.fp16.safetensors")
    bare, _ = repository("someone/bare")
    (bare / "config.json").unlink()
    cfg = timm.get_pretrained_cfg(ARCHITECTURE)
    _, own = repository(cfg.hf_hub_id, seed=2, classes=1000)
    without = server.folder / timm.get_pretrained_cfg("test_vit").hf_hub_id / "main"
    without.mkdir(parents=True)
    (without / "pytorch_model.bin").write_bytes(b"pickled")

    load("hf", "hf:someone/whole", network=first)
    load("hf again", "hf:someone/whole", network=first)
    load("revision", "hf:someone/whole@v2", network=tagged)
    load("no revision", "hf:someone/whole@v3")
    load("pickled", "hf:someone/pickled")
    load("other names", "hf:someone/other")
    load("no configuration", "hf:someone/bare")
    load("missing", "hf:someone/nothing")
    load("gated", "hf:someone/gated")
    load("random", "hf:someone/pickled", "random", network=tagged)
    load("timm", f"timm:{ARCHITECTURE}", "pretrained", network=own)
    load("timm again", f"timm:{ARCHITECTURE}", "pretrained", network=own)
    load("timm missing", "timm:test_convnext", "pretrained")
    load("timm pickled", "timm:test_vit", "pretrained")
    server.close()
    huggingface_hub.close_session()
    load("hf offline", "hf:someone/whole", network=first)
    load("timm offline", f"timm:{ARCHITECTURE}", "pretrained", network=own)
    load("not in the cache", "hf:someone/else")
    load("timm not in the cache", "timm:test_efficientnet", "pretrained")
print(json.dumps(outcomes))
