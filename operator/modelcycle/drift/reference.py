"""Where the reference comes from that counts are compared with: one lookup for each `spec.reference`. Pure."""

from collections.abc import Callable, Mapping
from typing import Final

from modelcycle.api.driftmonitor import Reference
from modelcycle.drift.world import MonitorWorld
from modelcycle_bundle.profile import Profile

Lookup = Callable[[MonitorWorld], Mapping[str, Profile]]
"""Profiles by the hash that counts name."""


def _training(world: MonitorWorld) -> Mapping[str, Profile]:
    return world.profiles


REFERENCES: Final[Mapping[Reference, Lookup]] = {Reference.TRAINING: _training}


def profiles(world: MonitorWorld) -> Mapping[str, Profile]:
    """Of the reference that the spec asks for."""
    return REFERENCES[world.monitor.spec.reference](world)
