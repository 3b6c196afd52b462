"""`python -m modelcycle_training bundle import`: the order of the steps, and what is said about them.

A refusal is one line on stderr that names what is wrong and what to do; exit code 1.
"""

import argparse
import hashlib
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelcycle_bundle import keys, layout
from modelcycle_bundle.facts import Imported
from modelcycle_training.failures import TaskFailed
from modelcycle_training.importing.failures import cannot
from modelcycle_training.table import Float32Matrix, read_table


def run(arguments: argparse.Namespace) -> int:
    """Import, and say what there is now. Returns the exit code."""
    try:
        return _import(arguments)
    except TaskFailed as error:
        sys.stderr.write(f"error: {error}\n")
    except keys.BadKey as error:
        sys.stderr.write(f"error: --sign {arguments.sign}: {error}\n")
    except OSError as error:
        sys.stderr.write(f"error: {error.filename}: {error.strerror}\n")
    return 1


def _import(arguments: argparse.Namespace) -> int:
    from modelcycle_training.importing import bundle

    key = None if arguments.sign is None else arguments.sign.read_bytes()
    table_bytes = arguments.reference.read_bytes()
    table = read_table(table_bytes, arguments.target)
    reference = bundle.Reference(
        table.features,
        table.values,
        f"sha256:{hashlib.sha256(table_bytes).hexdigest()}",
        arguments.target or "",
        arguments.reference.name,
    )
    classes = tuple(each.strip() for each in arguments.classes.split(",")) if arguments.classes else ()
    if arguments.onnx is not None:
        subject = _from_onnx(arguments.onnx.read_bytes(), "onnx", reference, classes)
    else:
        subject, reference = _from_mlflow(arguments, reference, classes)
    written = bundle.write(arguments.out, bundle.files(subject, reference), subject, reference, key)
    _tell(arguments.out, subject, reference, written)
    return 0


def _from_onnx(data: bytes, kind: str, reference: Any, classes: Sequence[str]) -> Any:
    from modelcycle_training import hit_rates
    from modelcycle_training.importing import bundle, foreign
    from modelcycle_training.inference import OnnxModel

    unified = foreign.unify(data, reference.features, reference.values, classes)
    onnx = hit_rates.counted(unified.model, reference.values)
    return bundle.Subject(
        onnx,
        Imported(kind, hashlib.sha256(data).hexdigest(), unified.producer),
        "onnx",
        unified.operators,
        unified.classes,
        unified.opset,
        unified.ir_version,
        bundle.missing_values(OnnxModel(onnx), reference.values),
    )


def _from_mlflow(arguments: argparse.Namespace, reference: Any, classes: Sequence[str]) -> tuple[Any, Any]:
    from modelcycle_training.importing import mlflow_folder

    model = mlflow_folder.read(arguments.mlflow)
    reference = _in_order(reference, model.features)
    if model.flavour == "onnx":
        return _from_onnx(model.path.read_bytes(), "mlflow", reference, classes), reference
    estimator = mlflow_folder.estimator(model, trusted=arguments.allow_unpickle)
    digest = hashlib.sha256(model.path.read_bytes()).hexdigest()
    origin = Imported("mlflow", digest, f"scikit-learn {model.library_version}".strip())
    return _from_estimator(estimator, origin, reference), reference


def _from_estimator(estimator: Any, origin: Imported, reference: Any) -> Any:
    from modelcycle_training import conversion, estimators, hit_rates, parity
    from modelcycle_training.importing import bundle

    learning = estimators.learning_task(estimator, None)
    exported = conversion.export(estimator, learning, len(reference.features))
    model = conversion.load(exported)
    with warnings.catch_warnings():  # rows come without the names of their columns, in the order that was checked
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        gate = parity.check(estimator, model, reference.values, reference.values)
    steps = [step for _, step in estimator.steps] if hasattr(estimator, "steps") else [estimator]
    return bundle.Subject(
        hit_rates.counted(exported.model, reference.values),
        origin,
        _path(steps[-1]),
        tuple(_path(step) for step in steps),
        tuple(str(each) for each in getattr(estimator, "classes_", ())),
        dict(exported.opsets).get("", 0),
        exported.ir_version,
        gate.missing,
        repr(gate.max_difference),
    )


def _in_order(reference: Any, wanted: Sequence[str]) -> Any:
    """The table's columns in the order of the model's signature, when it has one."""
    from dataclasses import replace

    if not wanted or tuple(wanted) == reference.features:
        return reference
    if sorted(wanted) != sorted(reference.features):
        missing = [name for name in wanted if name not in reference.features]
        more = [name for name in reference.features if name not in wanted]
        raise cannot(
            f"the reference table lacks {missing[:5]} and has {more[:5]} besides the model's signature:"
            " give its columns, and name the column of labels with --target"
        )
    at = [reference.features.index(name) for name in wanted]
    values: Float32Matrix = reference.values[:, at]
    return replace(reference, features=tuple(wanted), values=values)


def _path(estimator: Any) -> str:
    return f"{type(estimator).__module__}.{type(estimator).__qualname__}"


def _tell(out: Path, subject: Any, reference: Any, written: Any) -> None:
    kind = f"classes {', '.join(subject.classes)}" if subject.classes else "a regression"
    by_key = (
        f"by key {written.key_hint[:16]}" if written.key_hint else "no: the operator takes signed bundles only (--sign)"
    )
    name = subject.origin.producer if subject.estimator == "onnx" else subject.estimator.rpartition(".")[2]
    sys.stdout.write(
        f"imported  {written.digest}\n"
        f"model     {name}, {len(reference.features)} features, {kind}\n"
        f"gaps      {subject.missing.value}\n"
        f"signed    {by_key}\n"
        f"written   {out / layout.MODEL_DIR}\n"
        f"serve it  python -m modelcycle_serving --bundle {out}\n"
    )
