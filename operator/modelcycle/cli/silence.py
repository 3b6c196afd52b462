"""Whether the operator answers: how long a changed object has waited for it, and what its pods show. Owns the line; reads nothing."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from modelcycle.api.fields import part
from modelcycle.cli.views import Object, items, text, whole

QUIET: Final = timedelta(seconds=30)
"""A change that waits no longer is no sign of anything."""


def silence(objects: Sequence[Object], pods: Sequence[Object] | None, now: datetime) -> str:
    """`operator: no answer for 4 min, 5 restarts`; "" while it answers. `pods` None: the user may not read them."""
    waited = max((_waiting(obj, now) for obj in objects), default=timedelta())
    unready = min((_unready(pod, now) for pod in pods), default=timedelta()) if pods else timedelta()
    longest = max(waited, unready)
    if longest < QUIET:
        return ""
    words = [f"operator: no answer for {_span(longest)}"]
    if pods is None:
        words.append("its pods are not yours to read")
    elif not pods:
        words.append("it has no pod")
    restarts = sum(_restarts(pod) for pod in pods or ())
    if restarts:
        words.append(f"{restarts} {'restart' if restarts == 1 else 'restarts'}")
    return ", ".join(words)


def _waiting(obj: Object, now: datetime) -> timedelta:
    """How long the latest generation has waited: since somebody last wrote anything but status."""
    meta = part(obj, "metadata")
    if part(obj, "status").get("observedGeneration") == meta.get("generation"):
        return timedelta()
    written = [
        moment
        for field in items(meta, "managedFields")
        if not field.get("subresource") and (moment := _time(field, "time"))
    ]
    since = max(written, default=_time(meta, "creationTimestamp"))
    return now - since if since else timedelta()


def _unready(pod: Object, now: datetime) -> timedelta:
    conditions = items(part(pod, "status"), "conditions")
    ready = next((c for c in conditions if c.get("type") == "Ready"), {"lastTransitionTime": _created(pod)})
    since = _time(ready, "lastTransitionTime")
    return now - since if since and ready.get("status") != "True" else timedelta()


def _created(pod: Object) -> str:
    return text(part(pod, "metadata"), "creationTimestamp")


def _restarts(pod: Object) -> int:
    return sum(whole(container.get("restartCount")) for container in items(part(pod, "status"), "containerStatuses"))


def _time(raw: Object, name: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text(raw, name))
    except ValueError:
        return None


def _span(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
