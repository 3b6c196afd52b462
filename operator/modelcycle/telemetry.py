"""The operator's own metrics: one table, one place. Names follow controller-runtime's, prefixed `modelcycle_operator_`.

Owns the registry. Counts what it is told; never reads a clock, never decides. What objects show is in `objects`.
"""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from modelcycle.kube.kinds import Kind
from modelcycle.kube.port import Object
from modelcycle.objects import PREFIX, ObjectGauges

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Telemetry:
    """Every series of the operator. Labels are bounded: kinds, results, verbs and codes; names of objects in `objects` alone."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._reconciles = Counter(
            f"{PREFIX}_reconcile", "Reconciliations by result.", ["kind", "result"], registry=self.registry
        )
        self._seconds = Histogram(
            f"{PREFIX}_reconcile_seconds",
            "Time of one reconciliation.",
            ["kind"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._depth = Gauge(f"{PREFIX}_workqueue_depth", "Keys ready to be worked on.", registry=self.registry)
        self._adds = Counter(f"{PREFIX}_workqueue_adds", "Keys added to the queue.", registry=self.registry)
        self._retries = Counter(f"{PREFIX}_workqueue_retries", "Keys added after a failure.", registry=self.registry)
        self._requests = Counter(
            f"{PREFIX}_api_requests",
            "Requests to the API server; code 0: no answer.",
            ["verb", "code"],
            registry=self.registry,
        )
        self._refusals = Counter(
            f"{PREFIX}_refused_writes",
            "Plans that the API server refused (RBAC, quota, policy, schema).",
            ["kind"],
            registry=self.registry,
        )
        self._events = Counter(
            f"{PREFIX}_watch_events", "Watch events by the kind they were about.", ["kind"], registry=self.registry
        )
        self._lost_events = Counter(
            f"{PREFIX}_dropped_events", "Kubernetes Events not written.", ["cause"], registry=self.registry
        )
        self._leader = Gauge(f"{PREFIX}_leader", "1 while this replica may act.", registry=self.registry)
        self._lag = Gauge(
            f"{PREFIX}_loop_lag_seconds",
            "How late the event loop last woke a task: seconds mean too little CPU.",
            registry=self.registry,
        )
        self._started = Gauge(
            f"{PREFIX}_started_timestamp_seconds",
            "When this process started: each change is a restart.",
            registry=self.registry,
        )
        self._objects = ObjectGauges()
        self.registry.register(self._objects)
        ProcessCollector(registry=self.registry)

    def reconciled(self, kind: str, result: str, seconds: float) -> None:
        """One reconciliation ended."""
        self._reconciles.labels(kind, result).inc()
        self._seconds.labels(kind).observe(seconds)

    def refused(self, kind: str) -> None:
        """The API server refused a write of a plan."""
        self._refusals.labels(kind).inc()

    def queued(self, depth: int) -> None:
        """A key was added; `depth` keys are ready now."""
        self._adds.inc()
        self._depth.set(depth)

    def taken(self, depth: int) -> None:
        """A key was taken; `depth` keys are left."""
        self._depth.set(depth)

    def retried(self) -> None:
        """A key is tried again after a failure."""
        self._retries.inc()

    def requested(self, verb: str, code: int, seconds: float) -> None:
        """One request to the API server. `seconds` is unused: the API server exports latencies itself."""
        self._requests.labels(verb, str(code)).inc()

    def watched(self, kind: str) -> None:
        """One watch event came."""
        self._events.labels(kind).inc()

    def seen(self, kind: Kind, obj: Object) -> None:
        """One of our objects, as it is now."""
        self._objects.seen(kind, obj)

    def gone(self, kind: Kind, obj: Object) -> None:
        """One of our objects was deleted."""
        self._objects.gone(kind, obj)

    def listed(self, kind: Kind, objects: Sequence[Object]) -> None:
        """All objects of one of our kinds."""
        self._objects.listed(kind, objects)

    def event_dropped(self, cause: str) -> None:
        """An Event was not written: `rate` or `refused`."""
        self._lost_events.labels(cause).inc()

    def started(self, at: float) -> None:
        """The process started, in Unix seconds."""
        self._started.set(at)

    def late(self, seconds: float) -> None:
        """The event loop woke a task so late."""
        self._lag.set(seconds)

    def leading(self, share: int) -> None:
        """1 when this replica leads, 0 when not."""
        self._leader.set(share)

    def exposition(self) -> bytes:
        """All series in the Prometheus text format."""
        return generate_latest(self.registry)
