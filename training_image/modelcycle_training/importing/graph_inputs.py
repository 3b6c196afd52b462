"""The inputs of a foreign ONNX graph as the one float32 matrix that the server feeds: `input` [N, F].

Owns which inputs can be taken over, and what is said about those that cannot. Changes the graph in place.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from modelcycle_bundle.outputs import INPUT_NAME
from modelcycle_training.importing.failures import cannot

_NUMERIC: Final = {1: "float", 11: "double", 10: "float16", 6: "int32", 7: "int64", 9: "bool"}
"""TensorProto.DataType that a float32 can be cast to."""
_FLOAT: Final = 1


def unify(graph: Any, features: Sequence[str]) -> None:
    """Give the graph its one input. `features` are the table's columns. Raises TaskFailed naming the input at fault."""
    from onnx import helper

    constants = {each.name for each in graph.initializer}
    inputs = [each for each in graph.input if each.name not in constants]
    for each in inputs:
        _require_numeric(each)
    given = unused(graph, f"{INPUT_NAME}_given")
    names = [each.name for each in inputs]
    rename(graph, {INPUT_NAME: given})
    nodes = [_whole(inputs[0], features)] if len(inputs) == 1 else _by_column(graph, inputs, names, features)
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info(INPUT_NAME, _FLOAT, ["N", len(features)]))
    old = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *old])
    del graph.value_info[:]  # they may still hold the batch size that the model was exported with


def rename(graph: Any, names: Mapping[str, str]) -> None:
    """Rename values everywhere, inner graphs included."""
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                rename(inner, names)
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = names.get(value.name, value.name)


def unused(graph: Any, wanted: str) -> str:
    """`wanted`, or the next name like it that no value has."""
    taken = _names(graph)
    while wanted in taken:
        wanted += "_"
    return wanted


def _names(graph: Any) -> set[str]:
    names = {value.name for value in (*graph.input, *graph.output, *graph.initializer)}
    for node in graph.node:
        names.update(node.input, node.output)
        for attribute in node.attribute:
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                names |= _names(inner)
    return names


def _require_numeric(value: Any) -> None:
    kind = value.type.tensor_type.elem_type
    if not value.type.HasField("tensor_type") or kind not in _NUMERIC:
        raise cannot(
            f"the input {value.name!r} takes no numbers: encode text before the model and export it with numeric inputs"
        )


def _sizes(value: Any) -> list[int | None]:
    """The static size of each dimension; None where it is free."""
    return [each.dim_value if each.HasField("dim_value") else None for each in value.type.tensor_type.shape.dim]


def _whole(value: Any, features: Sequence[str]) -> Any:
    sizes = _sizes(value)
    if len(sizes) != 2:
        raise cannot(
            f"the input {value.name!r} has {len(sizes)} dimensions {_shown(sizes)}: expected a table [N, {len(features)}]"
        )
    if sizes[1] not in (None, len(features)):
        raise cannot(
            f"the input {value.name!r} takes {sizes[1]} features and the reference table has {len(features)} columns:"
            " give the model's features in their order, and name the column of labels with --target"
        )
    return _cast(INPUT_NAME, value)


def _by_column(graph: Any, inputs: Sequence[Any], names: Sequence[str], features: Sequence[str]) -> list[Any]:
    """`names` are those that the inputs were given with: a column may be called `input`, as the unified one is."""
    from onnx import TensorProto, helper

    for each in inputs:
        if _sizes(each)[1:] not in ([], [1]):
            raise cannot(
                f"the graph has {len(inputs)} inputs and {each.name!r} is {_shown(_sizes(each))}:"
                " several inputs must be one column [N, 1] each"
            )
    if sorted(names) != sorted(features):
        other = sorted(set(names) ^ set(features))
        raise cannot(
            f"the graph's inputs are not the reference table's columns: {', '.join(map(repr, other[:5]))}"
            f" {'is' if len(other) == 1 else 'are'} on one side only; rename the columns, or name the column of labels with --target"
        )
    nodes = []
    flat = unused(graph, "flat")
    graph.initializer.append(helper.make_tensor(flat, TensorProto.INT64, [1], [-1]))
    for each, name in zip(inputs, names, strict=True):
        at, column, values = (unused(graph, f"{name}_{what}") for what in ("at", "column", "values"))
        graph.initializer.append(helper.make_tensor(at, TensorProto.INT64, [1], [list(features).index(name)]))
        nodes.append(helper.make_node("Gather", [INPUT_NAME, at], [column], axis=1))
        if len(_sizes(each)) == 1:
            nodes.append(helper.make_node("Reshape", [column, flat], [values]))
        nodes.append(_cast(values if len(_sizes(each)) == 1 else column, each))
    return nodes


def _cast(given: str, value: Any) -> Any:
    from onnx import helper

    kind = value.type.tensor_type.elem_type
    if kind == _FLOAT:
        return helper.make_node("Identity", [given], [value.name])
    return helper.make_node("Cast", [given], [value.name], to=kind)


def _shown(sizes: Sequence[int | None]) -> str:
    return "[" + ", ".join("N" if size is None else str(size) for size in sizes) + "]"
