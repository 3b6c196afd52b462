"""DriftMonitor for the engine: observe, decide, and which deployment a monitor reads. Tells the sampler whose counts are wanted.

Keeps no state of its own: the ledger is in the API server, the latest readings are the sampler's.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from modelcycle.api.driftmonitor import Monitor
from modelcycle.drift import decide as decisions
from modelcycle.drift import observe
from modelcycle.drift.world import LedgerObject, MonitorWorld
from modelcycle.engine.plan import Key, Plan
from modelcycle.jobs.manifests import JobDefaults
from modelcycle.kube import kinds
from modelcycle.kube.kinds import Kind
from modelcycle.kube.port import Kube, Object
from modelcycle.metrics.port import Target
from modelcycle.metrics.profiles import ProfileMemory
from modelcycle.metrics.sampler import Sampler
from modelcycle.settings import Settings


class MonitorReconciler:
    """Implements engine.reconciler.Reconciler[MonitorWorld]."""

    def __init__(self, kube: Kube, settings: Settings, sampler: Sampler[Key], profiles: ProfileMemory) -> None:
        self._kube = kube
        self._settings = settings
        self._sampler = sampler
        self._profiles = profiles

    @property
    def kind(self) -> Kind:
        """DriftMonitor."""
        return kinds.DRIFT_MONITOR

    async def observe(self, key: Key, now: datetime) -> MonitorWorld | None:
        """Read the monitor, its target, its ledger and the latest samples."""
        monitor = await observe.monitor(self._kube, key)
        if monitor is None:
            self._sampler.forget(key)
            return None
        stored = await observe.stored_ledger(self._kube, monitor)
        target = wanted(monitor, stored)
        if target is None:
            self._sampler.forget(key)
        else:
            self._sampler.track(key, target)
        samples, problem = self._sampler.latest(key), self._sampler.problem(key)
        defaults = JobDefaults(self._settings.training_image, self._settings.pod_user)
        return await observe.world(self._kube, defaults, monitor, stored, samples, problem, self._profiles, now)

    def decide(self, world: MonitorWorld) -> Plan:
        """Pure: see `drift.decide`."""
        return decisions.decide(world)

    def references(self, obj: Object) -> Sequence[Key]:
        """A monitor is looked at again when its ModelDeployment changes."""
        name = obj.get("spec", {}).get("targetRef", {}).get("name")
        if not name:
            return ()
        return (Key(kinds.MODEL_DEPLOYMENT.kind, obj["metadata"]["namespace"], name),)


def wanted(monitor: Monitor, stored: LedgerObject | None) -> Target | None:
    """Whose pods to read. An open window is read to its end even when the spec has moved on, so that it closes on real counts."""
    opened = stored.book.counts.open if stored else None
    if monitor.spec.suspend and opened is None:
        return None
    return Target(
        namespace=monitor.namespace,
        deployment=opened.target if opened else monitor.spec.target,
        interval=monitor.spec.interval,
        keep_gone_after=datetime.fromtimestamp(opened.start, UTC) if opened else None,
    )
