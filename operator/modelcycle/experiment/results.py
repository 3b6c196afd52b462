"""What a trial's result means: its ledger entry, and whether it holds the whole Experiment. Pure.

A result counts only when it names this Job's trial. NaN, infinity, text or a missing objective is never a value.
"""

import math
import re
from dataclasses import dataclass, replace
from typing import Final

from modelcycle.api.experiment import TrialReason, TrialState
from modelcycle.experiment.ledger import Entry
from modelcycle.jobs.results import Problem, of_failure
from modelcycle_bundle.contract import FailureClass, FailureReason, TrialResult

NUMBER: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?")
METRIC_TEXT_LIMIT: Final = 32

REPEATED_CLASSES: Final = frozenset({FailureClass.DATA, FailureClass.INFRASTRUCTURE})
HELD_REASONS: Final = frozenset(
    {FailureReason.ESTIMATOR_NOT_ALLOWED, FailureReason.INVALID_SPEC, FailureReason.TASK_INVALID}
)
"""Every trial would fail in the same way: the Experiment is held instead."""


def number(text: str | None) -> float | None:
    """A finite decimal number, or None."""
    if text is None or len(text) > METRIC_TEXT_LIMIT or not NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class Recorded:
    """The attempt ended: its ledger entry, and what holds the whole Experiment, if anything does."""

    entry: Entry
    holds: Problem | None = None


def record(base: Entry, result: TrialResult, metric: str | None, image_id: str | None) -> Recorded:
    """The ledger entry for a trial's result. `base` has identity, search hash and parameters; `metric` is the spec's objective."""
    if result.index != base.index:
        return Recorded(failed(base, _wrong_index(result.index)))
    told = replace(
        base,
        metrics=tuple(sorted((k, v) for k, v in result.metrics.items() if number(v) is not None)),
        objective_metric=metric or result.objective_metric,
        candidate_digest=result.candidate_digest,
        data_digest=result.data_digest,
        image_id=image_id,
    )
    if result.failure is not None and result.failure.failure_class is not FailureClass.METRICS:
        return of_trial_failure(told, of_failure(result.failure, result.data_digest))
    if (
        result.failure is None
        and told.candidate_digest
        and number(dict(told.metrics).get(told.objective_metric or "")) is not None
    ):
        return Recorded(replace(told, state=TrialState.SUCCEEDED))
    message = result.failure.message if result.failure else f"no finite value of {told.objective_metric}"
    return Recorded(
        replace(
            told,
            state=TrialState.METRICS_UNAVAILABLE,
            failure_class=FailureClass.METRICS,
            reason=FailureReason.METRIC_UNAVAILABLE,
            message=message,
        )
    )


def of_trial_failure(base: Entry, problem: Problem) -> Recorded:
    """A failed attempt: data, infrastructure and rules hold the Experiment and the attempt is repeated, the rest counts."""
    if problem.failure_class in REPEATED_CLASSES or problem.reason in HELD_REASONS:
        return Recorded(discarded(base, problem), problem)
    return Recorded(failed(base, problem))


def failed(base: Entry, problem: Problem) -> Entry:
    """An attempt that failed for good."""
    return replace(
        base,
        state=TrialState.FAILED,
        failure_class=problem.failure_class,
        reason=problem.reason,
        message=problem.message,
    )


def discarded(base: Entry, problem: Problem) -> Entry:
    """An attempt that is repeated and does not count."""
    return replace(failed(base, problem), state=TrialState.DISCARDED)


def _wrong_index(index: int) -> Problem:
    return Problem(FailureClass.INFRASTRUCTURE, TrialReason.RESULT_LOST, f"the result names trial {index}")
