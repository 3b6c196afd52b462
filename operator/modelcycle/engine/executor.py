"""Runs a Plan against the port, in order, and stops at the first failure. Owns what each error means for the key, and what is done in spite
of it: Events of a status that was written, and what a plan says is to be done in any case.

Decides nothing about our kinds, never retries within a plan: the next reconciliation observes again.
"""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from typing import Any, Final, Protocol

from modelcycle.engine.plan import (
    Action,
    AnnotatePods,
    Apply,
    Create,
    Delete,
    Emit,
    Plan,
    PodAnnotation,
    Repair,
    WriteStatus,
)
from modelcycle.kube.errors import AlreadyExists, ApiError, Conflict, Forbidden, Invalid, NotFound, Throttled
from modelcycle.kube.port import Kube

SLOW_RETRY_SECONDS: Final = 300.0
ANNOTATED_AT_ONCE: Final = 32


class Result(StrEnum):
    """How a reconciliation ended; the `result` label of the metric."""

    SUCCESS = "success"
    """Every action landed."""
    OBSERVE_AGAIN = "observe_again"
    """The world had changed since it was read: conflict, name taken, object gone."""
    BACKOFF = "backoff"
    """The API server was slow, throttling or away; a write may have landed."""
    REFUSED = "refused"
    """The API server refused the write itself: RBAC, quota, policy, schema. A person has to act."""
    ERROR = "error"
    """A programming error."""
    GONE = "gone"
    """The object is gone or being deleted; nothing to do."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the worker does with the key next. `retry_after`: seconds to wait at least; None leaves it to the queue's backoff."""

    result: Result
    retry_after: float | None = None
    message: str = ""


class Recorder(Protocol):
    """Writes Events; never raises ApiError."""

    async def emit(self, event: Emit) -> None:
        """Record one Event."""


def outcome_of(error: ApiError) -> Outcome:
    """What an error of the port means, in `observe` as well as in a plan."""
    if isinstance(error, Conflict | AlreadyExists | NotFound):
        return Outcome(Result.OBSERVE_AGAIN, message=str(error))
    if isinstance(error, Forbidden | Invalid):
        return Outcome(Result.REFUSED, SLOW_RETRY_SECONDS, str(error))
    retry_after = error.retry_after if isinstance(error, Throttled) else None
    return Outcome(Result.BACKOFF, retry_after, str(error))


def events_due(actions: Sequence[Action], failed: int) -> tuple[Emit, ...]:
    """Events to write although `actions[failed]` failed: those of a status that was written before it.

    The next decision finds that status and has nothing to say of it any more.
    """
    if isinstance(actions[failed], WriteStatus) or not any(isinstance(a, WriteStatus) for a in actions[:failed]):
        return ()
    rest = takewhile(lambda action: not isinstance(action, WriteStatus), actions[failed + 1 :])
    return tuple(action for action in rest if isinstance(action, Emit))


class Executor:
    """Runs plans. One instance serves all workers; it holds no state between plans."""

    def __init__(self, kube: Kube, recorder: Recorder) -> None:
        self._kube = kube
        self._recorder = recorder

    async def run(self, plan: Plan) -> Outcome:
        """Run the actions in order. Raises nothing for errors of the API server."""
        run = _Run(self._kube, self._recorder)
        unheard: ApiError | None = None
        for at, action in enumerate(plan.actions):
            try:
                await run.act(action)
            except ApiError as error:
                if isinstance(action, AnnotatePods):
                    # Pods that cannot be told must not keep the rest of a rollback from happening.
                    unheard = error
                    continue
                outcome = outcome_of(error)
                if outcome.result is not Result.OBSERVE_AGAIN:
                    await self._in_any_case(run, plan)
                for event in events_due(plan.actions, at):
                    await self._recorder.emit(event)
                return outcome
        if unheard is not None:
            return outcome_of(unheard)
        return Outcome(Result.SUCCESS, plan.requeue_after)

    async def _in_any_case(self, run: "_Run", plan: Plan) -> None:
        for action in plan.even_if_refused:
            if isinstance(action, WriteStatus) and run.has_written(action):
                continue
            with contextlib.suppress(ApiError):
                await run.act(action)


@dataclass(frozen=True, slots=True)
class _Written:
    resource_version: str
    status: Mapping[str, Any]


class _Run:
    """One pass over one plan: remembers the statuses it wrote, so that a later write is based on them."""

    def __init__(self, kube: Kube, recorder: Recorder) -> None:
        self._kube = kube
        self._recorder = recorder
        self._written: dict[tuple[str, str, str], _Written] = {}

    async def act(self, action: Action) -> None:
        match action:
            case Create(kind, body):
                await self._kube.create(kind, _namespace(body), body)
            case Apply(kind, body, uid):
                await self._kube.apply(kind, _namespace(body), {**body, "metadata": {**body["metadata"], "uid": uid}})
            case Repair(kind, patch):
                await self._kube.merge_patch(kind, _namespace(patch), patch["metadata"]["name"], patch)
            case Delete(kind, namespace, name, uid):
                await self._kube.delete(kind, namespace, name, uid)
            case WriteStatus():
                await self._write_status(action)
            case Emit():
                await self._recorder.emit(action)
            case AnnotatePods(namespace, key, pods):
                await self._annotate(namespace, key, pods)

    def has_written(self, action: WriteStatus) -> bool:
        """Whether this pass wrote the status of that object."""
        return _place(action) in self._written

    async def _annotate(self, namespace: str, key: str, pods: tuple[PodAnnotation, ...]) -> None:
        gate = asyncio.Semaphore(ANNOTATED_AT_ONCE)

        async def one(pod: PodAnnotation) -> None:
            async with gate:
                with contextlib.suppress(NotFound, Conflict):
                    await self._kube.patch_pod_annotation(namespace, pod.name, pod.uid, key, pod.text)

        # One pod that cannot be reached must not keep the others from hearing: all are tried, then the first failure counts.
        outcomes = await asyncio.gather(*(one(pod) for pod in pods), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _write_status(self, action: WriteStatus) -> None:
        place = _place(action)
        last = self._written.get(place, _Written(action.resource_version, action.previous))
        if action.status == last.status:
            return
        written = await self._kube.apply_status(
            action.kind, action.namespace, action.name, action.status, last.resource_version
        )
        self._written[place] = _Written(written["metadata"]["resourceVersion"], action.status)


def _place(action: WriteStatus) -> tuple[str, str, str]:
    return (action.kind.plural, action.namespace, action.name)


def _namespace(body: Mapping[str, Any]) -> str:
    namespace: str = body["metadata"].get("namespace", "")
    return namespace
