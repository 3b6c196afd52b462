"""Labels in: what is counted, what is refused, by which words and status, and that a refused entry counts nothing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelcycle_bundle import metric_names
from modelcycle_bundle.bins import ClassBins
from modelcycle_bundle.outputs import ClassOutputs
from modelcycle_bundle.profile import BinCounter
from modelcycle_serving.feedback.endpoint import MAX_BODY, MAX_ENTRIES, MAX_LABELS, TOLD
from modelcycle_serving.feedback.tokens import MAX_ROWS
from modelcycle_serving.messages import Request
from unit.serving.feedback import desk
from unit.serving.feedback.desk import DAY, NOW, ROLLOUT, Desk

LABELS = metric_names.LABELS
CONFIDENCE = metric_names.LABEL_CONFIDENCE
ERRORS = metric_names.LABEL_ERRORS


def test_labels_are_counted_by_class_confidence_truth_and_age(at: Desk) -> None:
    token = at.token("no", "yes", "yes", confidence=1.0)
    at.now += 2 * DAY
    assert at.post((token, ["no", "yes", "no"])) == (200, {"counted": 3, "refused": []})
    assert at.series(LABELS) == {
        ("r1", "", "no", "no", "correct", "7d"): 1,
        ("r1", "", "yes", "yes", "correct", "7d"): 1,
        ("r1", "", "yes", "no", "wrong", "7d"): 1,
    }
    assert isinstance(at.profile.output, ClassBins)
    last = at.profile.output.bins[-2]
    assert at.series(CONFIDENCE) == {
        ("no", last, "correct", at.profile.hash): 1,
        ("yes", last, "correct", at.profile.hash): 1,
        ("yes", last, "wrong", at.profile.hash): 1,
    }
    assert at.outcomes() == {"counted": 1}


@pytest.mark.parametrize("confidence", [0.0, 0.5, 0.6, 0.731, 0.97, 1.0])
def test_the_confidence_bin_is_the_one_that_the_answer_was_counted_in(at: Desk, confidence: float) -> None:
    """A label lands in the bin of PREDICTION that its answer is in: their ratio is the accuracy there."""
    counter = BinCounter(at.profile)
    counter.add_outputs(ClassOutputs(np.array(["yes"], dtype=object), np.array([[confidence, 0]], np.float32)))
    counted = counter.output_series[int(counter.output_counts.argmax())]
    at.post((at.token("yes", confidence=confidence), ["yes"]))
    assert [labels[:2] for labels in at.series(CONFIDENCE)] == [counted]


@pytest.mark.parametrize(
    ("seconds", "age"),
    [
        (-300, "1h"),
        (0, "1h"),
        (3600, "1h"),
        (3660, "1d"),
        (DAY, "1d"),
        (DAY + 60, "7d"),
        (7 * DAY, "7d"),
        (29 * DAY, "older"),
    ],
)
def test_age_is_from_answer_to_label(at: Desk, seconds: float, age: str) -> None:
    token = at.token("no")
    at.now += seconds
    at.post((token, ["no"]))
    assert [labels[-1] for labels in at.series(LABELS)] == [age]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (0.0, "0.1"),
        (0.2, "0.1"),
        (0.3, "0.25"),
        (-0.9, "0.5"),
        (2.0, "1"),
        (-4.0, "2"),
        (4.1, "above"),
        (1e30, "above"),
    ],
)
def test_errors_of_a_regression_are_in_standard_deviations(key_file: Path, error: float, expected: str) -> None:
    at = Desk(desk.values(sd=2.0), key_file)
    assert at.post((at.value_token(10.0), [10.0 + error]))[0] == 200
    assert at.series(ERRORS) == {("r1", "", expected, "1h", at.profile.hash): 1}


def test_a_reference_without_spread_knows_right_and_wrong_alone(key_file: Path) -> None:
    at = Desk(desk.values(sd=0.0), key_file)
    assert at.post((at.value_token(3.0, 3.0), [3, 3.001]))[0] == 200
    assert {labels[2] for labels in at.series(ERRORS)} == {"0.1", "above"}


def test_labels_may_come_one_by_one_and_none_counts_twice(at: Desk) -> None:
    token = at.token("no", "yes", "yes")
    assert at.post((token, ["no", None, None]))[1]["counted"] == 1
    assert at.post((token, [None, "yes", None]))[1]["counted"] == 1
    status, body = at.post((token, [None, "yes", "yes"]))
    assert (status, body["refused"][0]["reason"], body["counted"]) == (409, "replayed", 0)
    assert at.post((token, [None, None, "no"]))[1]["counted"] == 1
    assert sum(at.series(LABELS).values()) == 3


def test_equal_answers_of_one_minute_are_told_apart(at: Desk) -> None:
    one, two = at.token("no"), at.token("no")
    assert one != two
    assert at.post((one, ["no"]), (two, ["no"]))[1]["counted"] == 2


@pytest.mark.parametrize(
    ("make", "labels", "status", "reason", "words"),
    [
        (lambda at: at.token("no")[:-1] + "!", ["no"], 401, "forged", "feedback[0].token: not signed by a key"),
        (lambda at: "", ["no"], 401, "forged", "feedback[0].token: not signed"),
        (lambda at: "ü" * 90, ["no"], 401, "forged", "feedback[0].token: not signed"),
        (lambda at: at.token("no"), ["no", "no"], 400, "count", "feedback[0].labels: expected 1, one for each row"),
        (lambda at: at.token("no", "no"), ["no"], 400, "count", "feedback[0].labels: expected 2"),
        (lambda at: at.token("no"), [], 400, "count", "feedback[0].labels: expected 1"),
        (lambda at: at.token("no"), [None], 400, "count", "but one known"),
        (
            lambda at: at.token("no", "no"),
            ["no", "perhaps"],
            400,
            "label",
            "feedback[0].labels[1]: expected one of the",
        ),
        (
            lambda at: at.token("no"),
            [["no"]],
            400,
            "label",
            "feedback[0].labels[0]: expected one of the model's 2 classes",
        ),
        (lambda at: at.token("no"), [{}], 400, "label", "feedback[0].labels[0]"),
        (lambda at: at.token("no"), [1.5], 400, "label", "feedback[0].labels[0]"),
    ],
)
def test_what_does_not_fit_is_refused_by_name_and_counts_nothing(
    at: Desk, make: Any, labels: list[Any], status: int, reason: str, words: str
) -> None:
    answered, body = at.post((make(at), labels))
    assert (answered, body["counted"], body["refused"][0]["reason"]) == (status, 0, reason)
    assert words in body["error"]
    assert body["error"] == body["refused"][0]["error"]
    assert "perhaps" not in json.dumps(body)
    assert at.outcomes() == {reason: 1}
    assert at.series(LABELS) == {}
    assert at.series(CONFIDENCE) == {}


def test_a_refused_entry_may_be_posted_again_put_right(at: Desk) -> None:
    token = at.token("no")
    assert at.post((token, ["perhaps"]))[0] == 400
    assert at.post((token, ["yes"]))[0] == 200


@pytest.mark.parametrize(
    "label", ["true", "1.5", '"no "', '""', '{"no":1}', '["no"]', "[" * 1018 + "]" * 1018], ids=range(7)
)
def test_a_label_of_a_classifier_is_a_class(at: Desk, label: str) -> None:
    # As text: the last is as deep as a body may be, too deep for the standard library.
    body = f'{{"feedback":[{{"token":"{at.token("no")}","labels":[{label}]}}]}}'.encode()
    response = at.feedback.endpoint(Request(body=body))
    assert response.status == 400
    assert json.loads(response.body)["error"].startswith("feedback[0].labels[0]: expected one of the model's 2 classes")


@pytest.mark.parametrize("label", [True, "1.5", None, [1], "nan"])
def test_a_label_of_a_regression_is_a_number(key_file: Path, label: Any) -> None:
    at = Desk(desk.values(), key_file)
    status, body = at.post((at.value_token(1.0, 2.0), [1.0, label]))
    if label is None:
        assert status == 200
    else:
        assert (status, body["refused"][0]["reason"]) == (400, "label")
        assert "feedback[0].labels[1]: expected a finite number" in body["error"]


@pytest.mark.parametrize("label", [1, "1", 1.0])
def test_a_class_that_is_a_number_may_come_as_one(key_file: Path, label: Any) -> None:
    at = Desk(desk.classes("0", "1"), key_file)
    assert at.post((at.token(1), [label]))[0] == 200
    assert set(at.series(LABELS)) == {("r1", "", "1", "1", "correct", "1h")}


def test_expired_is_refused_by_age_and_not_counted(key_file: Path) -> None:
    at = Desk(desk.classes("no", "yes"), key_file, max_age=3600)
    token = at.token("no")
    at.now = NOW + 3600
    assert at.post((token, ["no"]))[0] == 200
    late = at.token("no")
    at.now += 3661
    status, body = at.post((late, ["no"]))
    assert (status, body["refused"][0]["reason"]) == (401, "expired")
    assert "3600 s" in body["error"]
    replayed = at.post((token, ["no"]))[1]
    assert replayed["refused"][0]["reason"] == "expired", "what is forgotten is never counted again"
    assert sum(at.series(LABELS).values()) == 1


def test_others_of_a_body_are_counted_whatever_is_refused(at: Desk) -> None:
    good, bad, again = at.token("no"), at.token("yes"), at.token("yes")
    status, body = at.post((good, ["no"]), (bad[::-1], ["yes"]), (again, ["yes"]), (again, ["yes"]), (good, ["maybe"]))
    assert (status, body["counted"], body["refused_entries"]) == (401, 2, 3)
    assert [(each["entry"], each["reason"]) for each in body["refused"]] == [
        (1, "forged"),
        (3, "replayed"),
        (4, "replayed"),
    ]
    assert at.outcomes() == {"counted": 2, "forged": 1, "replayed": 2}


def test_an_answer_lists_some_of_many_refused(at: Desk) -> None:
    status, body = at.post(*[("x", ["no"])] * MAX_ENTRIES)
    assert (status, len(body["refused"]), body["refused_entries"]) == (401, TOLD, MAX_ENTRIES)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "body: not JSON"),
        (b"{", "body: not JSON"),
        (b"[]", "feedback: expected a list of 1 to 128 objects"),
        (b"{}", "feedback: expected a list"),
        (b'{"feedback":[]}', "feedback: expected a list"),
        (b'{"feedback":{}}', "feedback: expected a list"),
        (b'{"feedback":[1]}', "feedback[0].token: expected parameters.feedback_token"),
        (b'{"feedback":[{"token":1,"labels":[]}]}', "feedback[0].token: expected"),
        (b'{"feedback":[{"token":"x"}]}', "feedback[0].labels: expected a list"),
        (b'{"feedback":[{"token":"x","labels":"no"}]}', "feedback[0].labels: expected a list"),
        (
            json.dumps({"feedback": [{"token": "x", "labels": []}] * (MAX_ENTRIES + 1)}).encode(),
            "feedback: expected a list",
        ),
        (
            json.dumps({"feedback": [{"token": "x", "labels": [0] * (MAX_LABELS + 1)}]}).encode(),
            "feedback: expected at most 4096",
        ),
    ],
)
def test_a_body_of_another_form_is_refused_whole(at: Desk, body: bytes, words: str) -> None:
    response = at.post_body(body)
    assert (response.status, json.loads(response.body)["error"][: len(words)]) == (400, words)
    assert at.outcomes() == {"malformed": 1}


def test_a_long_body_is_refused(at: Desk) -> None:
    assert at.post_body(b" " * (MAX_BODY + 1)).status == 413
    assert at.outcomes() == {"malformed": 1}


def test_without_a_key_there_are_no_tokens_and_no_labels_until_it_comes(tmp_path: Path) -> None:
    at = Desk(desk.classes("no", "yes"), tmp_path / "key")
    assert at.feedback.parameters({}, [(1, "")]) == ()
    response = at.post_body(b"{}")
    assert (response.status, b"feedback is off" in response.body) == (404, True)
    (tmp_path / "key").write_text(desk.KEY)
    at.keys.look()
    token = at.token("no")
    assert at.post((token, ["no"]))[0] == 200
    (tmp_path / "key").unlink()
    at.keys.look()
    assert at.post((token, ["no"]))[0] == 404


def test_a_forged_token_says_what_would_do(at: Desk) -> None:
    response = at.post_body(b'{"feedback":[{"token":"x","labels":["no"]}]}')
    assert (response.status, dict(response.headers)[b"WWW-Authenticate"]) == (401, b'FeedbackToken realm="feedback"')


def test_answers_of_a_rollout_are_told_apart_by_revision(at: Desk, key_file: Path) -> None:
    """32 of research: late labels are compared among answers of the rollout alone, of both arms."""
    canary = Desk(desk.classes("yes", "no"), key_file, revision="r2")
    before = at.token("no")
    at.apply(ROLLOUT)
    tokens = [before, at.token("no"), canary.token("no", marker=ROLLOUT), canary.token("no", marker="aabbcc-0000000f")]
    assert at.post(*[(token, ["no"]) for token in tokens])[0] == 200
    cohorts = {labels[:2] for labels in at.series(LABELS)}
    assert cohorts == {("r1", ""), ("r1", ROLLOUT), ("r2", ROLLOUT), ("r2", "other")}
    assert sum(at.series(CONFIDENCE).values()) == 2, "bins of another profile are not these"


def test_a_marker_of_no_rollout_names_none(at: Desk) -> None:
    at.apply(ROLLOUT)
    at.post((at.token("no", marker='x" 1\nforged'), ["no"]))
    assert {labels[:2] for labels in at.series(LABELS)} == {("r1", "")}


def test_a_rollout_without_a_share_is_none(at: Desk) -> None:
    at.apply(ROLLOUT)
    at.apply(ROLLOUT, share=0)
    at.post((at.token("no"), ["no"]))
    assert {labels[:2] for labels in at.series(LABELS)} == {("r1", "")}


def test_classes_that_only_the_other_revision_has_are_other(at: Desk, key_file: Path) -> None:
    canary = Desk(desk.classes("new", "yes"), key_file, revision="r2")
    right, wrong = canary.token("new"), canary.token("new")
    assert at.post((right, ["new"]), (wrong, ["yes"]))[0] == 200
    assert set(at.series(LABELS)) == {
        ("r2", "", "other", "other", "correct", "1h"),
        ("r2", "", "other", "yes", "wrong", "1h"),
    }
    assert at.post((canary.token("yes"), ["new"]))[0] == 400, "known neither here nor to the answer"


def test_confusions_of_many_classes_are_not_told_apart(key_file: Path) -> None:
    at = Desk(desk.classes(*(f"c{number:02d}" for number in range(11))), key_file)
    at.post((at.token("c00", "c00"), ["c00", "c07"]))
    assert set(at.series(LABELS)) == {
        ("r1", "", "c00", "c00", "correct", "1h"),
        ("r1", "", "c00", "other", "wrong", "1h"),
    }


def test_an_answer_of_another_kind_of_model_is_refused(at: Desk, key_file: Path) -> None:
    regression = Desk(desk.values(), key_file)
    assert at.post((regression.value_token(1.0), [1.0]))[1]["refused"][0]["reason"] == "label"
    assert regression.post((at.token("no"), [1.0]))[1]["refused"][0]["reason"] == "label"


def test_an_answer_of_very_many_rows_has_no_token(at: Desk) -> None:
    rows = [MAX_ROWS, MAX_ROWS + 1, 1]
    labels = np.full(sum(rows), "no", dtype=object)
    probabilities = np.full((sum(rows), 2), 0.5, np.float32)
    outputs = {"label": labels, "probabilities": probabilities}
    given = at.feedback.parameters(outputs, [(count, "") for count in rows])
    assert [set(each) for each in given] == [{"feedback_token"}, set(), {"feedback_token"}]
