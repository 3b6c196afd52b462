"""The container's last words: a result as JSON where the kubelet reads it.

Owns the place and the size limit. Outside a cluster there is no such file, and nothing is created.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelcycle_bundle import layout
from modelcycle_bundle.failures import Failure
from modelcycle_serving.logs import log

if TYPE_CHECKING:
    from modelcycle_bundle.contract import FetchResult

PATH_ENV: Final = "MODELCYCLE_TERMINATION_LOG"


def write(result: "FetchResult", environment: Mapping[str, str]) -> None:
    """Write the result; a place that cannot be written is logged and no reason to fail."""
    told = environment.get(PATH_ENV)
    path = Path(told or layout.TERMINATION_MESSAGE_PATH)
    if told is None and not path.exists():
        return
    try:
        path.write_text(bounded(result), encoding="utf-8")
    except OSError as error:
        log.warning("no termination message written", extra={"path": str(path), "detail": error.strerror})


def write_failure(failure: Failure, environment: Mapping[str, str]) -> None:
    """Write a result that is nothing but a failure."""
    # A server that starts well needs none of the tasks.
    from modelcycle_bundle.contract import FetchResult

    write(FetchResult(failure=failure), environment)


def bounded(result: "FetchResult") -> str:
    """The result as JSON of at most TERMINATION_MESSAGE_LIMIT bytes; only the message is cut."""
    from modelcycle_bundle.contract import to_json

    text = to_json(result)
    while (
        len(text.encode()) > layout.TERMINATION_MESSAGE_LIMIT and result.failure is not None and result.failure.message
    ):
        excess = len(text.encode()) - layout.TERMINATION_MESSAGE_LIMIT
        kept = result.failure.message[: max(0, len(result.failure.message) - max(1, excess // 6) - 3)]
        result = replace(result, failure=replace(result.failure, message=kept))
        text = to_json(result)
    return text
