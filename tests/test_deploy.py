"""Files that others' programs read: the launcher's, KubeRay's and Grafana's, against their own schemas."""

import copy
import json
import re
from pathlib import Path

import pytest
import yaml

from visual_summaries.pipeline.runtime.observability import COUNTERS, GAUGES, HISTOGRAMS

ROOT = Path(__file__).parents[1]
JOB = ROOT / "deploy" / "rayjob.yaml"
KUBERNETES = "1.30"

# KubeRay's own resource, as far as we use it: https://ray-project.github.io/kuberay/reference/api/
TEMPLATE = {"type": "object", "required": ["spec"], "properties": {"spec": {"type": "object"}}}
PARAMETERS = {"type": "object", "additionalProperties": {"type": "string"}}
WORKERS = {
    "type": "object",
    "additionalProperties": False,
    "required": ["groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"],
    "properties": {
        "groupName": {"type": "string"},
        "replicas": {"type": "integer", "minimum": 0},
        "minReplicas": {"type": "integer", "minimum": 0},
        "maxReplicas": {"type": "integer", "minimum": 1},
        "rayStartParams": PARAMETERS,
        "template": TEMPLATE,
    },
}
RAY_JOB = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "ray.io/v1"},
        "kind": {"const": "RayJob"},
        "metadata": {"type": "object", "required": ["name"]},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["entrypoint", "rayClusterSpec"],
            "properties": {
                "entrypoint": {"type": "string"},
                "submissionMode": {"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
                "backoffLimit": {"type": "integer", "minimum": 1},
                "shutdownAfterJobFinishes": {"type": "boolean"},
                "ttlSecondsAfterFinished": {"type": "integer", "minimum": 0},
                "activeDeadlineSeconds": {"type": "integer", "minimum": 1},
                "submitterPodTemplate": TEMPLATE,
                "rayClusterSpec": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["headGroupSpec", "workerGroupSpecs"],
                    "properties": {
                        "rayVersion": {"type": "string"},
                        "enableInTreeAutoscaling": {"type": "boolean"},
                        "autoscalerOptions": {
                            "type": "object",
                            "additionalProperties": False,
                            "properties": {
                                "idleTimeoutSeconds": {"type": "integer"},
                                "upscalingMode": {"enum": ["Default", "Aggressive", "Conservative"]},
                            },
                        },
                        "headGroupSpec": {
                            "type": "object",
                            "additionalProperties": False,
                            "required": ["rayStartParams", "template"],
                            "properties": {
                                "serviceType": {"const": "ClusterIP"},
                                "rayStartParams": PARAMETERS,
                                "template": TEMPLATE,
                            },
                        },
                        "workerGroupSpecs": {"type": "array", "items": WORKERS, "minItems": 2},
                    },
                },
            },
        },
    },
}


@pytest.fixture
def job() -> dict:
    return yaml.safe_load(JOB.read_text())


def pod_templates(job: dict) -> list[dict]:
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"] for group in groups]


def test_the_launcher_takes_its_file() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    validate_config(prepare_config(copy.deepcopy(config)))
    types = config["available_node_types"]
    assert types[config["head_node_type"]]["resources"]["CPU"] == 0
    workers = [own for name, own in types.items() if name != config["head_node_type"]]
    assert all(own["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot" for own in workers)
    assert sorted("GPU" in own["resources"] for own in workers) == [False, True]
    assert sum(own["max_workers"] for own in workers) <= config["max_workers"]
    starts = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    assert all("RAY_AUTH_MODE=token" in line for line in starts if "ray start" in line)
    assert "--dashboard-host=127.0.0.1" in " ".join(starts)
    config["available_node_type"] = config.pop("available_node_types")
    with pytest.raises(Exception, match="available_node_type"):
        validate_config(prepare_config(config))


def test_the_rayjob_is_one(job) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(job, RAY_JOB)
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert job["spec"]["backoffLimit"] >= 1 and "ray.address=auto" in job["spec"]["entrypoint"]
    cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job, RAY_JOB)


def test_kubernetes_takes_the_pods(job) -> None:
    kubernetes = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    templates = [job["spec"]["submitterPodTemplate"], *pod_templates(job)]
    for template in templates:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": template["spec"]}
        kubernetes.validate(pod, KUBERNETES, strict=True)
        environment = {entry["name"]: entry for entry in template["spec"]["containers"][0]["env"]}
        assert environment["RAY_AUTH_MODE"]["value"] == "token"
        assert "secretKeyRef" in environment["RAY_AUTH_TOKEN"]["valueFrom"]
    templates[0]["spec"]["containers"][0]["imagee"] = "x"
    pod["spec"] = templates[0]["spec"]
    with pytest.raises(kubernetes.ValidationError):
        kubernetes.validate(pod, KUBERNETES, strict=True)


def test_shared_memory_is_memory_and_volumes_are_there(job) -> None:
    for template in pod_templates(job):
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        mounts = {mount["mountPath"]: mount["name"] for mount in template["spec"]["containers"][0]["volumeMounts"]}
        assert volumes[mounts["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
        assert set(mounts.values()) == set(volumes)


def test_the_entrypoint_is_a_command_of_ours_that_knows_how_far_its_cluster_grows(job, capsys) -> None:
    from visual_summaries.jobs.summarize import main

    words = job["spec"]["entrypoint"].split()
    assert words[:2] == ["visual-summaries", "summarize"] and main([*words[2:], "--print-config"]) == 0
    config = yaml.safe_load(capsys.readouterr().out)
    groups = {group["groupName"]: group for group in job["spec"]["rayClusterSpec"]["workerGroupSpecs"]}
    container = groups["cpu"]["template"]["spec"]["containers"][0]
    assert config["ray"]["gpus"] == groups["gpu"]["maxReplicas"]
    assert config["ray"]["cpus"] == groups["cpu"]["maxReplicas"] * int(container["resources"]["requests"]["cpu"])


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    text = (ROOT / "deploy" / "grafana-dashboard.json").read_text()
    dashboard = json.loads(text)
    exported = {f"ray_{name}_total" for name in COUNTERS} | {f"ray_{name}" for name in GAUGES}
    exported |= {f"ray_{name}_{suffix}" for name in HISTOGRAMS for suffix in ("bucket", "sum", "count")}
    asked = {name for panel in dashboard["panels"] for own in panel["targets"] for name in metric_names(own["expr"])}
    assert asked <= exported and set(metric_names(text)) <= exported
    for name in (*COUNTERS, *GAUGES, *HISTOGRAMS):
        assert any(wanted.startswith(f"ray_{name}") for wanted in asked), f"no panel shows {name}"
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in dashboard["panels"])


def test_the_dashboard_shows_the_first_death_and_none_as_zero() -> None:
    dashboard = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
    (panel,) = (panel for panel in dashboard["panels"] if panel["title"].startswith("Deaths"))
    for target in panel["targets"]:
        counter, _, otherwise = target["expr"].partition(" or ")
        # A counter is not there before its first event, and Prometheus sees no increase from nothing to 1.
        assert not re.search(r"\b(increase|rate)\(", counter)
        assert otherwise.startswith("0 * sum by (stage) (ray_visual_summaries_units_done_total{")


def metric_names(text: str) -> list[str]:
    return re.findall(r"ray_visual_summaries_\w+", text)
