"""The outputs of a foreign ONNX graph as the server's: `label` and `probabilities`, or `prediction`.

Owns what is recognised, by what the outputs are and not by their names: their types and shapes on rows of the reference table. Changes the
graph in place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from modelcycle_bundle.outputs import LABEL_NAME, PREDICTION_NAME, PROBABILITIES_NAME
from modelcycle_training.importing.failures import cannot
from modelcycle_training.importing.graph_inputs import rename, unused

_KNOWN: Final = (LABEL_NAME, PROBABILITIES_NAME, PREDICTION_NAME)
_SUM_TOLERANCE: Final = 1e-3

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Found:
    """Which outputs are what. `columns` is the number of classes, 0 for a regression, 1 for a lone probability."""

    label: str | None
    numbers: str
    columns: int


def drop_zipmaps(graph: Any) -> None:
    """Replace lists of dictionaries by the matrix that they are made of."""
    for node in [node for node in graph.node if node.op_type == "ZipMap"]:
        for output in graph.output:
            if output.name == node.output[0]:
                output.Clear()
                output.name = node.input[0]
        graph.node.remove(node)
    for output in graph.output:
        if output.type.HasField("sequence_type") or output.type.HasField("map_type"):
            raise cannot(
                f"the output {output.name!r} is a list or a dictionary: export it as a tensor (skl2onnx: zipmap=False)"
            )


def recognise(arrays: Arrays, rows: int, classes: Sequence[str]) -> Found:
    """`arrays` are the outputs for some rows of the table. Raises TaskFailed."""
    numbers = {name: each for name, each in arrays.items() if each.dtype.kind == "f"}
    labels = [name for name, each in arrays.items() if each.dtype.kind in "iubOU" and each.size == rows]
    matrices = [
        name
        for name, each in numbers.items()
        if each.ndim == 2 and each.shape == (rows, each.shape[1]) and each.shape[1] > 1
    ]
    values = [name for name, each in numbers.items() if each.size == rows and each.ndim in (1, 2)]
    described = ", ".join(f"{name!r} {each.dtype} {list(each.shape[1:])}" for name, each in arrays.items())
    if len(labels) > 1 or len(matrices) > 1 or (not matrices and len(values) > 1):
        raise cannot(f"several outputs could be the answer ({described}): export the model with one of each kind")
    label = labels[0] if labels else None
    if matrices:
        return Found(label, matrices[0], numbers[matrices[0]].shape[1])
    if values and (label is not None or classes):
        return Found(label, values[0], 1)
    if values:
        return Found(None, values[0], 0)
    if labels:
        raise cannot(f"the only output {label!r} is a label: export the model with its probabilities as well")
    raise cannot(f"no output is a label, a probability for each class or one number a row: {described}")


def require_probabilities(name: str, values: NDArray[Any], columns: int) -> None:
    """Raises TaskFailed when the numbers cannot be probabilities."""
    inside = bool(((values >= -_SUM_TOLERANCE) & (values <= 1 + _SUM_TOLERANCE)).all())
    summed = columns == 1 or bool((np.abs(values.sum(axis=1) - 1) <= _SUM_TOLERANCE).all())
    if not (inside and summed):
        raise cannot(
            f"the output {name!r} is no probability for each class (between 0 and 1, of sum 1):"
            " export the model with a softmax or sigmoid at its end"
        )


def unify(graph: Any, found: Found, classes: Sequence[str]) -> None:
    """Give the graph the server's outputs. `classes` in the order of the columns; empty for a regression."""
    from onnx import TensorProto, helper

    # Names of ours that the graph uses for something else make room first.
    given = {name: unused(graph, f"{name}_given") for name in _KNOWN}
    rename(graph, given)
    label, numbers = given.get(found.label or "", found.label), given.get(found.numbers, found.numbers)
    del graph.output[:]
    if found.columns == 0:
        _column(graph, str(numbers), PREDICTION_NAME)
        graph.output.append(helper.make_tensor_value_info(PREDICTION_NAME, TensorProto.FLOAT, ["N", 1]))
        return
    _probabilities(graph, str(numbers), found.columns)
    kind = TensorProto.INT64 if _are_numbers(classes) else TensorProto.STRING
    if label is None:
        _likeliest(graph, kind, classes)
    else:
        _flat_label(graph, kind, label)
    graph.output.append(helper.make_tensor_value_info(LABEL_NAME, kind, ["N"]))
    graph.output.append(helper.make_tensor_value_info(PROBABILITIES_NAME, TensorProto.FLOAT, ["N", len(classes)]))


def _add(graph: Any, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
    """One more node; returns the name of its output, which is `output` or one like it."""
    from onnx import helper

    name = output if output in _KNOWN else unused(graph, output)
    graph.node.append(helper.make_node(operator, list(inputs), [name], **attributes))
    return name


def _constant(graph: Any, name: str, kind: int, values: Sequence[Any]) -> str:
    from onnx import helper

    name = unused(graph, name)
    graph.initializer.append(helper.make_tensor(name, kind, [len(values)], values))
    return name


def _column(graph: Any, numbers: str, output: str) -> str:
    from onnx import TensorProto

    cast = _add(graph, "Cast", [numbers], f"{output}_float", to=TensorProto.FLOAT)
    shape = _constant(graph, "one_column", TensorProto.INT64, [-1, 1])
    return _add(graph, "Reshape", [cast, shape], output)


def _probabilities(graph: Any, numbers: str, columns: int) -> None:
    from onnx import TensorProto

    if columns > 1:
        _add(graph, "Cast", [numbers], PROBABILITIES_NAME, to=TensorProto.FLOAT)
        return
    second = _column(graph, numbers, "second")
    first = _add(graph, "Sub", [_constant(graph, "certainty", TensorProto.FLOAT, [1.0]), second], "first")
    _add(graph, "Concat", [first, second], PROBABILITIES_NAME, axis=1)


def _flat_label(graph: Any, kind: int, label: str) -> None:
    from onnx import TensorProto

    typed = _add(graph, "Cast", [label], "label_typed", to=kind)
    _add(graph, "Reshape", [typed, _constant(graph, "flat", TensorProto.INT64, [-1])], LABEL_NAME)


def _likeliest(graph: Any, kind: int, classes: Sequence[str]) -> None:
    values: list[Any] = [int(each) if _are_numbers(classes) else each.encode() for each in classes]
    best = _add(graph, "ArgMax", [PROBABILITIES_NAME], "likeliest", axis=1, keepdims=0)
    _add(graph, "Gather", [_constant(graph, "classes_in_order", kind, values), best], LABEL_NAME, axis=0)


def _are_numbers(classes: Sequence[str]) -> bool:
    return all(each.lstrip("-").isdecimal() and str(int(each)) == each for each in classes)


def class_names(
    graph: Any, labels: NDArray[Any] | None, probabilities: NDArray[Any], given: Sequence[str]
) -> tuple[str, ...]:
    """The classes in the order of the columns: as given, as the graph's nodes hold them, or as the answers show. Raises TaskFailed."""
    columns = max(2, probabilities.shape[1])
    if given:
        if len(given) != columns:
            raise cannot(f"--classes names {len(given)} classes and the model has {columns}")
        names = tuple(given)
    elif labels is None:
        names = tuple(str(at) for at in range(columns))
    else:
        names = _held(graph, columns) or _shown(labels, probabilities)
    if labels is not None and not {str(each) for each in labels.ravel()} <= set(names):
        raise cannot(
            "the model answers with a class that is not among its classes: name them in order with --classes a,b,..."
        )
    return names


def _held(graph: Any, columns: int) -> tuple[str, ...]:
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name.startswith("classlabels"):
                values = [each.decode() for each in attribute.strings] or [str(each) for each in attribute.ints]
                if len(values) == columns:
                    return tuple(values)
    return ()


def _shown(labels: NDArray[Any], probabilities: NDArray[Any]) -> tuple[str, ...]:
    likeliest = probabilities.argmax(axis=1) if probabilities.shape[1] > 1 else (probabilities[:, 0] > 0.5).astype(int)
    columns = max(2, probabilities.shape[1])
    seen: dict[int, str] = {}
    for at, label in zip(likeliest.tolist(), labels.ravel().tolist(), strict=True):
        if seen.setdefault(at, str(label)) != str(label):
            raise cannot(
                "the label is not the class of the largest probability: name the classes in order with --classes a,b,..."
            )
    if len(seen) < columns:
        raise cannot(
            f"the model has {columns} classes and the reference table shows {len(seen)} of them: name them in order with --classes a,b,..."
        )
    return tuple(seen[at] for at in range(columns))
