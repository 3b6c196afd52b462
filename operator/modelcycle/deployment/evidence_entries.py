"""Entries of the ConfigMap that keeps the evidence of a rollout: their names, and what one must be to count. Pure.

Must never take an entry that status does not name: the entry is written first and its name after it, so the write of the status is the one
commit, and evidence is never apart from the counters it was made from. An entry is named by its digest: evidence that somebody edited
counts for nothing.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Final

from modelcycle.api.fields import part
from modelcycle.deployment import analysis as analyses
from modelcycle.deployment.analysis import AnalysisState, state_text

FORM: Final = 1
"""Form of an entry, the first part of its name."""


@dataclass(frozen=True, slots=True)
class Found:
    """The evidence that status names, or why it is not there."""

    analysis: AnalysisState | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One version of the evidence."""

    key: str
    """`v1-20260612T081500Z-<digest>`: form, time of the last look, first 16 hex digits of the SHA-256 of the text."""
    text: str


def entry_of(analysis: AnalysisState) -> Entry:
    """The entry that this evidence makes."""
    at, text = analysis.last_look_at, state_text(analysis)
    moment = at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ") if at else "0"
    return Entry(f"v{FORM}-{moment}-{_digest(text)}", text)


def read(status: Mapping[str, Any], data: Mapping[str, str]) -> Found:
    """The evidence of `status.analysis`: in the entry of `data` that it names, or inline, as the first release kept it."""
    raw, at = part(status, "analysis"), part(part(status, "analysis"), "stateRef")
    if not at:
        return Found(analyses.from_plain(raw) if raw else None)
    key = str(at.get("key", ""))
    place = f"entry {key} of ConfigMap {at.get('name', '')}"
    text = data.get(key)
    if text is None:
        return Found(problem=f"{place} is gone")
    if not key.endswith(f"-{_digest(text)}"):
        return Found(problem=f"{place} was changed by somebody else")
    found = analyses.from_plain({**raw, "state": text})
    return Found(found, "" if found else f"{place} cannot be read by this operator")


def named(status: Mapping[str, Any]) -> str:
    """The entry that `status.analysis` names; "" for none."""
    return str(part(part(status, "analysis"), "stateRef").get("key", ""))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
