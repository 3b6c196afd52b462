"""How an import refuses. Messages name the input, output or file at fault and what to do; never a cell of the table."""

from modelcycle_bundle.contract import FailureClass, FailureReason
from modelcycle_training.failures import TaskFailed, failed


def cannot(message: str) -> TaskFailed:
    """The exception for a model that cannot be taken over."""
    return failed(FailureClass.CONVERSION, FailureReason.CONVERSION_FAILED, message)
