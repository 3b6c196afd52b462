"""The container's last words: a result as JSON where the kubelet reads it.

Owns the place and the size limit. Outside a cluster there is no such file, and nothing is created.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelcycle_bundle import layout
from modelcycle_bundle.failures import Failure
from modelcycle_serving.logs import log

if TYPE_CHECKING:
    from modelcycle_bundle.contract import FetchResult

LIMIT: Final = 1024
"""Bytes of a result. The kubelet keeps 12 KiB for all containers of a pod: so much of each when sidecars make them twelve."""
WORD_LIMIT: Final = 96
"""Bytes of a word, longer than a digest: a long address before the cause must not push the cause out."""

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
    """The result as JSON of at most LIMIT bytes. Long words of the message are shortened in their middle; then its end is cut."""
    from modelcycle_bundle.contract import to_json

    if result.failure is None:
        return to_json(result)
    message = re.sub(r"\S+", _short, result.failure.message)
    texts = (
        to_json(replace(result, failure=replace(result.failure, message=message[:end])))
        for end in range(min(len(message), LIMIT), -1, -1)
    )
    return next(text for text in texts if len(text) <= LIMIT)


def _short(word: re.Match[str]) -> str:
    if _size(word[0]) <= WORD_LIMIT:
        return word[0]
    ends = (f"{word[0][:kept]}...{word[0][-kept:]}" for kept in range((WORD_LIMIT - 3) // 2, 0, -1))
    return next(text for text in ends if _size(text) <= WORD_LIMIT)


def _size(text: str) -> int:
    return len(json.dumps(text)) - 2
