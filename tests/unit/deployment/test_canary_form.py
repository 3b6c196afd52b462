"""A canary that takes or answers something else than stable: refused before a request reaches it, unless a person orders the change."""

from typing import Any

import pytest

from fakes.canary_lab import STEPS, canary_spec, shares, started
from fakes.deployment_lab import Lab, digest

FORMS = ("inputs", "outputs")
WAYS: dict[str, list[dict[str, Any]]] = {"steps": STEPS, "no steps": []}


def other(lab: Lab, form: str, hashed: str = "other") -> None:
    (lab.arms.inputs if form == "inputs" else lab.arms.outputs)[digest("b")] = hashed


def order(identity: str = "1", verb: str = "PromoteFull") -> dict[str, Any]:
    return {"id": identity, "verb": verb, "by": "ada", "digest": digest("b"), "reason": "line 3 has one more sensor"}


def reached(lab: Lab) -> int:
    """Requests that the new model answered."""
    return lab.arms.by_digest.get(digest("b"), 0)


@pytest.mark.parametrize("steps", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("late", range(6))
async def test_another_form_is_refused_before_the_first_request_however_late_it_is_read(
    form: str, steps: list[dict[str, Any]], late: int
) -> None:
    lab = await started(steps=steps)
    other(lab, form)
    lab.arms.outage = "connection failed"
    await lab.run(seconds=late)
    lab.arms.outage = None
    await lab.run(seconds=30)
    assert (lab.reason, lab.serving, reached(lab)) == ("IncompatibleSignature", "a", 0)
    words = {"inputs": "its inputs are not those", "outputs": "its answers have another form"}[form]
    assert words in lab.condition("Ready")["message"]  # type: ignore[index]
    assert "PromoteFull" in lab.condition("Ready")["message"]  # type: ignore[index]
    assert lab.sizes() == {"a": 2, "b": 0}


@pytest.mark.parametrize("steps", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("form", FORMS)
async def test_server_that_does_not_say_its_form_is_judged_by_its_answers(
    form: str, steps: list[dict[str, Any]]
) -> None:
    lab = await started(steps=steps)
    other(lab, form, "")
    await lab.run(seconds=200, until=lambda: lab.serving == "b")
    assert lab.serving == "b"


async def test_without_steps_the_first_reading_is_waited_for_and_said() -> None:
    lab = await started(steps=[])
    lab.arms.outage = "connection failed"
    await lab.run(seconds=20)
    assert (lab.reason, lab.serving) == ("RevisionStarting", "a")
    assert "are compared with stable's first, for at most 60 s" in lab.condition("Ready")["message"]  # type: ignore[index]
    await lab.run(seconds=30)
    assert lab.serving == "a"
    await lab.run(seconds=30)
    assert lab.serving == "b"


@pytest.mark.parametrize("steps", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("after", ["with the model", "while it starts", "after the rejection"])
async def test_person_promotes_another_form_with_one_request_ten_of_ten(
    form: str, steps: list[dict[str, Any]], after: str
) -> None:
    for late in range(10):
        await promoted_by_order(form, steps, after, late)


async def promoted_by_order(form: str, steps: list[dict[str, Any]], after: str, late: int) -> None:
    early: dict[str, Any] = {"requests": [order()]} if after == "with the model" else {}
    lab = await started(steps=steps, rate=20, **early)
    other(lab, form)
    if form == "inputs":
        lab.arms.refusing[digest("b")] = 1.0  # clients have not changed yet
    lab.arms.outage = "connection failed"
    await lab.run(seconds=late if after != "while it starts" else min(late, 1))
    if after == "while it starts":
        lab.apply(**canary_spec("b", steps), requests=[order()])
    lab.arms.outage = None
    if after == "after the rejection":
        await lab.run(seconds=30, until=lambda: lab.reason == "IncompatibleSignature")
        assert lab.reason == "IncompatibleSignature"
        lab.apply(**canary_spec("b", steps), requests=[order()])
    await lab.run(seconds=90, until=lambda: lab.serving == "b")
    await lab.run(seconds=30, until=lambda: lab.reason == "Serving")
    assert (lab.reason, lab.serving) == ("Serving", "b"), late
    assert lab.status["history"][-1]["reason"] == "PromoteFull"
    assert [(r["id"], r["result"]) for r in lab.status["requests"]] == [("1", "Executed")]
    assert "rejected" not in lab.status
    assert lab.arms.bad_answers == 0


@pytest.mark.parametrize("form", FORMS)
async def test_going_back_within_the_guard_window_is_not_asked_for_its_form(form: str) -> None:
    lab = await started(rate=20, requests=[order()], steps=STEPS)
    other(lab, form)
    await lab.run(seconds=90, until=lambda: lab.reason == "GuardWindow")
    lab.apply(**canary_spec("a"))
    await lab.run(seconds=40)
    assert (lab.reason, lab.serving) == ("Serving", "a")


async def test_order_for_another_digest_lifts_no_rejection() -> None:
    lab = await started()
    other(lab, "outputs")
    await lab.run(seconds=30, until=lambda: lab.reason == "IncompatibleSignature")
    lab.apply(**canary_spec("b"), requests=[order() | {"digest": digest("c")}])
    await lab.run(seconds=30)
    assert (lab.reason, lab.serving) == ("IncompatibleSignature", "a")
    assert lab.status["requests"][0]["result"] == "Refused"


async def test_order_lifts_no_rejection_of_another_kind() -> None:
    lab = await started()
    lab.arms.failing[digest("b")] = 1.0
    await lab.run(seconds=30, until=lambda: lab.reason == "CanaryFailFast")
    lab.apply(**canary_spec("b"), requests=[order()])
    await lab.run(seconds=30)
    assert (lab.reason, lab.serving, shares(lab)) == ("CanaryFailFast", "a", {k: {0} for k in shares(lab)})


async def test_failures_of_another_form_that_a_person_ordered_still_roll_back() -> None:
    lab = await started(requests=[order()])
    other(lab, "outputs")
    lab.arms.failing[digest("b")] = 1.0
    await lab.run(seconds=60)
    assert (lab.reason, lab.serving, lab.arms.bad_answers) == ("CanaryFailFast", "a", 0)
