"""`python -m modelcycle_training bundle import`: flags, the order of the steps, and what is said about them.

Owns the command line. A refusal is one line on stderr that names what is wrong and what to do; exit code 1.
"""

import argparse
import hashlib
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from modelcycle_bundle import keys, layout
from modelcycle_bundle.facts import Imported
from modelcycle_training.failures import TaskFailed
from modelcycle_training.importing.failures import cannot
from modelcycle_training.table import Float32Matrix, read_table

SUMMARY: Final = "turn an ONNX file or an MLflow model into a bundle that the model server serves"
_DESCRIPTION: Final = """\
Turn a model that was made elsewhere into a bundle: the folder that `python -m modelcycle_serving --bundle DIR` serves.

The reference table is a CSV file with a header and one numeric column for each of the model's features, in
the model's order. Its rows are what the model is made for: training data, or a good sample of it. Drift is
measured against it, and it proves the import: every row must get an answer. No row of it is kept.
"""
_EPILOG: Final = """\
The same model and table give the same digest each time. To deploy the bundle with the operator, sign it (--sign)
with the namespace's key and copy the folder to a store that the pods can read.

examples:
  python -m modelcycle_training bundle import --onnx model.onnx --reference table.csv --target label --out bundle
  python -m modelcycle_training bundle import --mlflow mlruns/0/<run>/artifacts/model --allow-unpickle --reference table.csv --out bundle
"""


def add_parser(programs: Any) -> None:
    """Add `bundle import` to the programs of the training image."""
    bundle = programs.add_parser("bundle", help=SUMMARY, description="Work with bundles at a command line.")
    commands = bundle.add_subparsers(dest="bundle_command", required=True, metavar="COMMAND")
    parser = commands.add_parser(
        "import",
        help=SUMMARY,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--onnx", type=Path, metavar="FILE", help="an ONNX file with tabular input")
    source.add_argument(
        "--mlflow",
        type=Path,
        metavar="DIR",
        help="an MLflow model folder (it holds MLmodel) with a scikit-learn or ONNX flavour",
    )
    parser.add_argument(
        "--reference", type=Path, required=True, metavar="TABLE.csv", help="rows that the model is made for"
    )
    parser.add_argument(
        "--target", metavar="COLUMN", help="the reference table's column of labels, which is no feature"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder that gets model/; it must be new or empty"
    )
    parser.add_argument(
        "--classes",
        metavar="A,B,...",
        help="names of the classes, in the order of the model's probabilities, when it does not tell",
    )
    parser.add_argument(
        "--allow-unpickle",
        action="store_true",
        help="load a pickled estimator. THIS RUNS CODE from the file: only for files of people you trust",
    )
    parser.add_argument(
        "--sign", type=Path, metavar="KEY.pem", help="sign with this private key (P-256, PEM), as `seal` does"
    )


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
