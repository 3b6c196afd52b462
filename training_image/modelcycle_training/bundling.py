"""The files of `model/` from what a trial has established.

Pure, and deterministic: the same spec, data and image give the same bytes, so nothing of the run itself may enter.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import numpy as np

from modelcycle_bundle import bom, card, golden, layout, profile
from modelcycle_bundle.contract import JsonValue, TrialResult, TrialTask
from modelcycle_bundle.facts import ModelFacts
from modelcycle_bundle.golden import Golden
from modelcycle_bundle.outputs import ClassOutputs, Outputs
from modelcycle_bundle.profile import Profile
from modelcycle_training.conversion import Exported
from modelcycle_training.inference import OnnxModel
from modelcycle_training.labels import LearningTask
from modelcycle_training.metrics import FIT_SECONDS
from modelcycle_training.parity import Missing, Parity, rows_with_gaps
from modelcycle_training.split import Parts
from modelcycle_training.table import Float32Matrix

LIBRARIES: Final = ("numpy", "onnx", "onnxruntime", "scikit-learn", "scipy", "skl2onnx")
"""What shaped the bytes; the full set is the image, which the provenance names by digest."""
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
    reference = np.concatenate([evidence.parts.train.inputs, evidence.parts.holdout.inputs])
    bins = profile.build(evidence.features, reference, evidence.answers, _classes(evidence))
    replay = golden_answers(evidence, model)
    facts = _facts(evidence, bins.hash, replay.rows)
    return contents(evidence.exported.model, bins, replay, facts)


def contents(onnx: bytes, bins: Profile, replay: Golden, facts: ModelFacts) -> Mapping[str, bytes]:
    """The same from its parts."""
    texts = {
        layout.PROFILE_FILE: bins.to_json(),
        layout.GOLDEN_FILE: replay.to_json(),
        layout.CARD_JSON_FILE: card.to_json(facts),
        layout.CARD_MD_FILE: card.to_markdown(facts),
        layout.BOM_FILE: bom.to_json(facts),
    }
    return {layout.MODEL_FILE: onnx} | {name: text.encode() for name, text in texts.items()}


def _facts(evidence: Evidence, profile_hash: str, golden_rows: int) -> ModelFacts:
    task, parts, exported = evidence.task, evidence.parts, evidence.exported
    steps = tuple(step.estimator for step in task.trainer.steps)
    metrics = {name: value for name, value in evidence.result.metrics.items() if name != FIT_SECONDS}
    return ModelFacts(
        estimator=steps[-1],
        steps=steps,
        parameters=_parameters(task),
        task=evidence.learning.value,
        target=task.data.target,
        features=evidence.features,
        objective_metric=evidence.result.objective_metric or "",
        metrics=metrics,
        data_digest=evidence.result.data_digest or "",
        rows=len(parts.train.labels) + len(parts.holdout.labels),
        holdout_rows=len(parts.holdout.labels),
        split_seed=task.data.split.seed,
        trial_seed=task.seed,
        libraries={name: version(name) for name in LIBRARIES},
        opset=dict(exported.opsets).get("", 0),
        ir_version=exported.ir_version,
        onnx_sha256=hashlib.sha256(exported.model).hexdigest(),
        parity_max_difference=repr(evidence.parity.max_difference),
        profile_hash=profile_hash,
        golden_rows=golden_rows,
        accepts_missing=evidence.parity.missing is Missing.ANSWERED,
        classes=_classes(evidence),
    )


def _parameters(task: TrialTask) -> Mapping[str, JsonValue]:
    if len(task.trainer.steps) == 1:
        return {**task.trainer.steps[0].fixed, **task.parameters}
    fixed = {f"{step.name}__{name}": value for step in task.trainer.steps for name, value in step.fixed.items()}
    return {**fixed, **task.parameters}


def _classes(evidence: Evidence) -> tuple[str, ...]:
    return tuple(str(each) for each in getattr(evidence.estimator, "classes_", ()))


def golden_answers(evidence: Evidence, model: OnnxModel) -> Golden:
    """About 16 rows and the model's answers. No row of the data is among them: each mixes the values of many rows."""
    return replayed(evidence.parts.holdout.inputs, evidence.parity.edges, evidence.parity.missing, model)


def replayed(reference: Float32Matrix, edges: Float32Matrix, missing: Missing, model: OnnxModel) -> Golden:
    """Golden answers to mixed rows of a reference, to made-up rows, and to rows with gaps where the model answers them."""
    rows = [_mixed(reference), edges[:_EDGE_ROWS]]
    if missing is Missing.ANSWERED:
        rows.append(rows_with_gaps(rows[0])[-_GAP_ROWS:])
    else:
        rows = [block[~np.isnan(block).any(axis=1)] for block in rows]
    inputs = np.concatenate(rows)
    finite = np.isfinite(numbers(model.answer(inputs)))
    inputs = inputs[finite]
    return golden.make(inputs, model.answer(inputs))


def _mixed(rows: Float32Matrix) -> Float32Matrix:
    drawn = np.random.default_rng(_GOLDEN_SEED).integers(len(rows), size=(_MIXED_ROWS, rows.shape[1]))
    return rows[drawn, np.arange(rows.shape[1])]


def numbers(answers: Outputs) -> Any:
    """One number a row that is finite exactly when the whole answer is."""
    return answers.probabilities.sum(axis=1) if isinstance(answers, ClassOutputs) else answers.predictions
