"""What the answers of two models to one request have in common.

Owns the reading of an answer's outputs, JSON or binary, and the rule by which two agree. Pure; keeps no value.
"""

from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from modelcycle_bundle.outputs import LABEL_NAME, PREDICTION_NAME, PROBABILITIES_NAME

TOLERANCE: Final = 0.01
"""Two predictions of a number agree when they differ by no more than this share of the larger one."""
_FLOATS: Final = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}

Numbers = NDArray[np.float64]
Outputs = dict[str, "Numbers | list[Any]"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """`difference` is the largest of all rows: of a probability, absolute; of a prediction, relative.

    None: the answers are not of one shape, or it is not finite.
    """

    agree: bool
    difference: float | None


def compare(own: Outputs, other: Outputs) -> Comparison:
    """Classifiers agree when every row has the same label, or without labels the same likeliest class; regressions within TOLERANCE."""
    if PREDICTION_NAME in own:
        relative = _difference(own, other, PREDICTION_NAME, _relative)
        return Comparison(relative is not None and relative <= TOLERANCE, relative)
    absolute = _difference(own, other, PROBABILITIES_NAME, lambda one, two: np.abs(one - two))
    if LABEL_NAME in own:
        one, two = own[LABEL_NAME], other.get(LABEL_NAME)
        return Comparison(isinstance(one, list) and isinstance(two, list) and one == two, absolute)
    return Comparison(absolute is not None and _likeliest(own) == _likeliest(other), absolute)


def read(body: bytes, header_length: bytes | None) -> Outputs:
    """The outputs of an answer by name: floats as [N, ...] float64, anything else as a list.

    `header_length` is the header's text, where the answer has it. Raises ValueError for what is no answer.
    """
    try:
        at = len(body) if header_length is None else int(header_length)
        outputs, found = orjson.loads(body[:at])["outputs"], Outputs()
        for output in outputs:
            size = output.get("parameters", {}).get("binary_data_size")
            raw = None if size is None else body[at : at + size]
            at += size or 0
            found[output["name"]] = _values(output, raw)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError("not an answer of the protocol") from error
    return found


def _values(output: dict[str, Any], raw: bytes | None) -> "Numbers | list[Any]":
    is_float = output["datatype"] in _FLOATS
    if raw is None:
        data = output["data"]
        return np.array(data, dtype=np.float64).reshape(output["shape"]) if is_float else list(data)
    if is_float:
        return np.frombuffer(raw, dtype=_FLOATS[output["datatype"]]).astype(np.float64).reshape(output["shape"])
    return [raw]  # only asked whether they are the same


def _difference(own: Outputs, other: Outputs, name: str, of: Any) -> float | None:
    one, two = own.get(name), other.get(name)
    if not isinstance(one, np.ndarray) or not isinstance(two, np.ndarray) or one.shape != two.shape or not one.size:
        return None
    largest = float(of(one, two).max())
    return largest if isfinite(largest) else None


def _relative(one: Numbers, two: Numbers) -> Numbers:
    larger = np.maximum(np.abs(one), np.abs(two))
    with np.errstate(invalid="ignore"):
        relative: Numbers = np.abs(one - two) / np.where(larger > 0, larger, 1)
    return relative


def _likeliest(outputs: Outputs) -> list[int]:
    probabilities = outputs[PROBABILITIES_NAME]
    return np.argmax(probabilities, axis=1).tolist() if isinstance(probabilities, np.ndarray) else []
