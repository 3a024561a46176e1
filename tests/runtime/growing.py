"""A Ray cluster of a head without processors whose autoscaler starts up to three nodes of one processor each, all on
this machine, in a process of its own. It prints the address, and ends with its input.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

import psutil

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
        print("address", address, flush=True)
        sys.stdin.read()
    finally:
        # Those that the autoscaler has started, too, and none of anybody else's.
        ours = psutil.Process(head.pid).children(recursive=True)
        head.terminate()
        for process in ours:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass
        head.wait()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
