"""A Ray cluster of a head and two worker nodes on this machine, in a process of its own, obeying standard input.

It prints the address, then answers every line: `lose` kills all processes of the oldest worker node, `add` starts
another node. At the end of its input it stops everything.
"""

import os
import shutil
import sys
import tempfile

from ray.cluster_utils import Cluster

# Nothing of a test shall be reached from elsewhere.
NODE = {"node_ip_address": "127.0.0.1", "num_cpus": 1, "num_gpus": 0, "object_store_memory": 80 * 2**20}
# A lost node is noticed in about two seconds instead of half a minute.
NOTICING = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 300,
    "health_check_timeout_ms": 600,
    "health_check_failure_threshold": 3,
}


def main() -> None:
    # Not Ray's own folder, where other programs look for a cluster to connect to; short, for the names of sockets.
    folder = tempfile.mkdtemp(prefix="ray-", dir=os.environ.get("RAY_TMPDIR"))
    os.environ["RAY_TMPDIR"] = folder
    os.mkdir(os.path.join(folder, "ray"))
    head = NODE | {"num_cpus": 0, "include_dashboard": False, "_system_config": NOTICING}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    nodes = [cluster.add_node(**NODE) for _ in range(2)]
    print("address", cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "lose":
            cluster.remove_node(nodes.pop(0), allow_graceful=False)
        else:
            nodes.append(cluster.add_node(**NODE))
        print("done", line.strip(), flush=True)
    cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
