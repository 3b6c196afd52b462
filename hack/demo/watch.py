"""Eyewitness beside the load generator: reads serving pods' own counters ten times a second. Standard library only; judges nothing.

The control file names the pods (`"watch": ["10.0.0.7:8081", ...]`). Prints one JSON line whenever a pod's share changes or the canary
of its rollout fails for the first time, and one a second: the time in Unix seconds, and what each pod's page says.
"""

import http.client
import json
import os
import re
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field

CONTROL = os.environ.get("LOAD_CONTROL", "/control/phase.json")
REQUESTS = "modelcycle_arm_requests_total"
RESCUED = "modelcycle_arm_rescued_total"
SHARE = "modelcycle_traffic_share"
HARMLESS = ("ok", "client")
UNJUDGED = ("unreached", "crowded")
"""Nothing is known of the canary's model, so neither good nor bad."""
SECONDS = 0.1
LINE = re.compile(rf"^({REQUESTS}|{RESCUED}|{SHARE})\{{([^}}]*)\}} ([0-9.eE+-]+)")
LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass
class Arms:
    """Answers of both models in one rollout and the bad ones among them; bad ones of the canary that stable then answered well."""

    canary: int = 0
    canary_bad: int = 0
    stable: int = 0
    stable_bad: int = 0
    rescued: int = 0


@dataclass
class Page:
    """What one pod says: the rollout and the share that it applies, and the arms of this rollout and of the few before it."""

    rollout: str = ""
    share: float = 0.0
    arms: dict[str, Arms] = field(default_factory=dict)


def read(text: str) -> Page:
    """A metrics page in the text format."""
    page = Page()
    for line in text.split("\n"):
        found = LINE.match(line)
        if not found:
            continue
        labels, value = dict(LABEL.findall(found[2])), float(found[3])
        if found[1] == SHARE:
            page.share, page.rollout = value, labels["rollout"]
            continue
        arms = page.arms.setdefault(labels["rollout"], Arms())
        if found[1] == RESCUED:
            arms.rescued += int(value)
        elif labels["outcome"] not in UNJUDGED:
            count(arms, labels["arm"], int(value), labels["outcome"] not in HARMLESS)
    return page


def count(arms: Arms, arm: str, answers: int, is_bad: bool) -> None:  # noqa: FBT001 - a fact, not a switch
    """Add answers of one outcome."""
    if arm == "canary":
        arms.canary += answers
        arms.canary_bad += answers if is_bad else 0
    else:
        arms.stable += answers
        arms.stable_bad += answers if is_bad else 0


def ask(pod: str) -> Page | None:
    """The page of `address:port`; None when it does not answer within a second."""
    host, _, port = pod.rpartition(":")
    link = http.client.HTTPConnection(host, int(port), timeout=1)
    try:
        link.request("GET", "/metrics")
        answer = link.getresponse()
        return read(answer.read().decode()) if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        link.close()


def order() -> tuple[str, list[str]]:
    """Name of the phase that is wanted, and the pods to watch."""
    try:
        with open(CONTROL, encoding="utf-8") as file:
            raw = json.load(file)
        return str(raw["name"]), [str(pod) for pod in raw.get("watch", [])]
    except (OSError, ValueError, KeyError):
        return "", []


def gist(pages: Iterable[Page]) -> list[tuple[str, float, bool]]:
    """What has to be told at once."""
    return [(page.rollout, page.share, any(arms.canary_bad for arms in page.arms.values())) for page in pages]


def main() -> None:
    """Watch until the control file says stop."""
    told: list[tuple[str, float, bool]] = []
    told_at = 0.0
    with ThreadPoolExecutor(8) as pool:
        while (wanted := order())[0] != "stop":
            began = time.time()
            answers = zip(wanted[1], pool.map(ask, wanted[1]), strict=True)
            pages = {pod: page for pod, page in answers if page is not None}
            if pages and (gist(pages.values()) != told or began - told_at >= 1):
                told, told_at = gist(pages.values()), began
                seen = {pod: asdict(page) for pod, page in pages.items()}
                print(json.dumps({"t": round(time.time(), 3), "pods": seen}), flush=True)
            time.sleep(max(0.0, SECONDS - (time.time() - began)))


if __name__ == "__main__":
    main()
