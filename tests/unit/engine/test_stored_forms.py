"""An upgrade in the middle of anything: today's code goes on from what a released operator wrote, and its pods show (tests/golden)."""

import json
from collections.abc import Mapping
from typing import Any, Final

import pytest

from fakes import released
from fakes.deployment_lab import NAME, NAMESPACE, Lab, digest
from fakes.jobs import task_of
from fakes.released import RELEASES
from modelcycle.deployment import analysis, status
from modelcycle.deployment.intent import from_plain
from modelcycle.experiment import ledger
from modelcycle.kube import kinds
from modelcycle.metrics import exposition
from modelcycle.metrics.port import Series
from modelcycle_bundle import contract, metric_names, traffic

DEPLOYMENTS: Final = ("starting", "mid-canary", "mid-pause", "guard-window", "rejected", "first-refused")
SEARCHES: Final = ("mid-search", "mid-sealing", "stalled-search", "finished-search")
MONITORS: Final = ("mid-window", "alarmed")


def keeps(now: Any, stored: Any) -> bool:
    """Whether every stored value is still what it was; optional fields that came later may stand beside them."""
    if isinstance(now, dict) and isinstance(stored, dict):
        return all(key in now and keeps(now[key], value) for key, value in stored.items())
    if isinstance(now, list) and isinstance(stored, list) and len(now) == len(stored):
        return all(keeps(a, b) for a, b in zip(now, stored, strict=True))
    return bool(now == stored)


pytestmark = pytest.mark.parametrize("release", RELEASES)


# ModelDeployments -------------------------------------------------------------------------------------------------


def templates(lab: Lab) -> dict[str, Any]:
    return {d["metadata"]["name"]: d["spec"]["template"] for d in lab.kube.find(kinds.DEPLOYMENT)}


def revisions(lab: Lab) -> dict[str, Any]:
    return {r["data"]["hash"]: r["data"]["template"] for r in lab.kube.find(kinds.CONTROLLER_REVISION)}


def pods(lab: Lab) -> set[str]:
    return {p["metadata"]["uid"] for p in lab.kube.find(kinds.POD)}


@pytest.mark.parametrize("name", DEPLOYMENTS)
async def test_an_upgrade_starts_no_rollout_and_touches_no_pod_template(release: str, name: str) -> None:
    lab = released.deployment(release, name)
    before, kept, living, stored = templates(lab), revisions(lab), pods(lab), lab.status
    for _ in range(5):
        await lab.reconcile()
        lab.workloads.tick()
    assert (templates(lab), revisions(lab), pods(lab)) == (before, kept, living)
    assert lab.status["observedGeneration"] == stored["observedGeneration"]
    for field in ("stable", "canary", "retiring"):
        assert lab.status.get(field, {}).get("revision") == stored.get(field, {}).get("revision")
    ours = ("startedAt", "rollout", "stage", "step", "stepStartedAt", "trafficAt", "grounds")
    was, now = stored.get("canary", {}), lab.status.get("canary", {})
    assert {key: now.get(key) for key in ours} == {key: was.get(key) for key in ours}
    for field in ("history", "rejected", "requests", "traffic"):
        assert keeps(lab.status.get(field), stored.get(field)), field


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_the_state_of_a_deployment_is_read_and_written_back_as_it_was(release: str, name: str) -> None:
    (body,) = released.bodies(released.world(release, name), kinds.MODEL_DEPLOYMENT)
    stored = body["status"]
    ready = {
        stored[field]["revision"]: stored[field]["readyReplicas"]
        for field in ("canary", "stable", "retiring")
        if field in stored
    }
    rendered = status.render(status.parse(stored), ready)
    for field, fields in rendered.items():
        if field == "stateVersion":
            assert fields >= stored[field]
        else:
            assert keeps(fields, _without_shares(stored[field])), field


def _without_shares(stored: Any) -> Any:
    """Of a canary, what belongs to the state: its weight and the number of its steps are shown for people."""
    return {k: v for k, v in stored.items() if k not in ("weight", "stepCount")} if isinstance(stored, dict) else stored


@pytest.mark.parametrize("name", ["mid-canary", "mid-pause", "guard-window", "rejected"])
def test_evidence_is_read_whole(release: str, name: str) -> None:
    (body,) = released.bodies(released.world(release, name), kinds.MODEL_DEPLOYMENT)
    stored = body["status"]["analysis"]
    state = analysis.from_plain(stored)
    assert state is not None
    assert state.rollout == stored["rollout"]
    plain = json.loads(stored["state"])
    assert len(state.recent) == len(plain["recent"]) > 0
    assert [(t.run.pod_uid, t.canary.n, t.stable.n) for t in state.tallies] == [
        (t[0], t[2], t[4]) for t in plain["tallies"]
    ]


async def test_a_canary_goes_on_in_its_step_with_its_evidence_and_is_promoted(release: str) -> None:
    lab = released.deployment(release, "mid-canary")
    canary, before = lab.status["canary"], json.loads(lab.status["analysis"]["state"])
    templates_before = templates(lab)
    await lab.run(seconds=20)
    now = lab.status["canary"]
    assert [now[key] for key in ("rollout", "startedAt", "stage")] == [
        canary[k] for k in ("rollout", "startedAt", "stage")
    ]
    assert now["step"] >= canary["step"] > 0
    state = lab.evidence
    assert state is not None
    assert "state" not in lab.status["analysis"]
    assert sum(t.canary.n for t in state.tallies) > sum(t[2] for t in before["tallies"])
    await lab.run(seconds=3600, until=lambda: lab.reason == "Serving")
    assert (lab.serving, lab.arms.bad_answers) == ("b", 0)
    assert templates(lab).items() >= {k: v for k, v in templates_before.items() if k in templates(lab)}.items()
    assert lab.status["rejected"][-1]["digest"] == digest("d")


async def test_a_canary_that_got_worse_after_the_upgrade_is_rolled_back(release: str) -> None:
    lab = released.deployment(release, "mid-canary")
    lab.arms.failing[digest("b")] = 1.0
    await lab.run(seconds=60, until=lambda: "canary" not in lab.status)
    assert (lab.serving, lab.status["rejected"][-1]["digest"]) == ("a", digest("b"))


async def test_a_pause_waits_on_for_its_person_and_ends_by_a_request(release: str) -> None:
    lab = released.deployment(release, "mid-pause")
    answered = lab.status["requests"]
    await lab.run(seconds=120)
    assert (lab.reason, lab.status["canary"]["step"], lab.status["requests"]) == ("CanaryPaused", 2, answered)
    (stable,) = {template["spec"]["containers"][0]["image"] for template in templates(lab).values()}
    ready = lab.condition("Ready")
    assert ready is not None
    assert f"; stable's pods, of image {stable}, do not export late answers of their own" in ready["message"]
    request = {"id": "go", "verb": "Promote", "digest": digest("b"), "by": "ada"}
    lab.kube.edit(
        kinds.MODEL_DEPLOYMENT, NAMESPACE, NAME, lambda body: body["spec"].setdefault("requests", []).append(request)
    )
    await lab.run(seconds=60, until=lambda: lab.status["canary"]["step"] > 2)
    assert lab.status["canary"]["step"] > 2


async def test_a_guard_window_ends_and_the_old_pods_go(release: str) -> None:
    lab = released.deployment(release, "guard-window")
    moved = lab.status["retiring"]["movedAt"]
    await lab.run(seconds=5)
    assert (lab.reason, lab.status["retiring"]["movedAt"]) == ("GuardWindow", moved)
    await lab.run(seconds=120)
    assert (lab.reason, lab.sizes()) == ("Serving", {"a": 0, "b": 2})


@pytest.mark.parametrize("name", ["rejected", "first-refused"])
async def test_a_rejection_stands(release: str, name: str) -> None:
    lab = released.deployment(release, name)
    reason = lab.reason
    await lab.run(seconds=60)
    assert lab.reason == reason
    assert "canary" not in lab.status
    stalled = lab.condition("Stalled")
    assert stalled is not None
    assert stalled["status"] == "True"


# Experiments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SEARCHES)
def test_an_upgrade_starts_no_second_job(release: str, name: str) -> None:
    lab = released.experiment(release, name)
    lab.jobs.hold = lambda job: "run"
    before = {j["metadata"]["name"]: j["spec"] for j in lab.kube.find(kinds.JOB)}
    lines, ready = lab.ledger(), lab.ready[:2]
    lab.settle()
    assert {j["metadata"]["name"]: j["spec"] for j in lab.kube.find(kinds.JOB)} == before
    assert (lab.ledger(), lab.ready[:2], lab.jobs.started) == (lines, ready, [])


def test_a_search_goes_on_with_its_trials(release: str) -> None:
    lab = released.experiment(release, "mid-search")
    lines = lab.ledger()
    lab.settle()
    assert lab.ready[:2] == ("True", "Succeeded")
    assert lab.ledger()[: len(lines)] == lines
    trials = [name.rsplit("-", 1)[1] for name in lab.jobs.started if "-t" in name]
    assert trials == ["t4", "t5"]
    assert lab.status["trials"]["total"] == 6


def test_a_comparison_goes_on_and_its_winner_is_sealed(release: str) -> None:
    lab = released.experiment(release, "mid-sealing")
    lab.settle()
    assert lab.ready[:2] == ("True", "Succeeded")
    assert [name.split("-", 2)[2] for name in lab.jobs.started] == ["seal-3"]


@pytest.mark.parametrize("name", SEARCHES)
def test_ledger_lines_are_read_and_written_back_as_they_were(release: str, name: str) -> None:
    for body in released.bodies(released.world(release, name), kinds.CONFIG_MAP):
        text = body["data"]["trials.jsonl"]
        assert "".join(f"{ledger.line(entry)}\n" for entry in map(ledger.parse_line, text.splitlines())) == text


# DriftMonitors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MONITORS)
async def test_a_window_goes_on_with_its_counts(release: str, name: str) -> None:
    plant = released.monitor(release, name)
    total, reason = plant.status["total"], plant.reason
    counts = plant.counts_map()["data"]
    jobs = plant.kube.find(kinds.JOB)
    alarms = [alarm["fingerprint"] for alarm in plant.status.get("alarms", ())]
    await plant.look(plant.now + 2)
    assert (plant.status["total"], plant.reason) == (total, reason)
    await plant.look(plant.now + 2)
    assert (plant.status["total"], plant.reason) == (total, reason)
    assert plant.counts_map()["data"].keys() >= counts.keys()
    assert plant.kube.find(kinds.JOB) == jobs
    assert [alarm["fingerprint"] for alarm in plant.status.get("alarms", ())] == alarms


# On the wire ------------------------------------------------------------------------------------------------------


def test_an_old_pods_page_gives_its_counts(release: str) -> None:
    text = released.wire(release, "metrics.txt")
    arms = {
        metric_names.ARM_REQUESTS: ("rollout", "arm", "outcome"),
        metric_names.ARM_RESCUED: ("rollout",),
        metric_names.TRAFFIC_SEQ: ("rollout",),
        metric_names.ROWS: (),
    }
    page = exposition.parse(text, arms)
    rollout = "6f1c2b-0a1b2c3d"
    exported = [
        (metric_names.ARM_STABLE, "ok"),
        (metric_names.ARM_STABLE, "client"),
        (metric_names.ARM_STABLE, "failed"),
        *((metric_names.ARM_CANARY, out) for out in ("ok", "client", "failed", "late", "refused", "unreached")),
    ]
    found = {s.labels[1:]: n for s, n in page.counts.items() if s.metric == metric_names.ARM_REQUESTS}
    assert found == {pair: 10 + more for more, pair in enumerate(exported)}
    assert page.counts[Series(metric_names.TRAFFIC_SEQ, (rollout,))] == 3
    assert page.counts[Series(metric_names.ROWS)] == 40
    assert page.model is not None
    assert (page.model.revision, page.model.accepts_missing) == ("395c90c2aa", True)


def test_old_annotations_are_read_and_their_text_stays(release: str) -> None:
    texts = json.loads(released.wire(release, "annotations.json"))
    assert [traffic.to_text(traffic.parse(text)) for text in texts] == texts


@pytest.mark.parametrize("name", ["mid-canary", "mid-pause", "guard-window"])
def test_annotations_of_pods_are_those_of_the_stored_intent(release: str, name: str) -> None:
    kept = released.world(release, name)
    (body,) = released.bodies(kept, kinds.MODEL_DEPLOYMENT)
    intent = from_plain(body["status"]["traffic"])
    annotated = [pod["metadata"].get("annotations", {}) for pod in released.bodies(kept, kinds.POD)]
    told = [found[traffic.ANNOTATION] for found in annotated if found]
    assert max(traffic.parse(text).seq for text in told) == intent.seq
    assert [traffic.to_text(traffic.parse(text)) for text in told] == told


TASKS: Final[Mapping[str, type[Any]]] = {
    "inspect": contract.InspectTask,
    "trial": contract.TrialTask,
    "compare": contract.CompareTask,
    "seal": contract.SealTask,
}


@pytest.mark.parametrize("name", ["mid-search", "mid-sealing", "alarmed"])
def test_tasks_of_old_jobs_are_read_by_todays_images(release: str, name: str) -> None:
    jobs = released.bodies(released.world(release, name), kinds.JOB)
    assert jobs
    for job in jobs:
        kind = job["spec"]["template"]["spec"]["containers"][0]["args"][0]
        task = task_of(job)
        assert keeps(json.loads(contract.to_json(contract.from_json(TASKS[kind], json.dumps(task)))), task)


def test_results_of_old_images_are_read(release: str) -> None:
    for name, text in json.loads(released.wire(release, "results.json")).items():
        kind = getattr(contract, name)
        assert keeps(json.loads(contract.to_json(contract.from_json(kind, text))), json.loads(text)), name


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_fetch_tasks_and_environment_of_old_pods_are_read_by_todays_images(release: str, name: str) -> None:
    for revision in released.bodies(released.world(release, name), kinds.CONTROLLER_REVISION):
        (fetch,) = revision["data"]["template"]["spec"]["initContainers"]
        (text,) = [env["value"] for env in fetch["env"] if env["value"].startswith("{")]
        task = contract.from_json(contract.FetchTask, text)
        assert task.digest == revision["data"]["digest"]
