"""How long a pod goes on as before after its traffic annotation was patched. Prints figures; asserts nothing.

Makes one serving pod of its own, patches its annotation many times and asks its metrics port until the new number is applied. The time runs
from before the patch is sent until the pod's answer shows it: API server, kubelet, the server's look at its file, the question. At the end
the pod is deleted and patched once more while it drains: whether a terminating pod still hears of a change.

A kubelet loses a change that comes while it still writes the one before, until its next look at the pod (1 to 1.5 minutes): AddPodToVolume
in its volume manager resets the flag that the second change has set. Another change makes it look at once, which is what --again does.
"""

import argparse
import base64
import contextlib
import http.client
import itertools
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from demo import objects
from demo.kubectl import Kubectl
from demo.scene import operator_settings
from modelcycle_bundle import layout, metric_names
from modelcycle_bundle.traffic import ANNOTATION, VOLUME_DIR, VOLUME_FILE, Traffic, to_text
from plant import KUBECONFIG, SYSTEM_NAMESPACE
from unit.serving import rig

POD = "measured"
ROLLOUT = "aabbcc-00000001"
TARGET = "127.0.0.1:9"
"""Nobody asks this pod for a prediction, so nothing is handed on."""
PAUSE_SECONDS = 0.5
"""Longest wait between two patches, drawn at random: a period of the kubelet must not be hit in step."""
LATE_SECONDS = 180.0
LOST_SECONDS = 10.0
DRAIN_SECONDS = 20.0
"""How long the pod is watched while it terminates."""
_SEQ = re.compile(rf'^{metric_names.TRAFFIC_SEQ}{{rollout="[^"]*"}} (\d+)$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Taken:
    """Seconds of one change."""

    patch: float
    """The API server's answer."""
    applied: float
    """Until the pod showed it, the patch included."""
    again: int
    """How often it was patched once more."""


def manifests(image: str, bundle: Path) -> list[dict[str, Any]]:
    """A serving pod with a tiny bundle, and the annotation as a file beside it."""
    files = {path.name: base64.b64encode(path.read_bytes()).decode() for path in (bundle / layout.MODEL_DIR).iterdir()}
    source = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bundle"}, "binaryData": files}
    # By subPath: a bundle that is a folder of links is refused.
    mounts = [
        {"name": "bundle", "mountPath": f"{layout.BUNDLE_MOUNT}/{layout.MODEL_DIR}/{name}", "subPath": name}
        for name in files
    ]
    field = {"fieldPath": f"metadata.annotations['{ANNOTATION}']"}
    spec = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 2 * int(DRAIN_SECONDS),
        "containers": [
            {
                "name": "server",
                "image": image,
                "imagePullPolicy": "IfNotPresent",
                "args": ["--bundle", layout.BUNDLE_MOUNT, "--drain-settle", str(DRAIN_SECONDS)],
                "volumeMounts": [*mounts, {"name": "traffic", "mountPath": VOLUME_DIR}],
                "readinessProbe": {"httpGet": {"path": "/v2/health/ready", "port": metric_names.SERVING_PORT}},
            }
        ],
        "volumes": [
            {"name": "bundle", "configMap": {"name": "bundle"}},
            {"name": "traffic", "downwardAPI": {"items": [{"path": VOLUME_FILE, "fieldRef": field}]}},
        ],
    }
    return [source, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD}, "spec": spec}]


@contextlib.contextmanager
def api(kubectl: Kubectl) -> Iterator[http.client.HTTPConnection]:
    """One kept connection to the API server."""
    process = subprocess.Popen(
        ["kubectl", "proxy", "--port=0"], stdout=subprocess.PIPE, text=True, env=kubectl.environment()
    )
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        yield http.client.HTTPConnection("127.0.0.1", port, timeout=LATE_SECONDS)
    finally:
        process.terminate()
        process.wait(timeout=10)


def patch(server: http.client.HTTPConnection, namespace: str, traffic: Traffic) -> None:
    """Write the annotation."""
    body = json.dumps({"metadata": {"annotations": {ANNOTATION: to_text(traffic)}}})
    headers = {"Content-Type": "application/merge-patch+json"}
    server.request("PATCH", f"/api/v1/namespaces/{namespace}/pods/{POD}", body, headers)
    answer = server.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"patch: {answer.status} {text[:200]!r}")


def applied(pod: http.client.HTTPConnection) -> int:
    """The number of the annotation that the pod applies."""
    pod.request("GET", "/metrics")
    found = _SEQ.search(pod.getresponse().read().decode())
    return int(found.group(1)) if found else -1


def measure(
    server: http.client.HTTPConnection,
    pod: http.client.HTTPConnection,
    namespace: str,
    seqs: Iterator[int],
    again_seconds: float,
) -> Taken:
    """One change of the share, patched once more after each `again_seconds`. Raises RuntimeError when it does not arrive."""
    seq = next(seqs)
    traffic = Traffic(ROLLOUT, seq, 1 + seq % 2, TARGET)
    begun = time.perf_counter()
    patch(server, namespace, traffic)
    patched = time.perf_counter()
    again = 0
    while applied(pod) < seq:
        waited = time.perf_counter() - begun
        if waited > LATE_SECONDS:
            raise RuntimeError(f"change {seq} did not arrive in {LATE_SECONDS:.0f} s")
        if waited > again_seconds * (again + 1):
            patch(server, namespace, replace(traffic, seq=next(seqs)))
            again += 1
        time.sleep(0.01)
    return Taken(patched - begun, time.perf_counter() - begun, again)


def heard_while_terminating(
    server: http.client.HTTPConnection, pod: http.client.HTTPConnection, kubectl: Kubectl, seq: int
) -> bool:
    """Delete the pod, patch it, and watch it for half of its drain."""
    kubectl.run("delete", "pod", POD, "--wait=false")
    patch(server, kubectl.namespace, Traffic(ROLLOUT, seq, 0, TARGET))
    until = time.perf_counter() + DRAIN_SECONDS / 2
    while time.perf_counter() < until:
        if applied(pod) == seq:
            return True
        time.sleep(0.1)
    return False


def told(name: str, values: list[float]) -> str:
    """Median, 99th percentile and maximum in milliseconds."""
    p99 = sorted(values)[min(len(values) - 1, len(values) * 99 // 100)]
    return f"{name}: p50 {statistics.median(values) * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms, max {max(values) * 1e3:.0f} ms\n"


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patches", type=int, default=500, help="default %(default)s")
    parser.add_argument(
        "--again", type=float, default=float("inf"), help="seconds until a change is patched once more (default: never)"
    )
    arguments = parser.parse_args()
    patches: int = arguments.patches
    system = Kubectl(KUBECONFIG, SYSTEM_NAMESPACE)
    kubectl = Kubectl(KUBECONFIG, f"bench-{uuid.uuid4().hex[:6]}")
    version: dict[str, Any] = json.loads(system.run("version", "-o", "json"))["serverVersion"]
    say = sys.stdout.write
    kubectl.apply(objects.namespace(kubectl.namespace))
    try:
        with tempfile.TemporaryDirectory() as folder:
            rig.write_bundle(Path(folder), rig.classifier([0, 1]))
            kubectl.apply(*manifests(operator_settings(system)["MODELCYCLE_SERVING_IMAGE"], Path(folder)))
        kubectl.run("wait", f"pod/{POD}", "--for=condition=Ready", "--timeout=120s")
        load = os.getloadavg()[0]
        with api(kubectl) as server, kubectl.forward(f"pod/{POD}", metric_names.METRICS_PORT) as port:
            pod = http.client.HTTPConnection("127.0.0.1", port, timeout=LATE_SECONDS)
            taken = []
            seqs = itertools.count(1)
            for _ in range(patches):
                taken.append(measure(server, pod, kubectl.namespace, seqs, arguments.again))
                time.sleep(random.uniform(0, PAUSE_SECONDS))
            heard = heard_while_terminating(server, pod, kubectl, next(seqs))
        say(
            f"machine: {os.cpu_count()} cores, {platform.platform()}; Python {platform.python_version()}; "
            f"Kubernetes {version['gitVersion']}; load {load:.1f} before, {os.getloadavg()[0]:.1f} after\n"
        )
        say(told(f"{patches} patches, answer of the API server", [each.patch for each in taken]))
        say(told(f"{patches} patches, until the pod applies it", [each.applied for each in taken]))
        lost = sum(each.applied > LOST_SECONDS for each in taken)
        say(f"later than {LOST_SECONDS:.0f} s: {lost}; patched once more: {sum(each.again for each in taken)} times\n")
        say(f"a terminating pod {'applies' if heard else 'does not apply'} a patch within {DRAIN_SECONDS / 2:.0f} s\n")
    finally:
        kubectl.run("delete", "namespace", kubectl.namespace, "--wait=true", "--timeout=120s")


if __name__ == "__main__":
    main()
