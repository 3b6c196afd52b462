"""Every read that a decision about a DriftMonitor needs, live, as one frozen World. Decides nothing and waits for no pod."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from modelcycle.api import driftmonitor
from modelcycle.api.driftmonitor import Monitor
from modelcycle.drift import ledger as ledgers
from modelcycle.drift.decide import LedgerObject, MonitorWorld
from modelcycle.drift.windows import Ledger
from modelcycle.engine.plan import Key
from modelcycle.kube import kinds
from modelcycle.kube.port import Kube, Object
from modelcycle.metrics.port import Samples


async def monitor(kube: Kube, key: Key) -> Monitor | None:
    """The DriftMonitor, or None when it is gone or going."""
    found = await kube.get(kinds.DRIFT_MONITOR, key.namespace, key.name)
    if found is None or found["metadata"].get("deletionTimestamp"):
        return None
    return driftmonitor.parse(found)


async def world(
    kube: Kube,
    found: Monitor,
    stored: LedgerObject | None,
    samples: Samples | None,
    problem: str | None,
    now: datetime,
) -> MonitorWorld:
    """The rest of the world around `found`."""
    target = await kube.get(kinds.MODEL_DEPLOYMENT, found.namespace, found.spec.target)
    return MonitorWorld(found, now, target is not None, stored, samples, problem)


async def stored_ledger(kube: Kube, found: Monitor) -> LedgerObject | None:
    """The ConfigMap with the counts, or None when there is none."""
    obj = await kube.get(kinds.CONFIG_MAP, found.namespace, ledgers.config_map_name(found))
    return None if obj is None else _ledger_object(obj, found)


def _ledger_object(obj: Object, found: Monitor) -> LedgerObject:
    meta = obj["metadata"]
    uid, version = meta["uid"], meta["resourceVersion"]
    owner = _controller(meta)
    if owner.get("uid") != found.uid:
        described = f"{owner['kind']}/{owner['name']}" if owner else "nobody (it has no controller)"
        return LedgerObject(uid, version, described, Ledger())
    try:
        ledger = ledgers.parse((obj.get("data") or {}).get(ledgers.DATA_KEY, ""))
    except ledgers.LedgerError as error:
        return LedgerObject(uid, version, None, Ledger(), str(error))
    return LedgerObject(uid, version, None, ledger)


def _controller(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    owners: list[Mapping[str, Any]] = meta.get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), {})
