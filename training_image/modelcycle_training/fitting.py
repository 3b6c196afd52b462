"""Fitting the user's estimator: the one place where code chosen by a user runs.

Owns single-threaded determinism and what may be told of an exception: numbers and labels are cells of the data, so they are blanked.
"""

import re
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from modelcycle_bundle.contract import FailureClass, FailureReason
from modelcycle_training.failures import TaskFailed, failed
from modelcycle_training.split import Rows

_NUMBER: Final = re.compile(r"(?<![A-Za-z_0-9])[-+]?\.?\d(?:[\d.,]*\d)?\.?(?:[eE][-+]?\d+)?(?![A-Za-z_0-9])")
_LETTER: Final = r"[^\W\u0e00-\u0eff\u2e80-\uffff]"
"""A character of a word, in scripts that part words: in the others a label beside a letter is still the whole label."""
_READ_LIMIT: Final = 8000
"""Characters of an exception that are looked at: patterns take their time with text that somebody made for that."""
_MESSAGE_LIMIT: Final = 400


@dataclass(frozen=True, slots=True)
class Fit:
    """What fitting told: seconds of wall time, and the categories of Python warnings raised, sorted."""

    seconds: float
    warnings: tuple[str, ...]


def fit(estimator: Any, rows: Rows) -> Fit:
    """Fit in place on float32-rounded inputs. Raises TaskFailed with BadParameters or TrainerRaised."""
    from threadpoolctl import threadpool_limits

    # Sums over several threads differ in their last bits from run to run, and so would the model's digest.
    with trainer_errors(rows.labels), warnings.catch_warnings(record=True) as caught, threadpool_limits(limits=1):
        warnings.simplefilter("always")
        begun = time.monotonic()
        # Thresholds must be chosen between the values the server will see (float32), in full precision (float64).
        estimator.fit(rows.inputs.astype(np.float64), rows.labels)
        seconds = time.monotonic() - begun
    return Fit(seconds, tuple(sorted({warning.category.__name__ for warning in caught})))


@contextmanager
def trainer_errors(labels: Any) -> Iterator[None]:
    """Turn whatever the estimator raises into TaskFailed."""
    from sklearn.utils._param_validation import InvalidParameterError

    try:
        yield
    except (TaskFailed, MemoryError):
        raise
    except InvalidParameterError as error:
        raise failed(FailureClass.PARAMETERS, FailureReason.BAD_PARAMETERS, str(error)[:_MESSAGE_LIMIT]) from error
    except Exception as error:  # an estimator raises whatever it likes
        classes = [] if labels.dtype.kind in "fi" else np.unique(labels).tolist()
        told = without_values(str(error), classes)
        message = f"the estimator raised {type(error).__name__}: {told}".rstrip(": ")
        raise failed(FailureClass.TRAINER, FailureReason.TRAINER_RAISED, message) from error


def without_values(message: str, classes: Sequence[str]) -> str:
    """The text with every number and every class label replaced by `#`, where they stand by themselves: words with them inside stay."""
    if len(message) > _READ_LIMIT:
        message = message[:_READ_LIMIT].rpartition(" ")[0]  # no half of a label
    written = {form for label in classes for form in (label, repr(label)[1:-1]) if form}
    if written:
        longest_first = sorted(written, key=lambda form: (-len(form), form))
        message = re.sub("|".join(map(_whole, longest_first)), "#", message)
    return _NUMBER.sub("#", " ".join(message.split()))[:_MESSAGE_LIMIT]


def _whole(label: str) -> str:
    """A pattern for a label that is no part of a longer word."""
    before = f"(?<!{_LETTER})" if re.match(_LETTER, label[0]) else ""
    after = f"(?!{_LETTER})" if re.match(_LETTER, label[-1]) else ""
    return f"{before}{re.escape(label)}{after}"
