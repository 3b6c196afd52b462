"""The stages in which a new model meets real traffic: a better one, one that fails, one that is subtly worse."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from demo import candidates, objects, records
from demo.findings import Outcome, Rollback, Rollout
from demo.following import BY_EVIDENCE, Followed, explain_bars, follow, require
from demo.scene import Demo, StageFailed, folder
from demo.surgery import Gap
from demo.traffic import Clients, Counted, Phase, moments, witnessed
from modelcycle_bundle.contract import SealResult, from_json

CALM_RATE: Final = 20
"""Requests a second of the first line while the second one is looked at."""
FAILING_REASONS: Final = ("CanaryFailFast", "CanaryFailed")
WORSE_REASONS: Final = ("CanaryFailed",)
SETTLE_SECONDS: Final = 3.0
"""Clients ask on both sides of a moment that is told of: some answers before it and some after it are to be counted."""
SEAL_SECONDS: Final = 120.0


@dataclass(frozen=True, slots=True)
class Sealed:
    """A signed model that the demo built."""

    uri: str
    digest: str


def better(demo: Demo) -> str:
    """The searched model as a canary while clients are asking; promoted by evidence, and not one request may fail."""
    story, clients = demo.story, demo.clients
    clients.start(_serving_image(demo, objects.DEPLOYMENT), records.row_sets())
    clients.turn(Phase("better", "usual", objects.LINE_RATE))
    story.say(f"Clients ask all the time from now on: {objects.LINE_RATE} requests a second, no retries.")
    explain_bars(demo)
    time.sleep(SETTLE_SECONDS)
    began = time.time()
    demo.kubectl.apply(objects.following(objects.SEARCH))
    story.say(f"[dim]kubectl apply: ModelDeployment/{objects.DEPLOYMENT} now follows Experiment/{objects.SEARCH}[/]")
    seen = follow(demo, objects.DEPLOYMENT, demo.digest(objects.SEARCH), began)
    require(seen, Outcome.PROMOTED, BY_EVIDENCE)
    counted = clients.so_far()
    require_no_failures(counted)
    if len(counted.by_model) != 2:
        raise StageFailed(f"clients saw the models {dict(counted.by_model)}, not both")
    demo.findings.better = rollout(demo, "A better model", seen, clients, counted)
    return f"proven after {seen.proven_after} good answers, promoted; {counted.requests} requests, 0 failed"


def failing(demo: Demo) -> str:
    """A model that passes every check and then answers no real record: taken back, and no user notices."""
    story, clients = demo.story, demo.clients
    story.say("This model looks each record up in a table that holds its own test records only.")
    story.say("Its tests pass. The real sealing program signs it. No real record is in its table.")
    (sealed,) = _build(demo, {"failing": None})
    clients.turn(Phase("failing", "usual", objects.LINE_RATE))
    time.sleep(SETTLE_SECONDS)
    began = time.time()
    demo.kubectl.apply(objects.pinned(objects.DEPLOYMENT, sealed.uri, sealed.digest))
    story.say(f"[dim]kubectl apply: ModelDeployment/{objects.DEPLOYMENT} asks for {sealed.digest[:19]}[/]")
    seen = follow(demo, objects.DEPLOYMENT, sealed.digest, began)
    require(seen, Outcome.TAKEN_BACK, FAILING_REASONS)
    time.sleep(SETTLE_SECONDS)
    counted = clients.so_far()
    require_no_failures(counted)
    rollback = _witness(clients, seen)
    demo.findings.failing_rollback = rollback
    demo.findings.failing = rollout(demo, "A model that fails", seen, clients, counted)
    story.say("Not one of its answers was good, so there was no need to wait for the bar to fill.")
    story.say(
        f"Noticed about {rollback.to_decision:.0f} s after its first bad answer, off everywhere {rollback.to_share_zero:.1f} s after it."
    )
    story.say(
        f"It failed {demo.findings.failing.rescued} times. The old model gave those answers instead: users saw 0 bad ones."
    )
    demo.kubectl.apply(objects.following(objects.SEARCH))
    demo.settle("modeldeployment", objects.DEPLOYMENT)
    story.say("[dim]kubectl apply: the team takes it out of Git again[/]")
    return f"taken back ({seen.reason}) in {rollback.to_share_zero:.1f} s; {counted.requests} requests, 0 failed"


def worse(demo: Demo) -> str:
    """On a second line, whose model has no answer for 1 % of the records, one that has none for 5 %: taken back by evidence."""
    story, clients = demo.story, demo.other_clients
    demo.clients.turn(Phase("meanwhile", "usual", CALM_RATE))
    known, gap = records.top(objects.KNOWN_ROWS), records.top(objects.WORSE_ROWS)
    count = len(records.usual())
    story.say(
        f"A second line. Its model has no answer for {objects.KNOWN_ROWS} of {count} records; everybody knows that."
    )
    story.say(
        f"The next one has none for {objects.WORSE_ROWS}. No alarm limit stands between 1 % and 5 %: only counting tells."
    )
    present, successor = _build(demo, {"known": known, "worse": gap})
    demo.kubectl.apply(objects.pinned(objects.SECOND_LINE, present.uri, present.digest))
    demo.settle("modeldeployment", objects.SECOND_LINE)
    clients.start(_serving_image(demo, objects.SECOND_LINE), records.row_sets())
    clients.turn(Phase("worse", "usual", objects.LINE_RATE))
    time.sleep(SETTLE_SECONDS)
    began = time.time()
    demo.kubectl.apply(objects.pinned(objects.SECOND_LINE, successor.uri, successor.digest))
    story.say(f"[dim]kubectl apply: ModelDeployment/{objects.SECOND_LINE} asks for {successor.digest[:19]}[/]")
    seen = follow(demo, objects.SECOND_LINE, successor.digest, began)
    require(seen, Outcome.TAKEN_BACK, WORSE_REASONS)
    time.sleep(SETTLE_SECONDS)
    counted, _ = clients.stop()
    failures = _only_known(counted, known)
    demo.findings.worse = rollout(demo, "A model that is subtly worse", seen, clients, counted, failures)
    story.say(
        f"Clients got {failures} bad answers of {counted.requests}: every one on a record the old model cannot answer."
    )
    story.say("Not one came from the new model.")
    bad, answers = seen.canary.bad, seen.canary.answers
    return f"taken back by evidence: {bad} of {answers} answers bad against {seen.stable.bad} of {seen.stable.answers}"


def rollout(
    demo: Demo, title: str, seen: Followed, clients: Clients, counted: Counted, known_failures: int = 0
) -> Rollout:
    """A followed rollout with what clients counted, as a finding."""
    if seen.outcome is None or seen.last is None:
        raise StageFailed(f"{title}: no end and no evidence was seen")
    zero = time.time() - demo.story.elapsed()
    return Rollout(
        title=title,
        deployment=seen.deployment,
        digest=seen.digest,
        outcome=seen.outcome,
        reason=seen.reason,
        began=seen.began - zero,
        seconds=seen.seconds,
        canary=seen.canary,
        stable=seen.stable,
        harm_at=seen.last.harm_at,
        no_harm_at=seen.last.no_harm_at,
        points=seen.points(zero),
        requests=counted.requests,
        failed=counted.failed - known_failures,
        rescued=witnessed(clients.sightings(), seen.rollout).rescued,
        known_failures=known_failures,
    )


def require_no_failures(counted: Counted) -> None:
    """Raises StageFailed unless every request was answered well."""
    if counted.failed:
        raise StageFailed(
            f"{counted.failed} of {counted.requests} requests failed, by row: {dict(counted.failed_rows)}"
        )


def _build(demo: Demo, gaps: Mapping[str, Gap | None]) -> tuple[Sealed, ...]:
    """Cut gaps into the searched model (None: one that leaves its golden rows only) and pass each through the real `seal`."""
    experiment, image = demo.experiment(objects.SEARCH), demo.settings()["MODELCYCLE_TRAINING_IMAGE"]
    with demo.store() as (_, models):
        good = candidates.sealed_files(models, folder(experiment["status"]["model"]["uri"]))
        for name, gap in gaps.items():
            files = candidates.with_gap(good, gap or candidates.unlike_golden(good))
            note = f"a lookup table that is too short: {name}"
            task = candidates.seal_task(experiment, str(uuid.uuid4()), files, note)
            candidates.put(models, task, demo.place.folder, files)
            demo.kubectl.apply(candidates.seal_job(f"seal-{name}", experiment, image, task))
    return tuple(_sealed(demo, f"seal-{name}") for name in gaps)


def _sealed(demo: Demo, job: str) -> Sealed:
    demo.kubectl.wait("job", job, lambda o: bool(o.get("status", {}).get("conditions")), SEAL_SECONDS)
    result = from_json(SealResult, _termination_message(demo, job))
    if result.failure is not None or result.uri is None or result.digest is None:
        raise StageFailed(f"`seal` refused the model that the demo built: {result.failure}")
    demo.story.say(f"[dim]job/{job}: {result.golden_rows} golden answers reproduced, signed as {result.digest[:19]}[/]")
    return Sealed(result.uri, result.digest)


def _termination_message(demo: Demo, job: str) -> str:
    path = "jsonpath={.items[0].status.containerStatuses[0].state.terminated.message}"
    return demo.kubectl.run("get", "pods", "-l", f"job-name={job}", "-o", path)


def _serving_image(demo: Demo, deployment: str) -> str:
    path = "jsonpath={.items[0].spec.containers[0].image}"
    return demo.kubectl.run("get", "pods", "-l", f"modelcycle.dev/deployment={deployment}", "-o", path).strip()


def _only_known(counted: Counted, known: Gap) -> int:
    """Failures, all of which lie in the old model's own gap, and each time such a row was asked. Raises StageFailed."""
    gap = {int(row) for row in known.hits(records.usual().inputs.astype("float32")).nonzero()[0]}
    others: Mapping[int, int] = {row: count for row, count in counted.failed_rows.items() if row not in gap}
    if others:
        raise StageFailed(f"clients got bad answers that the old model would have given well, by row: {dict(others)}")
    if dict(counted.failed_rows) != dict(counted.asked_rows):
        raise StageFailed("a record in the old model's gap was answered now and then")
    return counted.failed


def _witness(clients: Clients, seen: Followed) -> Rollback:
    found = moments(clients.sightings(), seen.rollout)
    if found is None:
        raise StageFailed("the eyewitness saw no bad answer of the new model, or its share never went to 0")
    decided = max(0.0, seen.decided_at - found.first_bad)
    return Rollback(decided, found.share_zero - found.first_bad)
