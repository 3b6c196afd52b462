"""Pods of an Experiment whose termination messages get lost, as beside many sidecars: what they tell comes by their logs. Owns no test."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

from canary_ground import eventually
from demo.kubectl import Kubectl
from modelcycle.jobs.views import CONTAINER
from modelcycle.kube.names import LABEL_EXPERIMENT

ELSEWHERE = "/dev/elsewhere"
POLICY = """
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {{name: {name}}}
spec:
  matchConstraints:
    namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}
    resourceRules: [{{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}}]
  matchConditions:
    - {{name: of-the-experiment, expression: "object.metadata.?labels[?'{label}'].orValue('') == '{experiment}'"}}
  failurePolicy: Fail
  reinvocationPolicy: Never
  mutations:
    - patchType: ApplyConfiguration
      applyConfiguration:
        expression: >-
          Object{{spec: Object.spec{{containers: [Object.spec.containers{{name: "{container}", terminationMessagePath: "{elsewhere}"}}]}}}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {{name: {name}}}
spec: {{policyName: {name}}}
"""


@contextmanager
def messages_lost(kubectl: Kubectl, experiment: str) -> Iterator[None]:
    """Lose the termination messages of all its new pods."""
    policy = POLICY.format(
        name=f"lost-messages-{kubectl.namespace}",
        namespace=kubectl.namespace,
        label=LABEL_EXPERIMENT,
        experiment=experiment,
        container=CONTAINER,
        elsewhere=ELSEWHERE,
    )
    kubectl.run("apply", "-f", "-", stdin=policy)
    try:
        # A policy acts a moment after its creation.
        eventually(lambda: _is_changed(kubectl, experiment), "new pods lose their messages")
        yield
    finally:
        kubectl.run("delete", "-f", "-", stdin=policy)


def _is_changed(kubectl: Kubectl, experiment: str) -> bool:
    security = {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"name": CONTAINER, "image": "nobody/nothing", "securityContext": security}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tried", "labels": {LABEL_EXPERIMENT: experiment}}}
    tried = json.dumps({**body, "spec": {"containers": [container]}})
    made = json.loads(kubectl.run("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=tried))
    (main,) = made["spec"]["containers"]
    return bool(main["terminationMessagePath"] == ELSEWHERE)
