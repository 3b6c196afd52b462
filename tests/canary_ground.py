"""What rollouts are tried with on the real cluster: sealed models of one namespace, and lines that serve one of them to clients.

Owns the objects and the questions, and waits for answers. Judges nothing but that an object got where it was asked to go.
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import sealed_models
from demo import records, store, watch
from demo.kubectl import Kubectl, KubectlError, condition, describe, is_current, is_stalled
from demo.scene import operator_settings
from demo.traffic import Clients, Phase
from modelcycle_bundle.metric_names import METRICS_PORT
from plant import KUBECONFIG, SYSTEM_NAMESPACE, Plant, new_plant
from sealed_models import Model, SealedModels

SECONDS: Final = 300.0
RATE: Final = 40
"""Requests a second of a line's clients."""
CONNECTIONS: Final = 8
"""That clients keep open."""
ROWS: Final = 64
Steps = Sequence[Mapping[str, Any]]
SMALL: Final = {"requests": {"cpu": "10m"}}
"""Pods that find room on a busy node."""
STEPS: Final[Steps] = ({"setWeight": 50}, {"analysis": {}})
QUICK: Final = {"interval": "1s", "metrics": [{"name": "errors", "harmFloor": "0.05"}]}
"""Evidence that takes about 80 requests of a canary without errors."""

Object = Mapping[str, Any]
Until = Callable[[Object], bool]


@dataclass(frozen=True, slots=True)
class Ground:
    """A namespace that trusts the sealed models."""

    plant: Plant
    models: SealedModels

    @property
    def usual(self) -> Model:
        """The model that a line serves first."""
        return self.models.usual

    @property
    def equal(self) -> Model:
        """Gives the same answers under another digest."""
        return self.models.equal

    @property
    def broken(self) -> Model:
        """The usual model with a graph that raises on all but its golden rows, passed through the real `seal`."""
        return self.models.broken

    @property
    def kubectl(self) -> Kubectl:
        """In the namespace."""
        return self.plant.kubectl

    def line(self, name: str, replicas: int = 1) -> "Line":
        """A line of this name; nothing is applied yet."""
        return Line(self, name, replicas)

    def serving(self, name: str, replicas: int = 1) -> "Line":
        """A line of this name that serves the usual model."""
        line = self.line(name, replicas)
        line.serve(self.usual)
        return line


def prepare(plant: Plant, models: SealedModels) -> Ground:
    """Give a namespace without a key the one that the models were signed with."""
    models.trusted_in(plant.kubectl)
    return Ground(plant, models)


@contextmanager
def new_ground() -> Iterator[Ground]:
    """The same in a new namespace, for the length of the block: for programs that have no fixtures."""
    system = Kubectl(KUBECONFIG, SYSTEM_NAMESPACE)
    credentials = store.environment(system)
    with store.opened(system, credentials) as buckets, new_plant(buckets, credentials) as plant:
        yield prepare(plant, sealed_models.of_this_build(buckets, credentials))


@dataclass(frozen=True, slots=True)
class Line:
    """A ModelDeployment with clients of its own."""

    ground: Ground
    name: str
    replicas: int

    @property
    def kubectl(self) -> Kubectl:
        """In its namespace."""
        return self.ground.kubectl

    @property
    def clients(self) -> Clients:
        """Those of this line."""
        return Clients(self.kubectl, f"load-{self.name}", self.name)

    def ask(
        self,
        model: Model,
        *,
        steps: Steps = STEPS,
        analysis: Mapping[str, Any] = QUICK,
        guard: str = "1s",
        **spec: Any,
    ) -> None:
        """Apply the ModelDeployment, as GitOps does. `spec` is laid over all else."""
        canary = {"steps": list(steps), "analysis": dict(analysis), "guardWindow": guard}
        whole = {
            "model": model.spec,
            "server": {"replicas": self.replicas, "resources": SMALL},
            "strategy": {"canary": canary},
            "progressDeadlineSeconds": 300,
        }
        self.kubectl.place(self.ground.plant.deployment(self.name, **{**whole, **spec}))

    def wait(
        self, until: Until, *, seconds: float = SECONDS, each: Callable[[dict[str, Any]], None] | None = None
    ) -> dict[str, Any]:
        """Poll the ModelDeployment."""
        return self.kubectl.wait("modeldeployment", self.name, until, seconds, each=each)

    @contextmanager
    def states(self) -> Iterator[Iterator[dict[str, Any]]]:
        """Every state of the ModelDeployment from now on, the present one first; the iterator waits for the next one."""
        with self.kubectl.watch("modeldeployment", self.name) as states:
            yield (state for state in states if state is not None)

    def ended(self, *, each: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any]:
        """The ModelDeployment when there is nothing left to do about the spec that was asked for last."""
        return self.wait(lambda o: is_current(o) or is_stalled(o), each=each)

    def serve(self, model: Model, **spec: Any) -> None:
        """The first model, and clients for it."""
        self.ask(model, **spec)
        done = self.ended()
        assert is_current(done), describe(done)

    def load(self) -> None:
        """Start clients and let them ask; they go on until `clients.stop()`."""
        self.clients.start(operator_settings(self.kubectl)["MODELCYCLE_SERVING_IMAGE"], {"rows": records.rows(ROWS)})
        self.turn("begin")

    def turn(self, phase: str) -> None:
        """Go on under another name, to be counted apart."""
        self.clients.turn(Phase(phase, "rows", RATE))

    def pods(self, revision: str) -> list[dict[str, Any]]:
        """Pods of a revision that are not ending, by name."""
        selector = f"modelcycle.dev/deployment={self.name},modelcycle.dev/revision={revision}"
        found = json.loads(self.kubectl.run("get", "pods", "-l", selector, "-o", "json"))["items"]
        living = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
        return sorted(living, key=lambda pod: str(pod["metadata"]["name"]))

    def page(self, pod: str) -> watch.Page:
        """What a pod says of what it hands on."""
        place = f"/api/v1/namespaces/{self.kubectl.namespace}/pods/{pod}:{METRICS_PORT}/proxy/metrics"
        return watch.read(self.kubectl.run("get", "--raw", place))

    def answers(self, revision: str, rollout: str) -> int:
        """Answers of both arms that the pods of a revision have counted in a rollout."""
        pages = [self.page(pod["metadata"]["name"]) for pod in self.pods(revision)]
        arms = [page.arms[rollout] for page in pages if rollout in page.arms]
        return sum(each.canary + each.stable for each in arms)

    def person(self, verb: str, *options: str) -> subprocess.CompletedProcess[str]:
        """`kubectl modelcycle <verb>` for this line."""
        command = ["kubectl", "modelcycle", verb, self.name, "-n", self.kubectl.namespace, "--wait", "60", *options]
        return subprocess.run(command, capture_output=True, text=True, env=self.kubectl.environment(), check=False)


def reason(obj: Object) -> str:
    """Of Ready, for the spec that was applied last; empty while it is unanswered."""
    ready = condition(obj, "Ready")
    fresh = ready.get("observedGeneration") == obj["metadata"]["generation"]
    return str(ready.get("reason", "")) if fresh else ""


def canary(obj: Object) -> Mapping[str, Any]:
    """`status.canary`; empty when there is none."""
    found: Mapping[str, Any] = obj.get("status", {}).get("canary") or {}
    return found


def counted(obj: Object) -> tuple[int, int]:
    """Answers of the canary and of both arms in `status.analysis`."""
    metrics = (obj.get("status", {}).get("analysis") or {}).get("metrics") or []
    if not metrics:
        return 0, 0
    answers = int(metrics[0]["canary"]["n"])
    return answers, answers + int(metrics[0]["stable"]["n"])


def rejections(obj: Object) -> dict[str, str]:
    """Reasons by digest."""
    return {item["digest"]: item["reason"] for item in obj.get("status", {}).get("rejected", ())}


def eventually(holds: Callable[[], bool], what: str) -> None:
    """Poll until it holds; an API server that does not answer is waited for."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            if holds():
                return
        except KubectlError:
            pass
        time.sleep(0.5)
    raise AssertionError(f"never happened: {what}")
