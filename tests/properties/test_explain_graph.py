"""The server's small reader of ONNX files against the onnx package, which only development has."""

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from onnx import helper, numpy_helper

from budget import examples
from modelcycle_serving.explain import graph

names = st.text(min_size=1, max_size=8)
floats = st.floats(width=32, allow_nan=False)
dtypes = st.sampled_from([np.float32, np.float64, np.int64, np.int32, np.uint8, np.bool_])
arrays = dtypes.flatmap(
    lambda dtype: (
        st_numpy.arrays(dtype, st_numpy.array_shapes(max_dims=3, max_side=4), elements={"allow_nan": False})
        if np.issubdtype(dtype, np.floating)
        else st_numpy.arrays(dtype, st_numpy.array_shapes(max_dims=3, max_side=4))
    )
)
attributes: st.SearchStrategy[Any] = st.one_of(
    floats,
    st.integers(-(2**63), 2**63 - 1),
    st.text(max_size=8),
    st.lists(floats, min_size=1, max_size=5),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=5),
    st.lists(st.text(max_size=8), min_size=1, max_size=5),
    arrays.map(numpy_helper.from_array),
)


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, onnx.TensorProto):
        wanted = numpy_helper.to_array(theirs)
        return bool(ours.dtype == wanted.dtype and np.array_equal(ours, wanted))
    if isinstance(theirs, bytes):
        return bool(ours == theirs)
    if isinstance(theirs, (int, float)):
        return bool(ours == theirs)
    return list(ours) == list(theirs)


@settings(max_examples=examples(60), deadline=None)
@given(
    st.dictionaries(names, attributes, max_size=4),
    st.lists(names, max_size=3),
    st.dictionaries(names, arrays, max_size=3),
)
def test_nodes_and_constants_are_read_as_the_onnx_package_reads_them(
    given_attributes: dict[str, Any], inputs: list[str], constants: dict[str, Any]
) -> None:
    node = helper.make_node("Some", inputs, ["out"], domain="ai.onnx.ml")
    for name, value in given_attributes.items():
        node.attribute.append(helper.make_attribute(name, value))
    inner = helper.make_graph(
        [node], "g", [], [], [numpy_helper.from_array(each, name) for name, each in constants.items()]
    )
    read = graph.read(helper.make_model(inner).SerializeToString())
    (found,) = read.nodes
    assert (found.op, found.inputs, found.outputs) == ("Some", tuple(inputs), ("out",))
    assert found.attributes.keys() == given_attributes.keys()
    for attribute in node.attribute:
        assert same(found.attributes[attribute.name], helper.get_attribute_value(attribute)), attribute.name
    assert read.constants.keys() == constants.keys()
    for name, each in constants.items():
        assert np.array_equal(read.constants[name], each)


@settings(max_examples=examples(60), deadline=None)
@given(arrays.filter(lambda array: array.dtype != np.bool_))
def test_values_outside_of_raw_data_are_read_too(array: Any) -> None:
    """helper.make_tensor fills the typed fields, numpy_helper the raw one."""
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    tensor = helper.make_tensor("c", kind, array.shape, array.ravel().tolist())
    read = graph.read(helper.make_model(helper.make_graph([], "g", [], [], [tensor])).SerializeToString())
    assert read.constants["c"].dtype == array.dtype
    assert np.array_equal(read.constants["c"], array)


@settings(max_examples=examples(200), deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        graph.read(data)
    except graph.Unreadable:
        return


def test_a_tensor_in_another_file_is_refused() -> None:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "c")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    made = helper.make_model(helper.make_graph([], "g", [], [], [tensor])).SerializeToString()
    with pytest.raises(graph.Unreadable, match="another file"):
        graph.read(made)
