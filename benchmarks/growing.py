"""A cluster that grows, on this machine: a head without processors, whose autoscaler starts up to three nodes of one.

    RAY_AUTH_MODE=token RAY_AUTH_TOKEN=$(openssl rand -hex 32) RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 \\
        python benchmarks/growing.py PORT

Asks for two workers as a run does, and takes it back; prints what the cluster has, second by second. With `silent`
after the port the request is not taken back, as by a run that was killed.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import psutil

from visual_summaries.pipeline.runtime import growth as module
from visual_summaries.pipeline.runtime.growth import Growth
from visual_summaries.pipeline.runtime.session import ray_session, resources_now
from visual_summaries.pipeline.runtime.settings import RaySettings

MEMORY = 80 * 2**20
CONFIGURATION = {
    "cluster_name": "growing",
    "max_workers": 3,
    "idle_timeout_minutes": 0.02,
    "upscaling_speed": 10,
    "provider": {
        "type": "fake_multinode",
        "head_node_id": "f" * 51 + "0" * 5,
        # They are all at one address.
        "use_node_id_as_ip": True,
        **dict.fromkeys(("disable_node_updaters", "disable_launch_config_check", "launch_multiple"), True),
    },
    "available_node_types": {
        "ray.head.default": {"resources": {}, "node_config": {}, "max_workers": 0},
        "one": {
            "resources": {"CPU": 1, "object_store_memory": MEMORY},
            "node_config": {}, "min_workers": 0, "max_workers": 3,
        },
    },
    "head_node_type": "ray.head.default",
    **dict.fromkeys(("auth", "docker", "file_mounts"), {}),
    **dict.fromkeys(("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands"), []),
    **dict.fromkeys(("head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files"), []),
}  # fmt: skip


module.RENEWED_SECONDS = 3.0


def main() -> None:
    folder = tempfile.mkdtemp(prefix="ray-", dir=os.environ.get("RAY_TMPDIR"))
    port = int(sys.argv[1])
    address = f"127.0.0.1:{port}"
    CONFIGURATION["provider"]["gcs_address"] = address
    path = os.path.join(folder, "autoscaling.json")
    with open(path, "w") as file:
        json.dump(CONFIGURATION, file)
    # Nothing is reached from elsewhere; new nodes are looked after each second.
    environment = os.environ | {
        "RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": folder,
    }  # fmt: skip
    command = [
        *("ray", "start", "--head", "--block", f"--port={port}", "--num-cpus=0", "--num-gpus=0"),
        *("--node-ip-address=127.0.0.1", "--include-dashboard=false", f"--object-store-memory={MEMORY}"),
        *(f"--autoscaling-config={path}", f"--temp-dir={folder}/ray"),
    ]
    command[0] = os.path.join(os.path.dirname(sys.executable), "ray")
    with open(os.path.join(folder, "out"), "w") as out:
        head = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    try:
        while "To terminate" not in open(os.path.join(folder, "out")).read() and head.poll() is None:
            time.sleep(0.1)
        if head.poll() is not None:
            sys.exit("Ray did not start: " + open(os.path.join(folder, "out")).read()[-500:])
        _ask(address, silent=sys.argv[2:] == ["silent"])
    finally:
        # Those that the autoscaler has started, too, and none of anybody else's.
        ours = psutil.Process(head.pid).children(recursive=True) if head.poll() is None else []
        head.terminate()
        for process in ours:
            # It may have ended with the head.
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        head.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _ask(address: str, silent: bool) -> None:
    settings = RaySettings(address=address)
    with ray_session(settings):
        growth, began = Growth(lease=10.0), time.monotonic()

        def until(reached: Callable[[float], bool], asks: bool) -> None:
            while True:
                if asks:
                    growth.ask([{"CPU": 1.0}] * 2)
                processors = resources_now(settings).get("CPU", 0.0)
                print(f"{time.monotonic() - began:5.1f} s: {processors:g} processors", flush=True)
                if reached(processors):
                    return
                time.sleep(1.0)

        until(lambda processors: processors == 2, asks=True)
        if not silent:
            growth.close()
        until(lambda processors: processors == 0, asks=False)


if __name__ == "__main__":
    main()
