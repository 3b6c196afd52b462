"""Where evidence is kept: a short status, one commit, edits that count for nothing, a rollback that needs no ConfigMap."""

import json
from collections.abc import Sequence
from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
import yaml

from fakes.canary_lab import canary_spec, started
from fakes.deployment_lab import NAMESPACE, Lab, digest
from fakes.faults import Verb, Write
from modelcycle.engine.executor import Executor, Result
from modelcycle.engine.plan import Action, Plan, WriteStatus
from modelcycle.kube.errors import Forbidden
from modelcycle.kube.kinds import CONFIG_MAP


async def looked(looks: int = 3, **more: Any) -> Lab:
    """A canary after some looks, held at its share."""
    lab = await started(rate=30, steps=[{"setWeight": 20}, {"pause": {}}], **more)
    await lab.run(seconds=120, until=lambda: lab.status.get("analysis", {}).get("looks", 0) >= looks)
    return lab


async def counted(lab: Lab) -> tuple[int, int]:
    """Canary answers as the pods count them, and as the evidence has them."""
    await lab.reconcile()
    samples, known = lab.arms._samples, lab.evidence
    assert samples is not None
    assert known is not None
    told = sum(
        count
        for run in samples.runs.values()
        for series, count in run.counts.items()
        if series.labels[:2] == (known.rollout, "canary")
    )
    return told, known.evidence.canary.n


async def test_status_stays_short_however_many_looks_there_were() -> None:
    lab = await looked(40)
    analysis = lab.status["analysis"]
    assert analysis.keys() == {"rollout", "looks", "phi", "metrics", "lastLookAt", "stateRef"}
    assert len(yaml.safe_dump(json.loads(json.dumps(lab.status))).splitlines()) < 110
    known = lab.evidence
    assert known is not None
    assert len(known.recent) == 20


async def test_the_map_keeps_a_few_entries_and_status_names_the_newest() -> None:
    lab = await looked(40)
    kept = (lab.evidence_map or {})["data"]
    assert lab.status["analysis"]["stateRef"]["key"] == max(kept)
    assert len(kept) <= 4
    assert len(json.dumps(kept)) < 20_000


async def test_nothing_is_written_at_rest() -> None:
    lab = await looked()
    lab.arms.rate = 0
    await lab.run(seconds=30)
    assert await lab.quiet() == []


@pytest.mark.parametrize("order", sorted(set(permutations("aabb"))))
async def test_two_operators_lose_no_evidence_whoever_writes_what_first(order: Sequence[str]) -> None:
    lab = await looked()
    _later(lab)
    first = await lab.plan()
    lab.arms.serve(1)
    lab.arms.read()
    second = await lab.plan()
    assert first is not None
    assert second is not None
    left: dict[str, list[Action]] = {"a": _writes(first), "b": _writes(second)}
    assert [len(actions) for actions in left.values()] == [2, 2]
    for who in order:
        if left[who]:
            done = await Executor(lab.kube, lab.recorder).run(Plan((left[who].pop(0),)))
            if done.result is not Result.SUCCESS:
                left[who].clear()
    assert lab.evidence is not None
    await lab.run(seconds=4)
    told, known = await counted(lab)
    assert told == known


def _later(lab: Lab) -> None:
    lab.now += timedelta(seconds=2)
    lab.arms.serve(2)
    lab.arms.read()


def _writes(plan: Plan) -> list[Action]:
    return list(plan.actions[: next(n for n, a in enumerate(plan.actions) if isinstance(a, WriteStatus)) + 1])


@pytest.mark.parametrize(
    ("damage", "words"),
    [("edited", "was changed by somebody else"), ("emptied", "is gone"), ("deleted", "is gone")],
)
async def test_evidence_that_somebody_changed_counts_for_nothing_and_begins_again(damage: str, words: str) -> None:
    lab = await looked(5)
    config_map = lab.evidence_map
    assert config_map is not None
    name, key = config_map["metadata"]["name"], lab.status["analysis"]["stateRef"]["key"]
    forged = config_map["data"][key].replace('"logP":"', '"logP":"9')
    assert forged != config_map["data"][key]
    if damage == "deleted":
        lab.kube.remove(CONFIG_MAP, NAMESPACE, name)
    else:
        data = {key: forged} if damage == "edited" else {}
        lab.kube.edit(CONFIG_MAP, NAMESPACE, name, lambda body: body.update(data=data))
    _later(lab)
    await lab.reconcile()
    (note,) = [e.note for e in lab.recorder.events if e.reason == "EvidenceLost"]
    assert words in note
    assert note.endswith("the evidence of this rollout begins again")
    known = lab.evidence
    assert known is not None
    assert known.evidence.looks == 1
    await lab.run(seconds=6)
    told, counts = await counted(lab)
    assert (told, lab.status.get("rejected", []), lab.serving) == (counts, [], "a")


async def test_a_failing_canary_is_rolled_back_although_its_evidence_has_no_place() -> None:
    lab = await started(rate=100)
    lab.arms.failing = {digest("b"): 0.3}

    def no_map(write: Write) -> None:
        if write.kind is CONFIG_MAP and write.name.endswith("-evidence") and write.verb is Verb.CREATE:
            raise Forbidden("exceeded quota: maps, requested: count/configmaps=1", status=403)

    lab.kube.before_write = no_map
    await lab.run(seconds=60, until=lambda: "rejected" in lab.status)
    assert lab.status["rejected"][0]["reason"] == "CanaryFailed"
    assert {"state", "stateRef"} & lab.status["analysis"].keys() == {"state"}
    assert lab.evidence is not None
    lab.no_fault()
    await lab.run(seconds=10)
    assert {"state", "stateRef"} & lab.status["analysis"].keys() == {"stateRef"}
    assert lab.evidence is not None


async def test_a_map_of_somebody_else_is_left_alone_and_status_keeps_the_evidence() -> None:
    name = (await looked()).status["analysis"]["stateRef"]["name"]
    lab = await started(rate=30, steps=[{"setWeight": 20}, {"pause": {}}])
    await lab.run(seconds=4)
    if lab.evidence_map:
        lab.kube.remove(CONFIG_MAP, NAMESPACE, name)
    lab.kube.seed(CONFIG_MAP, NAMESPACE, {"metadata": {"name": name}, "data": {"theirs": "1"}})
    await lab.run(seconds=20)
    assert (lab.evidence_map or {})["data"] == {"theirs": "1"}
    assert "state" in lab.status["analysis"]
    assert lab.evidence is not None


def full(lab: Lab) -> None:
    """No room for the evidence from now on."""

    def no_map(write: Write) -> None:
        if write.kind is CONFIG_MAP and write.name.endswith("-evidence"):
            raise Forbidden("exceeded quota: maps, requested: count/configmaps=1", status=403)

    lab.kube.before_write = no_map


async def test_a_good_canary_is_promoted_although_its_evidence_has_no_place() -> None:
    lab = await started(rate=100)
    full(lab)
    await lab.run(seconds=120, until=lambda: lab.reason == "Serving" and lab.serving == "b")
    assert lab.serving == "b"
    await lab.run(seconds=60)
    assert {letter: size for letter, size in lab.sizes().items() if size} == {"b": 2}
    lab.no_fault()
    await lab.run(seconds=10)
    assert {"state", "stateRef"} & lab.status["analysis"].keys() == {"stateRef"}


async def test_users_are_moved_back_in_the_guard_window_although_the_evidence_lost_its_place() -> None:
    lab = await started(rate=100)
    await lab.run(seconds=120, until=lambda: lab.serving == "b")
    assert lab.evidence_map is not None
    lab.kube.remove(CONFIG_MAP, NAMESPACE, lab.evidence_map["metadata"]["name"])
    full(lab)
    lab.apply(**canary_spec("a"))
    await lab.run(seconds=4)
    assert lab.serving == "a"


async def test_pods_of_a_rejected_canary_go_although_its_evidence_has_no_place() -> None:
    lab = await started(rate=100)
    lab.arms.failing = {digest("b"): 0.5}
    full(lab)
    await lab.run(seconds=60)
    assert (lab.status["rejected"][0]["reason"], lab.sizes()["b"]) == ("CanaryFailed", 0)
