"""Whatever part of the clients' inputs a model needs, in whatever order: each way of asking gives it the columns of those names."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from budget import examples
from modelcycle_serving.oip import BadInput, OutputSpec, Signature, parse_infer
from modelcycle_serving.oip.request import careful

OUTPUTS = (OutputSpec("prediction", "FP32", (-1, 1)),)
names = st.lists(st.text(max_size=4).filter(lambda name: name != "input"), min_size=1, max_size=6, unique=True)


@st.composite
def models(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """What clients send, and what the model needs of it."""
    sent = draw(names)
    needed = draw(st.lists(st.sampled_from(sent), min_size=1, unique=True))
    return sent, needed


def tensor(name: str, values: NDArray[np.float32], *, binary: bool) -> tuple[dict[str, Any], bytes]:
    about = {"name": name, "shape": list(values.shape), "datatype": "FP32"}
    if binary:
        return {**about, "parameters": {"binary_data_size": values.nbytes}}, values.tobytes()
    return {**about, "data": values.reshape(-1).tolist()}, b""


def body(tensors: Sequence[tuple[dict[str, Any], bytes]]) -> tuple[bytes, int]:
    text = json.dumps({"inputs": [about for about, _ in tensors]}).encode()
    return text + b"".join(data for _, data in tensors), len(text)


@given(model=models(), rows=st.integers(1, 3), data=st.data())
@settings(max_examples=examples(200))
def test_model_reads_the_columns_that_it_names(
    model: tuple[list[str], list[str]], rows: int, data: st.DataObject
) -> None:
    sent, needed = model
    table = np.arange(rows * len(sent), dtype=np.float32).reshape(rows, len(sent)) + 1
    wanted = table[:, [sent.index(name) for name in needed]]
    signature = Signature(tuple(needed), OUTPUTS, inputs=tuple(sent))
    extra = data.draw(st.lists(st.sampled_from(sent), unique=True))
    asked = data.draw(st.permutations(sorted({*needed, *extra})))
    binary = data.draw(st.lists(st.booleans(), min_size=len(asked), max_size=len(asked)))
    single = [tensor("input", table, binary=binary[0])]
    by_name = [tensor(name, table[:, sent.index(name)], binary=b) for name, b in zip(asked, binary, strict=True)]
    for raw, length in (body(single), body(by_name)):
        for read in (parse_infer(raw, length, signature), careful(raw[:length], raw, length, signature)):
            assert read.rows.tolist() == wanted.tolist()
            assert read.rows.flags.c_contiguous


@given(model=models(), stranger=st.text(max_size=4))
@settings(max_examples=examples(50))
def test_name_that_no_client_is_known_to_send_is_refused_where_it_stands(
    model: tuple[list[str], list[str]], stranger: str
) -> None:
    sent, needed = model
    if stranger in sent:
        return
    signature = Signature(tuple(needed), OUTPUTS, inputs=tuple(sent))
    values = np.ones(1, dtype=np.float32)
    raw, length = body([tensor(name, values, binary=False) for name in (*needed, stranger)])
    with pytest.raises(BadInput, match=rf"^inputs\[{len(needed)}\]\.name: "):
        parse_infer(raw, length, signature)
