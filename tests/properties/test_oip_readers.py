"""The two readers of request bodies are one: what the quick one takes, the careful one reads as the same rows, and nothing else."""

import json
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget import examples
from modelcycle_serving.oip import BadInput, InferRequest, OutputSpec, Signature, parse_infer
from modelcycle_serving.oip.request import careful, quick

pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered in dot")
FEATURES = ("a", "b")
OUTPUTS = (OutputSpec("label", "INT64", (-1,)), OutputSpec("probabilities", "FP32", (-1, 2)))
NEEDED = (FEATURES, ("b",), ("b", "a"))
"""What models need of what these bodies send."""
SIGNATURES = tuple(Signature(needed, OUTPUTS, accepts, FEATURES) for accepts in (True, False) for needed in NEEDED)
DATATYPES = ("FP16", "FP32", "FP64", "BF16", "BOOL", "INT8", "INT64", "UINT8", "UINT64", "BYTES", "x")

PLAIN = ["0", "1", "-1", "2.5", "-0", "-0.0", "1e5", "17.99", "0.0", "12", "1E-3", "null", "127", "255"]
ODD = [
    *(
        "128",
        "256",
        "-129",
        "3.4028235e38",
        "3.4028236e38",
        "1e39",
        "-1e39",
        "9e307",
        "-9e307",
        "1e308",
        "1e309",
        "1e400",
    ),
    *("1e-400", "4.9e-324", "1e-45", "16777217", "9007199254740993", "9223372036854775807", "9223372036854775808"),
    *("18446744073709551615", "18446744073709551616", "-9223372036854775808", "-9223372036854775809", "1" * 400),
    *(
        "true",
        "false",
        "NaN",
        "Infinity",
        "-null",
        "nul",
        "1null",
        "null1",
        "0.null",
        "01",
        "+1",
        ".5",
        "1.",
        "1e",
        "-",
        "",
    ),
    *('"1"', "[]", "[1]", "{}", '{"data":[1]}', "]", "[", "}", ",", "1 2", "\\u0031", "\xa0", "é"),
]
plain_numbers = st.sampled_from(PLAIN) | st.floats(allow_nan=False, allow_infinity=False).map(repr)
any_numbers = plain_numbers | st.sampled_from(ODD) | st.floats(width=32, allow_nan=False).map(repr)
integers = st.integers(-(2**64), 2**65).map(str)


ODD_PAIRS = [
    ('"data"', "[1]"),
    ('"parameters"', '{"data":[1,2]}'),
    ('"x"', '"data"'),
    ('"d\\u0061ta"', "[1,2]"),
    ('"data"', "0"),
]
ODD_FIELDS = [
    *(
        '"id":"7"',
        '"id": "a b"',
        '"id":"é"',
        '"id":"a\\n"',
        '"id":"\x07"',
        '"id":"\x7f"',
        '"id":""',
        '"id":7',
        '"id":null',
    ),
    *('"id":"a","id":"b"', '"id":"a","id":5', '"id":"\\"data\\":[1"', '"x":"id"', '"parameters":{"id":"x"}'),
    *('"id":"","parameters":{"id":"x"}', '"parameters":{"id":"x"},"id":""', '"parameters":{"a":1}'),
    *('"data":[1]', '"outputs":[{"name":"label"}]'),
]
ODD_BYTES = [b"", b" ", b"]", b"[", b"0", b'"', b"\x00", b"\xff", b",", b"}"]


class Fault(Enum):
    """What may be wrong with a body. One thing at most: of several only the first would ever show."""

    NONE = auto()
    NUMBERS = auto()
    DATATYPE = auto()
    SHAPE = auto()
    LENGTHS = auto()
    PAIRS = auto()
    FIELDS = auto()
    BYTES = auto()


@st.composite
def lists(draw: st.DrawFn, rows: int, width: int, fault: Fault) -> str:
    """Text of a tensor's data, flat or nested."""
    element = any_numbers if fault is Fault.NUMBERS else draw(st.sampled_from([plain_numbers, integers]))
    comma = draw(st.sampled_from([",", ", ", " ,\n\t"]))
    off = st.integers(-1, 1) if fault is Fault.LENGTHS else st.just(0)
    lengths = [max(width + draw(off), 0) for _ in range(max(rows + draw(off), 0))]
    joined = [comma.join(draw(st.lists(element, min_size=length, max_size=length))) for length in lengths]
    if draw(st.booleans()):
        joined = [f"[{row}]" for row in joined]
    return f"[{comma.join(joined)}]"


@st.composite
def tensors(draw: st.DrawFn, name: str, width: int, rows: int, fault: Fault) -> str:
    colon = draw(st.sampled_from([":", ": ", ": ", " : "]))
    shapes = [[rows], [0, width], [rows, 1], [rows, -1]] if fault is Fault.SHAPE else [[rows, width]]
    datatypes = DATATYPES if fault is Fault.DATATYPE else ["FP32", "FP64"]
    pairs = [
        ('"name"', json.dumps(name)),
        ('"shape"', json.dumps(draw(st.sampled_from(shapes)))),
        ('"datatype"', json.dumps(draw(st.sampled_from(datatypes)))),
        ('"data"', draw(lists(rows, width, fault))),
        *([draw(st.sampled_from(ODD_PAIRS))] if fault is Fault.PAIRS else []),
    ]
    return "{" + ",".join(f"{key}{colon}{value}" for key, value in draw(st.permutations(pairs))) + "}"


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    fault = draw(st.sampled_from(Fault))
    rows = draw(st.integers(1, 3))
    parts = draw(st.sampled_from([[("input", len(FEATURES))], [(name, 1) for name in FEATURES]]))
    inputs = [draw(tensors(name, width, rows, fault)) for name, width in parts]
    pairs = [f'"inputs":[{",".join(inputs)}]', *([draw(st.sampled_from(ODD_FIELDS))] if fault is Fault.FIELDS else [])]
    raw = bytearray(("{" + ",".join(draw(st.permutations(pairs))) + "}").encode())
    if fault is Fault.BYTES:
        at = draw(st.integers(0, len(raw) - 1))
        raw[at : at + draw(st.integers(0, 2))] = draw(st.sampled_from(ODD_BYTES))
    return bytes(raw)


def outcome(reader: Callable[[], InferRequest]) -> "InferRequest | str":
    try:
        return reader()
    except ValueError as refused:
        return str(refused)


def same(one: InferRequest, other: InferRequest) -> bool:
    """Equal to the bit, but for the payload of a NaN."""
    gaps = np.isnan(one.rows)
    return (
        np.array_equal(gaps, np.isnan(other.rows))
        and one.rows[~gaps].tobytes() == other.rows[~gaps].tobytes()
        and (one.request_id, one.outputs, one.parameters) == (other.request_id, other.outputs, other.parameters)
    )


def body_of(data: str, shape: str = "[1,2]", datatype: str = "FP32") -> bytes:
    text = f'{{"inputs":[{{"name":"input","datatype":"{datatype}","shape":{shape},"data":{data}}}]}}'
    return text.encode()


KNOWN_TRAPS = [
    body_of("[1,2]5"),
    body_of("[1,2].0"),
    body_of("-[1,2]"),
    body_of("[null,9e307]"),
    body_of("[0.0null,9e307]"),
    body_of("[0." + "0" * 305 + "null,9e307]"),
    body_of("[1e39,1]"),
    body_of("[3.4028236e38,1]"),
    body_of("[3.4028235e38,3.4028235e38]"),
    body_of("[-3.5e38,null]"),
    body_of("[1,null]"),
    body_of("[[1,[2]]]"),
    body_of("[[1,2,3],[4]]", "[2,2]"),
    body_of("[[1],[2],[3],[4]]", "[2,2]"),
    body_of("[1,2],[3]"),
    body_of('[1,2],"data":[3,4]'),
    body_of('[1,2],"data":0'),
    body_of('[1,2],"d\\u0061ta":0'),
    body_of("[1,-129]", datatype="INT8"),
    body_of("[128,1]", datatype="INT8"),
    body_of("[true,false]", datatype="BOOL"),
    body_of("[1,0]", datatype="BOOL"),
    body_of("[1,2]").replace(b"input", b"data"),
    # Halfway between two float32 for a double, above it for an integer.
    body_of(f"[1,{2**60 + 2**36 + 1}]", datatype="INT64"),
    body_of(f"[1,{2**60 + 2**36 + 1}]"),
    body_of("[1,18446744073709551615]", datatype="UINT64"),
    body_of("[" * 2000),
    body_of(f"[{','.join(['[1,2]'] * 2000)}]", "[2000,2]"),
    body_of(f"[{','.join(['[1,[2]]'] * 2000)}]", "[2000,2]"),
    *(body_of("[1,2]").replace(b"{", b"{%b," % field.encode(), 1) for field in ODD_FIELDS),
]


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda each: f"{','.join(each.features)}-{each.accepts_missing}")
@pytest.mark.parametrize("body", KNOWN_TRAPS, ids=range(len(KNOWN_TRAPS)))
def test_known_traps_are_read_alike(body: bytes, signature: Signature) -> None:
    check_alike(body, signature)


@settings(max_examples=examples(300), deadline=None)
@given(bodies(), st.sampled_from(SIGNATURES))
def test_quick_reader_takes_only_what_the_careful_one_reads_alike(body: bytes, signature: Signature) -> None:
    check_alike(body, signature)


def check_alike(body: bytes, signature: Signature) -> None:
    wanted = outcome(lambda: careful(body, body, None, signature))
    vouched = outcome(lambda: quick(body, body, None, signature))
    answered = outcome(lambda: parse_infer(body, None, signature))
    if isinstance(vouched, InferRequest):
        assert isinstance(wanted, InferRequest), wanted
        assert same(vouched, wanted)
    if isinstance(answered, InferRequest):
        assert isinstance(wanted, InferRequest), wanted
        assert same(answered, wanted)
    else:
        assert answered == wanted


FORMS = [(form, datatype) for form in ("flat", "nested", "columns") for datatype in ("FP32", "INT64", "UINT8")]


@pytest.mark.parametrize("separators", [(",", ":"), None], ids=["compact", "spaced"])
@pytest.mark.parametrize("sort_keys", [False, True], ids=["data-last", "data-first"])
@pytest.mark.parametrize(("form", "datatype"), [*FORMS, ("gaps", "FP32")])
def test_quick_reader_takes_what_clients_send(form: str, datatype: str, sort_keys: bool, separators: Any) -> None:
    numbers: list[Any] = [[1, None if form == "gaps" else 2], [3, 4], [5, 6]]
    data = numbers if form == "nested" else [each for row in numbers for each in row]
    inputs: list[Any] = [{"name": "input", "shape": [3, 2], "datatype": datatype, "data": data}]
    if form == "columns":
        columns = {"a": [1, 3, 5], "b": [2, 4, 6]}
        inputs = [{"name": name, "shape": [3], "datatype": datatype, "data": each} for name, each in columns.items()]
    body = json.dumps({"inputs": inputs}, separators=separators, sort_keys=sort_keys).encode()
    rows = quick(body, body, None, SIGNATURES[0]).rows
    assert np.array_equal(rows, np.array(numbers, dtype=np.float32), equal_nan=True)


def test_quick_reader_works_on_after_every_kind_of_refusal() -> None:
    good = body_of("[1,2]")
    for bad in (
        "[1,true]",
        "[1,1e400]",
        "[1,18446744073709551616]",
        "[[1],2]",
        "[1",
        "[1,2,]",
        "[[[1,2]]]",
        '[1,"2"]',
        "[1,2,3]",
    ):
        with pytest.raises(ValueError):
            quick(body_of(bad), body_of(bad), None, SIGNATURES[0])
        assert quick(good, good, None, SIGNATURES[0]).rows.tolist() == [[1, 2]]


def test_no_text_makes_the_search_for_arrays_quadratic() -> None:
    many = b'"data":[]' * 300_000 + b"}"
    few = body_of("[" + "1," * 2_000_000 + "1]")
    for body in (many, b"[" + many, few):
        with pytest.raises(BadInput):
            parse_infer(body, None, SIGNATURES[0])


@settings(max_examples=examples(300), deadline=None)
@given(st.binary(max_size=40), st.integers(0, 200), st.sampled_from([4, 8, 16]), st.sampled_from(DATATYPES))
def test_any_bytes_behind_the_json_are_rows_or_a_refusal(tail: bytes, cut: int, size: int, datatype: str) -> None:
    tensor = {"name": "input", "shape": [1, 2], "datatype": datatype, "parameters": {"binary_data_size": size}}
    body = json.dumps({"inputs": [tensor]}).encode() + tail
    for length in (len(body) - len(tail), cut):
        try:
            rows = parse_infer(body, length, SIGNATURES[0]).rows
        except BadInput:
            continue
        assert rows.shape == (1, 2)
        assert not np.isinf(rows).any()
