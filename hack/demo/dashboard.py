"""The queries of the dashboard, each put to a Prometheus: a panel that can show nothing is a defect.

Owns the reading of the dashboard's JSON and what its variables stand for. Draws nothing, changes nothing.
"""

import json
import math
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

DASHBOARD: Final = Path(__file__).parents[2] / "manifests/integrations/grafana/modelcycle-loop.json"
NAMESPACE: Final = "modelcycle-prometheus"
SERVICE: Final = "svc/prometheus"
PORT: Final = 9090
RATE_INTERVAL: Final = "20s"
"""What Grafana would put for $__rate_interval at a scrape interval of 2 s and a range of half an hour, roughly."""
MOST_STEPS: Final = 2000
"""Points of one query; Prometheus gives at most 11,000."""


@dataclass(frozen=True)
class Query:
    """One PromQL expression, and where it stands."""

    place: str
    expression: str


def load(path: Path = DASHBOARD) -> dict[str, Any]:
    """The dashboard. Raises ValueError for anything that JSON does not allow, and for a key given twice."""
    loaded: dict[str, Any] = json.loads(path.read_text(), object_pairs_hook=_unique, parse_constant=_refuse)
    return loaded


def queries(dashboard: Mapping[str, Any]) -> list[Query]:
    """All of them: panels, annotations and variables."""
    found = [
        Query(f"panel {panel['title']!r}, {target['refId']}", target["expr"])
        for panel in panels(dashboard)
        for target in panel.get("targets", ())
    ]
    found += [Query(f"annotation {a['name']!r}", a["expr"]) for a in dashboard["annotations"]["list"] if "expr" in a]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            found.append(Query(f"variable {variable['name']!r}", _of_variable(variable["query"]["query"])))
    return found


def panels(dashboard: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every panel, also those inside of a folded row."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", ())


def filled(expression: str, namespace: str, deployment: str) -> str:
    """The expression with the variables' values. Raises ValueError when one stays."""
    values = {"$__rate_interval": RATE_INTERVAL, "$namespace": namespace, "$deployment": deployment}
    for name, value in values.items():
        expression = expression.replace(name, value)
    if "$" in expression:
        raise ValueError(f"unknown variable in {expression}")
    return expression


def problems(url: str, namespace: str, deployment: str, since: datetime, until: datetime) -> list[str]:
    """One line for each query that Prometheus refuses or that finds no number between the two moments; empty: the dashboard is alive."""
    found = []
    for query in queries(load()):
        expression = filled(query.expression, namespace, deployment)
        problem = _problem(url, expression, since.timestamp(), until.timestamp())
        if problem:
            found.append(f"{query.place}: {problem}: {expression}")
    return found


def _problem(url: str, expression: str, since: float, until: float) -> str | None:
    step = max(1.0, (until - since) / MOST_STEPS)
    form = {"query": expression, "start": f"{since:.3f}", "end": f"{until:.3f}", "step": f"{step:.3f}"}
    try:
        with urllib.request.urlopen(
            f"{url.rstrip('/')}/api/v1/query_range", data=urllib.parse.urlencode(form).encode(), timeout=30
        ) as answer:
            series = json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as error:
        return f"refused ({json.load(error).get('error', error.code)})"
    numbers = (float(value) for one in series for _, value in one["values"])
    return None if any(map(math.isfinite, numbers)) else "no data"


def _of_variable(text: str) -> str:
    parts = re.fullmatch(r"label_values\((.+), *(\w+)\)", text)
    if not parts:
        raise ValueError(f"not a query of label values: {text}")
    return f"group by ({parts[2]}) ({parts[1]})"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError(f"a key is given twice: {sorted(name for name, _ in pairs)}")
    return dict(pairs)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")
