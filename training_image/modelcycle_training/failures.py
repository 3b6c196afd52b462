"""The one exception with which a step of a program stops its task. Holds no I/O and no decision about exit codes."""

from modelcycle_bundle.contract import Failure, FailureClass, FailureReason


class TaskFailed(Exception):
    """A step found out that the task has no result; `failure` is what the operator and the user get to read."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def failed(failure_class: FailureClass, reason: FailureReason, message: str) -> TaskFailed:
    """The exception to raise; `message` names the object, the field and what to do, and never holds a cell value."""
    return TaskFailed(Failure(failure_class, reason, message))


def data_failed(reason: FailureReason, message: str) -> TaskFailed:
    """Same, for data that cannot be used with this spec."""
    return failed(FailureClass.DATA, reason, message)
