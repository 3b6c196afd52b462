"""The pure parts one by one: ledger lines and pages, results, retry times, manifests, the search hash."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fakes.experiment_lab import MINIMAL, Lab, search
from modelcycle.api.edition import Edition
from modelcycle.api.experiment import TrialState, parse, search_hash
from modelcycle.api.fields import SpecError
from modelcycle.experiment import ledger, manifests, tasks
from modelcycle.experiment.explain import condition_reason, describe
from modelcycle.experiment.history import History, best
from modelcycle.experiment.ledger import Entry, Page
from modelcycle.experiment.manifests import JobOrder, owner_of
from modelcycle.experiment.results import number, record
from modelcycle.experiment.search import json_values
from modelcycle.jobs.records import TaskRecord, TaskState
from modelcycle.jobs.results import Lost, Problem, Unfinished, read
from modelcycle.jobs.views import JobState, JobView, PodView
from modelcycle_bundle.contract import (
    Failure,
    FailureClass,
    FailureReason,
    InspectResult,
    InspectTask,
    TaskKind,
    TrialResult,
    from_json,
    to_json,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OWNER = owner_of("scrap", "plant-7", "uid")
JOB = JobView("j", "u", TaskKind.TRIAL, 0, 0, "s", NOW, JobState.FAILED, "PodFailurePolicy")
ENTRY = Entry(0, 0, "s", TrialState.SUCCEEDED, metrics=(("roc_auc", "0.9"),), objective_metric="roc_auc")


def rendered(kind: TaskKind, **fields: Any) -> dict[str, Any]:
    spec = parse({"spec": search(**fields)})
    return manifests.job(OWNER, spec, "image", JobOrder(kind, 0, 0, tasks.inspect(spec, None)))


def pod_of(job: dict[str, Any]) -> dict[str, Any]:
    pod: dict[str, Any] = job["spec"]["template"]["spec"]
    return pod


def secrets(job: dict[str, Any]) -> list[str]:
    return [e["secretRef"]["name"] for e in pod_of(job)["containers"][0]["envFrom"]]


def test_search_hash_is_stable_across_versions() -> None:
    assert search_hash(MINIMAL) == search_hash(json.loads(json.dumps(MINIMAL)))
    assert search_hash(search()) == "854ef8ac"


def test_search_hash_ignores_defaults_budgets_and_secrets() -> None:
    explicit = search(maxTrialCount=9, algorithm={"algorithmName": "random", "seed": 0}, suspend=True)
    explicit["data"] = {**explicit["data"], "format": "csv", "secretRef": {"name": "x"}}
    assert search_hash(explicit) == search_hash(search())


def test_numbers_without_quotes_are_the_same_search() -> None:
    def space(low: Any, high: Any, *values: Any) -> dict[str, Any]:
        depth = {"name": "depth", "parameterType": "int", "feasibleSpace": {"min": low, "max": high}}
        return search(
            parameters=[depth, {"name": "c", "parameterType": "categorical", "feasibleSpace": {"list": [*values]}}]
        )

    bare, quoted = space(1, 9, 4, "rbf"), space("1", "9", "4", "rbf")
    assert search_hash(bare) == search_hash(quoted)
    assert parse({"spec": bare}) == parse({"spec": quoted})


@pytest.mark.parametrize("change", [{"trainer": {"estimator": "a.B"}}, {"algorithm": {"seed": 1}}, {"parameters": []}])
def test_search_hash_sees_what_a_result_depends_on(change: dict[str, Any]) -> None:
    assert search_hash(search(**change)) != search_hash(search())


def test_a_spec_of_another_schema_is_refused_in_words() -> None:
    with pytest.raises(SpecError, match="older than this operator"):
        parse({"spec": {"data": {}}})


def test_ledger_line_round_trip() -> None:
    entry = replace(ENTRY, parameters=(("a", "1"),), failure_class="Trainer", reason="R", message="ü" * 300)
    assert ledger.parse_line(ledger.line(entry)) == replace(entry, message="ü" * 256)


@pytest.mark.parametrize(
    "text", ["", "null", "{}", '{"index": "x"}', "[1]", '{"index":0,"attempt":0,"search":"","state":"Odd"}']
)
def test_unreadable_ledger_lines_are_counted_not_fatal(text: str) -> None:
    config_map = {"metadata": {"name": "n", "uid": "u", "resourceVersion": "1"}, "data": {"trials.jsonl": f"{text} \n"}}
    assert ledger.page(0, config_map).unreadable == 1


def test_pages_close_at_five_hundred_lines_experiment_42() -> None:
    writes = ledger.append((), [replace(ENTRY, index=i) for i in range(1001)])
    assert [(w.number, w.text.count("\n"), w.closed) for w in writes] == [(0, 500, True), (1, 500, True), (2, 1, False)]


def test_a_full_page_is_never_written_again() -> None:
    full = Page(0, "n", "u", "1", (ledger.line(ENTRY) + "\n") * 500)
    writes = ledger.append((full,), [ENTRY])
    assert [(w.number, w.page) for w in writes] == [(1, None)]


def test_an_open_page_keeps_its_lines_and_its_version() -> None:
    page = Page(0, "n", "u", "7", "kept\n")
    (write,) = ledger.append((page,), [ENTRY])
    body = manifests.ledger_page(OWNER, write)
    assert body["data"]["trials.jsonl"].startswith("kept\n")
    assert body["metadata"]["resourceVersion"] == "7"


@pytest.mark.parametrize("text", ["1", "-0.5", "1e-7", "12.5E+3"])
def test_numbers(text: str) -> None:
    assert number(text) == float(text)


@pytest.mark.parametrize("text", [None, "", "nan", "NaN", "inf", "1e999", "0x10", "1_000", " 1", "1,5", "9" * 40])
def test_no_numbers_experiment_21(text: str | None) -> None:
    assert number(text) is None


@pytest.mark.parametrize("message", ["", "{", "null", '{"index": "0"}', '{"index": 0, "metrics": {"roc_auc": NaN}}'])
def test_unreadable_message_is_lost_not_guessed_experiment_24(message: str) -> None:
    job = replace(JOB, state=JobState.COMPLETE, pods=(PodView("p", NOW, exit_code=0, message=message),))
    assert isinstance(read(TrialResult, job, NOW), Lost)


def test_out_of_memory_is_named_experiment_32() -> None:
    job = replace(JOB, pods=(PodView("p", NOW, exit_code=137, termination_reason="OOMKilled"),))
    found = read(TrialResult, job, NOW)
    assert isinstance(found, Problem)
    assert found.reason == "OutOfMemory"
    assert "limits.memory" in found.message


def test_the_result_of_the_last_pod_counts_engineering_51() -> None:
    pods = (
        PodView("a", NOW, exit_code=75, message='{"index":0}'),
        PodView("b", NOW, exit_code=0, message=to_json(TrialResult(0, rows=5))),
    )
    assert read(TrialResult, replace(JOB, state=JobState.COMPLETE, pods=pods), NOW) == TrialResult(0, rows=5)


def test_a_result_of_another_trial_is_not_believed() -> None:
    assert record(ENTRY, TrialResult(5), None, None).entry.reason == "ResultLost"


@pytest.mark.parametrize(("seconds", "ends"), [(119, False), (120, True)])
def test_image_limit_engineering_56(seconds: int, ends: bool) -> None:
    pod = PodView("p", NOW, image_problem="ImagePullBackOff: no", waiting_since=NOW)
    found = read(TrialResult, replace(JOB, state=JobState.ACTIVE, pods=(pod,)), NOW + timedelta(seconds=seconds))
    assert isinstance(found, Problem) == ends
    assert ends or (isinstance(found, Unfinished) and found.due == NOW + timedelta(seconds=120))


def test_a_pod_behind_our_own_pods_is_not_unschedulable() -> None:
    job = replace(JOB, state=JobState.ACTIVE, pods=(PodView("p", NOW, unschedulable="no cpu", waiting_since=NOW),))
    late = NOW + timedelta(hours=1)
    assert isinstance(read(TrialResult, job, late, waits_for_others=True), Unfinished)
    assert isinstance(read(TrialResult, job, late), Problem)


def test_a_job_whose_pod_a_quota_keeps_out_waits_for_our_own_pods() -> None:
    job = replace(JOB, state=JobState.ACTIVE, reason="")
    later = NOW + timedelta(hours=1)
    assert read(TrialResult, job, later, waits_for_others=True) == Unfinished()
    assert isinstance(read(TrialResult, job, later), Problem)


def test_retries_slow_down() -> None:
    failed = TaskRecord(0, TaskState.FAILED, "s", Edition("", 1), NOW)
    waits = [(replace(failed, failures=n).retry_at() - NOW).total_seconds() for n in (1, 5, 6, 8, 50)]
    assert waits == [60, 60, 120, 480, 3600]


@pytest.mark.parametrize(
    ("kind", "mounts"),
    [(kind, kind in (TaskKind.INSPECT, TaskKind.SEAL)) for kind in TaskKind],
)
def test_only_inspect_and_seal_mount_the_key(kind: TaskKind, mounts: bool) -> None:
    pod = pod_of(rendered(kind))
    assert any(v.get("secret", {}).get("secretName") == "modelcycle-signing-key" for v in pod["volumes"]) == mounts


@pytest.mark.parametrize("kind", list(TaskKind))
def test_pods_are_restricted_and_have_no_token(kind: TaskKind) -> None:
    pod = pod_of(rendered(kind))
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["args"] == [kind.value]


def test_text_of_the_spec_never_reaches_the_kubelets_substitution() -> None:
    data = {"uri": "s3://factory/a$(X)/$$b.csv", "target": "$(AWS_SECRET_ACCESS_KEY)"}
    task = pod_of(rendered(TaskKind.INSPECT, data=data))["containers"][0]["env"][0]["value"]
    assert "$" not in task
    told = from_json(InspectTask, task)
    assert (told.data.uri, told.data.target) == (data["uri"], data["target"])


def test_store_secrets_data_first_then_output() -> None:
    fields = {
        "data": {**MINIMAL["data"], "secretRef": {"name": "d"}},
        "output": {**MINIMAL["output"], "secretRef": {"name": "o"}},
    }
    assert secrets(rendered(TaskKind.TRIAL, **fields)) == ["d", "o"]
    assert secrets(rendered(TaskKind.SEAL, **fields)) == ["o"]
    assert secrets(rendered(TaskKind.TRIAL)) == ["modelcycle-store"]


def test_claims_are_read_only_for_data_and_writable_for_output() -> None:
    fields = {"data": {"uri": "pvc://in/t.csv", "target": "y"}, "output": {"uri": "pvc://out/models"}}
    mounts = {
        m["mountPath"]: m.get("readOnly")
        for m in pod_of(rendered(TaskKind.TRIAL, **fields))["containers"][0]["volumeMounts"]
    }
    assert mounts["/var/run/modelcycle/pvc/in"] is True
    assert mounts["/var/run/modelcycle/pvc/out"] is False


def test_names_fit_whatever_the_owner_is_called() -> None:
    name = manifests.job(
        owner_of("x" * 63, "n", "u"), parse({"spec": search()}), "i", JobOrder(TaskKind.TRIAL, 4999, 12, None)
    )
    assert len(name["metadata"]["name"]) <= 63
    assert name["metadata"]["name"].endswith("-t4999-12")


def test_list_values_are_json_where_they_read_as_json() -> None:
    texts = ["1", "0.5", "true", "null", "rbf", '"1"', "[1]", "1e999"]
    names = [f"p{i}" for i in range(len(texts))]
    parameters = [
        {"name": n, "parameterType": "categorical", "feasibleSpace": {"list": [t]}}
        for n, t in zip(names, texts, strict=True)
    ]
    values = json_values(parse({"spec": search(parameters=parameters)}), tuple(zip(names, texts, strict=True)))
    assert list(values.values()) == [1, 0.5, True, None, "rbf", "1", "[1]", "1e999"]


def test_other_data_and_other_searches_do_not_count() -> None:
    entries = (
        replace(ENTRY, index=0, data_digest="a"),
        replace(ENTRY, index=1, data_digest="b"),
        replace(ENTRY, index=2, search="old"),
    )
    history = History(entries, "s", "a")
    assert set(history.settled) == {0}
    assert [history.attempt(i) for i in range(4)] == [1, 1, 1, 0]


def test_declared_direction_decides() -> None:
    low, high = replace(ENTRY, index=1, metrics=(("roc_auc", "0.1"),)), ENTRY
    declared = parse({"spec": search(objective={"type": "minimize", "objectiveMetricName": "roc_auc"})})
    assert best(declared, (high, low)) == low
    assert best(parse({"spec": search()}), (high, low)) == high


def test_every_failure_becomes_a_documented_reason() -> None:
    reasons = {condition_reason(Problem("", reason, "")) for reason in FailureReason}
    assert "InternalError" in reasons
    assert condition_reason(Problem("", FailureReason.MODEL_NOT_FOUND, "NoSuchBucket")) == "OutputNotFound"
    assert describe(Problem("", FailureReason.TARGET_MISSING, "no y"), "ns", "k") == "spec.data.target: no y"


@pytest.mark.parametrize("reason", [FailureReason.TASK_INVALID, FailureReason.INTERNAL])
def test_an_inspection_that_looked_at_nothing_says_so_and_not_that_a_key_is_missing(reason: FailureReason) -> None:
    lab = Lab()
    lab.jobs.programs.inspect = lambda task: InspectResult(
        False, failure=Failure(FailureClass.POLICY, reason, "other version")
    )
    lab.apply(MINIMAL)
    lab.settle()
    assert lab.ready[1] == reason
