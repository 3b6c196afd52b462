"""The flags of `python -m modelcycle_training bundle import`.

Owns the command line and imports nothing else: the Jobs' programs share the entry point, and a library that starts threads before their
signals are set would let SIGTERM kill a fit without a word.
"""

import argparse
from pathlib import Path
from typing import Any, Final

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
