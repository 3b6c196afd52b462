"""A document in the lines of a program's log: how what is larger than a termination message gets out of a pod. Pure.

Owns the form of the lines and their bounds. A log may be cut, rotated, repeated by restarts and mixed with prints of user code: a
document is whole and its hash right, or it is not there. The hash finds damage, not forgery: facts are as trusted as the code that runs
in their pod. Standard library only: the operator imports it.
"""

import hashlib
import re
from collections.abc import Iterator
from typing import Final

PREFIX: Final = "modelcycle-fact"
MAX_BYTES: Final = 256 * 1024
"""Of a document."""
CHUNK: Final = 4096
"""Characters of the document in a line: container runtimes split lines at 16 KiB."""
TAIL_LINES: Final = 256
"""Lines at the end of a log that are looked at: a whole document four times."""
LOG_BYTES: Final = 2 * 1024 * 1024
"""Most that is read of a log."""

_HASH_LENGTH: Final = 16
_LINE: Final = re.compile(rf"{PREFIX} ([0-9]{{1,3}})/([0-9]{{1,3}}) ([0-9a-f]{{{_HASH_LENGTH}}}) (.*)", re.DOTALL)


def lines(document: str) -> Iterator[str]:
    """`modelcycle-fact <number>/<total> <hash> <part>` for each part. Raises ValueError for what is no line or too large."""
    if len(document.encode()) > MAX_BYTES or not document.isascii() or not document.isprintable():
        raise ValueError(f"facts are one line of ASCII of at most {MAX_BYTES} bytes")
    parts = [document[at : at + CHUNK] for at in range(0, len(document), CHUNK)] or [""]
    for number, part in enumerate(parts, start=1):
        yield f"{PREFIX} {number}/{len(parts)} {_hash(document)} {part}"


def read(log: str) -> str | None:
    """The last whole document of a log, None when there is none. Never raises."""
    parts: dict[tuple[str, int], dict[int, str]] = {}
    for line in log.split("\n")[-TAIL_LINES - 1 :]:
        found = _LINE.fullmatch(line)
        if found is None:
            continue
        number, total, digest = int(found[1]), int(found[2]), found[3]
        chunks = parts.pop((digest, total), {})
        parts[digest, total] = chunks | {number: found[4]}
    documents = (_joined(digest, total, chunks) for (digest, total), chunks in reversed(parts.items()))
    return next((document for document in documents if document is not None), None)


def _joined(digest: str, total: int, chunks: dict[int, str]) -> str | None:
    if chunks.keys() != set(range(1, total + 1)) or sum(map(len, chunks.values())) > MAX_BYTES:
        return None
    document = "".join(chunks[number] for number in sorted(chunks))
    return document if _hash(document) == digest else None


def _hash(document: str) -> str:
    return hashlib.sha256(document.encode(errors="replace")).hexdigest()[:_HASH_LENGTH]
