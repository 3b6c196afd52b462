"""The clients of one line: starts the load generator, turns it to other phases, asks what came of them and what the eyewitness saw.

Owns the reading of their JSON. Counts nothing itself; every number is the load generator's or a pod's own.
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from demo import load_objects
from demo.kubectl import Kubectl, WaitExpired
from demo.watch import Arms, Page
from modelcycle_bundle.metric_names import METRICS_PORT

START_SECONDS: Final = 90.0
HEARD_SECONDS: Final = 0.3
"""Between two looks at whether the clients have gone over to a phase; they say it once a second."""
MAX_SECONDS: Final = 3000
"""The load generator ends by itself after this."""


@dataclass(frozen=True, slots=True)
class Phase:
    """What clients do for a while: rows of this set at this rate, in requests a second."""

    name: str
    rows: str
    rate: int


@dataclass(frozen=True, slots=True)
class Counted:
    """What came of a phase, or of all of them. `failed_rows` and `asked_rows`: times by row, of rows that ever failed."""

    requests: int
    failed: int
    by_model: Mapping[str, int]
    slowest_seconds: float
    failed_rows: Mapping[int, int]
    asked_rows: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Sighting:
    """What all pods said at one moment, in Unix seconds."""

    at: float
    pages: tuple[Page, ...]


@dataclass(frozen=True, slots=True)
class Moments:
    """Of one rollout, in Unix seconds: its canary's first bad answer, and when no pod handed on requests any more."""

    first_bad: float
    share_zero: float


@dataclass(frozen=True, slots=True)
class Clients:
    """A running load generator. `name` is its Job's, `host` the ModelDeployment it asks."""

    kubectl: Kubectl
    name: str
    host: str

    def start(self, image: str, row_sets: Mapping[str, str]) -> None:
        """Make the Job; it waits for its first phase. Raises WaitExpired."""
        self.kubectl.run("delete", "job", self.name, "--ignore-not-found")
        self.kubectl.place(*load_objects.in_phases(self.name, self.host, image, row_sets, MAX_SECONDS))
        self.kubectl.wait("job", self.name, lambda o: o.get("status", {}).get("ready", 0) == 1, START_SECONDS)

    def turn(self, phase: Phase) -> None:
        """Go over to a phase; the eyewitness looks at the pods that are stable now.

        What a caller does next meets requests of this phase, and none of the one before: the clients say that they have gone over.
        Raises WaitExpired.
        """
        order = {"name": phase.name, "rows": phase.rows, "rate": phase.rate, "watch": self._stable_pods()}
        self._order(order)
        deadline = time.monotonic() + START_SECONDS
        while self._last_line().get("phase") != phase.name:
            if time.monotonic() > deadline:
                raise WaitExpired(f"job/{self.name} did not go over to phase {phase.name} in {START_SECONDS:.0f} s")
            time.sleep(HEARD_SECONDS)

    def so_far(self) -> Counted:
        """Counts of the phase under way, at most a second old."""
        return counted(self._last_line())

    def _last_line(self) -> Mapping[str, Any]:
        """What the clients printed last; nothing in their first second."""
        line = self.kubectl.run("logs", f"job/{self.name}", "-c", load_objects.LOAD, "--tail=1")
        found: Mapping[str, Any] = json.loads(line) if line.strip() else {}
        return found

    def sightings(self) -> list[Sighting]:
        """Everything that the eyewitness has seen."""
        text = self.kubectl.run("logs", f"job/{self.name}", "-c", load_objects.WATCH)
        return [sighting(json.loads(line)) for line in text.splitlines() if line.startswith("{")]

    def stop(self) -> tuple[Counted, Mapping[str, Counted]]:
        """End the load; exact counts in all and by phase. Raises WaitExpired."""
        self._order({"name": "stop"})
        self.kubectl.wait("job", self.name, lambda o: bool(o.get("status", {}).get("conditions")), START_SECONDS)
        summary = json.loads(self.kubectl.run("logs", f"job/{self.name}", "-c", load_objects.LOAD, "--tail=1"))
        return counted(summary), {name: counted(phase) for name, phase in summary["phases"].items()}

    def _order(self, order: Mapping[str, object]) -> None:
        file = load_objects.CONTROL_FILE
        command = f"cat > {file}.new && mv {file}.new {file}"
        target = ("exec", "-i", f"job/{self.name}", "-c", load_objects.LOAD, "--", "/bin/sh", "-c", command)
        self.kubectl.run(*target, stdin=json.dumps(order))

    def _stable_pods(self) -> list[str]:
        stable = (self.kubectl.get("modeldeployment", self.host) or {})["status"]["stable"]["revision"]
        selector = f"modelcycle.dev/deployment={self.host},modelcycle.dev/revision={stable}"
        pods = json.loads(self.kubectl.run("get", "pods", "-l", selector, "-o", "json"))["items"]
        return [f"{pod['status']['podIP']}:{METRICS_PORT}" for pod in pods if pod["status"].get("podIP")]


def counted(raw: Mapping[str, Any]) -> Counted:
    """A summary of the load generator."""
    return Counted(
        requests=int(raw["requests"]),
        failed=int(raw["failed"]),
        by_model={str(model): int(count) for model, count in raw["versions"].items()},
        slowest_seconds=float(raw["slowestSeconds"]),
        failed_rows={int(row): int(count) for row, count in raw.get("failedRows", {}).items()},
        asked_rows={int(row): int(count) for row, count in raw.get("askedRows", {}).items()},
    )


def sighting(raw: Mapping[str, Any]) -> Sighting:
    """A line of the eyewitness."""
    return Sighting(float(raw["t"]), tuple(_page(page) for page in raw["pods"].values()))


def witnessed(sightings: Sequence[Sighting], rollout: str) -> Arms:
    """The last that was seen of a rollout's counts, summed over pods."""
    counts = (_sum(sighting.pages, rollout) for sighting in sightings)
    return max(counts, key=lambda arms: arms.canary + arms.stable, default=Arms())


def moments(sightings: Sequence[Sighting], rollout: str) -> Moments | None:
    """When the canary of `rollout` first failed and when its share was 0 everywhere; None unless both were seen, in this order."""
    first = next((s.at for s in sightings if _sum(s.pages, rollout).canary_bad), None)
    if first is None:
        return None
    pods = max(len(s.pages) for s in sightings)
    after = (s for s in sightings if s.at >= first and len(s.pages) == pods)
    zero = next((s.at for s in after if all(page.share == 0 for page in s.pages)), None)
    return None if zero is None else Moments(first, zero)


def _page(raw: Mapping[str, Any]) -> Page:
    arms = {rollout: Arms(**counts) for rollout, counts in raw["arms"].items()}
    return Page(str(raw["rollout"]), float(raw["share"]), arms)


def _sum(pages: Iterable[Page], rollout: str) -> Arms:
    found = [page.arms[rollout] for page in pages if rollout in page.arms]
    return Arms(*(sum(getattr(arms, each.name) for arms in found) for each in fields(Arms)))
