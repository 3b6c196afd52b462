"""The share of requests that a serving pod hands on: what the operator writes into a pod's annotation and the server reads from a file.

Owns the wire form of `modelcycle.dev/traffic` and the marker that keeps a request from being handed on twice. Standard library only. A text
that does not parse is refused whole: the reader keeps what it had.
"""

import ipaddress
import json
import re
from dataclasses import dataclass
from typing import Final

ANNOTATION: Final = "modelcycle.dev/traffic"
VOLUME_DIR: Final = "/var/run/modelcycle/traffic"
"""Where the downward API volume is mounted; VOLUME_FILE in it holds the annotation's text, empty when there is none."""
VOLUME_FILE: Final = "traffic.json"
MARKER: Final = "x-modelcycle-forwarded"
"""Request header of a request that was handed on; its value is the sender's rollout."""
TEST_HEADER: Final = "x-modelcycle-arm"
"""Request header by which a test picks the arm, `canary` or `stable`, where the annotation lets it."""
SHARE_DENOMINATOR: Final = 10_000
"""Shares are whole numbers of this: 0.01 % each."""
DEFAULT_TIMEOUT: Final = 1.0
"""Seconds after which a request that was handed on is late."""

_ROLLOUT: Final = re.compile(r"[0-9a-f]{6}-[0-9a-f]{8}")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
_DECIMAL: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")
_HEADER: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class TrafficError(ValueError):
    """The text is no traffic annotation; the error names the field."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one pod does with the requests that reach it. The zero value answers all of them itself."""

    rollout: str = ""
    """`<six hex of the ModelDeployment's uid>-<eight hex of this rollout>`; "" before the first rollout."""
    seq: int = 0
    """Rises with every change that the operator decides on within a ModelDeployment; the pod exports the one it applies."""
    share: int = 0
    """Of SHARE_DENOMINATOR requests, how many are handed on."""
    target: str = ""
    """`address:port` of the Service of the other revision; "" when nothing is handed on."""
    timeout: float = DEFAULT_TIMEOUT
    """Seconds."""
    close: bool = False
    """Answers carry `Connection: close`, so that clients come back through the Service."""
    shadow: int = 0
    """Of SHARE_DENOMINATOR requests that this pod answers itself, how many the other revision gets a copy of."""
    sticky: str = ""
    """Request header, in lower case, whose value is the key that decides who is handed on; "" when none does."""
    test_header: bool = False
    """Whether TEST_HEADER picks the arm of a request that has it."""

    @property
    def deployment(self) -> str:
        """The part of the rollout that names the ModelDeployment."""
        return self.rollout.partition("-")[0]


def is_marked(traffic: Traffic, marker: str) -> bool:
    """Whether a request's marker comes from a pod of the same ModelDeployment: such a request is answered here, whatever the share.

    The rollout itself need not agree: two pods that have not heard of the same change must not send a request in circles.
    """
    return bool(_ROLLOUT.fullmatch(marker)) and marker.partition("-")[0] == traffic.deployment


def rollout_of(marker: str) -> str:
    """The rollout that a marker names; "" for any other text."""
    return marker if _ROLLOUT.fullmatch(marker) else ""


def to_text(traffic: Traffic) -> str:
    """The annotation: canonical JSON, so that equal values are equal texts.

    What came after the first release is written only where it is set: the text of an older operator's annotation stays as it was.
    """
    plain: dict[str, object] = {
        "rollout": traffic.rollout,
        "seq": traffic.seq,
        "share": f"{traffic.share / SHARE_DENOMINATOR:.4f}",
        "target": traffic.target,
        "timeout": f"{traffic.timeout:.3f}",
        "close": traffic.close,
    }
    if traffic.shadow:
        plain["shadow"] = f"{traffic.shadow / SHARE_DENOMINATOR:.4f}"
    if traffic.sticky:
        plain["sticky"] = traffic.sticky
    if traffic.test_header:
        plain["testHeader"] = True
    return json.dumps(plain, sort_keys=True, separators=(",", ":"))


def parse(text: str) -> Traffic:
    """Read an annotation; the empty text is the zero value. Unknown fields are ignored. Raises TrafficError."""
    if not text.strip():
        return Traffic()
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TrafficError("not JSON") from error
    if not isinstance(plain, dict):
        raise TrafficError("not a JSON object")
    share = round(_decimal(plain, "share", 0.0, 1.0) * SHARE_DENOMINATOR)
    shadow = round(_decimal(plain, "shadow", 0.0, 1.0) * SHARE_DENOMINATOR) if "shadow" in plain else 0
    # Only who hands something on needs a name for it and a place.
    sends = bool(share or shadow)
    return Traffic(
        rollout=_rollout(plain) if sends or plain.get("rollout") != "" else "",
        seq=_whole(plain, "seq"),
        share=share,
        target=_target(plain) if sends or plain.get("target") != "" else "",
        timeout=_decimal(plain, "timeout", 0.001, 60.0),
        close=plain.get("close") is True,
        shadow=shadow,
        sticky=_sticky(plain) if "sticky" in plain else "",
        test_header=plain.get("testHeader") is True,
    )


def _rollout(plain: dict[str, object]) -> str:
    value = plain.get("rollout")
    if not isinstance(value, str) or not _ROLLOUT.fullmatch(value):
        raise TrafficError("rollout: expected six and eight hex digits with a dash between")
    return value


def _target(plain: dict[str, object]) -> str:
    value = plain.get("target")
    address, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    try:
        parsed = ipaddress.ip_address(address.removeprefix("[").removesuffix("]"))
    except ValueError:
        raise TrafficError("target: expected address:port") from None
    # An IPv6 address stands in brackets, and has no zone: whatever else is in the text would go into a Host header.
    if (
        address != (f"[{parsed}]" if parsed.version == 6 else str(parsed))
        or "%" in address
        or not _PORT.fullmatch(port)
    ):
        raise TrafficError("target: expected address:port")
    if int(port) > 65535:
        raise TrafficError("target: no such port")
    return f"{address}:{port}"


def _sticky(plain: dict[str, object]) -> str:
    value = plain["sticky"]
    if not isinstance(value, str) or not _HEADER.fullmatch(value):
        raise TrafficError("sticky: expected a request header in lower case, of letters, digits and dashes")
    return value


def _whole(plain: dict[str, object], name: str) -> int:
    value = plain.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TrafficError(f"{name}: expected a whole number of 0 or more")
    return value


def _decimal(plain: dict[str, object], name: str, low: float, high: float) -> float:
    value = plain.get(name)
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value) or not low <= float(value) <= high:
        raise TrafficError(f"{name}: expected a decimal string from {low:g} to {high:g}")
    return float(value)
