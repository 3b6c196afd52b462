"""What only an edit can mend is repeated after an edit only; what can be mended without one is repeated for ever."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from budget import examples
from fakes.experiment_lab import MINIMAL, Lab
from fakes.jobs import DATA_DIGEST
from modelcycle_bundle.contract import Failure, FailureClass, FailureReason, InspectResult, TrialResult

OTHER = "sha256:" + "e" * 64
OF_THE_BYTES = {"DataUnreadable", "TargetMissing", "TargetUnusable", "FeatureNotNumeric"}
OF_THE_SPEC = {"EstimatorNotAllowed", "InvalidSpec"}
OF_THE_PLACE = {FailureReason.STORE_UNREACHABLE, FailureReason.STORE_DENIED}
FINDERS = st.sampled_from(["inspect", "trial"])
HOLDING = sorted(OF_THE_BYTES | OF_THE_SPEC | {"DataNotFound", "DataChanged", "TaskInvalid"})
"""What a trial can report that holds the whole Experiment, however often."""


def failure(reason: FailureReason) -> Failure:
    if reason in OF_THE_PLACE:
        return Failure(FailureClass.INFRASTRUCTURE, reason, "no")
    is_of_data = reason.value in OF_THE_BYTES | {"DataNotFound", "DataChanged"}
    return Failure(FailureClass.DATA if is_of_data else FailureClass.POLICY, reason, "no")


def spec(pin: str | None, edits: int) -> dict[str, Any]:
    pinned = {"digest": pin} if pin else {}
    return {**MINIMAL, "data": {**MINIMAL["data"], **pinned}, "trialActiveDeadlineSeconds": 3600 + edits}


@settings(max_examples=examples(40), deadline=None)
@given(
    FINDERS,
    st.data(),
    st.sampled_from([None, DATA_DIGEST, OTHER]),
    st.sampled_from([None, DATA_DIGEST]),
    st.lists(st.sampled_from(["wait", "edit"]), min_size=1, max_size=6),
)
def test_only_an_edit_repeats_what_only_an_edit_mends(
    finder: str, data: st.DataObject, pin: str | None, read: str | None, events: list[str]
) -> None:
    found = failure(FailureReason(data.draw(st.sampled_from(list(FailureReason) if finder == "inspect" else HOLDING))))
    has_key = found.reason is not FailureReason.NO_SIGNING_KEY
    lab = Lab()
    if finder == "inspect":
        lab.jobs.programs.inspect = lambda task: InspectResult(has_key, data_digest=read, failure=found)
        lab.jobs.hold = lambda job: "run" if "-t0" in job["metadata"]["name"] else ""
    else:
        lab.jobs.programs.trial = lambda task: TrialResult(task.index, data_digest=read, failure=found)
    edits = 0
    lab.apply(spec(pin, edits))
    lab.settle()
    assert lab.stalled
    needs_edit = found.reason.value in OF_THE_SPEC or (
        found.reason.value in OF_THE_BYTES and pin is not None and pin == read
    )
    for event in events:
        before = len(lab.jobs.started)
        if event == "edit":
            edits += 1
            lab.apply(spec(pin, edits))
        lab.wait(3700)
        assert (len(lab.jobs.started) == before) == (needs_edit and event == "wait"), (found.reason, event)
        assert lab.stalled
