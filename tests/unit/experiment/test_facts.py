"""Facts larger than a termination message: from the pod's log into ConfigMaps, with the message as the way without logs."""

import json
from dataclasses import replace
from typing import Any

import pytest

from fakes.experiment_lab import KEY, MINIMAL, Lab, search
from fakes.faults import Crash, Read, Verb, Write
from fakes.jobs import inspected
from fakes.memory_kube import POD_LOG
from modelcycle.jobs import facts
from modelcycle.kube.errors import Forbidden, Unavailable
from modelcycle.kube.kinds import CONFIG_MAP, EXPERIMENT
from modelcycle.kube.names import COMPONENT
from modelcycle_bundle import factlines
from modelcycle_bundle.contract import (
    ColumnNote,
    Failure,
    FailureClass,
    FailureReason,
    InspectResult,
    InspectTask,
    TrialResult,
    TrialTask,
)

NOTES = tuple(ColumnNote(f"column {at}", at, constant=False) for at in range(1, 200))


def noted(task: InspectTask) -> InspectResult:
    return replace(inspected(task), column_notes=NOTES)


def long_failure(task: TrialTask) -> TrialResult:
    text = "the estimator raised ValueError: " + "because " * 1000 + "at last"
    return TrialResult(task.index, failure=Failure(FailureClass.TRAINER, FailureReason.TRAINER_RAISED, text))


def kept(lab: Lab) -> list[dict[str, Any]]:
    return lab.kube.find(CONFIG_MAP, KEY.namespace, {COMPONENT: facts.COMPONENT})


def documents(lab: Lab) -> list[dict[str, Any]]:
    return [json.loads(one["data"]["facts.json"]) for one in kept(lab)]


@pytest.fixture
def lab() -> Lab:
    return Lab()


def test_the_report_of_inspect_is_kept_whole_in_an_immutable_config_map(lab: Lab) -> None:
    lab.jobs.programs.inspect = noted
    lab.apply(MINIMAL)
    lab.settle()
    (config_map,) = kept(lab)
    (report,) = documents(lab)
    assert lab.ready[:2] == ("True", "Succeeded")
    assert config_map["immutable"]
    assert config_map["metadata"]["name"].endswith("-facts-0")
    assert config_map["metadata"]["ownerReferences"][0]["uid"] == lab.experiment["metadata"]["uid"]
    assert [note["name"] for note in report["column_notes"]] == [note.name for note in NOTES]
    assert report["rows"] == 569


def test_what_fits_the_message_makes_no_config_map_and_reads_no_log(lab: Lab) -> None:
    lab.apply(search())
    lab.settle()
    assert (kept(lab), lab.kube.log_reads) == ([], [])


def test_a_failure_larger_than_the_message_is_kept_whole(lab: Lab) -> None:
    lab.jobs.programs.trial = long_failure
    lab.apply(MINIMAL)
    lab.settle()
    assert lab.ready[1] == "NoUsableTrial"
    assert documents(lab)[0]["failure"]["message"].endswith("at last")


def test_a_message_that_the_kubelet_has_cut_is_read_from_the_log_and_no_job_collects_it(lab: Lab) -> None:
    lab.jobs.message_room = 60
    lab.apply(search())
    lab.settle()
    assert lab.ready[:2] == ("True", "Succeeded")
    assert not [name for name in lab.jobs.started if "collect" in name]
    assert len(kept(lab)) == 6, "inspect, four trials, seal"


def test_nothing_is_read_or_written_at_rest(lab: Lab) -> None:
    lab.jobs.programs.inspect = noted
    lab.jobs.programs.trial = long_failure
    lab.apply(search(maxFailedTrialCount=9))
    lab.settle()
    writes, reads = len(lab.kube.writes), len(lab.kube.log_reads)
    for _ in range(3):
        lab.reconcile()
    assert (len(lab.kube.writes), len(lab.kube.log_reads)) == (writes, reads)


def test_nothing_is_read_at_rest_when_logs_are_forbidden(lab: Lab) -> None:
    forbid(lab, Forbidden("pods/log is forbidden", status=403))
    lab.jobs.programs.trial = long_failure
    lab.apply(search(maxFailedTrialCount=9))
    lab.settle()
    reads: list[Read] = []
    lab.kube.before_read = lambda read: reads.append(read) if read.kind is POD_LOG else None
    for _ in range(3):
        lab.reconcile()
    assert reads == []


def forbid(lab: Lab, error: Exception) -> None:
    def refuse(read: Read) -> None:
        if read.kind is POD_LOG:
            raise error

    lab.kube.before_read = refuse


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Forbidden("pods/log is forbidden", status=403), "LogsForbidden"),
        (Unavailable("the node does not answer", status=502), "FactsLost"),
    ],
)
def test_without_the_log_the_message_counts_and_the_reason_is_told(lab: Lab, error: Exception, reason: str) -> None:
    forbid(lab, error)
    lab.jobs.programs.inspect = noted
    lab.apply(MINIMAL)
    lab.settle()
    assert lab.ready[:2] == ("True", "Succeeded")
    assert kept(lab) == []
    said = [event for event in lab.events.seen if event.reason == reason]
    assert len(said) == 1
    assert str(error) in said[0].note
    standing = facts_incomplete(lab)
    assert (standing["status"], standing["reason"]) == ("True", reason)
    assert "inspect" in standing["message"]
    for _ in range(3):
        lab.wait(3700)
    assert facts_incomplete(lab) == standing


def facts_incomplete(lab: Lab) -> dict[str, Any]:
    return next((c for c in lab.status["conditions"] if c["type"] == "FactsIncomplete"), {})


def allow(lab: Lab) -> None:
    lab.kube.before_read = lambda read: None


def test_the_reason_stands_until_the_job_is_repeated_with_the_right(lab: Lab) -> None:
    forbid(lab, Forbidden("pods/log is forbidden", status=403))
    lab.jobs.programs.inspect = noted
    lab.jobs.hold = lambda job: "run" if "-t" in job["metadata"]["name"] else ""
    lab.apply(MINIMAL)
    lab.settle()
    assert facts_incomplete(lab)["reason"] == "LogsForbidden"
    allow(lab)
    lab.apply({**MINIMAL, "data": {**MINIMAL["data"], "target": "scrap"}})
    lab.jobs.hold = lambda job: ""
    lab.settle()
    assert lab.ready[:2] == ("True", "Succeeded")
    assert facts_incomplete(lab) == {}


def test_the_reason_stands_while_the_spec_cannot_be_read(lab: Lab) -> None:
    forbid(lab, Forbidden("pods/log is forbidden", status=403))
    lab.jobs.programs.inspect = noted
    lab.apply(MINIMAL)
    lab.settle()
    lab.apply({**MINIMAL, "objective": {"type": "maximize", "objectiveMetricName": "roc_auc", "goal": float("inf")}})
    lab.settle()
    assert (lab.ready[1], facts_incomplete(lab)["reason"]) == ("InvalidSpec", "LogsForbidden")


def test_trials_and_seal_whose_logs_are_forbidden_are_named(lab: Lab) -> None:
    forbid(lab, Forbidden("pods/log is forbidden", status=403))
    lab.jobs.programs.trial = long_failure
    lab.apply(search(maxFailedTrialCount=9))
    lab.settle()
    message = facts_incomplete(lab)["message"]
    assert all(f"trial {at}" in message for at in range(4))
    assert "modelcycle-operator-logs" in message
    assert [json.loads(line)["lacks"] for line in lab.ledger()] == ["LogsForbidden"] * 4


def test_many_trials_fit_the_message(lab: Lab) -> None:
    forbid(lab, Forbidden("pods/log is forbidden", status=403))
    lab.jobs.programs.trial = long_failure
    lab.apply(search(maxTrialCount=30, maxFailedTrialCount=40))
    lab.settle()
    assert "and 20 more" in facts_incomplete(lab)["message"]


def test_a_result_that_is_cut_where_logs_are_forbidden_says_so_in_the_reason_of_stalled(lab: Lab) -> None:
    forbid(lab, Forbidden("pods/log is forbidden", status=403))
    lab.jobs.message_room = 60
    lab.jobs.hold = lambda job: "run" if "-t" in job["metadata"]["name"] else ""
    lab.apply(MINIMAL)
    lab.settle()
    assert lab.ready[1] == "ResultLost"
    assert "LogsForbidden: pods/log is forbidden" in lab.ready[2]
    allow(lab)
    lab.jobs.hold = lambda job: ""
    lab.wait(61)
    assert lab.ready[:2] == ("True", "Succeeded")
    assert facts_incomplete(lab) == {}


def test_a_crash_after_the_reason_was_stored_loses_nothing(lab: Lab) -> None:
    forbid(lab, Forbidden("pods/log is forbidden", status=403))
    lab.jobs.programs.inspect = noted
    fallen: list[Write] = []

    def crash(write: Write) -> None:
        if write.kind is EXPERIMENT and "lacks" in lab.status.get("inspection", {}) and not fallen:
            fallen.append(write)
            raise Crash

    lab.kube.after_write = crash
    lab.apply(MINIMAL)
    lab.settle()
    assert fallen
    assert facts_incomplete(lab)["reason"] == "LogsForbidden"


def test_a_damaged_log_is_told_and_the_message_counts(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factlines, "PREFIX", "somebody-else")
    lab.jobs.programs.inspect = noted
    lab.apply(MINIMAL)
    lab.settle()
    assert lab.ready[:2] == ("True", "Succeeded")
    assert [event.reason for event in lab.events.seen if event.reason == "FactsLost"] == ["FactsLost"]


def test_a_crash_after_the_facts_were_kept_makes_no_second_copy(lab: Lab) -> None:
    lab.jobs.programs.inspect = noted
    fallen: list[str] = []

    def crash(write: Write) -> None:
        if write.kind is CONFIG_MAP and write.verb is Verb.CREATE and write.name.endswith("-facts-0") and not fallen:
            fallen.append(write.name)
            raise Crash

    lab.kube.after_write = crash
    lab.apply(MINIMAL)
    lab.settle()
    assert fallen
    assert lab.ready[:2] == ("True", "Succeeded")
    assert len(kept(lab)) == 1


def test_old_facts_make_room_for_new_ones(lab: Lab) -> None:
    lab.jobs.programs.trial = long_failure
    lab.apply(search(maxTrialCount=30, maxFailedTrialCount=40))
    lab.settle()
    names = sorted(one["metadata"]["name"] for one in kept(lab))
    assert len(names) == facts.KEPT
    assert f"{names[0].rpartition('-')[0]}-29" in names


def test_facts_are_no_pages_of_the_ledger(lab: Lab) -> None:
    lab.jobs.programs.inspect = noted
    lab.apply(search())
    lab.settle()
    assert len(lab.ledger()) == 4
    assert "unreadable" not in lab.ready[2]
