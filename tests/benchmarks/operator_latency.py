"""`make bench`: what the operator costs and how fast it reacts, on the running cluster. Prints figures; asserts nothing.

Time from `kubectl apply` of an Experiment to its first trial pod, over several Experiments; the operator's memory; its CPU at rest.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
import urllib.request
import uuid
from typing import Any

from demo import objects
from demo.kubectl import Kubectl
from plant import KUBECONFIG, SYSTEM_NAMESPACE

RUNS = 10
REST_SECONDS = 60.0


def first_pod_seconds(kubectl: Kubectl, name: str) -> float:
    """Seconds between the return of `kubectl apply` and the watch event of the first trial pod."""
    selector = f"modelcycle.dev/experiment={name},modelcycle.dev/task=trial"
    command = [
        "kubectl",
        "-n",
        kubectl.namespace,
        "get",
        "pods",
        "-l",
        selector,
        "--watch",
        "--output-watch-events",
        "-o",
        "name",
    ]
    watch = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=kubectl.environment())
    try:
        time.sleep(0.5)
        experiment = objects.pilot(objects.Place("bench"))
        experiment["metadata"]["name"] = name
        kubectl.apply(experiment)
        began = time.monotonic()
        assert watch.stdout is not None
        watch.stdout.readline()
        return time.monotonic() - began
    finally:
        watch.terminate()
        watch.wait(timeout=10)


def operator_figures(system: Kubectl) -> dict[str, float]:
    """`process_*` metrics of the operator."""
    with (
        system.forward("deploy/modelcycle-operator", 8082) as port,
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer,
    ):
        lines = answer.read().decode().splitlines()
    return {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith("process_")}


def main() -> None:
    """Print the table."""
    system = Kubectl(KUBECONFIG, SYSTEM_NAMESPACE)
    kubectl = Kubectl(KUBECONFIG, f"bench-{uuid.uuid4().hex[:6]}")
    kubectl.apply(objects.namespace(kubectl.namespace))
    server: dict[str, Any] = json.loads(system.run("version", "-o", "json"))["serverVersion"]
    say = sys.stdout.write
    say(
        f"machine: {os.cpu_count()} cores, {platform.platform()}; Python {platform.python_version()}; Kubernetes {server['gitVersion']}\n"
    )
    try:
        taken = [first_pod_seconds(kubectl, f"bench-{run}") for run in range(RUNS)]
        say(
            f"kubectl apply -> first trial pod: median {statistics.median(taken):.2f} s, max {max(taken):.2f} s, {RUNS} Experiments\n"
        )
    finally:
        kubectl.run("delete", "namespace", kubectl.namespace, "--wait=true", "--timeout=120s")
    time.sleep(15)
    before = operator_figures(system)
    time.sleep(REST_SECONDS)
    after = operator_figures(system)
    used = after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"]
    say(
        f"operator at rest: {after['process_resident_memory_bytes'] / 1024**2:.0f} MiB, {100 * used / REST_SECONDS:.2f} % of a core\n"
    )


if __name__ == "__main__":
    main()
