"""The operator's whole `decide` as a policy of simulated rollouts: each look is a reading of counters, judged on the status so far.

Owns the way there: the World comes from the operator's own `observe` in the laboratory, at the moment a canary has its first share and
waits for evidence; from then on only time, counters and status change. Status goes through its wire form each time, as over a restart.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

from campaigns.rollouts import Decision, PodLook
from fakes.deployment_lab import NAMESPACE, Lab, model
from modelcycle.deployment import evidence_entries, status
from modelcycle.deployment.decide import decide
from modelcycle.deployment.observe import Reading, observe
from modelcycle.deployment.status import Stage
from modelcycle.deployment.world import World
from modelcycle.engine.plan import Create, Key, WriteStatus
from modelcycle.kube.kinds import CONFIG_MAP
from modelcycle.metrics.port import RunId, RunSample, Series
from modelcycle.settings import Settings
from modelcycle.stats.evidence import Counts
from modelcycle_bundle import metric_names as names

ANALYSIS_STEP: Final = 1
NONE: Final = Counts()


@cache
def waiting_world(replicas: int) -> World:
    """A canary at 10 %, told and applied, with an `analysis` step ahead and no look taken."""
    return asyncio.run(_waiting_world(replicas))


async def _waiting_world(replicas: int) -> World:
    lab = Lab()
    spec = {"server": {"replicas": replicas}, "strategy": {"canary": {"steps": [{"setWeight": 10}, {"analysis": {}}]}}}
    lab.apply(model=model("a"), **spec)
    await lab.run(seconds=10)
    lab.arms.rate = 1e-9  # read, but never asked: all requests are the simulation's
    lab.apply(model=model("b"), **spec)
    await lab.run(seconds=60, until=lambda: lab.status.get("canary", {}).get("step") == ANALYSIS_STEP)
    world = await observe(
        lab.kube,
        Settings("t", lab.serving_image),
        Key("ModelDeployment", NAMESPACE, "scrap"),
        lab.now,
        lambda key, spec, state, ready: Reading(lab.arms.latest(key)),
    )
    assert world is not None
    assert world.state.canary is not None
    assert world.state.canary.step == ANALYSIS_STEP
    return world


@dataclass(slots=True)
class DecidePolicy:
    """`decide`, look after look. Stable's pods count both arms, as they hand the requests on."""

    raw: Mapping[str, Any] | None = None
    kept: Mapping[str, str] = field(default_factory=dict)
    """Entries of the ConfigMap with the evidence."""
    counted: dict[RunId, tuple[Counts, Counts]] = field(default_factory=dict)
    """Canary's and stable's counts by run of counters."""

    def look(self, at: float, pods: PodLook) -> Decision:
        """One reading, then decisions until nothing is written any more: each write of status makes the operator look again."""
        start = waiting_world(len(pods.stable))
        world = self.reading(start, start.now + timedelta(seconds=at), pods)
        while True:
            decision = _decision(world.state)
            actions = decide(world).actions
            written = next((a.status for a in actions if isinstance(a, WriteStatus)), None)
            if decision is not Decision.HOLD or written is None:
                return decision
            maps = (a.body for a in actions if isinstance(a, Create) and a.kind is CONFIG_MAP)
            self.kept = next(
                (body["data"] for body in maps if body["metadata"]["name"].endswith("-evidence")), self.kept
            )
            self.raw = json.loads(json.dumps(written))
            world = replace(world, raw_status=self.raw, state=self.state(self.raw))

    def state(self, raw: Mapping[str, Any]) -> status.State:
        """What a fresh operator reads."""
        return replace(status.parse(raw), analysis=evidence_entries.read(raw, self.kept).analysis)

    def reading(self, start: World, now: datetime, pods: PodLook) -> World:
        """The World at `now`, after a reading of what the pods have counted on top of all looks before."""
        assert start.samples is not None
        assert start.state.stable is not None
        uids = {pod.uid for pod in start.answering(start.state.stable.revision)}
        for index, run in enumerate(sorted(run for run in start.samples.runs if run.pod_uid in uids)):
            canary, own = self.counted.get(run, (NONE, NONE))
            handed_on = pods.canary[index] if index < len(pods.canary) else NONE
            self.counted[run] = (canary + handed_on, own + pods.stable[index])
        raw = start.raw_status if self.raw is None else self.raw
        runs = {run: self._sample(replace(seen, seen_at=now), raw) for run, seen in start.samples.runs.items()}
        samples = replace(start.samples, taken_at=now, runs=runs)
        return replace(start, now=now, samples=samples, raw_status=raw, state=self.state(raw))

    def _sample(self, seen: RunSample, raw: Mapping[str, Any]) -> RunSample:
        if seen.run not in self.counted:
            return seen
        rollout, (canary, stable) = raw["canary"]["rollout"], self.counted[seen.run]
        arms = {names.ARM_CANARY: canary, names.ARM_STABLE: stable}
        counts = dict(seen.counts)
        for arm, total in arms.items():
            counts[Series(names.ARM_REQUESTS, (rollout, arm, names.OUTCOME_OK))] = total.n - total.events
            counts[Series(names.ARM_REQUESTS, (rollout, arm, names.OUTCOME_FAILED))] = total.events
        return replace(seen, counts=counts)


def _decision(state: status.State) -> Decision:
    if state.canary is None:
        return Decision.ROLLBACK if state.rejected else Decision.PROMOTE
    return Decision.HOLD if state.canary.stage is Stage.STEPS else Decision.PROMOTE
