"""`trial`: fit one assignment and write the unsigned candidate.

Owns the order: policy before data, data before fit, parity before metrics, model before result. Never reads the signing key, and
writes nothing of its own run (times, host, uid) into `model/`.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from modelcycle_bundle.contract import TrialResult, TrialTask
from modelcycle_bundle.outputs import Outputs
from modelcycle_training import bundling, conversion, data, estimators, fitting, hit_rates, metrics, parity
from modelcycle_training.candidate import CandidatePlace, candidate_place, manifest_of
from modelcycle_training.context import Context
from modelcycle_training.failures import TaskFailed
from modelcycle_training.labels import LearningTask
from modelcycle_training.split import Parts, split_table
from modelcycle_training.table import read_table


def trial(task: TrialTask, context: Context) -> TrialResult:
    """The result, also when the trial failed. An earlier attempt's result stands. Raises StoreError."""
    place = candidate_place(task, context.env)
    earlier = _earlier(place, task)
    if earlier is not None:
        context.log("an earlier attempt has written the result", digest=earlier.candidate_digest)
        return earlier
    attempt = _Attempt(task, context, place)
    try:
        attempt.run()
    except TaskFailed as error:
        attempt.result = replace(attempt.result, failure=error.failure)
    return place.write_result(attempt.result)


def _earlier(place: CandidatePlace, task: TrialTask) -> TrialResult | None:
    result = place.read_result()
    if result is None or task.data.digest not in (None, result.data_digest):
        return None
    return result


class _Attempt:
    """One fit. `result` grows with each step, so that a failure is reported with what was known by then."""

    def __init__(self, task: TrialTask, context: Context, place: CandidatePlace) -> None:
        self.result = TrialResult(index=task.index, objective_metric=task.objective_metric)
        self._task = task
        self._context = context
        self._place = place

    def run(self) -> None:
        """Raises TaskFailed, StoreError."""
        estimator = estimators.build(self._task.trainer, self._task.parameters, self._task.seed)
        learning = estimators.learning_task(estimator, self._task.data.task)
        features, parts = self._read(learning)
        fit = fitting.fit(estimator, parts.train)
        self._context.log("fitted", seconds=round(fit.seconds, 3), warnings=list(fit.warnings))
        exported = conversion.export(estimator, learning, len(features))
        exported = replace(exported, model=hit_rates.counted(exported.model, parts.train.inputs))
        model = conversion.load(exported)
        with fitting.trainer_errors(parts.train.labels):
            gate = parity.check(estimator, model, parts.train.inputs, parts.holdout.inputs)
        self._context.log("parity", rows=gate.rows, max_difference=repr(gate.max_difference))
        answers = model.answer(parts.holdout.inputs)
        self._measure(answers, parts, tuple(getattr(estimator, "classes_", ())), fit)
        evidence = bundling.Evidence(
            self._task, learning, features, parts, estimator, exported, gate, self.result, answers
        )
        self._write(bundling.files(evidence, model))

    def _measure(self, answers: Outputs, parts: Parts, classes: tuple[Any, ...], fit: fitting.Fit) -> None:
        measured = metrics.measure(answers, parts.holdout.labels, classes)
        objective = self._task.objective_metric or metrics.default_objective(len(classes))
        measured = {**measured, metrics.FIT_SECONDS: repr(round(fit.seconds, 6))}
        self.result = replace(self.result, metrics=measured, objective_metric=objective)
        metrics.require_objective(measured, objective, len(parts.holdout.labels))
        self._context.log("measured", objective=objective, value=measured[objective])

    def _write(self, files: Mapping[str, bytes]) -> None:
        self._place.write_model(files)
        self.result = replace(self.result, candidate_digest=manifest_of(files).root)
        self._context.log("candidate written", digest=self.result.candidate_digest)

    def _read(self, learning: LearningTask) -> tuple[tuple[str, ...], Parts]:
        ref = self._task.data
        read = data.read(ref, self._context.env)
        self.result = replace(self.result, data_digest=read.digest)
        data.require_pinned(ref, read.digest)
        table = read_table(read.content, ref.target)
        self.result = replace(self.result, rows=table.rows)
        self._context.log("data read", digest=read.digest, rows=table.rows, labelled=int(table.labelled.sum()))
        return table.features, split_table(table, ref, learning)
