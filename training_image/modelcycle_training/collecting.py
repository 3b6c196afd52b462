"""`collect`: reads back the result of a trial whose termination message was lost. Trains nothing, mounts no key.

A result that is not in the store is final: the trial has ended, nobody will write one.
"""

from modelcycle_bundle.contract import CollectTask, FailureClass, FailureReason, TrialResult
from modelcycle_training.candidate import RESULT_FILE, candidate_place
from modelcycle_training.context import Context
from modelcycle_training.failures import failed


def collect(task: CollectTask, context: Context) -> TrialResult:
    """The stored result. Raises TaskFailed, StoreError."""
    place = candidate_place(task, context.env)
    result = place.read_result()
    if result is None:
        raise failed(
            FailureClass.TRAINER,
            FailureReason.MODEL_NOT_FOUND,
            f"{place.prefix}/{RESULT_FILE} is not in the store: the trial's pod ended before it wrote a result",
        )
    context.log("result read", index=result.index)
    return result
