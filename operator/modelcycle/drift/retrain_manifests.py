"""What a retrain makes: the Job that looks at the new data, and the new Experiment. Owns their names and shape; pure.

The Job is the monitor's child. The Experiment is nobody's child: it outlives the monitor, and once it is there it belongs to its users.
"""

import copy
import hashlib
from dataclasses import replace
from typing import Any, Final

from modelcycle.api.conditions import timestamp
from modelcycle.api.driftmonitor import Monitor, RetrainSpec
from modelcycle.api.experiment import DEFAULT_STORE_SECRET, ExperimentSpec
from modelcycle.drift.retrain_state import Asked, RetrainWish
from modelcycle.jobs import manifests as jobs
from modelcycle.jobs.manifests import JobDefaults, Order, Owner, claim_of, data_ref
from modelcycle.jobs.records import TaskRecord
from modelcycle.kube.kinds import DRIFT_MONITOR, EXPERIMENT, GROUP
from modelcycle.kube.names import LABEL_LINEAGE, LABEL_MONITOR, MANAGED_BY, MANAGER, NAME_LIMIT
from modelcycle.kube.port import Object
from modelcycle_bundle.contract import InspectTask, TaskKind

ANNOTATION_MONITOR_UID: Final = f"{GROUP}/monitor-uid"
ANNOTATION_ALARM: Final = f"{GROUP}/alarm"
ANNOTATION_EVIDENCE: Final = f"{GROUP}/evidence"
ANNOTATION_WINDOW: Final = f"{GROUP}/window"
EVIDENCE_LIMIT: Final = 4096
_COMPACT: Final = "%Y%m%dT%H%M%SZ"


def owner_of(monitor: Monitor) -> Owner:
    """The monitor as the owner of its Jobs."""
    return Owner(DRIFT_MONITOR, LABEL_MONITOR, monitor.name, monitor.namespace, monitor.uid)


def look_name(monitor: Monitor, attempt: int) -> str:
    """The name of a Job that looks at the data."""
    return owner_of(monitor).child(jobs.job_suffix(TaskKind.INSPECT, 0, attempt))


def data_uri(spec: RetrainSpec, wish: RetrainWish) -> str:
    """Where the new data are: `{windowStart}` and `{windowEnd}` become times such as 20261123T070000Z."""
    times = {"{windowStart}": wish.window_start, "{windowEnd}": wish.window_end}
    uri = spec.data_uri
    for placeholder, time in times.items():
        uri = uri.replace(placeholder, time.strftime(_COMPACT))
    return uri


def data_secret(spec: RetrainSpec, template: ExperimentSpec) -> str:
    """The Secret with the credentials of the new data's store."""
    return spec.secret or template.data.secret or DEFAULT_STORE_SECRET


def look(
    monitor: Monitor,
    spec: RetrainSpec,
    template: ExperimentSpec,
    record: TaskRecord,
    wish: RetrainWish,
    defaults: JobDefaults,
) -> dict[str, Any]:
    """The Job that looks at the new data: at nothing else, and without the key."""
    uri = data_uri(spec, wish)
    claim = claim_of(uri)
    order = Order(
        kind=TaskKind.INSPECT,
        index=0,
        attempt=record.attempt,
        subject=record.subject,
        task=InspectTask(data_ref(replace(template.data, uri=uri), None), None),
        image=defaults.image,
        user=defaults.user,
        secrets=(data_secret(spec, template),),
        resources=jobs.resources(TaskKind.INSPECT, template),
        claims={} if claim is None else {claim: False},
    )
    return jobs.job(owner_of(monitor), order)


def lineage_of(template: Object) -> str:
    """The name of the Experiment that the template's lineage began with."""
    metadata = template["metadata"]
    return str((metadata.get("labels") or {}).get(LABEL_LINEAGE) or metadata["name"])


def experiment_name(monitor: Monitor, root: str, data_digest: str) -> str:
    """`<root>-<8 hex>`: one name for a monitor and a version of the data, so that a second create meets the first."""
    tail = "-" + hashlib.sha256(f"{monitor.uid}/{data_digest}".encode()).hexdigest()[:8]
    return root[: NAME_LIMIT - len(tail)].rstrip("-") + tail


def experiment(monitor: Monitor, spec: RetrainSpec, template: Object, asked: Asked) -> dict[str, Any]:
    """The new Experiment: the template's spec on the data that were found, pinned. A template that is suspended is not a wish to wait.

    It always has to show that it is not worse than what the monitor's target serves: that is the model it is to replace.
    """
    wanted = copy.deepcopy({key: value for key, value in template["spec"].items() if key != "suspend"})
    wanted["data"] |= {"uri": asked.data.uri, "digest": asked.data.digest}
    if spec.secret is not None:
        wanted["data"]["secretRef"] = {"name": spec.secret}
    wanted["acceptance"] = _not_worse_than(monitor.spec.target, wanted.get("acceptance", []))
    window = f"{timestamp(asked.wish.window_start)}/{timestamp(asked.wish.window_end)}"
    return {
        "apiVersion": EXPERIMENT.api_version,
        "kind": EXPERIMENT.kind,
        "metadata": {
            "name": asked.experiment,
            "namespace": monitor.namespace,
            # No app.kubernetes.io/instance: GitOps tools prune by it what no ownerReference protects.
            "labels": {
                MANAGED_BY: MANAGER,
                LABEL_LINEAGE: lineage_of(template),
                LABEL_MONITOR: monitor.name,
            },
            "annotations": {
                ANNOTATION_MONITOR_UID: monitor.uid,
                ANNOTATION_ALARM: asked.wish.fingerprint,
                ANNOTATION_EVIDENCE: asked.wish.evidence[:EVIDENCE_LIMIT],
                ANNOTATION_WINDOW: window,
            },
        },
        "spec": wanted,
    }


def _not_worse_than(target: str, template: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The template's demands; its comparison with `target` stays, one with another ModelDeployment gives way to it."""
    if any(item.get("notWorseThan", {}).get("modelDeployment") == target for item in template):
        return template
    return [*(item for item in template if "notWorseThan" not in item), {"notWorseThan": {"modelDeployment": target}}]


def is_ours(monitor: Monitor, found: Object) -> bool:
    """Whether this monitor has made that Experiment."""
    return (found["metadata"].get("annotations") or {}).get(ANNOTATION_MONITOR_UID) == monitor.uid
