"""The ledger: every ended attempt of every trial as one compact JSON line in ConfigMaps owned by the Experiment. Owns its format; no I/O.

Lines are only ever appended. A page is closed (immutable) when it holds `PAGE_LINES` lines or `PAGE_BYTES` bytes. A trial's Job may be
deleted only after its line was read back.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from modelcycle.api.experiment import TrialState

PAGE_LINES: Final = 500
PAGE_BYTES: Final = 768 * 1024
DATA_KEY: Final = "trials.jsonl"
MESSAGE_LIMIT: Final = 256


@dataclass(frozen=True, slots=True)
class Entry:
    """One ended attempt. Metric values are decimal strings as the trial reported them."""

    index: int
    attempt: int
    search: str
    """The search hash it ran under."""
    state: TrialState
    parameters: tuple[tuple[str, str], ...] = ()
    metrics: tuple[tuple[str, str], ...] = ()
    objective_metric: str | None = None
    candidate_digest: str | None = None
    data_digest: str | None = None
    image_id: str | None = None
    failure_class: str = ""
    reason: str = ""
    message: str = ""
    lacks: str = ""
    """Why what is known is its termination message alone (jobs.facts.FactsReason)."""

    @property
    def trial(self) -> tuple[int, int]:
        """Identity of the attempt: index and attempt."""
        return (self.index, self.attempt)


@dataclass(frozen=True, slots=True)
class Page:
    """One ledger ConfigMap."""

    number: int
    name: str
    uid: str
    resource_version: str
    text: str
    entries: tuple[Entry, ...] = field(default=())
    unreadable: int = 0
    """Lines that do not parse; never overwritten, reported in status."""

    @property
    def full(self) -> bool:
        """Whether the next line opens a new page."""
        return self.text.count("\n") >= PAGE_LINES or len(self.text.encode()) >= PAGE_BYTES


def line(entry: Entry) -> str:
    """One line without its newline; empty fields are left out."""
    raw: dict[str, Any] = {
        "index": entry.index,
        "attempt": entry.attempt,
        "search": entry.search,
        "state": entry.state.value,
        "parameters": dict(entry.parameters),
        "metrics": dict(entry.metrics),
        "objective": entry.objective_metric,
        "candidate": entry.candidate_digest,
        "data": entry.data_digest,
        "image": entry.image_id,
        "class": entry.failure_class,
        "reason": entry.reason,
        "message": entry.message[:MESSAGE_LIMIT],
        "lacks": entry.lacks,
    }
    return json.dumps({k: v for k, v in raw.items() if v not in (None, "", {})}, separators=(",", ":"))


def parse_line(text: str) -> Entry:
    """Read one line back. Raises ValueError."""
    raw = json.loads(text)
    if not isinstance(raw, dict):
        raise ValueError("a ledger line is a JSON object")
    try:
        return Entry(
            index=int(raw["index"]),
            attempt=int(raw["attempt"]),
            search=str(raw["search"]),
            state=TrialState(raw["state"]),
            parameters=tuple((str(k), str(v)) for k, v in raw.get("parameters", {}).items()),
            metrics=tuple((str(k), str(v)) for k, v in raw.get("metrics", {}).items()),
            objective_metric=raw.get("objective"),
            candidate_digest=raw.get("candidate"),
            data_digest=raw.get("data"),
            image_id=raw.get("image"),
            failure_class=str(raw.get("class", "")),
            reason=str(raw.get("reason", "")),
            message=str(raw.get("message", "")),
            lacks=str(raw.get("lacks", "")),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"ledger line: {error!r}") from error


def page(number: int, config_map: Mapping[str, Any]) -> Page:
    """A page from its ConfigMap. Lines that do not parse are counted, not lost."""
    metadata = config_map["metadata"]
    text = str((config_map.get("data") or {}).get(DATA_KEY, ""))
    entries: list[Entry] = []
    unreadable = 0
    for one in text.splitlines():
        try:
            entries.append(parse_line(one))
        except ValueError:
            unreadable += 1
    return Page(
        number, metadata["name"], metadata["uid"], metadata["resourceVersion"], text, tuple(entries), unreadable
    )


@dataclass(frozen=True, slots=True)
class PageWrite:
    """One page to write: `page` is what it replaces, None for a new one."""

    number: int
    page: Page | None
    text: str
    closed: bool


def append(pages: Sequence[Page], entries: Sequence[Entry]) -> tuple[PageWrite, ...]:
    """The page writes that add `entries`, in order."""
    if not entries:
        return ()
    last = pages[-1] if pages else None
    if last is not None and last.full:
        return _fill(None, last.number + 1, "", entries)
    return _fill(last, last.number if last else 0, last.text if last else "", entries)


def _fill(base: Page | None, number: int, text: str, entries: Sequence[Entry]) -> tuple[PageWrite, ...]:
    writes: list[PageWrite] = []
    for entry in entries:
        if _is_full(text):
            writes.append(PageWrite(number, base, text, closed=True))
            base, number, text = None, number + 1, ""
        text += line(entry) + "\n"
    return (*writes, PageWrite(number, base, text, closed=_is_full(text)))


def _is_full(text: str) -> bool:
    return text.count("\n") >= PAGE_LINES or len(text.encode()) >= PAGE_BYTES
