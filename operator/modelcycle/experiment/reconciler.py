"""The Experiment as the engine sees it: observe, decide, references. Owns nothing but the joining."""

from collections.abc import Sequence
from datetime import datetime

from modelcycle.engine.beside import Beside
from modelcycle.engine.plan import Key, Plan
from modelcycle.experiment.decide import decide
from modelcycle.experiment.observe import observe
from modelcycle.experiment.world import World
from modelcycle.kube.kinds import EXPERIMENT, Kind
from modelcycle.kube.port import Kube, Object
from modelcycle.settings import Settings


class ExperimentReconciler:
    """Implements `engine.reconciler.Reconciler` for Experiments."""

    def __init__(self, kube: Kube, settings: Settings, beside: Beside | None = None) -> None:
        self._kube = kube
        self._settings = settings
        self._beside = beside or Beside()

    @property
    def kind(self) -> Kind:
        """EXPERIMENT."""
        return EXPERIMENT

    async def observe(self, key: Key, now: datetime) -> World | None:
        """Read everything, live."""
        return await observe(self._kube, self._settings, self._beside, key, now)

    def decide(self, world: World) -> Plan:
        """What to do about it."""
        return decide(world)

    def references(self, obj: Object) -> Sequence[Key]:
        """None: what a model is compared with is read once, when the comparison starts; no later change of it matters."""
        del obj
        return ()
