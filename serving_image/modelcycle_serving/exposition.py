"""The two texts of a metrics page: Prometheus' format 0.0.4 and OpenMetrics 1.0.

Owns their syntax and which one a reader gets; what a metric is called and means is modelcycle_bundle.metric_table. The two differ in
headers alone, so samples are written once.
"""

import re
from collections.abc import Mapping
from typing import Final

from modelcycle_bundle.metric_table import TABLE

TEXT: Final = b"text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = b"application/openmetrics-text; version=1.0.0; charset=utf-8"
_COUNTER_HEADER: Final = re.compile(rb"\n# (HELP|TYPE) (modelcycle_\w+)_total ")
_ANY_TEXT: Final = frozenset({"*/*", "text/*", "text/plain"})


def described(name: str) -> list[str]:
    """The two lines before the samples of a metric of the table."""
    metric = TABLE[name]
    return [f"# HELP {name} {metric.text}", f"# TYPE {name} {metric.kind}"]


def labelled(labels: Mapping[str, str]) -> str:
    """Labels as they follow a sample's name."""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def negotiated(page: bytes, accept: bytes | None) -> tuple[bytes, bytes]:
    """A page of format 0.0.4 in the format that the header Accept asks for, and its media type.

    OpenMetrics only where it is named, in version 1.0.0 or without one, and nothing is liked better: any other reader gets what
    everybody reads. A header that cannot be understood is none.
    """
    if accept is None or not _wants_openmetrics(accept.decode("latin-1").lower()):
        return page, TEXT
    return _COUNTER_HEADER.sub(rb"\n# \1 \2 ", b"\n" + page)[1:] + b"# EOF\n", OPENMETRICS


def _wants_openmetrics(accept: str) -> bool:
    openmetrics = plain = 0.0
    for media in accept.split(","):
        name, *parameters = (part.strip() for part in media.split(";"))
        known = dict(parameter.split("=", 1) for parameter in parameters if "=" in parameter)
        weight = _weight(known.get("q", "1"))
        version = known.get("version", "").strip('"')
        if name == "application/openmetrics-text" and version in ("", "1.0.0"):
            openmetrics = max(openmetrics, weight)
        elif name in _ANY_TEXT and version in ("", "0.0.4"):
            plain = max(plain, weight)
    return openmetrics > 0 and openmetrics >= plain


def _weight(text: str) -> float:
    return float(text) if re.fullmatch(r"[01](\.[0-9]{0,3})?", text) else 0.0


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
