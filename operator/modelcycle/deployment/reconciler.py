"""The ModelDeployment reconciler: binds `observe` to the port and settings, and `decide` to the engine's contract."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from modelcycle.api.modeldeployment import Spec
from modelcycle.api.rollout import Source
from modelcycle.deployment import decide as decisions
from modelcycle.deployment import observe as observation
from modelcycle.deployment.observe import Reading
from modelcycle.deployment.status import State
from modelcycle.deployment.world import World
from modelcycle.engine.plan import Key, Plan
from modelcycle.kube.kinds import EXPERIMENT, MODEL_DEPLOYMENT, Kind
from modelcycle.kube.port import Kube, Object
from modelcycle.metrics.port import Target as SampleTarget
from modelcycle.metrics.sampler import Sampler
from modelcycle.settings import Settings


class DeploymentReconciler:
    """One for all ModelDeployments; keeps no state between calls. `samplers` read the counts of rollouts, by their source."""

    def __init__(self, kube: Kube, settings: Settings, samplers: Mapping[Source, Sampler[Key]]) -> None:
        self._kube = kube
        self._settings = settings
        self._samplers = samplers

    @property
    def kind(self) -> Kind:
        """ModelDeployment."""
        return MODEL_DEPLOYMENT

    async def observe(self, key: Key, now: datetime) -> World | None:
        """Read everything, live; None when the object is gone or being deleted."""
        world = await observation.observe(self._kube, self._settings, key, now, self._read)
        if world is None:
            self._forget(key)
        return world

    def decide(self, world: World) -> Plan:
        """What to do about it."""
        return decisions.decide(world)

    def references(self, obj: Object) -> Sequence[Key]:
        """The Experiment whose model is followed."""
        name = (((obj.get("spec") or {}).get("model") or {}).get("experimentRef") or {}).get("name")
        return [Key(EXPERIMENT.kind, obj["metadata"]["namespace"], name)] if name else []

    def _read(self, key: Key, spec: Spec | None, state: State, ready: frozenset[str]) -> Reading:
        """The latest reading. Pods are read while there are two arms to compare, or a share that has to arrive."""
        if spec is None or state.canary is None or state.stable is None:
            self._forget(key)
            return Reading()
        source = spec.canary.analysis.source
        sampler = self._samplers.get(source)
        self._forget(key, but=source)
        if sampler is None:
            return Reading(problem=f"this operator has no source {source}: set MODELCYCLE_PROMETHEUS_URL")
        interval = spec.canary.analysis.interval.total_seconds()
        counted = state.analysis.last_look_at if state.analysis else None
        sampler.track(key, SampleTarget(key.namespace, key.name, interval, keep_gone_after=counted, ready=ready))
        return Reading(sampler.latest(key), sampler.problem(key))

    def _forget(self, key: Key, but: Source | None = None) -> None:
        for source, sampler in self._samplers.items():
            if source is not but:
                sampler.forget(key)
