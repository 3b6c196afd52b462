"""How long a client waits, where something in front of the server says so.

Owns the header's name and form. No standard has one that fits: `Prefer: wait` of RFC 7240 counts whole seconds, `grpc-timeout` is
gRPC's. Envoy, and with it Istio, Envoy Gateway and Contour, says in this one how long it will wait.
"""

from typing import Final

HEADER: Final = b"x-envoy-expected-rq-timeout-ms"
OWN_ANSWER: Final = 0.05
"""Seconds that are kept for this pod's own answer when the other revision is late."""


def leaves_time(value: bytes, timeout: float) -> bool:
    """Whether a client that waits so long can be answered here after a hop of `timeout` seconds came to nothing. Junk says nothing."""
    if not value.isdigit() or len(value) > 9:
        return True
    return int(value) == 0 or int(value) / 1000 >= timeout + OWN_ANSWER  # 0: Envoy waits for ever
