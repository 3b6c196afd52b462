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
from modelcycle.kube.kinds import CONFIG_MAP
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
