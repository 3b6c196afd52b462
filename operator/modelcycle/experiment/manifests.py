"""The children of an Experiment as Kubernetes JSON: Jobs of five tasks, ledger ConfigMaps. Owns which of them gets what; pure.

Only `inspect` and `seal` mount the key. Of the stores' Secrets the data's comes first, the output's second.
"""

from dataclasses import dataclass
from typing import Any, Final

from modelcycle.api.experiment import DEFAULT_STORE_SECRET, ExperimentSpec
from modelcycle.experiment.ledger import DATA_KEY, PageWrite
from modelcycle.jobs import manifests as jobs
from modelcycle.jobs.manifests import SHORT_DEADLINE_SECONDS, Order, Owner, claim_of
from modelcycle.kube.kinds import CONFIG_MAP, EXPERIMENT
from modelcycle.kube.names import LABEL_EXPERIMENT
from modelcycle.kube.pods import DEFAULT_USER
from modelcycle_bundle.contract import TaskKind

TASK_LIMIT: Final = 96 * 1024
"""Bytes of a task: one environment variable may hold 128 KiB."""


@dataclass(frozen=True, slots=True)
class JobOrder:
    """One Job to create. `index` and `attempt` are its identity together with `kind`."""

    kind: TaskKind
    index: int
    attempt: int
    task: object
    reads: str | None = None
    """An address that it reads besides the data and the output."""


def owner_of(name: str, namespace: str, uid: str) -> Owner:
    """An Experiment as the owner of its children."""
    return Owner(EXPERIMENT, LABEL_EXPERIMENT, name, namespace, uid)


def page_name(owner: Owner, number: int) -> str:
    """The name of a ledger ConfigMap."""
    return owner.child(_page_suffix(number))


def ledger_page(owner: Owner, write: PageWrite) -> dict[str, Any]:
    """A ledger ConfigMap with all its lines; closed ones are immutable."""
    metadata = owner.metadata(_page_suffix(write.number), "ledger")
    if write.page is not None:
        metadata["resourceVersion"] = write.page.resource_version
    body: dict[str, Any] = {
        "apiVersion": CONFIG_MAP.api_version,
        "kind": CONFIG_MAP.kind,
        "metadata": metadata,
        "data": {DATA_KEY: write.text},
    }
    return body | ({"immutable": True} if write.closed else {})


def job(
    owner: Owner, spec: ExperimentSpec, image: str, order: JobOrder, user: int | None = DEFAULT_USER
) -> dict[str, Any]:
    """One Job."""
    trial = order.kind is TaskKind.TRIAL
    return jobs.job(
        owner,
        Order(
            kind=order.kind,
            index=order.index,
            attempt=order.attempt,
            subject=spec.search_hash,
            task=order.task,
            image=image,
            secrets=store_secrets(spec, order.kind),
            key_secret=spec.key_secret if order.kind in (TaskKind.INSPECT, TaskKind.SEAL) else None,
            claims=_claims(spec, order),
            resources=jobs.resources(order.kind, spec),
            deadline_seconds=spec.trial_deadline_seconds if trial else SHORT_DEADLINE_SECONDS,
            user=user,
        ),
    )


def store_secrets(spec: ExperimentSpec, kind: TaskKind) -> tuple[str, ...]:
    """Names of the Secrets whose keys become environment, in order."""
    data, output = spec.data.secret or DEFAULT_STORE_SECRET, spec.output_secret or DEFAULT_STORE_SECRET
    if kind in (TaskKind.SEAL, TaskKind.COLLECT):
        return (output,)
    return tuple(dict.fromkeys((data, output)))


def _page_suffix(number: int) -> str:
    return f"trials-{number:03d}"


def _claims(spec: ExperimentSpec, order: JobOrder) -> dict[str, bool]:
    """Claims to mount -> whether to write there."""
    claims: dict[str, bool] = {}
    data, output, other = claim_of(spec.data.uri), claim_of(spec.output_uri), claim_of(order.reads or "")
    if data is not None and order.kind in (TaskKind.INSPECT, TaskKind.TRIAL, TaskKind.COMPARE):
        claims[data] = False
    if other is not None:
        claims[other] = False
    if output is not None:
        writable = order.kind in (TaskKind.INSPECT, TaskKind.TRIAL, TaskKind.SEAL)
        claims[output] = claims.get(output, False) or writable
    return claims
