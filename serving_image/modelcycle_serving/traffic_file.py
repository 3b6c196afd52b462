"""The traffic annotation as the kubelet shows it: a file that is looked at often and applied when its text changes.

Owns reading only; what the annotation means is modelcycle_bundle.traffic, what it does is the caller's. What cannot be read or parsed
changes nothing. Never logs the text.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from modelcycle_bundle.traffic import Traffic, TrafficError, parse
from modelcycle_serving.logs import log

MAX_BYTES: Final = 64 * 1024
"""A longer text is none of ours."""


class TrafficFile:
    """One file. `apply` gets every new value, never the same text twice in a row."""

    def __init__(self, path: Path, apply: Callable[[Traffic], None]) -> None:
        self._path: Final = path
        self._apply: Final = apply
        self._seen = b""

    def look(self) -> None:
        """Read the file now. A file that is not there, or no longer, says nothing: a pod without the volume hands nothing on."""
        try:
            # The kubelet swaps a link to a whole new folder, so one open sees one text.
            with self._path.open("rb") as file:
                text = file.read(MAX_BYTES + 1)
        except OSError:
            return
        if text == self._seen:
            return
        self._seen = text
        try:
            if len(text) > MAX_BYTES:
                raise TrafficError("too long")
            traffic = parse(text.decode())
        except (TrafficError, UnicodeDecodeError) as error:
            detail = str(error) if isinstance(error, TrafficError) else "not UTF-8"
            log.warning("the traffic annotation is not valid; the last one stays", extra={"detail": detail})
            return
        log.info("traffic", extra={"rollout": traffic.rollout, "seq": traffic.seq, "share": traffic.share})
        self._apply(traffic)
