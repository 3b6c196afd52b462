"""From a standing alarm to exactly one Experiment on new data, and what became of it. Pure, total, deterministic.

Owns the order: a Job looks at the data; the Experiment is asked for in the state; it is made only after a look has shown that it is not
there. Each step is stored before its effect. Never changes an Experiment that is there, and never makes a second one for the same data.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from modelcycle.api.conditions import timestamp
from modelcycle.api.driftmonitor import Mode, Monitor, RetrainSpec
from modelcycle.api.experiment import ExperimentReason, ExperimentSpec, parse
from modelcycle.api.fields import SpecError
from modelcycle.drift import retrain_manifests as manifests
from modelcycle.drift.retrain_state import Asked, NewData, RetrainState, RetrainWish
from modelcycle.engine.plan import Action, Create, Delete, Emit, EventType
from modelcycle.jobs.manifests import JobDefaults
from modelcycle.jobs.records import TaskRecord, TaskState, going_on
from modelcycle.jobs.results import Lost, Problem, Unfinished, of_failure, read
from modelcycle.jobs.views import JobView
from modelcycle.kube.kinds import DRIFT_MONITOR, EXPERIMENT, JOB
from modelcycle.kube.names import LABEL_LINEAGE
from modelcycle.kube.port import Object
from modelcycle_bundle.contract import FailureClass, FailureReason, InspectResult


class RetrainReason(StrEnum):
    """Where a retrain stands; reasons of a DriftMonitor."""

    LOOKING_AT_DATA = "LookingAtData"
    """A Job reads the new data."""
    DATA_UNAVAILABLE = "DataUnavailable"
    """The new data could not be read; the message says why. Looked at again by itself."""
    NO_NEW_DATA = "NoNewData"
    """The data are those that the live model, or an earlier retrain, was trained on. Looked at again by itself."""
    AWAITING_LABELS = "AwaitingLabels"
    """Fewer labelled rows than `minNewRows`. Looked at again by itself."""
    TEMPLATE_UNUSABLE = "TemplateUnusable"
    """The Experiment in `experimentTemplateRef` is missing or cannot be used."""
    RETRAIN_NAME_TAKEN = "RetrainNameTaken"
    """A Job or an Experiment of the name that is needed is there and not ours."""
    RETRAINING = "Retraining"
    """The new Experiment runs."""
    RETRAINED = "Retrained"
    """The new Experiment has sealed a model; those that follow the lineage judge it."""
    RETRAIN_NOT_BETTER = "RetrainNotBetter"
    """The retrained model is worse than the live one on the same holdout: the old one stays."""
    RETRAIN_FAILED = "RetrainFailed"
    """The new Experiment is stalled or was deleted: the old model stays."""


@dataclass(frozen=True, slots=True)
class RetrainFinding:
    """What is to be said of the retrain."""

    reason: RetrainReason
    message: str


@dataclass(frozen=True, slots=True)
class RetrainWorld:
    """Everything that `advance` reads."""

    monitor: Monitor
    now: datetime
    state: RetrainState
    job_defaults: JobDefaults
    template: Object | None = None
    live: str | None = None
    """Digest of the model that serves."""
    lineage: tuple[Object, ...] = ()
    """The Experiment that the template's lineage began with, when it is there, and those that carry its label."""
    asked: Object | None = None
    """The Experiment in `state.asked`, when it is there."""
    jobs: tuple[JobView, ...] = ()
    """The monitor's Jobs, while a look goes on or has just ended."""
    taken: str | None = None
    """Whose Job has the name of the present look when it is not ours."""


@dataclass(frozen=True, slots=True)
class RetrainStep:
    """Store `state` first, then do `actions`. `did` is for the alarm that wished it: what was done, or would have been; may be empty."""

    state: RetrainState
    actions: tuple[Action, ...] = ()
    did: str = ""
    finding: RetrainFinding | None = None


@dataclass(frozen=True, slots=True)
class _Standing:
    """Where the last Experiment stands."""

    finding: RetrainFinding
    did: str
    running: bool = False


def advance(world: RetrainWorld, wish: RetrainWish | None) -> RetrainStep:
    """The next step. `wish` is the standing alarm that matters most, None when there is none."""
    world = replace(world, state=_noted(world))
    spec, asked = world.monitor.spec.retrain, world.state.asked
    if spec is None:
        step = _rest(world, None)
        return step if asked is None or asked.seen else replace(step, state=replace(step.state, asked=None))
    if asked is not None and not asked.seen:
        return _ask(world, spec, asked)
    last = _standing(world, asked) if asked is not None else None
    if last is not None and last.running:
        return _rest(world, last, last.did)
    if wish is None or not wish.priority.at_least(spec.min_priority):
        return _rest(world, last)
    if world.monitor.spec.mode is Mode.OBSERVE:
        return _rest(world, last, "would retrain (observe)")
    again = asked.at + timedelta(seconds=spec.cooldown) if asked is not None else world.now
    if last is not None and world.now < again:
        return _rest(world, last, f"{last.did}; not again before {timestamp(again)}")
    template = _usable(world, spec)
    if isinstance(template, RetrainFinding):
        return _withheld(_rest(world, last), template)
    return _look(world, spec, template, wish)


def _rest(world: RetrainWorld, last: _Standing | None, did: str = "") -> RetrainStep:
    """No look goes on."""
    return RetrainStep(replace(world.state, wish=None), _deletes(world), did, last.finding if last else None)


def _withheld(step: RetrainStep, finding: RetrainFinding) -> RetrainStep:
    return replace(step, did=f"no retrain: {finding.reason}", finding=finding)


def _usable(world: RetrainWorld, spec: RetrainSpec) -> ExperimentSpec | RetrainFinding:
    named = f"spec.actions.retrain.experimentTemplateRef: Experiment {spec.template}"
    if world.template is None:
        return RetrainFinding(RetrainReason.TEMPLATE_UNUSABLE, f"{named} does not exist")
    try:
        template = parse(world.template)
    except SpecError as error:
        return RetrainFinding(RetrainReason.TEMPLATE_UNUSABLE, f"{named}: {error}")
    if manifests.data_secret(spec, template) == template.key_secret:
        text = f"spec.actions.retrain.data.secretRef: Secret {template.key_secret} holds the signing key"
        return RetrainFinding(RetrainReason.TEMPLATE_UNUSABLE, f"{text}: name the Secret with the store credentials")
    return template


# Looking at the data ---------------------------------------------------------------------------------------------


def _look(world: RetrainWorld, spec: RetrainSpec, template: ExperimentSpec, wish: RetrainWish) -> RetrainStep:
    subject, edition, state = wish.fingerprint, world.monitor.edition, world.state
    if state.look is not None and state.wish is None:
        record = state.look.again(subject, edition, world.now)
    else:
        record = going_on(state.look, subject, edition, world.now)
    # Pinned when the attempt starts: the window in the data's address must not move while a Job reads it.
    pinned = state.wish if state.wish is not None and record is state.look else wish
    state = replace(state, look=record, wish=pinned)
    if record.state is TaskState.FAILED and record.problem is not None:
        return _withheld(RetrainStep(state, _deletes(world, record)), _held(record.problem))
    job = next((job for job in world.jobs if _is_of(job, record)), None)
    if job is None:
        return _start(world, spec, template, state, record, pinned)
    match read(InspectResult, job, world.now):
        case Unfinished(note):
            return RetrainStep(
                state, _deletes(world, record), f"looking at new data: Job {job.name}", _looking(record, note)
            )
        case Lost(problem) | (Problem() as problem):
            return _failed(world, state, record, problem)
        case result:
            return _told(world, spec, state, record, pinned, result)


def _is_of(job: JobView, record: TaskRecord) -> bool:
    return job.attempt == record.attempt and job.search == record.subject and not job.deleting


def _start(
    world: RetrainWorld,
    spec: RetrainSpec,
    template: ExperimentSpec,
    state: RetrainState,
    record: TaskRecord,
    wish: RetrainWish,
) -> RetrainStep:
    body = manifests.look(world.monitor, spec, template, record, wish, world.job_defaults)
    name = body["metadata"]["name"]
    did = f"looking at new data: Job {name}"
    if world.taken is not None:
        text = f"Job {name} is there already and belongs to {world.taken}: delete or rename it"
        return _withheld(RetrainStep(state), RetrainFinding(RetrainReason.RETRAIN_NAME_TAKEN, text))
    if any(job.name == name for job in world.jobs):
        return RetrainStep(state, _deletes(world), did, _looking(record))
    return RetrainStep(state, (Create(JOB, body), *_deletes(world, record)), did, _looking(record))


def _told(
    world: RetrainWorld,
    spec: RetrainSpec,
    state: RetrainState,
    record: TaskRecord,
    wish: RetrainWish,
    result: InspectResult,
) -> RetrainStep:
    if result.failure is not None:
        return _failed(world, state, record, of_failure(result.failure))
    if result.data_digest is None:
        silent = Problem(FailureClass.INFRASTRUCTURE, FailureReason.INTERNAL, "the inspect Job reported no data digest")
        return _failed(world, state, record, silent)
    uri = result.data_uri or manifests.data_uri(spec, wish)
    data = NewData(uri, result.data_digest, result.rows or 0, result.labelled_rows or 0)
    assert world.template is not None
    name = manifests.experiment_name(world.monitor, manifests.lineage_of(world.template), data.digest)
    problem = _not_new(world, data, name) or _too_few(spec, data)
    if problem is not None:
        return _failed(world, state, record, problem)
    asked = Asked(name, wish, data, world.now, world.live)
    after = RetrainState(replace(record.passed(world.now), failures=0), None, asked)
    return RetrainStep(after, _deletes(world), f"retraining as Experiment {name}", _retraining(asked, "about to start"))


def _not_new(world: RetrainWorld, data: NewData, name: str) -> Problem | None:
    for experiment in world.lineage:
        metadata, status = experiment["metadata"], experiment.get("status") or {}
        is_retrain = LABEL_LINEAGE in (metadata.get("labels") or {})
        if metadata["name"] == name or (is_retrain and experiment["spec"]["data"].get("digest") == data.digest):
            why = f"Experiment {metadata['name']} was made for them already"
        elif world.live and _digest(status, "model") == world.live and _digest(status, "data") == data.digest:
            why = f"the live model was trained on them, by Experiment {metadata['name']}"
        else:
            continue
        return Problem(FailureClass.DATA, RetrainReason.NO_NEW_DATA, f"{_described(data)}: {why}")
    return None


def _too_few(spec: RetrainSpec, data: NewData) -> Problem | None:
    if data.labelled_rows >= spec.min_new_rows:
        return None
    text = f"{_described(data)}: {data.labelled_rows} of its {data.rows} rows are labelled, minNewRows is {spec.min_new_rows}"
    return Problem(FailureClass.DATA, RetrainReason.AWAITING_LABELS, text)


def _failed(world: RetrainWorld, state: RetrainState, record: TaskRecord, problem: Problem) -> RetrainStep:
    after = record.failed(problem, world.now)
    return _withheld(RetrainStep(replace(state, look=after), _deletes(world, record)), _held(problem))


def _held(problem: Problem) -> RetrainFinding:
    if problem.reason in (RetrainReason.NO_NEW_DATA, RetrainReason.AWAITING_LABELS):
        return RetrainFinding(RetrainReason(problem.reason), problem.message)
    text = f"{problem.reason}: {problem.message}"
    if problem.reason == FailureReason.OUT_OF_MEMORY:
        text += "; the field is of the Experiment that experimentTemplateRef names"
    return RetrainFinding(RetrainReason.DATA_UNAVAILABLE, text)


def _looking(record: TaskRecord, note: Problem | None = None) -> RetrainFinding:
    if record.problem is not None:
        return _held(record.problem)
    text = f"{note.reason}: {note.message} (trying again)" if note is not None else "a Job reads the new data"
    return RetrainFinding(RetrainReason.LOOKING_AT_DATA, text)


def _deletes(world: RetrainWorld, keep: TaskRecord | None = None) -> tuple[Delete, ...]:
    """All Jobs of the monitor but that of `keep`, which stays for its log."""
    old = (job for job in world.jobs if not job.deleting and not (keep is not None and _is_of(job, keep)))
    return tuple(Delete(JOB, world.monitor.namespace, job.name, job.uid) for job in old)


# The Experiment --------------------------------------------------------------------------------------------------


def _noted(world: RetrainWorld) -> RetrainState:
    """The state with what is seen of the last Experiment."""
    state, found = world.state, world.asked
    if state.asked is None or found is None or not (state.asked.seen or manifests.is_ours(world.monitor, found)):
        return state
    model = _digest(found.get("status") or {}, "model") or state.asked.model
    return replace(state, asked=replace(state.asked, seen=True, model=model))


def _ask(world: RetrainWorld, spec: RetrainSpec, asked: Asked) -> RetrainStep:
    """The Experiment was asked for and is not there yet, or is another's."""
    if world.asked is not None:
        text = f"Experiment {asked.experiment} is there and was not made by this monitor: delete or rename it"
        return _withheld(_rest(world, None), RetrainFinding(RetrainReason.RETRAIN_NAME_TAKEN, text))
    step = _rest(world, None, f"retraining as Experiment {asked.experiment}")
    template = _usable(world, spec)
    if isinstance(template, RetrainFinding):
        return _withheld(replace(step, state=replace(step.state, asked=None)), template)
    if world.monitor.spec.mode is Mode.OBSERVE:
        return replace(step, state=replace(step.state, asked=None), did="would retrain (observe)")
    assert world.template is not None
    create = Create(EXPERIMENT, manifests.experiment(world.monitor, spec, world.template, asked))
    told = _event(world.monitor, f"Experiment {asked.experiment} retrains on {_described(asked.data)}")
    return replace(step, actions=(*step.actions, create, told), finding=_retraining(asked, "about to start"))


def _standing(world: RetrainWorld, asked: Asked) -> _Standing:
    name = asked.experiment
    if asked.model is not None:
        return _Standing(_retrained(asked, asked.model), f"retrained as Experiment {name}")
    if world.asked is None:
        text = f"Experiment {name} was deleted before it had a model: what serves stays"
        return _Standing(RetrainFinding(RetrainReason.RETRAIN_FAILED, text), f"Experiment {name} was deleted")
    status = world.asked.get("status") or {}
    said = {c.get("type"): c for c in status.get("conditions") or ()}
    ready = said.get("Ready", {})
    words = f"{ready['reason']}: {ready.get('message', '')}" if ready.get("reason") else "about to start"
    if said.get("Stalled", {}).get("status") == "True":
        if ready.get("reason") == ExperimentReason.WORSE_THAN_DEPLOYED:
            return _Standing(_not_better(asked, status), f"Experiment {name} is worse than what serves")
        text = f"Experiment {name} is stalled, what serves stays: {words}"
        return _Standing(RetrainFinding(RetrainReason.RETRAIN_FAILED, text), f"Experiment {name} is stalled")
    return _Standing(_retraining(asked, words), f"retraining as Experiment {name}", running=True)


def _retraining(asked: Asked, words: str) -> RetrainFinding:
    text = f"Experiment {asked.experiment} on {_described(asked.data)}: {words}"
    return RetrainFinding(RetrainReason.RETRAINING, text)


def _retrained(asked: Asked, model: str) -> RetrainFinding:
    rollout = "that served already: no rollout follows" if model == asked.live else "for those that follow the lineage"
    text = f"Experiment {asked.experiment} made model {_short(model)} {rollout}"
    return RetrainFinding(RetrainReason.RETRAINED, f"{text}, from {_described(asked.data)}")


def _not_better(asked: Asked, status: Mapping[str, Any]) -> RetrainFinding:
    found = status.get("acceptance") or {}
    figures = (
        f"{found.get('metric')} {found.get('candidate')} against {found.get('deployed')} of model "
        f"{_short(str(found.get('deployedDigest')))} on {found.get('rows')} rows"
    )
    text = f"the retrained model is worse on the same holdout: the old one stays: {figures}"
    whole = f"{text}; Experiment {asked.experiment} on {_described(asked.data)}"
    return RetrainFinding(RetrainReason.RETRAIN_NOT_BETTER, whole)


def _described(data: NewData) -> str:
    return f"{data.uri} ({_short(data.digest)})"


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:8]


def _digest(status: Mapping[str, Any], part: str) -> str | None:
    digest = (status.get(part) or {}).get("digest")
    return str(digest) if digest else None


def _event(monitor: Monitor, note: str) -> Emit:
    return Emit(
        DRIFT_MONITOR,
        monitor.namespace,
        monitor.name,
        monitor.uid,
        EventType.NORMAL,
        RetrainReason.RETRAINING,
        "Retrain",
        note,
    )
