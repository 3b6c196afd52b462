"""What the protocol's two sides exchange: a model's signature, a checked request, an answer, the client's mistake.

Owns the types that the readers and writers of this package share with the rest of the server; holds no rule of the
protocol.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
Outputs = Mapping[str, NDArray[Any]]

INPUT: Final = "input"
"""The tensor that holds all features; a client may send one tensor a feature instead."""
HEADER_LENGTH: Final = "Inference-Header-Content-Length"
"""HTTP header of the binary tensor extension, both ways: how many bytes of the body are JSON. The rest are tensors."""

MAX_ANSWERED: Final = 1 << 19
"""Values of one answer. In JSON each takes up to 25 bytes, where a row may have come in one: without a bound a few requests within every
other limit fill the memory of a pod."""


class BadInput(ValueError):
    """The client's mistake: `field` is a path into its JSON, or the name of a header."""

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(f"{field}: {expected}")


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """One output of the model. `shape` uses -1 for the rows."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    columns: tuple[str, ...] = ()
    """What the columns stand for, in their order."""
    columns_are: str = "classes"
    """The metadata's word for them."""


@dataclass(frozen=True, slots=True, eq=False)
class Signature:
    """What the model takes and gives. Features are in the order of the model's columns. A process has one: it is its
    own identity. Raises ValueError for a feature that is not among the inputs."""

    features: tuple[str, ...]
    outputs: tuple[OutputSpec, ...]
    accepts_missing: bool = False
    """The estimator itself answers rows with missing values, as the card says; else what ONNX makes of them means
    nothing."""
    inputs: tuple[str, ...] = ()
    """What clients send, in the order of their single tensor: the features, or more of them, or in another order. ()
    stands for the features."""
    columns: NDArray[np.intp] | None = field(init=False, default=None)
    """The place of each feature among the inputs; None where both are the same."""

    def __post_init__(self) -> None:
        if not self.inputs:
            object.__setattr__(self, "inputs", self.features)
        elif self.inputs != self.features:
            places = [self.inputs.index(name) for name in self.features]
            object.__setattr__(self, "columns", np.array(places, dtype=np.intp))

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the outputs in the model's order."""
        return tuple(output.name for output in self.outputs)

    @property
    def max_rows(self) -> int:
        """Rows of one request, at least 1: as many as are answered by MAX_ANSWERED values."""
        widths = (math.prod(max(size, len(output.columns), 1) for size in output.shape[1:]) for output in self.outputs)
        return max(1, MAX_ANSWERED // sum(widths))


@dataclass(frozen=True, slots=True)
class Wanted:
    """One output that the client asked for."""

    name: str
    binary: bool = False
    """Behind the answer's JSON as bytes, not in it."""


# The next two are made for every request, and making a frozen one takes three times as long. Nobody changes one.
@dataclass(slots=True)
class InferRequest:
    """A checked request: `rows` is [N, F] float32 with N >= 1, NaN where a value is missing. It may be read-only: a
    view of the body."""

    rows: Rows
    request_id: str | None
    outputs: tuple[Wanted, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """The request's own, those unknown to the protocol included."""


@dataclass(slots=True)
class Encoded:
    """The body of a 200. With `header_length` its first bytes are JSON and tensors follow; None: all of it is JSON."""

    body: bytes
    header_length: int | None = None
