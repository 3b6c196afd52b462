"""The counters of stable's pod alone cannot be read in mid-canary: the weight stays where it is, and the rollout ends when they can be."""

from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any, Final

from canary_ground import Ground, canary, counted, reason
from demo.kubectl import condition, describe, is_current
from processes import unreadable

STEPS: Final[list[dict[str, Any]]] = [
    {"setWeight": 10},
    {"pause": {"duration": "8s"}},
    {"setWeight": 50},
    {"analysis": {}},
]
HELD: Final = timedelta(seconds=30)


def weight(obj: Mapping[str, Any]) -> str:
    found: str = canary(obj).get("weight", {}).get("desired", "")
    return found


def held_since(obj: Mapping[str, Any]) -> str:
    found: str = canary(obj).get("unseenSince", "")
    return found


def test_no_weight_rises_while_only_stables_counters_cannot_be_read(ground: Ground) -> None:
    line = ground.serving("unseen")
    line.load()
    line.ask(ground.equal, steps=STEPS)
    begun = line.wait(lambda o: weight(o) == "10" and counted(o)[0] > 0)
    with ExitStack() as silent:
        for pod in line.pods(begun["status"]["stable"]["revision"]):
            silent.enter_context(unreadable(pod["metadata"]["uid"]))
        held = line.wait(lambda o: reason(o) == "MetricsUnavailable" and bool(held_since(o)))
        assert "no pod of stable gives counts" in describe(held)
        since = datetime.fromisoformat(held_since(held).replace("Z", "+00:00"))
        weights: set[str] = set()
        line.wait(lambda o: datetime.now(since.tzinfo) - since > HELD, each=lambda o: weights.add(weight(o)))
        assert weights == {"10"}
    done = line.ended()
    assert is_current(done), describe(done)
    assert done["status"]["stable"]["digest"] == ground.equal.digest
    assert done["status"]["history"][-1]["reason"] == "Evidence"
    assert condition(done, "Ready")["reason"] == "Serving"
    everything, _ = line.clients.stop()
    assert everything.failed == 0, everything
