"""Serving pods that hand requests on as their annotation says and count both arms, and the sampler that reads them, in virtual time.

Owns the requests, their answers and the counters. How often a model fails is data (a rate by digest); requests are drawn from a seeded
generator, so that a run can be repeated. Only what a rollout is judged by is modelled.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from fakes.memory_kube import MemoryKube
from modelcycle.engine.plan import Key
from modelcycle.kube.kinds import CONTROLLER_REVISION, POD, SERVICE
from modelcycle.metrics.port import PodCounters, PodFailure, Round, RunId, Samples, Series, ServedModel, Target
from modelcycle.metrics.runs import fold
from modelcycle_bundle import client_inputs
from modelcycle_bundle import metric_names as names
from modelcycle_bundle.traffic import ANNOTATION, SHARE_DENOMINATOR, Traffic, parse

Json = dict[str, Any]
ALWAYS: Final = 1.0


@dataclass
class PodState:
    """One pod's counters. `phase` carries the remainder of the exact share."""

    epoch: float
    phase: int = 0
    rollout: str = ""
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    rescued: int = 0


@dataclass
class Arms:
    """Requests at `rate` a second for one ModelDeployment, spread evenly over the pods behind its Service."""

    kube: MemoryKube
    namespace: str
    name: str
    clock: Callable[[], datetime]
    failing: dict[str, float] = field(default_factory=dict)
    """Probability of a failed answer by digest; absent: 0."""
    refusing: dict[str, float] = field(default_factory=dict)
    """Probability of a 4xx by digest, of requests that others accept."""
    slow: dict[str, float] = field(default_factory=dict)
    """Probability of an answer after canaryTimeout by digest."""
    earlier_image: bool = False
    """Pods count no late answers of stable, have no series for them, and do not say which form their answers have."""
    inputs: dict[str, str] = field(default_factory=dict)
    """Hash of the inputs by digest."""
    features: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Names of the inputs that a model reads, by digest, for servers that say them."""
    clients: tuple[str, ...] = ()
    """Inputs of the single tensor that clients send."""
    misread: int = 0
    """Answers by a pod that takes a single tensor to be in another order."""
    outputs: dict[str, str] = field(default_factory=dict)
    """Hash of the form of the answers by digest; "" for a server that does not say."""
    rate: float = 0.0
    seed: int = 7
    outage: str | None = None
    """Why no reading can be taken now, or None."""
    deaf: set[str] = field(default_factory=set)
    """Uids of pods whose counters cannot be read."""
    missed: set[int] = field(default_factory=set)
    """Seqs of annotations that the kubelet misses: pods go on with what they had."""
    requests: int = 0
    bad_answers: int = 0
    """Answers that users saw as failures."""
    by_digest: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._pods: dict[str, PodState] = {}
        self._heard: dict[str, Traffic] = {}
        self._owed = 0.0
        self._turn = 0
        self._models: dict[str, str] = {}
        self._digests: dict[str, str] = {}
        self._taken: dict[str, tuple[str, ...]] = {}
        self._samples: Samples | None = None
        self._problem: str | None = None
        self.tracked: Target | None = None

    # What the pods do.

    def serve(self, seconds: float) -> None:
        """Answer the requests of this much time. Nothing in the cluster changes meanwhile, so it is looked at once."""
        self._owed += self.rate * seconds
        if self._owed < 1.0:
            return
        self._follow()
        pods = {pod["metadata"]["uid"]: pod for pod in self._all()}
        told = {uid: self._told(pod) for uid, pod in pods.items()}
        digests = {uid: self._digest(pod) for uid, pod in pods.items()}
        behind = [pod["metadata"]["uid"] for pod in self._behind()]
        reached = {t.target: [u for u, p in pods.items() if self._reaches(t.target, p)] for t in told.values()}
        self._digests, self._taken = digests, {uid: self._takes(pod) for uid, pod in pods.items()}
        while self._owed >= 1.0:
            self._owed -= 1.0
            if behind:
                self._turn += 1
                uid = behind[self._turn % len(behind)]
                self._request(uid, told[uid], reached[told[uid].target])

    def _follow(self) -> None:
        pods = self._all()
        living = {pod["metadata"]["uid"] for pod in pods}
        self._pods = {uid: state for uid, state in self._pods.items() if uid in living}
        for uid in living - self._pods.keys():
            self._pods[uid] = PodState(self.clock().timestamp())
        for pod in pods:
            told, state = self._told(pod), self._pods[pod["metadata"]["uid"]]
            if told.rollout != state.rollout:
                self._pods[pod["metadata"]["uid"]] = PodState(state.epoch, state.phase, told.rollout)

    def _request(self, uid: str, told: Traffic, receivers: list[str]) -> None:
        state, own = self._pods[uid], self._digests[uid]
        self.requests += 1
        state.phase += told.share
        handed_on, outcome = told.share > 0 and state.phase >= SHARE_DENOMINATOR, ""
        if handed_on:
            state.phase -= SHARE_DENOMINATOR
            outcome, asked = self._ask(receivers)
            self._count(state, names.ARM_CANARY, outcome)
            if outcome == names.OUTCOME_OK:
                self._answered(asked)
                return
        failed = self._random.random() < self.failing.get(own, 0.0)
        late = not self.earlier_image and self._is_slow(own)
        if told.share and not handed_on:
            answered = names.OUTCOME_FAILED if failed else names.OUTCOME_OK
            self._count(state, names.ARM_STABLE, names.OUTCOME_LATE if late else answered)
        if handed_on and not failed and not late and outcome != names.OUTCOME_UNREACHED:
            state.rescued += 1
        self.bad_answers += failed
        self._answered(uid)

    def _ask(self, receivers: list[str]) -> tuple[str, str]:
        if not receivers:
            return names.OUTCOME_UNREACHED, ""
        asked = receivers[self._turn % len(receivers)]
        digest = self._digests[asked]
        if self._is_slow(digest):
            return names.OUTCOME_LATE, asked
        if self._random.random() < self.failing.get(digest, 0.0):
            return names.OUTCOME_FAILED, asked
        if self._random.random() < self.refusing.get(digest, 0.0):
            return names.OUTCOME_REFUSED, asked
        return names.OUTCOME_OK, asked

    def _is_slow(self, digest: str) -> bool:
        return digest in self.slow and self._random.random() < self.slow[digest]

    def _reaches(self, target: str, pod: Json) -> bool:
        doors = [s for s in self.kube.find(SERVICE, self.namespace) if f"{s['spec'].get('clusterIP')}:80" == target]
        labels = pod["metadata"]["labels"]
        return _ready(pod) and any(all(labels.get(k) == v for k, v in d["spec"]["selector"].items()) for d in doors)

    def _takes(self, pod: Json) -> tuple[str, ...]:
        """As the server does: what it is told, if its model can be answered from it."""
        own = self.features.get(self._digest(pod), ())
        containers = pod["spec"].get("containers", ())
        texts = [e["value"] for c in containers for e in c["env"] if e["name"] == client_inputs.ENVIRONMENT]
        told = client_inputs.parse(texts[0]) if texts else ()
        return told if set(own) <= set(told) else own

    def _answered(self, uid: str) -> None:
        digest = self._digests[uid]
        self.misread += self._taken[uid] != self.clients
        self.by_digest[digest] = self.by_digest.get(digest, 0) + 1

    @staticmethod
    def _count(state: PodState, arm: str, outcome: str) -> None:
        state.counts[arm, outcome] = state.counts.get((arm, outcome), 0) + 1

    def _all(self) -> list[Json]:
        return self.kube.find(POD, self.namespace, {"modelcycle.dev/deployment": self.name})

    def _behind(self) -> list[Json]:
        service = self.kube.read(SERVICE, self.namespace, self.name)
        if service is None:
            return []
        pods = self.kube.find(POD, self.namespace, service["spec"]["selector"])
        return sorted((pod for pod in pods if _ready(pod)), key=lambda p: str(p["metadata"]["name"]))

    def _told(self, pod: Json) -> Traffic:
        told = parse((pod["metadata"].get("annotations") or {}).get(ANNOTATION, ""))
        if told.seq not in self.missed:
            self._heard[pod["metadata"]["uid"]] = told
        return self._heard.get(pod["metadata"]["uid"], Traffic())

    def _digest(self, pod: Json) -> str:
        wanted = pod["metadata"]["labels"]["modelcycle.dev/revision"]
        found = [r for r in self.kube.find(CONTROLLER_REVISION, self.namespace) if r["data"]["hash"] == wanted]
        if found:  # a pod knows its model also while its template is stored again
            self._models[wanted] = str(found[0]["data"]["digest"])
        return self._models.get(wanted, "")

    # The sampler's side.

    def track(self, key: Key, target: Target) -> None:
        self.tracked = target

    def forget(self, key: Key) -> None:
        self.tracked, self._samples, self._problem = None, None, None

    def latest(self, key: Key) -> Samples | None:
        return self._samples

    def problem(self, key: Key) -> str | None:
        return self._problem

    def restart(self) -> None:
        """A fresh process: its sampler knows nothing but its first reading."""
        self._samples = None
        self.read()

    def begin(self) -> None:
        """A fresh process whose sampler has read nothing yet."""
        self._samples, self._problem = None, None

    def deafen(self, digest: str) -> None:
        """The counters of the pods that serve `digest` now cannot be read any more."""
        self.deaf |= self.serving(digest)

    def serving(self, digest: str) -> set[str]:
        """Uids of the Ready pods that serve `digest`."""
        return {pod["metadata"]["uid"] for pod in self._all() if _ready(pod) and self._digest(pod) == digest}

    def read(self) -> None:
        """One round, when somebody wants one."""
        if self.tracked is None:
            return
        self._problem = self.outage
        if self._problem is not None:
            return
        self._follow()
        pods = self._all()
        taken = Round(
            deployment=self.name,
            taken_at=self.clock(),
            listed=frozenset(pod["metadata"]["uid"] for pod in pods),
            pods=tuple(self._page(pod) for pod in pods if _ready(pod) and pod["metadata"]["uid"] not in self.deaf),
            failures=tuple(
                PodFailure(pod["metadata"]["name"], pod["metadata"]["uid"], "connection failed")
                for pod in pods
                if not _ready(pod) or pod["metadata"]["uid"] in self.deaf
            ),
        )
        self._samples = fold(self._samples, taken)

    def _page(self, pod: Json) -> PodCounters:
        state, told = self._pods[pod["metadata"]["uid"]], self._told(pod)
        counts: dict[Series, int] = {Series(names.TRAFFIC_SEQ, (told.rollout,)): told.seq}
        if state.rollout:
            for arm, outcomes in names.ARM_OUTCOMES.items():
                for outcome in outcomes:
                    if self.earlier_image and (arm, outcome) == (names.ARM_STABLE, names.OUTCOME_LATE):
                        continue
                    series = Series(names.ARM_REQUESTS, (state.rollout, arm, outcome))
                    counts[series] = state.counts.get((arm, outcome), 0)
            counts[Series(names.ARM_RESCUED, (state.rollout,))] = state.rescued
        revision = pod["metadata"]["labels"]["modelcycle.dev/revision"]
        digest = self._digest(pod)
        takes, needs = self._takes(pod), self.features.get(digest, ())
        inputs = ",".join(takes) or self.inputs.get(digest, "same")
        outputs = "" if self.earlier_image else self.outputs.get(digest, "same")
        model = ServedModel(revision, inputs, outputs=outputs, takes=takes, needs=needs)
        return PodCounters(RunId(pod["metadata"]["uid"], state.epoch), counts, model)


def _ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
