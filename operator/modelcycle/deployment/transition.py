"""What every transition of a replacement is made of: the state after it, what happened, and the few questions all of them ask. Pure.

Owns how a canary is taken back. Must never decide when.
"""

import math
from dataclasses import dataclass, replace
from datetime import datetime

from modelcycle.api.modeldeployment import DeploymentReason as Reason
from modelcycle.api.modeldeployment import Spec
from modelcycle.api.rollout import SetWeight, Shadow, Step
from modelcycle.deployment.counting import UNSEEN, Counting
from modelcycle.deployment.diagnose import Problem, diagnose
from modelcycle.deployment.manifests import deployment_name
from modelcycle.deployment.status import Canary, Grounds, Rejection, RevisionRef, Stage, State, remember
from modelcycle.deployment.world import World
from modelcycle_bundle.traffic import SHARE_DENOMINATOR


@dataclass(frozen=True, slots=True)
class Happening:
    """A transition worth an Event."""

    reason: str
    action: str
    note: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Transition:
    """The state after, and what happened on the way."""

    state: State
    counts: Counting = UNSEEN
    """What the latest reading is good for, for the whole decision: folding it into the evidence makes it no better or worse."""
    happened: tuple[Happening, ...] = ()

    def to(self, state: State, *happenings: Happening) -> "Transition":
        """One transition further."""
        return replace(self, state=state, happened=(*self.happened, *happenings))

    def with_canary(self, canary: Canary, *happenings: Happening) -> "Transition":
        """The same with another canary."""
        return self.to(replace(self.state, canary=canary), *happenings)


def without_canary(state: State, now: datetime) -> State:
    """No canary, and no request for one: the share is 0 in the same write that forgets it."""
    intent = state.traffic
    stopped = intent.changed(now, share=0, shadow=0, close=False) if intent.sends or intent.close else intent
    return replace(state, canary=None, traffic=stopped)


def reject(world: World, done: Transition, canary: Canary, reason: Reason, message: str) -> Transition:
    """Take the canary back and remember it."""
    rejection = Rejection(canary.ref, reason, message, world.now, canary.trust, world.edition)
    back = without_canary(done.state, world.now)
    note = f"{label(canary.ref)} is rejected: {message}"
    rejected = replace(back, rejected=remember(back.rejected, rejection))
    return done.to(rejected, Happening(reason, "Reject", note, warning=True))


def problem_of(world: World, revision: str) -> Problem | None:
    """What keeps a revision from being Ready, if anything is known."""
    name = deployment_name(world.name, world.uid, revision)
    return diagnose(world.deployments.get(revision), (pod for pod in world.pods if pod.deployment == name))


def is_ready(world: World, revision: str, replicas: int) -> bool:
    """The revision has so many Ready pods, and its Deployment is sized for them. A policy may want more."""
    view = world.deployments.get(revision)
    return view is not None and view.replicas >= replicas and view.ready >= replicas


def is_return(state: State, canary: Canary) -> bool:
    """Whether it is what served last, taken up again without steps: within the guard window, or since there are none."""
    if canary.grounds is Grounds.RETURNED:
        return True
    is_direct = canary.grounds is Grounds.READY and canary.step == 0
    is_promoted = canary.stage in (Stage.CAPACITY, Stage.FORWARDING)
    return is_promoted and is_direct and bool(state.history) and state.history[-1].from_ == canary.ref.digest


def capacity(spec: Spec, state: State, revision: str) -> int:
    """Replicas that a revision should have. A canary has those that its share needs, at least one, until it is to be promoted."""
    canary, full = state.canary, spec.server.replicas
    if canary is None or canary.ref.revision != revision or canary.stage not in (Stage.STARTING, Stage.STEPS):
        return full
    step = step_of(spec, canary)
    copied = step.share if isinstance(step, Shadow) else 0
    share = max(_weight_of(spec, canary.step), copied, state.traffic.share, state.traffic.shadow)
    return max(1, math.ceil(full * share / SHARE_DENOMINATOR))


def step_of(spec: Spec, canary: Canary) -> Step | None:
    """The step a canary is at; None before the first and behind the last."""
    steps = spec.canary.steps
    return steps[canary.step] if canary.stage is Stage.STEPS and canary.step < len(steps) else None


def _weight_of(spec: Spec, step: int) -> int:
    """The share at a step: set by the last setWeight up to it, before the first one that one's."""
    weights = [(at, each.share) for at, each in enumerate(spec.canary.steps) if isinstance(each, SetWeight)]
    past = [share for at, share in weights if at <= step]
    return past[-1] if past else next((share for _, share in weights), 0)


def label(ref: RevisionRef) -> str:
    """A revision as messages name it."""
    return f"revision {ref.number} ({short(ref.digest)})"


def short(digest: str) -> str:
    """First eight hex digits of a digest, as `kubectl get` shows it."""
    return digest.removeprefix("sha256:")[:8]
