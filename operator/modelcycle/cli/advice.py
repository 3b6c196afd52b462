"""What would make an object go on: one sentence for each reason where a person can do something, with the command to type.

Owns advice only: the message of the condition says what is wrong, docs/ explain every reason.
"""

from collections.abc import Mapping
from typing import Final

from modelcycle.api.fields import part
from modelcycle.cli import views
from modelcycle.cli.views import Object, items, short, text

BY_REASON: Final[Mapping[str, str]] = {
    "AwaitingApproval": "a holder of the verb approve says: {plugin} approve {name} {where}",
    "CanaryPaused": "{plugin} promote {name} {where} ends the pause; abort takes the canary back",
    "CanaryInProgress": "nothing to do: it goes on by evidence; {plugin} promote {name} {where} ends the current step",
    "MetricsUnavailable": "the counts have to come back: look at the message, the pods and, with source Prometheus, at Prometheus;"
    " until then nothing is promoted and nothing taken back on evidence",
    "CountsInconsistent": "counters of a pod contradict each other: it holds until they do not; the message names the pod",
    "ApprovalsUnenforced": "an admin applies the policies again (manifests/base/policies.yaml); until then no approval counts",
    "Paused": "set spec.paused to false",
    "Suspended": "set spec.suspend to false",
    "NoTrustedKey": "{plugin} keygen {where}",
    "NoSigningKey": "{plugin} keygen {where}",
    "WaitingForExperiment": "apply the Experiment that spec.model.experimentRef names",
    "WaitingForModel": "the Experiment has to publish a model: {plugin} explain experiment/<its name> {where}",
    "WaitingForTarget": "apply the ModelDeployment that spec.targetRef names",
    "Unschedulable": "add room or lower the resources",
    "GuardWindow": "nothing to do; the earlier digest in spec.model is back at once while its pods are still there",
}
"""Reasons of Ready. Others have no command of their own."""
_REJECTED: Final = (
    "{rejected} stays rejected until the spec names another one, or: {plugin} retry {name} {where} (from zero evidence)"
)
_PLUGIN: Final = "kubectl modelcycle"


def steps(obj: Object) -> tuple[str, ...]:
    """Sentences for people, the most urgent first; none when it is where it should be."""
    state = views.common(obj)
    rejected = _rejected(obj)
    words = {
        "plugin": _PLUGIN,
        "name": state.name,
        "where": f"-n {state.namespace}",
        "rejected": short(rejected),
    }
    found = []
    if not state.is_observed:
        found.append("the operator has to look at it: is it running? kubectl -n modelcycle-system get pods")
    if state.reason in BY_REASON:
        found.append(BY_REASON[state.reason].format(**words))
    elif rejected:
        found.append(_REJECTED.format(**words))
    elif any(c.type == "Stalled" and c.status == "True" for c in state.conditions):
        page = f"docs/{state.kind.lower()}.md"
        found.append(f"what the message asks for, in the spec or in the cluster; {page} explains {state.reason}")
    return tuple(found)


def _rejected(obj: Object) -> str:
    """The digest that the current state is the rejection of, or ""."""
    reason = views.common(obj).reason
    latest = max(items(part(obj, "status"), "rejected"), key=lambda r: text(r, "at"), default={})
    return text(latest, "digest") if latest and text(latest, "reason") == reason else ""
