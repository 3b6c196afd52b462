"""What a retrain must remember between two looks, as plain JSON for the ledger, and back. Decides nothing.

Everything here is written down before it is acted on, so that an operator that starts anew goes on where the last one ended.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from modelcycle.api.conditions import timestamp
from modelcycle.api.driftmonitor import Priority
from modelcycle.jobs.records import TaskRecord, read_task, write_task


@dataclass(frozen=True, slots=True)
class RetrainWish:
    """A standing alarm that asks for a retrain. The window, in UTC, is the one that raised it; `evidence` says so in words."""

    fingerprint: str
    priority: Priority
    window_start: datetime
    window_end: datetime
    evidence: str


@dataclass(frozen=True, slots=True)
class NewData:
    """A table as the inspect Job found it. `digest` is `sha256:<hex>` of its bytes."""

    uri: str
    digest: str
    rows: int
    labelled_rows: int


@dataclass(frozen=True, slots=True)
class Asked:
    """The last Experiment that was asked for."""

    experiment: str
    wish: RetrainWish
    data: NewData
    at: datetime
    """The cooldown runs from here."""
    live: str | None
    """Digest of the model that served then."""
    seen: bool = False
    """It was there once: whoever deletes it after that does not get it again."""
    model: str | None = None
    """Digest of what it sealed."""


@dataclass(frozen=True, slots=True)
class RetrainState:
    """`look` is the last inspection of the data; it goes on, or waits to be repeated, for `wish`, and is over when there is none."""

    look: TaskRecord | None = None
    wish: RetrainWish | None = None
    asked: Asked | None = None


def to_plain(state: RetrainState) -> dict[str, Any]:
    """The state as JSON values, empty for one that remembers nothing; times lose what is below a second."""
    parts = {
        "look": write_task(state.look) if state.look else None,
        "wish": _plain_wish(state.wish) if state.wish else None,
        "asked": _plain_asked(state.asked) if state.asked else None,
    }
    return {name: part for name, part in parts.items() if part is not None}


def from_plain(raw: Mapping[str, Any]) -> RetrainState:
    """The state in `raw`. Raises KeyError, TypeError or ValueError for what `to_plain` did not write."""
    return RetrainState(
        look=read_task(raw.get("look")),
        wish=_wish(raw["wish"]) if "wish" in raw else None,
        asked=_asked(raw["asked"]) if "asked" in raw else None,
    )


def _plain_wish(wish: RetrainWish) -> dict[str, Any]:
    return {
        "fingerprint": wish.fingerprint,
        "priority": wish.priority.value,
        "start": timestamp(wish.window_start),
        "end": timestamp(wish.window_end),
        "evidence": wish.evidence,
    }


def _wish(raw: Mapping[str, Any]) -> RetrainWish:
    return RetrainWish(
        fingerprint=str(raw["fingerprint"]),
        priority=Priority(raw["priority"]),
        window_start=datetime.fromisoformat(raw["start"]),
        window_end=datetime.fromisoformat(raw["end"]),
        evidence=str(raw["evidence"]),
    )


def _plain_asked(asked: Asked) -> dict[str, Any]:
    data = asked.data
    return {
        "experiment": asked.experiment,
        "wish": _plain_wish(asked.wish),
        "data": {"uri": data.uri, "digest": data.digest, "rows": data.rows, "labelledRows": data.labelled_rows},
        "at": timestamp(asked.at),
        "live": asked.live,
        "seen": asked.seen,
        "model": asked.model,
    }


def _asked(raw: Mapping[str, Any]) -> Asked:
    data = raw["data"]
    return Asked(
        experiment=str(raw["experiment"]),
        wish=_wish(raw["wish"]),
        data=NewData(str(data["uri"]), str(data["digest"]), int(data["rows"]), int(data["labelledRows"])),
        at=datetime.fromisoformat(raw["at"]),
        live=None if raw["live"] is None else str(raw["live"]),
        seen=bool(raw["seen"]),
        model=None if raw["model"] is None else str(raw["model"]),
    )
