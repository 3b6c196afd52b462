"""Which implementation carries a canary's share: one for each `spec.traffic.provider`. Pure.

Below the traffic intent: `progress` decides a share, a router says what carries it. Must never decide a share itself.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from modelcycle.api.modeldeployment import Provider, Spec
from modelcycle.deployment import traffic
from modelcycle.deployment.intent import TrafficIntent
from modelcycle.deployment.world import World
from modelcycle.engine.plan import AnnotatePods


class TrafficRouter(Protocol):
    """Carries a traffic intent out, and says how far that is."""

    def instructions(
        self, world: World, spec: Spec, intent: TrafficIntent, revisions: Iterable[str]
    ) -> list[AnnotatePods]:
        """What is still missing for the intent to hold for pods of `revisions`; none when it holds."""

    def is_told(self, world: World, revision: str) -> bool:
        """Whether requests may still be forwarded to `revision`."""

    def is_applied(self, world: World, intent: TrafficIntent) -> bool:
        """Whether the share of the intent is the one that requests get."""


ROUTERS: Final[Mapping[Provider, TrafficRouter]] = {Provider.IN_SERVER: traffic}


def router(spec: Spec) -> TrafficRouter:
    """The one that the spec asks for."""
    return ROUTERS[spec.provider]
