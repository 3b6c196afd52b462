"""What the latest reading of the pods is good for, and what it says of the two models. Pure.

Owns when counts may be decided on. Missing, old or contradictory counts hold a rollout: they roll nothing back and move nothing forward.
Counts of some of the pods that count may roll back and move nothing forward. Stable's pods count both arms: requests arrive there.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from modelcycle.api.conditions import timestamp
from modelcycle.api.modeldeployment import Spec
from modelcycle.deployment.analysis import AnalysisState, is_consistent, is_proven
from modelcycle.deployment.manifests import is_telling
from modelcycle.deployment.status import Canary, Grounds, Stage, State
from modelcycle.deployment.world import World
from modelcycle.metrics.port import FailingPod, Samples, ServedModel

STALE_ROUNDS: Final = 3
"""Intervals without a finished reading after which counts are too old."""
GRACE: Final = timedelta(seconds=5)
"""Time a reading may take beyond that."""


FIT_BOUND: Final = timedelta(seconds=60)
"""How long Ready pods may stay unread before a revision without steps takes over without knowing how the two go together."""


class CountsState(StrEnum):
    """What the latest reading is good for."""

    USABLE = "Usable"
    """Fresh, of every pod that counts, and free of contradictions."""
    INCOMPLETE = "Incomplete"
    """A pod that counts has not been read for too long; the others were."""
    MISSING = "Missing"
    """None finished yet, the last one is too old, or none of the pods that count is in it."""
    INCONSISTENT = "Inconsistent"
    """A counter of a living pod says less than before."""


class Fit(StrEnum):
    """Whether the canary can stand in for stable, by what the pods of both say of their inputs and answers."""

    ACCEPTS = "Accepts"
    """Same inputs in the same order, missing values where stable takes them, and answers of the same form as far as both say."""
    BY_NAME = "ByName"
    """The same once its pods are told what clients send: it needs some of stable's inputs, or all in another order."""
    OTHER_INPUTS = "OtherInputs"
    """It does not take what stable takes."""
    OTHER_OUTPUTS = "OtherOutputs"
    """It takes the same and answers in another form."""
    UNKNOWN = "Unknown"
    """A pod of each was not read yet, or does not say: its answers will tell."""

    @property
    def is_refused(self) -> bool:
        """Whether no request may reach the canary."""
        return self in (Fit.OTHER_INPUTS, Fit.OTHER_OUTPUTS)


@dataclass(frozen=True, slots=True)
class Counting:
    """The state of the counts, and the words for it."""

    state: CountsState
    message: str = ""
    is_newest: bool = False
    """The last attempt at a reading gave counts of every pod that counts."""

    @property
    def is_usable(self) -> bool:
        """Whether what they say may be folded into the evidence, and may roll back."""
        return self.state in (CountsState.USABLE, CountsState.INCOMPLETE)

    @property
    def is_complete(self) -> bool:
        """Whether they say enough for the clocks of steps and of the evidence to run on."""
        return self.state is CountsState.USABLE

    @property
    def allows_more(self) -> bool:
        """Whether a weight may rise on them, a step end, or a revision be promoted: only where the last attempt renewed the reading."""
        return self.is_complete and self.is_newest


UNSEEN: Final = Counting(CountsState.MISSING)
"""Nobody looked: a spec that cannot be read judges nothing."""


def counting(world: World, spec: Spec, state: State) -> Counting:
    """Whether the latest reading may be decided on; asked once in a decision, for it goes through all counters of all pods."""
    samples = world.samples
    if samples is None:
        return Counting(CountsState.MISSING, world.samples_problem or "the first reading of the pods has not finished")
    bound = STALE_ROUNDS * spec.canary.analysis.interval + GRACE
    if world.now - samples.taken_at > bound:
        cause = f": {world.samples_problem}" if world.samples_problem else ""
        return Counting(CountsState.MISSING, f"last reading of the pods at {timestamp(samples.taken_at)}{cause}")
    if _none_answered(samples):
        cause = samples.failing[0].cause if samples.failing else "no pod was read"
        return Counting(CountsState.MISSING, f"no pod gives counts: {cause}")
    if state.analysis and not is_consistent(state.analysis, samples) and not _is_older(samples, state.analysis):
        return Counting(CountsState.INCONSISTENT, "a pod's counters say less than they said before")
    return _of_the_counting(world, state, samples, world.now - bound)


def _of_the_counting(world: World, state: State, samples: Samples, since: datetime) -> Counting:
    """Whether the pods that count were read `since` then. With none of them Ready nobody counts, so nothing may go forward."""
    if state.stable is None:
        return Counting(CountsState.USABLE, is_newest=world.samples_problem is None)
    pods = world.answering(state.stable.revision)
    if not pods:
        return Counting(CountsState.INCOMPLETE, "stable has no Ready pod")
    seen = _last_seen(samples)
    failing = {pod.pod_uid: pod for pod in samples.failing}
    silent = [pod for pod in pods if seen.get(pod.uid, _begun(failing.get(pod.uid), world.now)) < since]
    if not any(pod.uid in seen and seen[pod.uid] >= since for pod in pods):
        causes = sorted({failing[pod.uid].cause for pod in pods if pod.uid in failing})
        return Counting(
            CountsState.MISSING, f"no pod of stable gives counts: {causes[0] if causes else 'not read yet'}"
        )
    if silent:
        cause = f": {failing[silent[0].uid].cause}" if silent[0].uid in failing else ""
        more = f" and {len(silent) - 1} more" if len(silent) > 1 else ""
        return Counting(CountsState.INCOMPLETE, f"pod {silent[0].name} of stable{more} gives no counts{cause}")
    newest = all(seen.get(pod.uid) == samples.taken_at for pod in pods) and world.samples_problem is None
    return Counting(CountsState.USABLE, is_newest=newest)


def _begun(failing: FailingPod | None, now: datetime) -> datetime:
    """Since when a pod that was never read could have been: one that has just come up is given its time."""
    return failing.since if failing else now


def _is_older(samples: Samples, analysis: AnalysisState) -> bool:
    """Whether another operator has looked since: then this reading contradicts nothing, it is only behind. Status has whole seconds."""
    last = analysis.last_look_at
    return last is not None and samples.taken_at < last + timedelta(seconds=1)


def _none_answered(samples: Samples) -> bool:
    return bool(samples.failing) and not any(run.seen_at == samples.taken_at for run in samples.runs.values())


def is_compared(canary: Canary | None) -> bool:
    """Whether the canary has been given requests, so that its answers count."""
    return canary is not None and canary.traffic_at is not None


def awaits_evidence(canary: Canary) -> bool:
    """Whether it waits for evidence while it has none: in its steps, and after them, since evidence can sink while it grows."""
    return canary.stage is Stage.STEPS or canary.grounds is Grounds.EVIDENCE


def is_overdue(world: World, spec: Spec, state: State) -> bool:
    """Whether the time for evidence has run out without it, also where no request came of which there could be any."""
    canary = state.canary
    if canary is None or canary.traffic_at is None or not awaits_evidence(canary):
        return False
    if spec.paused or canary.unseen_since is not None:
        return False
    if world.now - canary.traffic_at < spec.canary.analysis.max_duration:
        return False
    return not is_proven(state.analysis)


def is_read(world: World, revision: str) -> bool:
    """Whether every Ready pod of the revision is in the latest reading."""
    pods, seen = world.answering(revision), _last_seen(world.samples)
    return bool(pods) and all(pod.uid in seen for pod in pods)


def is_read_since(world: World, revision: str, moment: datetime) -> bool:
    """Whether every Ready pod of the revision was read at `moment` or later."""
    seen = _last_seen(world.samples)
    return world.samples is not None and all(
        pod.uid in seen and seen[pod.uid] >= moment for pod in world.answering(revision)
    )


def _last_seen(samples: Samples | None) -> Mapping[str, datetime]:
    """When each living pod was read last, by uid."""
    runs = samples.runs.items() if samples else ()
    return {run.pod_uid: sample.seen_at for run, sample in runs if sample.gone_at is None}


def fit(world: World, canary: str, stable: str) -> Fit:
    """How two revisions go together. What an older server does not say is no difference."""
    said = _said(world, canary, stable)
    stored = world.revisions.get(canary)
    is_told = stored is not None and is_telling(stored.template)
    # One that was not read yet may be of the template before it was told.
    return Fit.BY_NAME if said is Fit.ACCEPTS and is_told and not is_read(world, canary) else said


def _said(world: World, canary: str, stable: str) -> Fit:
    """By the pods that were read."""
    old = next(_served(world, stable), None)
    # Pods of one revision may differ while they are told: it fits when the last of them does.
    found = {Fit.UNKNOWN if old is None else _fit_of(new, old) for new in _served(world, canary)}
    order = (Fit.OTHER_INPUTS, Fit.OTHER_OUTPUTS, Fit.BY_NAME, Fit.ACCEPTS)
    return next((each for each in order if each in found), Fit.UNKNOWN)


def _fit_of(new: ServedModel, old: ServedModel) -> Fit:
    if not new.inputs or not old.inputs:
        return Fit.UNKNOWN
    is_by_name = new.inputs != old.inputs and bool(new.needs) and set(new.needs) <= set(old.takes)
    if (new.inputs != old.inputs and not is_by_name) or (old.accepts_missing and not new.accepts_missing):
        return Fit.OTHER_INPUTS
    if new.outputs and old.outputs and new.outputs != old.outputs:
        return Fit.OTHER_OUTPUTS
    return Fit.BY_NAME if is_by_name else Fit.ACCEPTS


def client_inputs(world: World, stable: str) -> tuple[str, ...]:
    """What clients send to stable, in order; () where its pods do not say."""
    return next((model.takes for model in _served(world, stable)), ())


def lacking(world: World, canary: str, stable: str) -> tuple[str, ...]:
    """Inputs that the canary needs and stable does not take, as far as both say."""
    taken, new = client_inputs(world, stable), next(_served(world, canary), None)
    return tuple(name for name in new.needs if name not in taken) if new and taken else ()


def is_fit_settled(world: World, canary: str, stable: str) -> bool:
    """Whether waiting longer could tell nothing more: it is known, or all pods were read, or those that were not have had their time.

    A server of one's own may have no counters at all: it is waited for FIT_BOUND from the moment its pods are Ready.
    """
    found = fit(world, canary, stable)
    if _said(world, canary, stable) is Fit.BY_NAME:
        return False  # its pods are being made again: this one would read a single tensor in an order of its own
    if found not in (Fit.UNKNOWN, Fit.BY_NAME) or not world.answering(stable):
        return True
    if is_read(world, canary) and is_read(world, stable):
        return True
    ready = [pod.ready_since for pod in world.answering(canary)]
    return bool(ready) and all(since is not None and world.now - since >= FIT_BOUND for since in ready)


def _served(world: World, revision: str) -> Iterator[ServedModel]:
    runs = world.samples.runs.values() if world.samples else ()
    models = (run.model for run in runs if run.gone_at is None and run.model)
    return (model for model in models if model.revision == revision)
