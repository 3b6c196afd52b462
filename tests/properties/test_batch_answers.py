"""An answer cut from a batch is, byte for byte, the answer that the request would have got alone."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from budget import examples
from modelcycle_serving.oip import BatchAnswers, InferRequest, OutputSpec, Signature, Wanted, encode_answer

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
TEXTS = st.sampled_from(["no", 'odd "],[" name', "a,b", "é\\", ""])
KINDS = {
    "INT64": (OutputSpec("label", "INT64", (-1,)), OutputSpec("probabilities", "FP32", (-1, 3))),
    "BYTES": (OutputSpec("label", "BYTES", (-1,)), OutputSpec("probabilities", "FP32", (-1, 1))),
    "FP32": (OutputSpec("prediction", "FP32", (-1, 1)),),
}


@st.composite
def batches(draw: st.DrawFn) -> tuple[Signature, list[InferRequest], dict[str, np.ndarray]]:
    specs = KINDS[draw(st.sampled_from(sorted(KINDS)))]
    signature = Signature(("a", "b"), specs)
    wanted = [
        tuple(Wanted(spec.name) for spec in specs),
        tuple(Wanted(spec.name, binary=True) for spec in specs),
        tuple(Wanted(spec.name) for spec in reversed(specs)),
        (Wanted(specs[-1].name),),
    ]
    requests = [
        InferRequest(np.zeros((rows, 2), np.float32), request_id, draw(st.sampled_from(wanted)))
        for rows, request_id in draw(st.lists(st.tuples(st.integers(1, 4), st.none() | TEXTS), min_size=1, max_size=6))
    ]
    rows = sum(len(request.rows) for request in requests)
    return signature, requests, {spec.name: draw(values(spec, rows)) for spec in specs}


def values(spec: OutputSpec, rows: int) -> st.SearchStrategy[np.ndarray]:
    shape = (rows, *spec.shape[1:])
    size = int(np.prod(shape))
    elements = {"INT64": st.integers(-(2**63), 2**63 - 1), "BYTES": TEXTS, "FP32": FLOATS}[spec.datatype]
    kind = {"INT64": np.int64, "BYTES": object, "FP32": np.float32}[spec.datatype]
    return st.lists(elements, min_size=size, max_size=size).map(lambda flat: np.array(flat, dtype=kind).reshape(shape))


@settings(deadline=None, max_examples=examples(150))
@given(batch=batches())
def test_answers_of_a_batch_are_those_of_the_requests_alone(
    batch: tuple[Signature, list[InferRequest], dict[str, np.ndarray]],
) -> None:
    signature, requests, outputs = batch
    writer = BatchAnswers("m", "1", signature)
    alone = []
    start = 0
    for request in requests:
        own = {name: array[start : start + len(request.rows)] for name, array in outputs.items()}
        alone.append(encode_answer("m", "1", request, own, signature))
        start += len(request.rows)
    assert writer.encode(requests, outputs) == alone
    assert writer.encode(requests, {name: np.asfortranarray(array) for name, array in outputs.items()}) == alone
