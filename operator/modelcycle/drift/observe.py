"""Every read that a decision about a DriftMonitor needs, live, as one frozen World. Decides nothing and waits for no pod."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from modelcycle.api import driftmonitor
from modelcycle.api.driftmonitor import Monitor
from modelcycle.drift import history, retrain_observe
from modelcycle.drift import ledger as ledgers
from modelcycle.drift.ledger import Book
from modelcycle.drift.retrain_state import RetrainState
from modelcycle.drift.world import LedgerObject, MonitorWorld, TargetModel
from modelcycle.engine.plan import Key
from modelcycle.jobs.manifests import JobDefaults
from modelcycle.kube import kinds
from modelcycle.kube.port import Kube, Object
from modelcycle.metrics.port import Samples
from modelcycle.metrics.profiles import ProfileMemory, named


async def monitor(kube: Kube, key: Key) -> Monitor | None:
    """The DriftMonitor, or None when it is gone or going."""
    found = await kube.get(kinds.DRIFT_MONITOR, key.namespace, key.name)
    if found is None or found["metadata"].get("deletionTimestamp"):
        return None
    return driftmonitor.parse(found)


async def world(
    kube: Kube,
    job_defaults: JobDefaults,
    found: Monitor,
    stored: LedgerObject | None,
    samples: Samples | None,
    problem: str | None,
    memory: ProfileMemory,
    now: datetime,
) -> MonitorWorld:
    """The rest of the world around `found`. `job_defaults`: of the Job of a retrain."""
    target = await kube.get(kinds.MODEL_DEPLOYMENT, found.namespace, found.spec.target)
    state = stored.book.retrain if stored else RetrainState()
    wanted = _profiles(stored, samples)
    known = {name: profile for name in wanted if (profile := memory.get(name)) is not None}
    return MonitorWorld(
        monitor=found,
        now=now,
        target=None if target is None else _target(target),
        stored=stored,
        samples=samples,
        problem=problem,
        profiles=known,
        lacking={name: memory.problem(name) for name in wanted - known.keys()},
        retrain=await retrain_observe.observe(kube, job_defaults, found, target, state, now),
    )


def _target(obj: Object) -> TargetModel:
    stable = (obj.get("status") or {}).get("stable") or {}
    return TargetModel(obj["metadata"]["uid"], stable.get("digest") or "")


def _profiles(stored: LedgerObject | None, samples: Samples | None) -> frozenset[str]:
    """Hashes of the profiles that the next judgement may need: of pods, and of windows that wait."""
    counts = [run.counts for run in samples.runs.values()] if samples else []
    waiting: list[str] = []
    if stored:
        book = stored.book
        counts += [run.base for run in book.counts.open.runs] if book.counts.open else []
        waiting = [history.blocked_by(book.history, book.counts.windows)]
    return frozenset(name for name in (*map(named, counts), *waiting) if name)


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
        return LedgerObject(uid, version, described, Book())
    try:
        book = ledgers.parse((obj.get("data") or {}).get(ledgers.DATA_KEY, ""))
    except ledgers.LedgerError as error:
        return LedgerObject(uid, version, None, Book(), str(error))
    return LedgerObject(uid, version, None, book)


def _controller(meta: Mapping[str, Any]) -> Mapping[str, Any]:
    owners: list[Mapping[str, Any]] = meta.get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), {})
