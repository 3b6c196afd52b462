"""What counts as a readable table, and that messages never repeat a cell."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelcycle_bundle.contract import FailureReason
from modelcycle_training.failures import TaskFailed
from modelcycle_training.table import read_table


def refused(text: str | bytes, target: str = "y") -> TaskFailed:
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(TaskFailed) as caught:
        read_table(data, target)
    return caught.value


def test_features_keep_file_order_and_the_target_is_taken_out() -> None:
    table = read_table(b"b,y,a\n1,x,2\n3,z,4.5\n", "y")
    assert table.features == ("b", "a")
    assert table.target == ("x", "z")
    assert table.values.tolist() == [[1, 2], [3, 4.5]]
    assert table.values.dtype == np.float32
    assert (table.rows, table.columns) == (2, 3)


def test_byte_order_mark_quotes_and_windows_line_ends_are_read() -> None:
    table = read_table(b'\xef\xbb\xbf"a ""x""",y\r\n"1",c\r\n\r\n', "y")
    assert table.features == ('a "x"',)
    assert table.values.tolist() == [[1.0]]


@pytest.mark.parametrize("cell", ["", "nan", "NaN", " "])
def test_empty_cells_and_nan_are_missing(cell: str) -> None:
    table = read_table(f"a,y\n{cell},1\n2,1\n".encode(), "y")
    assert np.isnan(table.values[:, 0]).tolist() == [True, False]


def test_rows_without_target_are_counted_as_unlabelled() -> None:
    table = read_table(b"a,y\n1,\n2,nan\n3, 1 \n", "y")
    assert table.labelled.tolist() == [False, False, True]
    assert table.target[2] == "1"


def test_ragged_row_is_named_by_number_only() -> None:
    error = refused("a,y\n1,2\n3,secret,5\n")
    assert error.failure.reason is FailureReason.DATA_UNREADABLE
    assert "row 3" in error.failure.message
    assert "secret" not in error.failure.message


def test_text_in_a_feature_names_the_column_and_never_the_value_experiment_48() -> None:
    error = refused("age,name,y\n1,Miller,0\n")
    assert error.failure.reason is FailureReason.FEATURE_NOT_NUMERIC
    assert "'name'" in error.failure.message
    assert "Miller" not in error.failure.message


def test_missing_target_lists_at_most_ten_columns() -> None:
    header = ",".join(f"c{at}" for at in range(15))
    error = refused(f"{header}\n{','.join('1' * 15)}\n", "scrap")
    assert error.failure.reason is FailureReason.TARGET_MISSING
    assert "'scrap'" in error.failure.message
    assert "'c9'" in error.failure.message
    assert "'c10'" not in error.failure.message


def test_semicolons_get_a_hint() -> None:
    assert "comma-separated" in refused("a;y\n1;2\n").failure.message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "empty"),
        (b"a,y\n", "no rows"),
        (b"a,a,y\n1,2,3\n", "'a' appears twice"),
        (b"a,,y\n1,2,3\n", "column 2"),
        (b"y\n1\n", "no column besides"),
        (b"a,y\n\xff\xfe,1\n", "UTF-8"),
        (b'a,y\n"1,2\n', "not valid CSV"),
    ],
)
def test_unreadable_tables_say_why(text: bytes, told: str) -> None:
    error = refused(text)
    assert error.failure.reason is FailureReason.DATA_UNREADABLE
    assert told in error.failure.message


@pytest.mark.parametrize("cell", ["inf", "-Infinity", "1e39"])
def test_values_beyond_float32_are_refused(cell: str) -> None:
    error = refused(f"a,y\n{cell},1\n")
    assert error.failure.reason is FailureReason.FEATURE_NOT_NUMERIC
    assert "float32" in error.failure.message


@given(st.lists(st.lists(st.floats(width=32, allow_infinity=False), min_size=2, max_size=2), min_size=1, max_size=30))
def test_float32_numbers_survive_to_the_bit(rows: list[list[float]]) -> None:
    text = "a,b,y\n" + "".join(f"{a!r},{b!r},1\n" for a, b in rows)
    np.testing.assert_array_equal(read_table(text.encode(), "y").values, np.array(rows, dtype=np.float32))


@given(st.binary(max_size=300))
def test_any_bytes_give_a_table_or_a_documented_failure(data: bytes) -> None:
    # Anything but TaskFailed would end a Job with InternalError.
    with contextlib.suppress(TaskFailed):
        table = read_table(data, "y")
        assert table.values.shape == (table.rows, table.columns - 1)
