"""What all stages work with: the cluster, the story, the findings so far, and the few questions that each of them asks."""

import contextlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from demo import objects, store
from demo.findings import Findings
from demo.kubectl import Kubectl, KubectlError, condition, describe, is_current, is_stalled
from demo.objects import Place
from demo.story import Story
from demo.traffic import Clients
from modelcycle_bundle.store import Store

SYSTEM_NAMESPACE: Final = "modelcycle-system"
TRIALS_SECONDS: Final = 900.0
ROLLOUT_SECONDS: Final = 300.0


class StageFailed(RuntimeError):
    """What a stage promised did not happen; the text says what was seen instead."""


@dataclass
class Demo:
    """One run. `place` is known once the namespace is there, `run` tells this run's objects in the store from others'."""

    kubectl: Kubectl
    story: Story
    findings: Findings = field(default_factory=Findings)
    place: Place = field(default_factory=lambda: Place("unknown"))

    @property
    def clients(self) -> Clients:
        """Those of the first line."""
        return Clients(self.kubectl, "load", objects.DEPLOYMENT)

    @property
    def other_clients(self) -> Clients:
        """Those of the second line."""
        return Clients(self.kubectl, "load-line-2", objects.SECOND_LINE)

    def outside(self, namespace: str) -> Kubectl:
        """The same cluster, another namespace."""
        return replace(self.kubectl, namespace=namespace)

    def store(self) -> AbstractContextManager[tuple[Store, Store]]:
        """Data bucket and model bucket, through a forwarded port."""
        return store.opened(self.kubectl, store.environment(self.kubectl))

    def experiment(self, name: str) -> dict[str, Any]:
        """An Experiment; empty when it is not there."""
        return self.kubectl.get("experiment", name) or {}

    def digest(self, experiment: str) -> str:
        """Of the model that an Experiment published."""
        return str(self.experiment(experiment)["status"]["model"]["digest"])

    def deployment(self, name: str) -> dict[str, Any]:
        """A ModelDeployment; empty when it is not there."""
        return self.kubectl.get("modeldeployment", name) or {}

    def settings(self) -> dict[str, str]:
        """The operator's."""
        return operator_settings(self.kubectl)

    def silence(self) -> None:
        """End what still asks, after a stage that failed; a cluster that does not answer is left as it is."""
        with contextlib.suppress(KubectlError):
            names = (self.clients.name, self.other_clients.name)
            self.kubectl.run("delete", "job", *names, "--ignore-not-found", "--wait=false")

    def settle(self, kind: str, name: str, seconds: float = ROLLOUT_SECONDS) -> dict[str, Any]:
        """Wait until an object is Ready for what was applied last, telling the reasons on the way. Raises StageFailed, WaitExpired."""
        done = self.kubectl.wait(
            kind,
            name,
            lambda o: is_current(o) or is_stalled(o),
            seconds,
            each=lambda o: tell_condition(self.story, o),
        )
        if not is_current(done):
            raise StageFailed(f"{kind}/{name}: {describe(done)}")
        return done


def operator_settings(kubectl: Kubectl) -> dict[str, str]:
    """What the operator of this cluster runs with."""
    found = replace(kubectl, namespace=SYSTEM_NAMESPACE).get("configmap", "modelcycle-settings") or {}
    return dict(found["data"])


def folder(uri: str) -> str:
    """Of a model's URI, the part below its bucket."""
    return uri.removeprefix(f"s3://{store.MODEL_BUCKET}/")


def tell_condition(story: Story, obj: Mapping[str, Any]) -> None:
    """A line when the Ready condition says something new."""
    if condition(obj, "Ready"):
        story.once(f"[dim]{describe(obj)}[/]")


def tell_trials(story: Story, obj: Mapping[str, Any]) -> None:
    """A line for each trial that has ended; those of another Experiment that came to the same are told too."""
    name = obj["metadata"]["name"]
    for trial in obj.get("status", {}).get("recentTrials", []):
        chosen = ", ".join(f"{p['name']}={p['value']}" for p in trial.get("parameterAssignments", []))
        outcome = trial.get("objective") or trial.get("reason", "")
        words = f"trial {trial['index']}: {trial['state']}  {outcome}{'  with ' + chosen if chosen else ''}"
        story.once(words, f"{name} {trial['index']}-{trial['attempt']}")
