"""What `seal` removes from the store: the candidates of losing trials that its task names, and never anything else."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from modelcycle_bundle import layout
from modelcycle_bundle.contract import AttemptRange, Failure, FailureClass, FailureReason, SealTask
from modelcycle_bundle.store import Store, StoreError, open_store
from modelcycle_training import retention
from unit.training.conftest import Lab, Tables

LOSERS = (AttemptRange(0, 1, 4), AttemptRange(2, 7, 7))
LOST = ("1", "3", "7-2")
"""Of the named trials those that have written a candidate."""
STAYS = (
    "candidates/uid-1/5/result.json",  # not named: a trial that started later
    "candidates/uid-1/7/result.json",  # another attempt of a named trial
    "candidates/uid-1/7-1/result.json",
    "candidates/uid-1/notes.txt",
    "candidates/uid-1/2-old/result.json",
    "candidates/uid-10/2/result.json",  # another Experiment's
    "candidates/uid-2/2/model/model.onnx",
    "sha256-" + "a" * 64 + "/model/model.onnx",
    "sha256-" + "a" * 64 + "/candidates/uid-1/2/result.json",
    "report.html",
)


@pytest.fixture
def won(lab: Lab, tables: Tables) -> SealTask:
    """Trial 0 has won; the others of the same Experiment have lost, or are none of its business."""
    task = lab.trial_task(tables.cancer, "sklearn.tree.DecisionTreeClassifier", {"max_depth": 3})
    sealing = lab.seal_task(task, lab.run(task).result)
    for name in LOST:
        for file in ("model/model.onnx", "model/card.md", "result.json"):
            put(lab, f"candidates/uid-1/{name}/{file}")
    for path in STAYS:
        put(lab, path)
    lab.make_key()
    return replace(sealing, remove=LOSERS)


def put(lab: Lab, path: str) -> None:
    place = lab.folder / "out" / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"x")


def losing(lab: Lab) -> list[str]:
    return [path for path in lab.files() if path.startswith(tuple(f"candidates/uid-1/{name}/" for name in LOST))]


def test_candidates_of_losing_trials_go_when_the_best_is_sealed(lab: Lab, won: SealTask) -> None:
    before, lost = lab.files(), losing(lab)
    outcome = lab.run(won)
    assert (outcome.exit_code, outcome.result.removed, outcome.result.removal_problem) == (0, 3, None)
    assert losing(lab) == []
    assert {path: data for path, data in before.items() if path not in lost}.items() <= lab.files().items()
    assert not (lab.folder / "out/candidates/uid-1/1").exists()


def test_sealing_again_finds_nothing_to_remove_and_changes_nothing(lab: Lab, won: SealTask) -> None:
    first = lab.run(won)
    files = lab.files()
    again = lab.run(won)
    assert (again.exit_code, again.result.removed) == (0, 0)
    assert replace(again.result, removed=first.result.removed) == first.result
    assert lab.files() == files


def test_the_candidate_that_is_sealed_stays_even_when_it_is_named(lab: Lab, won: SealTask) -> None:
    candidate = [path for path in lab.files() if path.startswith("candidates/uid-1/0/")]
    outcome = lab.run(replace(won, remove=(AttemptRange(0, 0, 100),)))
    assert outcome.exit_code == 0
    assert [path for path in lab.files() if path.startswith("candidates/uid-1/0/")] == candidate != []


def test_a_task_that_names_none_removes_none(lab: Lab, won: SealTask) -> None:
    before = lab.files()
    assert lab.run(replace(won, remove=())).exit_code == 0
    assert before.items() <= lab.files().items()


def test_a_candidate_that_is_refused_removes_none(lab: Lab, won: SealTask) -> None:
    before = lab.files()
    assert lab.run(replace(won, candidate_digest="sha256:" + "0" * 64)).reason == "CandidateMismatch"
    assert lab.files() == before


class _Killed(BaseException):
    """The pod dies here."""


@pytest.mark.parametrize("call", range(6))
def test_a_pod_that_dies_while_it_removes_is_made_good_by_the_next(
    lab: Lab, won: SealTask, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = Store.remove_candidates, list[int]()

    def dying(store: Store, paths: Sequence[str]) -> None:
        is_last = len(calls) == call
        original(store, paths[: len(paths) // 2] if is_last else paths)
        if is_last:
            raise _Killed
        calls.append(len(paths))

    monkeypatch.setattr(retention, "AT_A_TIME", 1)
    with monkeypatch.context() as until_it_dies:
        until_it_dies.setattr(Store, "remove_candidates", dying)
        with pytest.raises(_Killed):
            lab.run(won)
    outcome = lab.run(won)
    assert (outcome.exit_code, losing(lab)) == (0, [])
    assert set(STAYS) <= set(lab.files())


def test_a_store_that_refuses_to_remove_is_told_and_the_model_is_sealed(
    lab: Lab, won: SealTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(store: Store, paths: Sequence[str]) -> None:
        raise StoreError(Failure(FailureClass.INFRASTRUCTURE, FailureReason.STORE_DENIED, "no right to delete"))

    monkeypatch.setattr(Store, "remove_candidates", denied)
    outcome = lab.run(won)
    assert (outcome.exit_code, outcome.result.digest) == (0, won.candidate_digest)
    assert outcome.result.removal_problem == "candidates of losing trials are left in the store: no right to delete"
    assert outcome.result.removed == 0


def test_a_folder_that_may_not_be_changed_is_told_and_the_model_is_sealed(lab: Lab, won: SealTask) -> None:
    outside = lab.folder / "elsewhere"
    outside.mkdir()
    Path(lab.folder, "out/candidates/uid-1/2").symlink_to(outside)
    (outside / "result.json").write_bytes(b"x")
    outcome = lab.run(won)
    assert outcome.exit_code == 0
    assert (outside / "result.json").exists()


def test_a_slow_store_does_not_keep_the_model_waiting(lab: Lab, won: SealTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "PATIENCE_SECONDS", -1.0)
    result = lab.run(won).result
    assert (result.removed, result.digest) == (0, won.candidate_digest)
    assert result.removal_problem == "3 candidates of losing trials are left: the store was too slow"


@pytest.mark.parametrize("path", [f"sha256-{'a' * 64}/model/model.onnx", "report.html", "candidates", "candidatesX/1"])
def test_the_store_removes_nothing_but_candidates(lab: Lab, won: SealTask, path: str) -> None:
    before = lab.files()
    with pytest.raises(ValueError, match=f"below {layout.CANDIDATES_DIR}/"):
        open_store(lab.output_uri, {}).remove_candidates(["candidates/uid-1/1/result.json", path])
    assert lab.files() == before


def test_a_path_does_not_climb_out_of_the_candidates(lab: Lab, won: SealTask) -> None:
    before = lab.files()
    with pytest.raises(StoreError):
        open_store(lab.output_uri, {}).remove_candidates(["candidates/../report.html"])
    assert lab.files() == before


def test_what_is_gone_already_does_not_keep_the_rest(lab: Lab, won: SealTask) -> None:
    there = losing(lab)
    gone = ["candidates/uid-1/1/gone", *there, "candidates/uid-1/2/gone"]
    open_store(lab.output_uri, {}).remove_candidates(gone)
    assert losing(lab) == []
