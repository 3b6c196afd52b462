"""`compare`: a candidate and a deployed model, measured on exactly the hold-out rows that the trial was judged on.

Owns when the deployed model can answer these rows. Judges nothing: which figure is good enough is the operator's to say. Mounts no
key, runs no user code and unpickles nothing: an ONNX graph is data. Features are matched by name, so another order of columns is fine.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from modelcycle_bundle import card, fetch, layout
from modelcycle_bundle.contract import CompareResult, CompareTask, FailureClass, FailureReason
from modelcycle_bundle.oms import ManifestError
from modelcycle_bundle.outputs import ClassOutputs, Outputs
from modelcycle_bundle.profile import ClassBins, Profile
from modelcycle_bundle.store import NotThere, Store, open_store
from modelcycle_training import data, metrics
from modelcycle_training.candidate import MAX_BYTES, candidate_place, manifest_of
from modelcycle_training.context import Context
from modelcycle_training.failures import TaskFailed, failed
from modelcycle_training.inference import OnnxModel
from modelcycle_training.labels import Labels, LearningTask
from modelcycle_training.split import Rows, split_table
from modelcycle_training.table import Float32Matrix, read_table, shown

_NEEDED: Final = (layout.MODEL_FILE, layout.PROFILE_FILE, layout.CARD_JSON_FILE)


class _Unfit(Exception):
    """A model cannot be measured on these rows; the text says why and holds no cell of the data."""


@dataclass(frozen=True, slots=True)
class _Model:
    """A model with what its bundle says of it."""

    onnx: OnnxModel
    features: tuple[str, ...]
    classes: tuple[str, ...]
    """In the model's order; none for a regression."""
    accepts_missing: bool

    @property
    def learning(self) -> LearningTask:
        return LearningTask.CLASSIFICATION if self.classes else LearningTask.REGRESSION


def compare(task: CompareTask, context: Context) -> CompareResult:
    """Both figures. Raises TaskFailed (NotComparable when one of the models cannot be measured), StoreError."""
    candidate = _candidate(task, context)
    read = data.read(task.data, context.env)
    data.require_pinned(task.data, read.digest)
    table = read_table(read.content, task.data.target)
    holdout = split_table(table, task.data, candidate.learning).holdout
    context.log("data read", digest=read.digest, rows=table.rows, holdout=len(holdout.labels))
    deployed = _deployed(task, context)
    try:
        ours = _figure(candidate, holdout, table.features, task.metric)
    except _Unfit as error:
        raise failed(FailureClass.DATA, FailureReason.NOT_COMPARABLE, f"the candidate: {error}") from error
    try:
        theirs = _figure(deployed, holdout, table.features, task.metric)
    except _Unfit as error:
        raise _not_comparable(task, str(error)) from error
    context.log("compared", metric=task.metric, candidate=ours, deployed=theirs)
    return CompareResult(
        metric=task.metric,
        candidate=ours,
        deployed=theirs,
        candidate_digest=task.candidate_digest,
        deployed_digest=task.deployed_digest,
        rows=len(holdout.labels),
    )


def _candidate(task: CompareTask, context: Context) -> _Model:
    files = candidate_place(task, context.env).read_model(task.candidate_digest).files
    try:
        return _loaded(files)
    except _Unfit as error:
        raise failed(FailureClass.POLICY, FailureReason.BUNDLE_MALFORMED, f"the candidate: {error}") from error


def _deployed(task: CompareTask, context: Context) -> _Model:
    store = open_store(task.deployed_uri, context.env, missing=FailureReason.MODEL_NOT_FOUND)
    try:
        files = _files(store)
        digest = manifest_of(files).root
        if digest != task.deployed_digest:
            raise _Unfit(f"{layout.MODEL_DIR}/ there has digest {digest}: it was changed since it was sealed")
        model = _loaded(files)
    except NotThere as error:
        raise _not_comparable(task, error.failure.message) from error
    except (_Unfit, ManifestError) as error:
        raise _not_comparable(task, str(error)) from error
    context.log("deployed model read", digest=digest, files=len(files))
    return model


def _files(store: Store) -> Mapping[str, bytes]:
    """The files of a sealed `model/`: those that we need, and whatever else its digest is made of."""
    prefix = f"{layout.MODEL_DIR}/"
    entries = store.list(layout.MODEL_DIR)
    if absent := set(_NEEDED) - {entry.path.removeprefix(prefix) for entry in entries}:
        raise _Unfit(f"{prefix}{min(absent)} is missing there")
    if len(entries) > fetch.MAX_FILES or sum(entry.size for entry in entries) > MAX_BYTES:
        raise _Unfit(f"{prefix} there has more than {fetch.MAX_FILES} files or {MAX_BYTES} bytes")
    return {entry.path.removeprefix(prefix): store.get(entry.path) for entry in entries}


def _loaded(files: Mapping[str, bytes]) -> _Model:
    try:
        profile = Profile.parse(files[layout.PROFILE_FILE].decode())
        accepts_missing = card.accepts_missing(files[layout.CARD_JSON_FILE].decode())
    except ValueError as error:  # of these two parsers, and of the decoding
        raise _Unfit(f"{layout.PROFILE_FILE} or {layout.CARD_JSON_FILE} is not readable") from error
    try:
        onnx = OnnxModel(files[layout.MODEL_FILE])
    except Exception as error:  # onnxruntime has an exception type per status code, without a common parent
        raise _Unfit(f"onnxruntime cannot load {layout.MODEL_FILE} ({type(error).__name__})") from error
    features = tuple(feature.name for feature in profile.features)
    classes = profile.output.classes if isinstance(profile.output, ClassBins) else ()
    return _Model(onnx, features, classes, accepts_missing)


def _figure(model: _Model, holdout: Rows, columns: tuple[str, ...], metric: str) -> str:
    """The metric as a decimal string. Raises _Unfit."""
    inputs = _inputs(model, holdout.inputs, columns)
    try:
        answers = model.onnx.answer(inputs)
    except Exception as error:  # as above; the texts may quote inputs
        raise _Unfit(f"it cannot answer the {len(inputs)} hold-out rows ({type(error).__name__})") from error
    classes = _classes(model, answers, holdout.labels)
    measured = metrics.measure(answers, holdout.labels, classes)
    if metric not in measured:
        raise _Unfit(f"{metric} is not defined for its answers to the {len(inputs)} hold-out rows")
    return measured[metric]


def _inputs(model: _Model, rows: Float32Matrix, columns: tuple[str, ...]) -> Float32Matrix:
    """The model's columns in its order."""
    if absent := [name for name in model.features if name not in columns]:
        names = ", ".join(shown(name) for name in absent[:5]) + (", ..." if len(absent) > 5 else "")
        raise _Unfit(f"{len(absent)} of its features are not in these data: {names}")
    inputs = rows[:, [columns.index(name) for name in model.features]]
    gaps = int(np.isnan(inputs).any(axis=1).sum())
    if gaps and not model.accepts_missing:
        raise _Unfit(f"{gaps} of the {len(inputs)} hold-out rows have missing values, which it does not answer")
    return inputs


def _classes(model: _Model, answers: Outputs, labels: Labels) -> tuple[Any, ...]:
    """The model's classes as labels are: whole numbers, or text."""
    is_regression = labels.dtype.kind == "f"
    if not isinstance(answers, ClassOutputs):
        if not is_regression:
            raise _Unfit("it answers numbers, but the target of these data is a class")
        return ()
    if is_regression:
        raise _Unfit("it answers classes, but the target of these data is a number")
    whole = labels.dtype.kind == "i"
    if whole != (answers.labels.dtype.kind in "iu"):
        raise _Unfit("its classes are whole numbers and those of these data text, or the other way round")
    classes: tuple[Any, ...] = tuple(int(name) for name in model.classes) if whole else model.classes
    if unknown := set(labels.tolist()) - set(classes):
        raise _Unfit(f"it does not know {len(unknown)} of the classes in these data")
    return classes


def _not_comparable(task: CompareTask, why: str) -> TaskFailed:
    where = f"the deployed model {task.deployed_digest[7:15]} ({task.deployed_uri})"
    return failed(FailureClass.DATA, FailureReason.NOT_COMPARABLE, f"{where}: {why}")
