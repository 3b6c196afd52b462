"""The rollout part of a ModelDeployment's API on the real API server: bounds and rules, accepted and rejected, and a whole status."""

from typing import Any

import pytest

from fakes.canary_lab import canary_spec, started
from fakes.deployment_lab import digest, model
from modelcycle.api.modeldeployment import parse
from modelcycle.kube.errors import ApiError, Invalid
from modelcycle.kube.kinds import MODEL_DEPLOYMENT
from modelcycle.kube.port import Kube


def canary(**fields: Any) -> dict[str, Any]:
    return {"strategy": {"canary": fields}}


def analysis(**fields: Any) -> dict[str, Any]:
    return canary(analysis=fields)


def request(verb: str = "Abort", **fields: Any) -> dict[str, Any]:
    return {"requests": [{"id": "1", "verb": verb, "by": "ada", **fields}]}


ACCEPTED: dict[str, dict[str, Any]] = {
    "no steps": canary(steps=[]),
    "hundredths": canary(steps=[{"setWeight": "0.01%"}, {"analysis": {}}, {"setWeight": "99.99"}, {"pause": {}}]),
    "pause": canary(steps=[{"setWeight": 100}, {"pause": {"duration": "1h30m"}}]),
    "all of the analysis": analysis(
        alpha="0.01",
        beta="0.2",
        interval="10m",
        source="Prometheus",
        onInconclusive="Rollback",
        maxDuration="24h",
        metrics=[{"name": "errors", "harmRatio": "1.5", "harmFloor": "0.5"}],
    ),
    "shadow": canary(
        steps=[{"shadow": {"weight": "0.01%", "duration": "1h"}}, {"shadow": {"weight": 100, "duration": "9s"}}]
    ),
    "traffic": {"traffic": {"provider": "InServer", "canaryTimeout": "250ms"}},
    "sticky, tests": {"traffic": {"sticky": {"header": "X-User-Id"}, "testHeader": True}},
    "approval": {"approval": {"required": True, "source": "Git"}},
    "approval for a day": {"approval": {"required": True, "validFor": "24h"}},
    "request": request("Abort"),
    "request with digest": request("Approve", digest=digest("a"), reason="seen the curves"),
}

REJECTED: dict[str, tuple[dict[str, Any], str]] = {
    "two in a step": (canary(steps=[{"setWeight": 5, "pause": {}}]), "exactly one of setWeight, pause"),
    "nothing in a step": (canary(steps=[{}]), "exactly one of setWeight, pause"),
    "weight above 100": (canary(steps=[{"setWeight": 101}]), "setWeight"),
    "weight below 0": (canary(steps=[{"setWeight": -1}]), "setWeight"),
    "weight of thousandths": (canary(steps=[{"setWeight": "0.001%"}]), "setWeight"),
    "analysis of nothing": (canary(steps=[{"setWeight": 0}, {"analysis": {}}]), "needs a setWeight above 0"),
    "shadow and pause": (canary(steps=[{"shadow": {"weight": 5, "duration": "9s"}, "pause": {}}]), "exactly one of"),
    "shadow of nothing": (canary(steps=[{"shadow": {"weight": 0, "duration": "9s"}}]), "above 0"),
    "shadow of 0.0%": (canary(steps=[{"shadow": {"weight": "0.0%", "duration": "9s"}}]), "above 0"),
    "shadow above 100": (canary(steps=[{"shadow": {"weight": 101, "duration": "9s"}}]), "at most 100"),
    "shadow for ever": (canary(steps=[{"shadow": {"weight": 5}}]), "duration"),
    "33 steps": (canary(steps=[{"pause": {}}] * 33), "steps"),
    "alpha 0": (analysis(alpha="0.0"), "0.00001 to 0.5"),
    "alpha above one half": (analysis(alpha="0.6"), "0.00001 to 0.5"),
    "beta as a number": (analysis(beta=0.05), "beta"),
    "interval too short": (analysis(interval="0s"), "1s to 10m"),
    "interval too long": (analysis(interval="11m"), "1s to 10m"),
    "unknown source": (analysis(source="Graphite"), "source"),
    "unknown metric": (analysis(metrics=[{"name": "latency"}]), "metrics"),
    "harmRatio of 1": (analysis(metrics=[{"name": "errors", "harmRatio": "1.0"}]), "harmRatio"),
    "unknown provider": ({"traffic": {"provider": "Mesh"}}, "provider"),
    "timeout too long": ({"traffic": {"canaryTimeout": "61s"}}, "canaryTimeout"),
    "timeout too short": ({"traffic": {"canaryTimeout": "99ms"}}, "canaryTimeout"),
    "sticky without a header": ({"traffic": {"sticky": {}}}, "header"),
    "sticky header that is none": ({"traffic": {"sticky": {"header": "X User"}}}, "header"),
    "sticky header too long": ({"traffic": {"sticky": {"header": "X" * 64}}}, "header"),
    "test header as text": ({"traffic": {"testHeader": "yes"}}, "testHeader"),
    "unknown verb": (request("Shrug"), "verb"),
    "approval of no digest": (request("Approve"), "have to name the digest"),
    "approval for no time": ({"approval": {"validFor": "0s"}}, "must be longer than 0s"),
    "full promotion of no digest": (request("PromoteFull"), "have to name the digest"),
    "digest cut short": (request("Retry", digest="sha256:abc"), "digest"),
}


def body(more: dict[str, Any]) -> dict[str, Any]:
    spec = {"model": model("a"), **more}
    return {
        "apiVersion": MODEL_DEPLOYMENT.api_version,
        "kind": MODEL_DEPLOYMENT.kind,
        "metadata": {"name": "scrap"},
        "spec": spec,
    }


@pytest.mark.parametrize("name", ACCEPTED)
async def test_accepted_and_read_by_the_operator(name: str, rest_kube: Kube, namespace: str) -> None:
    made = await rest_kube.create(MODEL_DEPLOYMENT, namespace, body(ACCEPTED[name]))
    parse(made["spec"])


@pytest.mark.parametrize("name", REJECTED)
async def test_rejected_with_the_field_and_what_it_should_be(name: str, rest_kube: Kube, namespace: str) -> None:
    more, said = REJECTED[name]
    with pytest.raises(ApiError) as refused:
        await rest_kube.create(MODEL_DEPLOYMENT, namespace, body(more))
    assert isinstance(refused.value, Invalid)
    assert said in str(refused.value)


async def test_status_of_a_rollout_is_stored_as_it_is_written(rest_kube: Kube, namespace: str) -> None:
    lab = await started()
    await lab.run(seconds=14)
    wish = {"id": "1", "verb": "Abort", "by": "ada", "digest": digest("f"), "reason": "another one"}
    lab.apply(**canary_spec("b"), requests=[wish])
    await lab.run(seconds=3)
    wanted = lab.status
    assert {"canary", "traffic", "analysis", "requests", "stable", "history"} <= wanted.keys()
    made = await rest_kube.create(MODEL_DEPLOYMENT, namespace, body({}))
    version = made["metadata"]["resourceVersion"]
    written = await rest_kube.apply_status(MODEL_DEPLOYMENT, namespace, "scrap", wanted, version)
    assert written["status"] == wanted
