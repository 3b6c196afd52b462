"""Prometheus stopped while a rollout asks it, and what that rollout says of itself meanwhile. Owns no fixture; judges nothing."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from canary_ground import Line, reason
from demo import dashboard
from demo.kubectl import Kubectl
from plant import KUBECONFIG

PROMETHEUS = Kubectl(KUBECONFIG, dashboard.NAMESPACE)


@dataclass(frozen=True, slots=True)
class Outage:
    """Prometheus was stopped at `began` (monotonic); every state of the rollout from then on is in `states`."""

    began: float = field(default_factory=time.monotonic)
    states: list[dict[str, Any]] = field(default_factory=list)

    def end(self) -> None:
        """Start it again."""
        PROMETHEUS.run("scale", "deployment/prometheus", "--replicas=1")
        PROMETHEUS.run("rollout", "status", "deployment/prometheus", "--timeout=120s")


@contextmanager
def without_prometheus(line: Line) -> Iterator[Outage]:
    """Stop Prometheus; whatever happens it runs again behind the block, which may end the outage earlier. Raises KubectlError."""
    outage = Outage()
    with line.states() as states:
        threading.Thread(target=lambda: outage.states.extend(states), daemon=True).start()
        try:
            PROMETHEUS.run("scale", "deployment/prometheus", "--replicas=0")
            yield outage
        finally:
            outage.end()


def told(states: Sequence[dict[str, Any]]) -> list[str]:
    """The reasons of Ready one after another, each once for as long as it stayed: an oscillation shows as a reason that comes back."""
    return [name for name, _ in groupby(reason(state) for state in states) if name]
