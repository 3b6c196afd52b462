"""The stages in which the world changes: the alarm that says what moved, and the model that is trained on the new data."""

import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any, Final

from demo import objects, records
from demo.findings import Clients, Compared, Drift, Moved, Outcome, Retrain
from demo.following import BY_EVIDENCE, follow, require
from demo.kubectl import condition, describe, is_current, is_stalled
from demo.records import SHIFTED
from demo.rollouts import require_no_failures, rollout
from demo.scene import TRIALS_SECONDS, Demo, StageFailed, folder, tell_trials
from demo.traffic import Phase
from modelcycle_bundle import layout
from modelcycle_bundle.bins import Feature
from modelcycle_bundle.profile import Profile

ALARM_SECONDS: Final = 300.0
INPUT_DRIFT: Final = "input-drift"
LINEAGE: Final = "modelcycle.dev/lineage"


def notice(demo: Demo) -> str:
    """Two gauges go wrong: an alarm that names them, from counters alone. The labelled rows become the next data version."""
    kubectl, story = demo.kubectl, demo.story
    before = _alarms(kubectl.get("driftmonitor", objects.MONITOR) or {})
    if before:
        raise StageFailed(f"an alarm before anything had changed: {before}")
    story.say(f"From now on two gauges of the line show too much: {SHIFTED[0]} and {SHIFTED[1]}.")
    story.say("The model still answers every request. Nobody sees an error. Its answers are worth less.")
    began = time.time()
    demo.clients.turn(Phase("shifted", "shifted", objects.LINE_RATE))
    _write_next_data(demo)
    done = kubectl.wait("driftmonitor", objects.MONITOR, _is_noticed, ALARM_SECONDS, each=lambda o: _tell(demo, o))
    seconds = time.time() - began
    alarm = _input_alarm(done)
    features = tuple(alarm["features"])
    if set(features) != set(SHIFTED):
        raise StageFailed(f"the alarm names {features}; what has moved is {SHIFTED}")
    demo.findings.drift = Drift(
        shifted_at=story.elapsed() - seconds,
        alarm_seconds=seconds,
        alarms_before=len(before),
        priority=str(_alarms(done)[0]["priority"]),
        features=features,
        message=str(condition(done, "Ready")["message"]),
        moved=_moved(demo, done),
    )
    return f"alarm after {seconds:.0f} s: {' and '.join(features)} moved; no alarm before"


def retrain(demo: Demo) -> str:
    """The alarm starts an Experiment on the new data; its model is better on the same held-out rows and takes over by the same canary."""
    kubectl, story, drift = demo.kubectl, demo.story, demo.findings.drift
    if drift is None:
        raise StageFailed("nothing had been noticed")
    name = _wait_for_experiment(demo)
    story.say(f"The alarm started Experiment/{name} on the new data. Nobody typed anything.")
    done = kubectl.wait(
        "experiment",
        name,
        lambda o: is_current(o) or is_stalled(o),
        TRIALS_SECONDS,
        each=lambda o: tell_trials(story, o),
    )
    if not is_current(done):
        raise StageFailed(f"Experiment/{name}: {describe(done)}")
    published = time.time()
    old, new = (experiment["status"]["model"] for experiment in (demo.experiment(objects.SEARCH), done))
    if old["digest"] == new["digest"]:
        raise StageFailed("the retrained model has the digest of the old one")
    compared = _compared(done)
    story.say(f"Before it was signed, both models answered the same {compared.rows} held-out rows of the new data.")
    story.say(
        f"Right answers: {compared.old_right:.1%} by the model that serves, {compared.new_right:.1%} by the new one."
    )
    story.say("Had it been worse, nothing would have been signed: the old model stays.")
    if compared.new_right <= compared.old_right:
        raise StageFailed(f"the retrained model is not better: {compared}")
    seen = follow(demo, objects.DEPLOYMENT, new["digest"], published)
    require(seen, Outcome.PROMOTED, BY_EVIDENCE)
    counted = demo.clients.so_far()
    require_no_failures(counted)
    lead = story.elapsed() - drift.shifted_at
    demo.findings.retrained = rollout(demo, "The retrained model", seen, demo.clients, counted)
    uri = done["spec"]["data"]["uri"]
    demo.findings.retrain = Retrain(name, uri, old["digest"], new["digest"], compared, lead)
    return f"promoted {lead:.0f} s after the gauges went wrong; right answers {compared.old_right:.0%} -> {compared.new_right:.0%}"


def close_line(demo: Demo) -> str:
    """The clients stop; every request of all stages is accounted for."""
    total, phases = demo.clients.stop()
    demo.findings.clients = Clients(total.requests, total.failed, total.slowest_seconds, dict(total.by_model))
    for name, phase in phases.items():
        demo.story.say(
            f"{name}: {phase.requests} requests, {phase.failed} failed, slowest {phase.slowest_seconds:.3f} s"
        )
    require_no_failures(total)
    return f"{total.requests} requests over {len(total.by_model)} models, 0 failed"


def _write_next_data(demo: Demo) -> None:
    """The shifted rows with their labels, and `latest.json` that points at them: what a data team would do."""
    fresh = records.shifted()
    table = records.as_csv(fresh)
    uri = demo.place.data_uri(objects.NEXT_DATA)
    digest = f"sha256:{hashlib.sha256(table).hexdigest()}"
    with demo.store() as (data, _):
        data.put_new(demo.place.data_key(objects.NEXT_DATA), table)
        data.put_new(demo.place.data_key(objects.LATEST), json.dumps({"uri": uri, "digest": digest}).encode())
    demo.story.say(f"[dim]{uri}: {len(fresh)} such rows with labels; {objects.LATEST} points at it[/]")


def _wait_for_experiment(demo: Demo) -> str:
    """The name of the Experiment that the monitor makes."""

    def made() -> str:
        text = demo.kubectl.run("get", "experiments", "-l", f"{LINEAGE}={objects.SEARCH}", "-o", "name")
        return text.strip().rpartition("/")[2]

    demo.kubectl.wait(
        "driftmonitor", objects.MONITOR, lambda _: bool(made()), ALARM_SECONDS, each=lambda o: _tell(demo, o)
    )
    return made()


def _alarms(obj: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(obj.get("status", {}).get("alarms", ()))


def _input_alarm(obj: Mapping[str, Any]) -> dict[str, Any]:
    return next((alarm for alarm in _alarms(obj) if alarm["cause"] == INPUT_DRIFT), {})


def _is_noticed(obj: Mapping[str, Any]) -> bool:
    return set(SHIFTED) <= set(_input_alarm(obj).get("features", ()))


def _tell(demo: Demo, obj: Mapping[str, Any]) -> None:
    for alarm in _alarms(obj):
        demo.story.once(f"[yellow]{alarm['priority']} {alarm['cause']}: {alarm['message']}[/]", alarm["cause"])
    about = condition(obj, "Retrain")
    if about:
        demo.story.once(f"[dim]{about['reason']}: {about['message']}[/]", about["reason"])


def _moved(demo: Demo, monitor: Mapping[str, Any]) -> tuple[Moved, ...]:
    """Reference and last window of the shifted features, by bin."""
    uri = demo.experiment(objects.SEARCH)["status"]["model"]["uri"]
    with demo.store() as (_, models):
        profile = Profile.parse(models.get(f"{folder(uri)}/{layout.MODEL_DIR}/{layout.PROFILE_FILE}").decode())
    last = {feature["name"]: feature for feature in monitor["status"]["lastWindow"]["features"]}
    return tuple(moved(feature, last[feature.name]) for feature in profile.features if feature.name in SHIFTED)


def moved(reference: Feature, counted: Mapping[str, Any]) -> Moved:
    """Shares by bin: below, the bins, above."""
    current = [counted["below"], *map(int, counted["bins"].split(",")), counted["above"]]
    before = reference.counts[: len(reference.bins) - 1]  # all but the missing values
    return Moved(reference.name, _shares(before), _shares(current))


def _shares(counts: tuple[int, ...] | list[int]) -> tuple[float, ...]:
    total = max(1, sum(counts))
    return tuple(count / total for count in counts)


def _compared(experiment: Mapping[str, Any]) -> Compared:
    """What the operator measured before it had the model signed."""
    told = experiment["status"]["acceptance"]
    return Compared(int(told["rows"]), float(told["deployed"]), float(told["candidate"]))
