"""The evidence of one rollout between two looks: what was counted last of each pod, what follows for E and P, and its place in status.

Owns the fold of a reading into evidence. Every answer of a pod is counted once, whatever restarts, of pods or of the operator, lie between:
counters of a rollout begin at 0, and what was last seen of each run of counters is kept with the evidence, in one status write. Pure.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import accumulate
from typing import Any, Final

from modelcycle.api.conditions import timestamp
from modelcycle.deployment.moments import parse_time
from modelcycle.metrics.port import RunId, RunSample, Samples, Series
from modelcycle.stats import dispersion, evidence
from modelcycle.stats.dispersion import Dispersion
from modelcycle.stats.evidence import Counts, Design, Evidence, Look, Verdict
from modelcycle_bundle import metric_names as names

KEPT_LOOKS: Final = 20
KEPT_RUNS: Final = 1000
"""Runs of counters whose last values are kept; those of pods that are gone go first."""
ERRORS: Final = "errors"
_GOOD: Final = frozenset({names.OUTCOME_OK, names.OUTCOME_CLIENT})


@dataclass(frozen=True, slots=True)
class Tally:
    """What one run of a pod's counters said last about this rollout; every late answer is among the events."""

    run: RunId
    canary: Counts
    stable: Counts
    refused: int = 0
    """Of the canary's events, those answered 4xx where stable then accepted."""
    rescued: int = 0
    """Of the canary's events, those that stable's own model then answered well."""
    late: int = 0
    """Of the canary's events, those without an answer in time."""
    unjudged: int | None = 0
    """Late answers from a pod that does not count stable's: no evidence. None: an earlier operator did not tell them apart."""


@dataclass(frozen=True, slots=True)
class LookRecord:
    """One look as it is kept for people: increments, and what the evidence was after it."""

    at: datetime
    look: Look
    refused: int
    log_rollback: float
    log_promote: float
    verdict: Verdict
    unjudged: int = 0
    """Late ones that are not among the look's events."""
    phi: float | None = None
    """The dispersion that the look was weighed with. None: an earlier operator did not keep it."""


@dataclass(frozen=True, slots=True)
class AnalysisState:
    """Evidence of one rollout."""

    rollout: str
    design: Design
    """What is asked of the evidence: fixed when the rollout begins, whatever the spec says later."""
    evidence: Evidence = Evidence()
    dispersion: Dispersion = Dispersion()
    tallies: tuple[Tally, ...] = ()
    recent: tuple[LookRecord, ...] = ()
    step_from: Look = Look(Counts(), Counts())
    """Totals when the current share was decided on."""

    @property
    def last_look_at(self) -> datetime | None:
        """Reading of the last look at which something had been counted."""
        return self.recent[-1].at if self.recent else None

    @property
    def totals(self) -> Look:
        """All that was counted."""
        return Look(self.evidence.canary, self.evidence.stable)

    @property
    def realised(self) -> float | None:
        """The canary's part of all requests since the current share was decided on; None before there were any."""
        canary = self.evidence.canary.n - self.step_from.canary.n
        total = canary + self.evidence.stable.n - self.step_from.stable.n
        return canary / total if total > 0 else None

    @property
    def rate(self) -> float | None:
        """Canary requests a second over the looks that are kept; None when they span no time."""
        if len(self.recent) < 2:
            return None
        seconds = (self.recent[-1].at - self.recent[0].at).total_seconds()
        return sum(item.look.canary.n for item in self.recent[1:]) / seconds if seconds > 0 else None


def fold(state: AnalysisState, samples: Samples) -> AnalysisState:
    """`state` after one more reading; itself when nothing was counted since the last look.

    A run whose counters fell is left out: `is_consistent` says so.
    """
    before = {tally.run: tally for tally in state.tallies}
    now = [tally for sample in samples.runs.values() if (tally := _tally(sample, state.rollout)) is not None]
    moved = [(before.get(t.run, Tally(t.run, Counts(), Counts())), t) for t in now if t != before.get(t.run)]
    steps = [_step(old, new) for old, new in moved if _rose(old, new)]
    others = sum(step.rescued for step in steps), sum(step.late for step in steps)
    look = Look(_sum(step.canary for step in steps), _sum(step.stable for step in steps), *others)
    if not look.canary.n + look.stable.n:
        return state
    design = state.design
    after = evidence.observe(state.evidence, look, design, state.dispersion.phi)
    kept = before | {new.run: new for old, new in moved if _rose(old, new)}
    record = LookRecord(
        at=samples.taken_at,
        look=look,
        refused=sum(step.refused for step in steps),
        log_rollback=evidence.log_rollback(after),
        log_promote=evidence.log_promote(after, design),
        verdict=evidence.verdict(after, design),
        unjudged=sum(step.unjudged or 0 for step in steps),
        phi=state.dispersion.phi,
    )
    return replace(
        state,
        evidence=after,
        dispersion=dispersion.accumulate(state.dispersion, (step.stable for step in steps)),
        tallies=_bounded(kept, samples),
        recent=(*state.recent, record)[-KEPT_LOOKS:],
    )


def is_consistent(state: AnalysisState, samples: Samples) -> bool:
    """Whether no living run of counters says less than it said before."""
    before = {tally.run: tally for tally in state.tallies}
    living = (sample for sample in samples.runs.values() if sample.gone_at is None)
    tallies = (tally for sample in living if (tally := _tally(sample, state.rollout)) is not None)
    return all(_rose(before[tally.run], tally) for tally in tallies if tally.run in before)


def replay(state: AnalysisState) -> Sequence[Evidence] | None:
    """Evidence after each look of the rollout, computed again; None where not every look is kept with its dispersion."""
    weighed = [(item.look, item.phi) for item in state.recent if item.phi is not None]
    if len(weighed) != state.evidence.looks:
        return None
    first = Evidence()
    return list(
        accumulate(weighed, lambda before, one: evidence.observe(before, one[0], state.design, one[1]), initial=first)
    )[1:]


def recent_looks(state: AnalysisState) -> Sequence[Look]:
    """The last looks, oldest first, for fail-fast: there every late answer is a bad one."""
    return [
        replace(item.look, canary=Counts(item.look.canary.n, item.look.canary.events + item.unjudged))
        for item in state.recent
    ]


def mostly_refused(state: AnalysisState) -> bool:
    """Whether most of the canary's recent bad answers were requests that it did not accept and stable did."""
    return _are_most(state, [item.refused for item in state.recent[-2:]])


def mostly_late(state: AnalysisState) -> bool:
    """Whether most of the canary's recent bad answers were late."""
    return _are_most(state, [item.look.late for item in state.recent[-2:]])


def is_proven(state: AnalysisState | None) -> bool:
    """Whether there is evidence, and P has reached its bar."""
    return state is not None and evidence.verdict(state.evidence, state.design) is Verdict.PASS


def has_unjudged(state: AnalysisState) -> bool:
    """Whether late answers are no evidence for stable's pods do not count their own."""
    return any(tally.unjudged for tally in state.tallies)


def _are_most(state: AnalysisState, some: Sequence[int]) -> bool:
    return 2 * sum(some) > sum(look.canary.events for look in recent_looks(state)[-2:])


def _tally(sample: RunSample, rollout: str) -> Tally | None:
    counts = {
        arm: {o: sample.counts.get(Series(names.ARM_REQUESTS, (rollout, arm, o)), 0) for o in outcomes}
        for arm, outcomes in names.ARM_OUTCOMES.items()
    }
    arms = {arm: _judged(by) for arm, by in counts.items()}
    if not any(arm.n for arm in arms.values()):
        return None
    canary = counts[names.ARM_CANARY]
    late = canary[names.OUTCOME_LATE]
    return Tally(
        sample.run,
        arms[names.ARM_CANARY],
        arms[names.ARM_STABLE],
        refused=canary[names.OUTCOME_REFUSED],
        rescued=sample.counts.get(Series(names.ARM_RESCUED, (rollout,)), 0),
        late=late,
        unjudged=0 if counts_late_of_both(sample, rollout) else late,
    )


def counts_late_of_both(sample: RunSample, rollout: str) -> bool:
    """Whether a pod counts late answers of both arms: where only the canary can be late, being late is no evidence."""
    return Series(names.ARM_REQUESTS, (rollout, names.ARM_STABLE, names.OUTCOME_LATE)) in sample.counts


def _judged(by_outcome: Mapping[str, int]) -> Counts:
    """Answers of one arm. A pod that nobody reached has not answered."""
    judged = {outcome: n for outcome, n in by_outcome.items() if outcome not in names.UNJUDGED}
    return Counts(sum(judged.values()), sum(n for outcome, n in judged.items() if outcome not in _GOOD))


def _rose(old: Tally, new: Tally) -> bool:
    arms = ((old.canary, new.canary), (old.stable, new.stable))
    return all(0 <= b.events - a.events <= b.n - a.n for a, b in arms)


def _step(old: Tally, new: Tally) -> Tally:
    """What was counted between the two, for the evidence."""
    canary, stable = _less(new.canary, old.canary), _less(new.stable, old.stable)
    unjudged = min(max((new.unjudged or 0) - (old.unjudged or 0), 0), canary.events)
    return Tally(
        new.run,
        Counts(canary.n, canary.events - unjudged),
        stable,
        new.refused - old.refused,
        new.rescued - old.rescued,
        min(max(new.late - old.late, 0), canary.events),
        unjudged,
    )


def _less(new: Counts, old: Counts) -> Counts:
    return Counts(new.n - old.n, new.events - old.events)


def _sum(parts: Iterable[Counts]) -> Counts:
    return sum(parts, Counts())


def _bounded(tallies: Mapping[RunId, Tally], samples: Samples) -> tuple[Tally, ...]:
    """A run of a pod that is gone can only come back while the cluster still knows the pod, so the gone ones go first."""
    ordered = sorted(tallies.values(), key=lambda t: (t.run.pod_uid in samples.listed, t.run.epoch, t.run.pod_uid))
    return tuple(ordered[-KEPT_RUNS:])


# The form in status.


def from_plain(raw: Mapping[str, Any]) -> AnalysisState | None:
    """Read `status.analysis`; None when its state cannot be read: then evidence begins anew, which promotes and rolls back nothing."""
    try:
        return _parsed(raw)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None


def _parsed(raw: Mapping[str, Any]) -> AnalysisState:
    state = json.loads(raw["state"])
    return AnalysisState(
        rollout=raw["rollout"],
        design=Design(*(float(value) for value in state["design"])),
        evidence=evidence.from_json(state["evidence"]),
        dispersion=Dispersion(float(state["x2"]), int(state["freedom"])),
        tallies=tuple(_tally_of(item) for item in state["tallies"]),
        recent=tuple(_record_of(item) for item in state["recent"]),
        step_from=Look(Counts(*state["step"][:2]), Counts(*state["step"][2:])),
    )


def state_text(state: AnalysisState) -> str:
    """`status.analysis.state`: exact, so that a restarted operator goes on as if it had never stopped."""
    d = state.design
    plain = {
        "design": [repr(value) for value in (d.alpha, d.beta, d.harm_ratio, d.harm_floor)],
        "evidence": evidence.to_json(state.evidence),
        "x2": repr(state.dispersion.x2),
        "freedom": state.dispersion.freedom,
        "tallies": [
            [t.run.pod_uid, repr(t.run.epoch), *_pair(t.canary), *_pair(t.stable), t.refused, t.rescued, *_late(t)]
            for t in state.tallies
        ],
        "recent": [_record_plain(item) for item in state.recent],
        "step": [*_pair(state.step_from.canary), *_pair(state.step_from.stable)],
    }
    return json.dumps(plain, separators=(",", ":"))


def _late(tally: Tally) -> tuple[int, ...]:
    return () if tally.unjudged is None else (tally.late, tally.unjudged)


def _tally_of(raw: Sequence[Any]) -> Tally:
    uid, epoch, *numbers = raw
    cn, ce, sn, se, refused, rescued, *late = (int(number) for number in numbers)
    run, canary, stable = RunId(str(uid), float(epoch)), Counts(cn, ce), Counts(sn, se)
    # An earlier operator kept neither of the last two.
    return Tally(run, canary, stable, refused, rescued, *(late or (0, None)))


def _record_plain(item: LookRecord) -> list[Any]:
    numbers = [*_pair(item.look.canary), *_pair(item.look.stable), item.look.rescued, item.refused]
    scores = (f"{item.log_rollback:.6g}", f"{item.log_promote:.6g}")
    phi = () if item.phi is None else (repr(item.phi),)
    return [timestamp(item.at), *numbers, *scores, item.verdict.value, item.look.late, item.unjudged, *phi]


def _record_of(raw: Sequence[Any]) -> LookRecord:
    at, cn, ce, sn, se, rescued, refused, rollback, promote, verdict, *later = raw
    # Earlier operators kept neither late ones nor the dispersion.
    late, *told = later or (0,)
    look = Look(Counts(cn, ce), Counts(sn, se), rescued, late)
    scores = float(rollback), float(promote), Verdict(verdict)
    return LookRecord(parse_time(at), look, refused, *scores, *told[:1], *map(float, told[1:]))


def _pair(counts: Counts) -> tuple[int, int]:
    return counts.n, counts.events


def score(log_value: float) -> str:
    """A betting score for people: three digits, and no more than they need."""
    return f"{math.exp(min(max(log_value, -700.0), 700.0)):.3g}"
