"""What was decided about requests that pods hand on, as it stands in status. Pure.

Owns the order of traffic changes (`seq`), the name of a rollout and the place in status. Knows no pod.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from modelcycle.api.conditions import timestamp
from modelcycle.deployment.moments import parse_time
from modelcycle.kube.names import uid_hash
from modelcycle_bundle.traffic import SHARE_DENOMINATOR

ALL: Final = SHARE_DENOMINATOR


@dataclass(frozen=True, slots=True)
class TrafficIntent:
    """What was decided last. The zero value: nothing ever was."""

    seq: int = 0
    rollout: str = ""
    share: int = 0
    """Of ALL requests that reach pods of `sender`."""
    sender: str = ""
    """Revision whose pods hand requests on."""
    receiver: str = ""
    close: bool = False
    shadow: int = 0
    """Of ALL requests that pods of `sender` answer, how many `receiver` gets a copy of."""
    at: datetime | None = None

    @property
    def sends(self) -> bool:
        """Whether `receiver` gets requests or copies of them."""
        return bool(self.share or self.shadow)

    def changed(self, now: datetime, **to: Any) -> "TrafficIntent":
        """The next intent: `to` over this one, with the next `seq`."""
        return replace(self, seq=self.seq + 1, at=now, **to)


def rollout_id(uid: str, revision: str, started_at: datetime, seq: int) -> str:
    """Names one attempt at one revision; its first part names the ModelDeployment. `seq` tells attempts of one second apart."""
    attempt = hashlib.sha256(f"{uid}|{revision}|{timestamp(started_at)}|{seq}".encode()).hexdigest()[:8]
    return f"{uid_hash(uid)}-{attempt}"


def from_plain(raw: Mapping[str, Any]) -> TrafficIntent:
    """Read `status.traffic`."""
    return TrafficIntent(
        seq=raw.get("seq", 0),
        rollout=raw.get("rollout", ""),
        share=raw.get("share", 0),
        sender=raw.get("from", ""),
        receiver=raw.get("to", ""),
        close=raw.get("close", False),
        shadow=raw.get("shadow", 0),
        at=parse_time(raw["at"]) if raw.get("at") else None,
    )


def to_plain(intent: TrafficIntent) -> dict[str, Any]:
    """`status.traffic`."""
    fields: dict[str, Any] = {
        "seq": intent.seq,
        "rollout": intent.rollout,
        "share": intent.share,
        "from": intent.sender,
        "to": intent.receiver,
        "close": intent.close,
    }
    if intent.shadow:
        fields["shadow"] = intent.shadow
    return fields | ({"at": timestamp(intent.at)} if intent.at else {})
