"""How many reference rows come by each node of a tree ensemble, written into the ONNX attribute that exists for it.

The server needs these counts to explain answers exactly; converters put a 1 everywhere. No answer depends on them. Owns the routing of rows
through trees; decides nothing about a model.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from modelcycle_training.inference import open_session
from modelcycle_training.table import Float32Matrix

MAX_ROWS: Final = 10_000
"""Evenly spaced rows of a larger reference stand for all of it."""
_BATCH: Final = 1024
_OPERATORS: Final = ("TreeEnsembleClassifier", "TreeEnsembleRegressor")
_ATTRIBUTE: Final = "nodes_hitrates"
_COMPARE: Final = {
    "BRANCH_LEQ": np.less_equal,
    "BRANCH_LT": np.less,
    "BRANCH_GTE": np.greater_equal,
    "BRANCH_GT": np.greater,
    "BRANCH_EQ": np.equal,
    "BRANCH_NEQ": np.not_equal,
}

Counts = npt.NDArray[np.int64]


def counted(model: bytes, reference: Float32Matrix) -> bytes:
    """The same model with the counts of reference rows [N, F]; the very same bytes when it holds no trees.

    Raises what onnxruntime raises when the model cannot be run.
    """
    import onnx

    proto = onnx.load_from_string(model)
    ensembles = [node for node in proto.graph.node if node.op_type in _OPERATORS]
    if not ensembles:
        return model
    rows = reference[np.unique(np.linspace(0, len(reference) - 1, min(len(reference), MAX_ROWS)).astype(np.int64))]
    for node in ensembles:
        counts = _route(_attributes(node), _values_at(proto, node.input[0], rows))
        for attribute in [each for each in node.attribute if each.name.removesuffix("_as_tensor") == _ATTRIBUTE]:
            node.attribute.remove(attribute)
        node.attribute.append(onnx.helper.make_attribute(_ATTRIBUTE, [float(count) for count in counts]))
        node.attribute.sort(key=lambda each: each.name)
    return bytes(proto.SerializeToString(deterministic=True))


def _attributes(node: Any) -> dict[str, Any]:
    import onnx

    values = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    return {
        name.removesuffix("_as_tensor"): onnx.numpy_helper.to_array(value) if name.endswith("_as_tensor") else value
        for name, value in values.items()
    }


def _values_at(proto: Any, name: str, rows: Float32Matrix) -> npt.NDArray[Any]:
    """What the graph computes under this name for the rows."""
    import onnx

    given = proto.graph.input[0].name
    if name == given:
        return rows
    cut = onnx.ModelProto()
    cut.CopyFrom(proto)
    del cut.graph.output[:]
    cut.graph.output.add(name=name)
    return np.asarray(open_session(cut.SerializeToString()).run([name], {given: rows})[0])


def _route(attributes: dict[str, Any], values: npt.NDArray[Any]) -> Counts:
    """Rows that come by each node, in the order of the attributes."""
    column = np.array(attributes["nodes_featureids"])
    threshold = np.asarray(attributes["nodes_values"], dtype=values.dtype)
    modes = np.array([mode.decode() for mode in attributes["nodes_modes"]])
    missing = np.array(attributes.get("nodes_missing_value_tracks_true") or [0] * len(column), dtype=np.bool_)
    keys = list(zip(attributes["nodes_treeids"], attributes["nodes_nodeids"], strict=True))
    at = {key: position for position, key in enumerate(keys)}
    leaf = modes == "LEAF"
    names, kind = np.unique(modes, return_inverse=True)
    true, false = (
        np.array(
            [0 if end else at[tree, child] for (tree, _), child, end in zip(keys, attributes[name], leaf, strict=True)]
        )
        for name in ("nodes_truenodeids", "nodes_falsenodeids")
    )
    roots = np.setdiff1d(np.arange(len(column)), np.concatenate([true[~leaf], false[~leaf]]))
    counts = np.zeros(len(column), dtype=np.int64)
    for start in range(0, len(values), _BATCH):
        block = values[start : start + _BATCH]
        row = np.repeat(np.arange(len(block)), len(roots))
        here = np.tile(roots, len(block))
        while len(here):
            counts += np.bincount(here, minlength=len(counts))
            on = ~leaf[here]
            row, here = row[on], here[on]
            taken = block[row, column[here]]
            goes = np.isnan(taken) & missing[here]
            for code, name in enumerate(names):
                if name != "LEAF":
                    goes |= (kind[here] == code) & _COMPARE[str(name)](taken, threshold[here])
            here = np.where(goes, true[here], false[here])
    return counts
