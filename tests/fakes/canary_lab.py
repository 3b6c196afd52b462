"""A ModelDeployment with a canary under load, for tests: its spec, the moment it was applied, and what its pods were told. Owns no test."""

from typing import Any, Final

from fakes.deployment_lab import NAMESPACE, Lab, digest, model
from modelcycle.kube.kinds import POD
from modelcycle_bundle.traffic import ANNOTATION, parse

STEPS: Final[list[dict[str, Any]]] = [{"setWeight": 20}, {"analysis": {}}]


def strategy(steps: list[dict[str, Any]] | None = None, **analysis: Any) -> dict[str, Any]:
    return {"canary": {"steps": STEPS if steps is None else steps, "guardWindow": "5s", "analysis": analysis}}


def canary_spec(letter: str, steps: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    analysis = more.pop("analysis", {})
    return {"model": model(letter), "server": {"replicas": 2}, "strategy": strategy(steps, **analysis), **more}


async def started(rate: float = 100.0, letter: str = "b", **more: Any) -> Lab:
    """Stable a under load, and b applied as its canary."""
    lab = Lab()
    lab.apply(**canary_spec("a"))
    await lab.run(seconds=10)
    assert (lab.reason, lab.serving) == ("Serving", "a")
    lab.arms.rate = rate
    lab.apply(**canary_spec(letter, **more))
    return lab


def shares(lab: Lab) -> dict[str, set[int]]:
    """Shares that pods were told, by revision of the pod."""
    told: dict[str, set[int]] = {}
    for pod in lab.kube.find(POD, NAMESPACE):
        text = (pod["metadata"].get("annotations") or {}).get(ANNOTATION, "")
        told.setdefault(pod["metadata"]["labels"]["modelcycle.dev/revision"], set()).add(parse(text).share)
    return told


def in_progress(lab: Lab) -> bool:
    return lab.reason == "CanaryInProgress"


def approve(name: str, letter: str) -> dict[str, Any]:
    return {"id": name, "verb": "Approve", "digest": digest(letter), "by": "ada"}
