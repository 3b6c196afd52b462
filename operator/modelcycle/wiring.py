"""kopf as a shell: login and watch streams, nothing else. The only module that imports kopf.

Owns kopf's settings and one `on.event` handler per watched kind, which turns an event into keys for the queue. Handlers hold no state and
no decisions, return None (a value would be patched into the status) and write nothing: no finalizers, no annotations.
"""

import asyncio
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import kopf

from modelcycle.engine.owners import owners_of, subjects_of
from modelcycle.engine.plan import Key
from modelcycle.engine.reconciler import Reconciler
from modelcycle.engine.references import References
from modelcycle.engine.resync import key_of
from modelcycle.kube import kinds, names
from modelcycle.kube.kinds import Kind
from modelcycle.kube.port import Object

CHILD_KINDS: Final = (kinds.JOB, kinds.POD, kinds.CONFIG_MAP, kinds.SERVICE, kinds.DEPLOYMENT)
OUR_CHILDREN: Final = f"{names.MANAGED_BY}={names.MANAGER}"
SERVER_TIMEOUT: Final = 270.0
EXIT_SECONDS: Final = 60.0


class WatchObserver(Protocol):
    """What the watch streams report; `telemetry.Telemetry` is one."""

    def watched(self, kind: str) -> None:
        """One event came."""

    def seen(self, kind: Kind, obj: Object) -> None:
        """One of our objects, as it is now."""

    def gone(self, kind: Kind, obj: Object) -> None:
        """One of our objects was deleted."""


class WatchesEnded(Exception):
    """A watch stream died; the text names the task, the cause is attached."""


class JitteredBackoffs:
    """Seconds between retries of a watch or list: 1, 2, 4 ... 30 for ever, each cut at random. A finite list would end the operator."""

    def __iter__(self) -> Iterator[float]:
        longest = 1.0
        while True:
            yield longest * (0.5 + 0.5 * random.random())
            longest = min(30.0, longest * 2)


def settings() -> kopf.OperatorSettings:
    """How kopf behaves in this program; reasons in docs/architecture.md."""
    result = kopf.OperatorSettings()
    result.peering.standalone = True
    result.posting.enabled = False
    result.persistence.finalizer = f"{kinds.GROUP}/unused"
    result.scanning.disabled = True
    result.watching.server_timeout = int(SERVER_TIMEOUT * (0.9 + 0.2 * random.random()))
    result.watching.client_timeout = SERVER_TIMEOUT * 1.1 + 30.0
    result.networking.request_timeout = 30.0
    result.networking.error_backoffs = JitteredBackoffs()
    result.networking.enforce_retry_after = True
    result.process.ultimate_exiting_timeout = EXIT_SECONDS
    for kind in CHILD_KINDS:
        result.watching.label_selectors[kind.group, kind.version, kind.plural] = OUR_CHILDREN
    return result


def registry(
    reconcilers: Sequence[Reconciler[Any]],
    references: References,
    enqueue: Callable[[Key], None],
    observer: WatchObserver,
) -> kopf.OperatorRegistry:
    """One handler per watched kind."""
    result = kopf.OperatorRegistry()
    kopf.on.login(registry=result)(_login)
    for reconciler in reconcilers:
        _watch(result, reconciler.kind, _of_ours(reconciler, references, enqueue, observer))
    for kind in CHILD_KINDS:
        _watch(result, kind, _of_child(kind, enqueue, observer))
    return result


async def run(
    handlers: kopf.OperatorRegistry,
    namespace: str | None,
    identity: str,
    stop: asyncio.Event,
    started: Callable[[], None],
) -> None:
    """Watch until `stop` is set. `identity` is given to kopf, which would else ask for the name of a user that an image need not have.

    Calls `started` once kopf has taken the signals, so that the caller can take them back.

    Raises WatchesEnded as soon as one of kopf's tasks ends by itself. kopf then stops too, but can take up to EXIT_SECONDS over it while
    its other watchers wait for a login; meanwhile nobody would watch.
    """
    before = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        registry=handlers,
        settings=settings(),
        memo=kopf.Memo(),
        identity=identity,  # type: ignore[arg-type]  # a NewType over str that kopf does not export
        standalone=True,
        clusterwide=namespace is None,
        namespaces=[namespace] if namespace else [],
        stop_flag=stop,
    )
    started()
    running = asyncio.create_task(kopf.run_tasks(tasks, ignored=before), name="kopf")
    ended, _ = await asyncio.wait({running, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    if not stop.is_set():
        first = next(iter(ended))
        raise WatchesEnded(f"kopf's task {first.get_name()!r} ended") from first.exception()
    await running


def _login(settings: kopf.OperatorSettings, **_: Any) -> kopf.ConnectionInfo | None:
    """The same order as kube.transport.login."""
    if os.environ.get("KUBECONFIG") or not os.environ.get("KUBERNETES_SERVICE_HOST"):
        return kopf.login_with_kubeconfig(settings=settings)
    return kopf.login_with_service_account(settings=settings)


def _watch(into: kopf.OperatorRegistry, kind: Kind, handle: Callable[[Mapping[str, Any]], None]) -> None:
    async def handler(event: Mapping[str, Any], **_: Any) -> None:
        handle(event)

    kopf.on.event(kind.group, kind.version, kind.plural, id=f"watch-{kind.plural}", registry=into)(handler)


def _of_ours(
    reconciler: Reconciler[Any], references: References, enqueue: Callable[[Key], None], observer: WatchObserver
) -> Callable[[Mapping[str, Any]], None]:
    def handle(event: Mapping[str, Any]) -> None:
        observer.watched(reconciler.kind.kind)
        obj = event["object"]
        key = key_of(reconciler.kind, obj)
        if event["type"] == "DELETED":
            references.remove(key)
            observer.gone(reconciler.kind, obj)
        else:
            observer.seen(reconciler.kind, obj)
            references.update(key, reconciler.references(obj))
        enqueue(key)
        for subject in subjects_of(key, obj):
            for dependent in references.dependents(subject):
                enqueue(dependent)

    return handle


def _of_child(
    kind: Kind, enqueue: Callable[[Key], None], observer: WatchObserver
) -> Callable[[Mapping[str, Any]], None]:
    def handle(event: Mapping[str, Any]) -> None:
        observer.watched(kind.kind)
        for key in owners_of(event["object"]):
            enqueue(key)

    return handle
