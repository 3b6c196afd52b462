"""The facts of one trained model that its card and its bill of materials are made from.

Owns the list of facts. Each is recorded by the program that knows it, none is estimated; none is a time, a duration, a host
or an object's uid, because the model's bytes must be the same for the same spec, data and image.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from modelcycle_bundle.wire import JsonValue


@dataclass(frozen=True, slots=True)
class Imported:
    """Where a model comes from that was made elsewhere. Of its training nothing is known here."""

    format: str
    """`onnx` or `mlflow`."""
    sha256: str
    """Hex digest of the file that was taken over: the ONNX file, or the pickled estimator."""
    producer: str
    """What the file says it was written by, with its version."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of a model when it is written. Numbers that are not counts are decimal strings."""

    estimator: str
    """Import path; of a Pipeline, its last step's; of an imported ONNX graph `onnx`."""
    steps: tuple[str, ...]
    """Import paths of all steps in order; of an imported ONNX graph its operators."""
    parameters: Mapping[str, JsonValue]
    """Assignment and fixed parameters, as given to the constructor."""
    task: str
    """`classification` or `regression`."""
    target: str
    features: tuple[str, ...]
    """In the order of the model's input."""
    objective_metric: str
    metrics: Mapping[str, str]
    """On the held-out rows. No durations: they would change the model's digest."""
    data_digest: str
    """`sha256:<hex>` of the table's bytes; of an imported model the reference table's."""
    rows: int
    """Rows of the table with a label; of an imported model all rows."""
    holdout_rows: int
    split_seed: int
    trial_seed: int
    libraries: Mapping[str, str]
    """Distribution name to version."""
    opset: int
    ir_version: int
    onnx_sha256: str
    """Hex SHA-256 of model.onnx."""
    parity_max_difference: str
    """Largest difference between scikit-learn's and ONNX's answers."""
    profile_hash: str
    golden_rows: int
    accepts_missing: bool = False
    """Whether the estimator itself answers rows with missing values; if not, an ONNX answer to them means nothing."""
    classes: tuple[str, ...] = field(default=())
    """Labels of a classifier in the model's order."""
    imported: Imported | None = None
    """None: trained by an Experiment. Else what belongs to training (parameters, metrics, seeds, hold-out) is not written."""
