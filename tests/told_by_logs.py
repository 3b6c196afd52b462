"""Pods of an Experiment whose termination messages get lost, as beside many sidecars: what they tell comes by their logs. Owns no test."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from canary_ground import eventually
from demo.kubectl import Kubectl
from modelcycle.jobs.views import CONTAINER
from modelcycle.kube.names import LABEL_EXPERIMENT, LABEL_TASK
from pod_mutations import pod_mutation

ELSEWHERE = "/dev/elsewhere"
LOSE_MESSAGE = f'terminationMessagePath", value: "{ELSEWHERE}"'
LOSE_LOG = (
    'command", value: ["/bin/sh", "-c", "exec /app/venv/bin/python -m modelcycle_training $1 > /dev/null", "program"]'
)


@contextmanager
def messages_lost(kubectl: Kubectl, experiment: str, *, mute: str = "") -> Iterator[None]:
    """Lose the termination messages of all its new pods, and the logs too of those of the task `mute`."""
    policies = _policy(kubectl, experiment, "lost-messages", "", LOSE_MESSAGE)
    if mute:
        policies += "\n---\n" + _policy(kubectl, experiment, "lost-logs", mute, LOSE_LOG)
    kubectl.run("apply", "-f", "-", stdin=policies)
    try:
        # A policy acts a moment after its creation.
        eventually(lambda: _is_changed(kubectl, experiment, mute), "new pods lose their messages")
        yield
    finally:
        kubectl.run("delete", "-f", "-", stdin=policies)


def _policy(kubectl: Kubectl, experiment: str, what: str, task: str, change: str) -> str:
    conditions = {
        "of-the-experiment": f"object.metadata.?labels[?'{LABEL_EXPERIMENT}'].orValue('') == '{experiment}'",
        "of-the-task": f"'{task}' in ['', object.metadata.?labels[?'{LABEL_TASK}'].orValue('')]",
    }
    patch = f'[JSONPatch{{op: "add", path: "/spec/containers/0/{change}}}]'
    mutation = {"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}
    return pod_mutation(f"{what}-{kubectl.namespace}", kubectl.namespace, conditions, mutation)


def _is_changed(kubectl: Kubectl, experiment: str, mute: str) -> bool:
    labels = {LABEL_EXPERIMENT: experiment, LABEL_TASK: mute}
    security = {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"name": CONTAINER, "image": "nobody/nothing", "securityContext": security}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tried", "labels": labels}}
    tried = json.dumps({**body, "spec": {"containers": [container]}})
    made = json.loads(kubectl.run("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=tried))
    (main,) = made["spec"]["containers"]
    return bool(main["terminationMessagePath"] == ELSEWHERE and (not mute or "command" in main))
