"""What to do about an Experiment: pure, total and deterministic. Owns the order of the gates and of a plan's actions.

A plan writes status first (intent), then the ledger (facts), then makes Jobs, then deletes Jobs whose ledger line was read back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from modelcycle.api.conditions import Outcome
from modelcycle.api.experiment import (
    DEFAULT_STORE_SECRET,
    STATE_VERSION,
    ExperimentReason,
    ExperimentSpec,
    TrialState,
    canonical,
    parse,
)
from modelcycle.api.fields import SpecError
from modelcycle.engine import newer
from modelcycle.engine.plan import Action, Apply, Create, Emit, EventType, Plan, WriteStatus
from modelcycle.experiment import (
    acceptance,
    comparison,
    keeping,
    manifests,
    retention,
    sealing,
    status,
    tasks,
    tidying,
    trials,
)
from modelcycle.experiment import inspection as inspections
from modelcycle.experiment.acceptance import Judgement
from modelcycle.experiment.explain import condition_reason, describe
from modelcycle.experiment.history import History, best, reaches_goal
from modelcycle.experiment.inspection import Inspection
from modelcycle.experiment.ledger import Entry, append
from modelcycle.experiment.manifests import JobOrder
from modelcycle.experiment.sealing import Sealing
from modelcycle.experiment.search import assignment, planned_trials
from modelcycle.experiment.status import Progress, Standing, best_text
from modelcycle.experiment.trials import Trials
from modelcycle.experiment.world import World
from modelcycle.jobs.manifests import Owner
from modelcycle.jobs.records import TaskState, read_task
from modelcycle.jobs.views import JobView
from modelcycle.kube.kinds import CONFIG_MAP, EXPERIMENT, JOB
from modelcycle_bundle.contract import TaskKind
from modelcycle_bundle.metric_names import MONITORED_COLUMNS

SPEC_LIMIT: Final = 64 * 1024
EVENTS_PER_LOOK: Final = 5
WIDE_TABLE: Final = "WideTable"
NAME_RETRY_SECONDS: Final = 30.0
SOON_SECONDS: Final = 0.5
GOING_SECONDS: Final = 5.0
"""A Job of ours of that name is still going away."""


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything known after one look, before the verdict."""

    world: World
    spec: ExperimentSpec
    planned: int
    inspection: Inspection
    trials: Trials
    history: History
    best: Entry | None

    @property
    def over(self) -> bool:
        """The goal is reached, or every planned trial is settled."""
        return reaches_goal(self.spec, self.best) or all(i in self.history.settled for i in range(self.planned))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the situation means: what users read, and what may happen."""

    standing: Standing
    may_start: bool = False
    inspects: bool = False
    stops_trials: bool = False
    acceptance: Judgement | None = None
    sealing: Sealing | None = None


def decide(world: World) -> Plan:
    """The plan for this world."""
    if world.status.get("stateVersion", STATE_VERSION) > STATE_VERSION:
        return Plan(newer.held(EXPERIMENT, world.obj["metadata"], world.status, STATE_VERSION, world.now))
    try:
        spec = parse(world.obj)
        if len(canonical(world.obj["spec"]).encode()) > SPEC_LIMIT:
            raise SpecError(f"spec: larger than {SPEC_LIMIT} bytes as JSON: make spec.trainer's fixed values smaller")
    except SpecError as error:
        standing = Standing(Outcome.STALLED, ExperimentReason.INVALID_SPEC, str(error))
        return Plan(_written(world, status.bare(world, standing), standing))
    situation = _assess(world, spec)
    taken = [o for o in world.occupied if not o.ours]
    if taken:
        text = "; ".join(f"{o.kind.kind} {o.name} is there already and belongs to {o.owner}" for o in taken)
        standing = Standing(
            Outcome.STALLED, ExperimentReason.NAME_TAKEN, f"{text}: delete or rename it", suspended=spec.suspend
        )
        verdict = Verdict(standing)
        shown = status.render(world, standing, _progress(situation, verdict, situation.trials.running))
        return Plan(_written(world, shown, standing), NAME_RETRY_SECONDS)
    return _plan(situation, _judge(situation))


def _assess(world: World, spec: ExperimentSpec) -> Situation:
    entries = tuple(e for page in world.pages for e in page.entries)
    succeeded = any(e.search == spec.search_hash and e.state is TrialState.SUCCEEDED for e in entries)
    inspection = inspections.look(world, spec, keep_pin=succeeded)
    pin = spec.data.digest or inspection.data.get("digest")
    found = trials.look(world, spec, History(entries, spec.search_hash, pin), inspected=inspection.passed)
    if found.holds is not None and inspection.record.state is not TaskState.FAILED:
        inspection = inspections.held(world, spec, inspection, found.holds)
    elif inspection.passed:
        inspection = replace(inspection, record=inspections.after_trials(inspection.record, found))
    history = History(entries + found.ended, spec.search_hash, pin)
    winner = best(spec, tuple(history.settled.values()))
    return Situation(world, spec, planned_trials(spec), inspection, found, history, winner)


def _judge(at: Situation) -> Verdict:
    """The first gate that applies."""
    spec, world = at.spec, at.world
    if at.over and at.best is not None and sealing.is_sealed(world, at.best):
        said = acceptance.words(world, at.best)
        return Verdict(Standing(Outcome.READY, ExperimentReason.SUCCEEDED, _success(at, said)), stops_trials=True)
    secret = _forbidden_secret(spec)
    if secret is not None:
        return _stalled(at, ExperimentReason.FORBIDDEN_SECRET, secret, stops_trials=True)
    if at.over and at.best is None:
        return _stalled(at, ExperimentReason.NO_USABLE_TRIAL, _no_usable(at), stops_trials=True)
    failures = at.history.count(TrialState.FAILED)
    if failures >= spec.max_failed and not reaches_goal(spec, at.best):
        text = f"{failures} trials failed, spec.maxFailedTrialCount is {spec.max_failed}; {_last_failure(at)}"
        return _stalled(at, ExperimentReason.MAX_FAILED_TRIALS_REACHED, text, stops_trials=True)
    problem = at.inspection.record.problem
    if problem is not None:  # stands until a look, or a trial, says otherwise
        text = describe(problem, world.namespace, spec.key_secret)
        stalled = _stalled(at, condition_reason(problem), text, stops_trials=at.inspection.stops_trials)
        return replace(stalled, inspects=True, may_start=at.inspection.passed and not spec.suspend)
    if at.over and at.best is not None and at.inspection.passed:
        return _finish(at, at.best)
    return _search(at)


def _stalled(at: Situation, reason: ExperimentReason, text: str, *, stops_trials: bool) -> Verdict:
    return Verdict(
        Standing(Outcome.STALLED, reason, text, suspended=at.spec.suspend),
        stops_trials=stops_trials,
    )


def _search(at: Situation) -> Verdict:
    if at.spec.suspend:
        text = f"spec.suspend is true: no new Job starts; {_progress_text(at)}"
        return Verdict(Standing(Outcome.RECONCILING, ExperimentReason.SUSPENDED, text, suspended=True))
    note = at.inspection.note
    if note is not None:
        text = f"{describe(note, at.world.namespace, at.spec.key_secret)} (trying again); {_progress_text(at)}"
        standing = Standing(Outcome.RECONCILING, condition_reason(note), text)
    else:
        standing = Standing(Outcome.RECONCILING, ExperimentReason.SEARCHING, _progress_text(at))
    return Verdict(standing, may_start=at.inspection.passed or at.inspection.first_try, inspects=True)


def _finish(at: Situation, winner: Entry) -> Verdict:
    """The search is over: judge its best trial, then seal it."""
    if at.spec.suspend:
        text = f"spec.suspend is true: trial {winner.index} is not sealed yet"
        return Verdict(
            Standing(Outcome.RECONCILING, ExperimentReason.SUSPENDED, text, suspended=True), stops_trials=True
        )
    judged = acceptance.judge(at.world, at.spec, winner)
    if judged.standing is not None:
        return Verdict(judged.standing, stops_trials=True, acceptance=judged)
    return _seal(at, winner, judged)


def _seal(at: Situation, winner: Entry, judged: Judgement) -> Verdict:
    losing = retention.losing(at.spec, at.history, at.trials.running, winner)
    found = sealing.look(at.world, at.spec, winner, losing)
    record = found.record
    if record is not None and record.state is TaskState.PASSED:
        said = str(judged.shown.get("message", ""))
        standing = Standing(Outcome.READY, ExperimentReason.SUCCEEDED, _success(at, said))
    elif record is not None and record.problem is not None:
        text = f"sealing trial {winner.index}: {describe(record.problem, at.world.namespace, at.spec.key_secret)}"
        standing = Standing(Outcome.STALLED, condition_reason(record.problem), text)
    else:
        text = f"sealing trial {winner.index} ({best_text(winner)}) of {len(at.history.settled)} trials"
        standing = Standing(Outcome.RECONCILING, ExperimentReason.SEALING, text)
    return Verdict(standing, stops_trials=True, acceptance=judged, sealing=found)


def _forbidden_secret(spec: ExperimentSpec) -> str | None:
    for field, name in (("spec.data.secretRef", spec.data.secret), ("spec.output.secretRef", spec.output_secret)):
        if (name or DEFAULT_STORE_SECRET) == spec.key_secret:
            return f"{field} names the signing key's Secret {spec.key_secret}: a trial must never reach the key"
    return None


def _progress_text(at: Situation, running: int | None = None) -> str:
    done = len(at.history.settled)
    running = len(at.trials.running) if running is None else running
    text = f"{done}/{at.planned} trials done, {running} running"
    if at.best is not None:
        text += f", best {best_text(at.best)} (trial {at.best.index})"
    unreadable = sum(page.unreadable for page in at.world.pages)
    return text + (f"; {unreadable} ledger lines are unreadable" if unreadable else "")


def _success(at: Situation, accepted: str) -> str:
    assert at.best is not None
    count = len(at.history.settled)
    text = f"best of {count} trial{'s' if count != 1 else ''}: {best_text(at.best)} (trial {at.best.index}), sealed"
    text += f"; {accepted}" if accepted else ""
    if reaches_goal(at.spec, at.best):
        return f"{text}; goal reached"
    if at.spec.parameters and at.planned < at.spec.max_trials:
        return f"{text}; search space exhausted after {at.planned} points"
    return text


def _no_usable(at: Situation) -> str:
    return f"none of {at.planned} trials has a usable objective; {_last_failure(at)}"


def _last_failure(at: Situation) -> str:
    poor = [e for e in at.history.settled.values() if e.state is not TrialState.SUCCEEDED]
    if not poor:
        return ""
    last = max(poor, key=lambda e: e.index)
    return f"trial {last.index}: {last.reason}: {last.message}"


def _plan(at: Situation, verdict: Verdict) -> Plan:
    world, owner = at.world, manifests.owner_of(at.world.name, at.world.namespace, at.world.uid)
    running = () if verdict.stops_trials else at.trials.running
    new = at.trials.ended + (trials.stopped(at.spec, at.trials.running) if verdict.stops_trials else ())
    starting = _starting(at, running) if verdict.may_start else ()
    at = replace(at, history=replace(at.history, entries=at.history.entries[: -len(at.trials.ended) or None] + new))
    standing = verdict.standing
    if standing.reason is ExperimentReason.SEARCHING:
        standing = replace(standing, message=_progress_text(at, len(running)))
    # Only Jobs that were seen count as running: one that is about to be made may be refused.
    shown = status.render(world, standing, _progress(at, verdict, running))
    ours_already = {o.name for o in world.occupied}
    orders = [*_orders(at, verdict), *starting]
    jobs = [manifests.job(owner, at.spec, world.training_image, order, world.pod_user) for order in orders]
    actions: list[Action] = [
        *keeping.kept(world, owner, ours_already),
        *_written(world, shown, standing),
        *_ledger(at, owner, new),
        *(Create(JOB, body) for body in jobs if body["metadata"]["name"] not in ours_already),
        *tidying.deletes(world, at.spec),
        *_failure_events(world, new),
        *_width_events(at),
        *(_event(world, EventType.WARNING, one.reason, one.note) for one in keeping.lacking(world)[:EVENTS_PER_LOOK]),
    ]
    return Plan(_events_last(actions), _look_again(at, verdict, new, soon=bool(ours_already)))


def _events_last(actions: Sequence[Action]) -> tuple[Action, ...]:
    return (*(a for a in actions if not isinstance(a, Emit)), *(a for a in actions if isinstance(a, Emit)))


def _starting(at: Situation, running: Sequence[JobView]) -> tuple[JobOrder, ...]:
    """The lowest trials that are neither settled nor running, up to the parallelism."""
    busy = {job.index for job in running}
    free = [i for i in range(at.planned) if i not in at.history.settled and i not in busy]
    pin = at.spec.data.digest or (at.inspection.data.get("digest") if at.inspection.passed else None)
    orders = []
    for index in free[: max(0, at.spec.parallel - len(running))]:
        identity = (index, at.history.attempt(index))
        task = tasks.trial(
            at.spec, at.world.name, at.world.uid, identity, assignment(at.spec, index), pin, at.world.extra_estimators
        )
        orders.append(JobOrder(TaskKind.TRIAL, *identity, task))
    return tuple(orders)


def _orders(at: Situation, verdict: Verdict) -> tuple[JobOrder, ...]:
    if at.spec.suspend or verdict.standing.reason is ExperimentReason.FORBIDDEN_SECRET:
        return ()
    inspect = (at.inspection.order,) if verdict.inspects else ()
    collect = () if verdict.stops_trials else at.trials.collect
    compare = (verdict.acceptance.comparison.order,) if verdict.acceptance else ()
    seal = (verdict.sealing.order,) if verdict.sealing else ()
    return tuple(order for order in (*inspect, *collect, *compare, *seal) if order is not None)


def _ledger(at: Situation, owner: Owner, new: Sequence[Entry]) -> list[Action]:
    actions: list[Action] = []
    for write in append(at.world.pages, new):
        body = manifests.ledger_page(owner, write)
        actions.append(Apply(CONFIG_MAP, body, write.page.uid) if write.page else Create(CONFIG_MAP, body))
    return actions


def _progress(at: Situation, verdict: Verdict, running: Sequence[JobView]) -> Progress:
    found, judged = verdict.sealing or sealing.idle(at.world), verdict.acceptance or acceptance.idle(at.world)
    return Progress(
        spec=at.spec,
        planned=at.planned,
        history=at.history,
        running=len(running),
        best=at.best,
        inspection=at.inspection.record,
        comparison=comparison.write(judged.comparison),
        acceptance=judged.shown,
        sealing=found.record,
        data=at.inspection.data,
        signing_key=at.inspection.signing_key,
        model=found.model,
        candidates=found.candidates,
    )


def _look_again(at: Situation, verdict: Verdict, new: Sequence[Entry], *, soon: bool) -> float | None:
    """Seconds until the next due time; soon after ledger writes, whose Jobs wait to be deleted."""
    changed = at.inspection.record != read_task(at.world.status.get("inspection"))
    if new or changed:
        return SOON_SECONDS
    if soon:
        return GOING_SECONDS
    found, compared = verdict.sealing, verdict.acceptance.comparison if verdict.acceptance else None
    if found is not None and found.record != read_task(at.world.status.get("sealing")):
        return SOON_SECONDS
    if compared is not None and compared.record != comparison.stored(at.world).record:
        return SOON_SECONDS
    dues: list[datetime | None] = [at.inspection.due, at.trials.due]
    dues += [step.due for step in (found, compared) if step is not None]
    if verdict.standing.outcome is Outcome.READY or at.spec.suspend:
        dues = [at.trials.due]
    waits = [(due - at.world.now).total_seconds() for due in dues if due is not None]
    return max(1.0, min(waits)) if waits else None


def _written(world: World, shown: dict[str, Any], standing: Standing) -> tuple[Action, ...]:
    metadata = world.obj["metadata"]
    write = WriteStatus(EXPERIMENT, world.namespace, world.name, metadata["resourceVersion"], shown, dict(world.status))
    before: dict[str, Any] = next((c for c in world.status.get("conditions") or () if c.get("type") == "Ready"), {})
    if before.get("reason") == standing.reason:
        return (write,)
    kind = EventType.WARNING if standing.outcome is Outcome.STALLED else EventType.NORMAL
    return (write, _event(world, kind, standing.reason, standing.message))


def _failure_events(world: World, new: Sequence[Entry]) -> list[Action]:
    poor = [e for e in new if e.state in (TrialState.FAILED, TrialState.METRICS_UNAVAILABLE)]
    return [
        _event(world, EventType.WARNING, f"Trial{e.state}", f"trial {e.index}: {e.reason}: {e.message}")
        for e in poor[:EVENTS_PER_LOOK]
    ]


def _width_events(at: Situation) -> list[Action]:
    """Told once, when the inspection passes, while a narrower table costs nothing yet."""
    before, columns = read_task(at.world.status.get("inspection")), int(at.inspection.data.get("columns") or 0)
    is_known = before is not None and before.state is at.inspection.record.state
    if not at.inspection.passed or is_known or columns <= MONITORED_COLUMNS:
        return []
    text = (
        f"spec.data has {columns} columns: a DriftMonitor can read the counts of about {MONITORED_COLUMNS}, rollouts are not affected; "
        "leave columns out of the table, or run no DriftMonitor on its models"
    )
    return [_event(at.world, EventType.WARNING, WIDE_TABLE, text)]


def _event(world: World, kind: EventType, reason: str, note: str) -> Emit:
    return Emit(EXPERIMENT, world.namespace, world.name, world.uid, kind, str(reason), "Reconcile", note[:1000])


def creations(plan: Plan) -> tuple[Create, ...]:
    """What the plan would create: `observe` looks whether the names are free."""
    return tuple(action for action in plan.actions if isinstance(action, Create))
