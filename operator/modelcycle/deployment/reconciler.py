"""The ModelDeployment reconciler: binds `observe` to the port and settings, and `decide` to the engine's contract."""

from collections.abc import Sequence
from datetime import datetime

from modelcycle.deployment import decide as decisions
from modelcycle.deployment import observe as observation
from modelcycle.deployment.world import World
from modelcycle.engine.plan import Key, Plan
from modelcycle.kube.kinds import EXPERIMENT, MODEL_DEPLOYMENT, Kind
from modelcycle.kube.port import Kube, Object
from modelcycle.settings import Settings


class DeploymentReconciler:
    """One for all ModelDeployments; keeps no state between calls."""

    def __init__(self, kube: Kube, settings: Settings) -> None:
        self._kube = kube
        self._settings = settings

    @property
    def kind(self) -> Kind:
        """ModelDeployment."""
        return MODEL_DEPLOYMENT

    async def observe(self, key: Key, now: datetime) -> World | None:
        """Read everything, live; None when the object is gone or being deleted."""
        settings = self._settings
        return await observation.observe(self._kube, settings.operator_namespace, settings.serving_image, key, now)

    def decide(self, world: World) -> Plan:
        """What to do about it."""
        return decisions.decide(world)

    def references(self, obj: Object) -> Sequence[Key]:
        """The Experiment whose model is followed."""
        name = (((obj.get("spec") or {}).get("model") or {}).get("experimentRef") or {}).get("name")
        return [Key(EXPERIMENT.kind, obj["metadata"]["namespace"], name)] if name else []
