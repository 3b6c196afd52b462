"""The files of `model/` from what a trial has established.

Pure, and deterministic: the same spec, data and image give the same bytes, so nothing of the run itself may enter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from modelcycle_bundle import golden, layout, profile
from modelcycle_bundle.contract import TrialResult, TrialTask
from modelcycle_bundle.golden import Golden
from modelcycle_bundle.outputs import ClassOutputs, Outputs
from modelcycle_training.conversion import Exported
from modelcycle_training.inference import OnnxModel
from modelcycle_training.labels import LearningTask
from modelcycle_training.parity import Parity, made_up_rows, rows_with_gaps
from modelcycle_training.split import Parts
from modelcycle_training.table import Float32Matrix

_GOLDEN_SEED: Final = 0
_MIXED_ROWS: Final = 10
_EDGE_ROWS: Final = 4
_GAP_ROWS: Final = 2


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that a bundle tells."""

    task: TrialTask
    learning: LearningTask
    features: tuple[str, ...]
    parts: Parts
    estimator: Any
    exported: Exported
    parity: Parity
    result: TrialResult
    answers: Outputs
    """Of the exported model on the hold-out rows."""


def files(evidence: Evidence, model: OnnxModel) -> Mapping[str, bytes]:
    """Name and bytes of each file in `model/`."""
    classes = tuple(str(each) for each in getattr(evidence.estimator, "classes_", ()))
    reference = np.concatenate([evidence.parts.train.inputs, evidence.parts.holdout.inputs])
    bins = profile.build(evidence.features, reference, evidence.answers, classes)
    replay = golden_answers(evidence, model)
    return {
        layout.MODEL_FILE: evidence.exported.model,
        layout.PROFILE_FILE: bins.to_json().encode(),
        layout.GOLDEN_FILE: replay.to_json().encode(),
    }


def golden_answers(evidence: Evidence, model: OnnxModel) -> Golden:
    """About 16 rows and the model's answers. No row of the data is among them: each mixes the values of many rows."""
    parts = evidence.parts
    rows = [_mixed(parts.holdout.inputs), made_up_rows(parts.train.inputs, parts.holdout.inputs)[:_EDGE_ROWS]]
    if evidence.parity.accepts_missing:
        rows.append(rows_with_gaps(rows[0])[-_GAP_ROWS:])
    else:
        rows = [block[~np.isnan(block).any(axis=1)] for block in rows]
    inputs = np.concatenate(rows)
    finite = np.isfinite(_numbers(model.answer(inputs)))
    inputs = inputs[finite]
    return golden.make(inputs, model.answer(inputs))


def _mixed(rows: Float32Matrix) -> Float32Matrix:
    drawn = np.random.default_rng(_GOLDEN_SEED).integers(len(rows), size=(_MIXED_ROWS, rows.shape[1]))
    return rows[drawn, np.arange(rows.shape[1])]


def _numbers(answers: Outputs) -> Any:
    return answers.probabilities.sum(axis=1) if isinstance(answers, ClassOutputs) else answers.predictions
