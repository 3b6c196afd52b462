"""Rollouts on the real cluster that take too long for each change: equal models, each with cold pods, and an outage in mid-canary.

Of the first it counts how many are taken back although nothing is wrong. In the second Prometheus, which judges the canary, is away for
minutes: the rollout has to hold, and to go on by itself. Prints a line for each; exits 1 when more than a tenth of the first were taken
back, when the second did anything but hold, or when a request of a user failed.
"""

import argparse
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

from canary_ground import Ground, Line, canary, counted, new_ground
from demo.kubectl import is_current
from outage import PROMETHEUS, told, without_prometheus
from sealed_models import Model

SAME_CLIENTS = 5
"""Rollouts until the clients are replaced: they end by themselves after a while."""

AS_USERS_DO: Final[Mapping[str, Any]] = {"server": {"replicas": 1}, "traffic": {}}
"""Resources and patience by default."""
BY_PROMETHEUS: Final[Mapping[str, Any]] = {"source": "Prometheus"}


def rollout(line: Line, model: Model) -> tuple[bool, str]:
    """Ask for the model, again where it was taken back before. Whether it was promoted, and what its evidence was."""
    began = time.monotonic()
    line.ask(model, **AS_USERS_DO)
    done = line.wait(lambda o: o["metadata"]["generation"] == o["status"].get("observedGeneration"))
    if any(entry["digest"] == model.digest for entry in done["status"].get("rejected", ())):
        line.person("retry")
    done = line.ended()
    metric = done["status"]["analysis"]["metrics"][0]
    arms = " against ".join(f"{metric[arm]['events']} of {metric[arm]['n']}" for arm in ("canary", "stable"))
    promoted = is_current(done) and done["status"]["stable"]["digest"] == model.digest
    words = f"{'promoted' if promoted else 'taken back'} after {time.monotonic() - began:.0f} s: errors {arms}, "
    return promoted, words + f"E {metric['evidence']['rollback']}, P {metric['evidence']['promote']}"


def equal_models(ground: Ground, wanted: int) -> bool:
    """Roll out two equal models in turn. Whether as few were taken back as may be, and no request failed."""
    taken_back = failed = requests = 0
    line, models = ground.line("equal"), [ground.equal, ground.usual]
    line.serve(ground.usual, **AS_USERS_DO)
    for number in range(wanted):
        if number % SAME_CLIENTS == 0:
            line.load()
        promoted, words = rollout(line, models[0])
        print(f"{number + 1:3} {words}", flush=True)
        if promoted:
            models.reverse()
        taken_back += not promoted
        if (number + 1) % SAME_CLIENTS == 0 or number + 1 == wanted:
            everything, _ = line.clients.stop()
            failed, requests = failed + everything.failed, requests + everything.requests
    print(f"{taken_back} of {wanted} rollouts of equal models taken back; {failed} of {requests} requests failed")
    return taken_back <= wanted / 10 and failed == 0


def outage(ground: Ground, seconds: float) -> bool:
    """Take Prometheus away in mid-canary. Whether the rollout held for as long, then went on to its promotion, and no request failed."""
    line = ground.line("metered")
    line.serve(ground.usual)
    line.load()
    line.ask(ground.equal, analysis=BY_PROMETHEUS)
    line.wait(lambda o: counted(o)[0] > 0)
    with without_prometheus(line) as away:
        line.wait(lambda _: time.monotonic() > away.began + seconds, seconds=2 * seconds)
        during = list(away.states)
        away.end()
        back = time.monotonic()
        done = line.ended()
        took = time.monotonic() - back
        reasons = told(list(away.states))
    everything, _ = line.clients.stop()
    shares = {canary(state).get("weight", {}).get("desired") for state in during}
    print(
        f"Prometheus away for {seconds:.0f} s in mid-canary: shares {sorted(map(str, shares))}, {len(during)} states seen"
    )
    print(f"  {' > '.join(reasons)}, done {took:.0f} s after it was back")
    print(f"  {everything.failed} of {everything.requests} requests failed")
    held = shares == {"50"} and told(during)[-1] == "MetricsUnavailable" and reasons.count("MetricsUnavailable") == 1
    went_on = is_current(done) and done["status"]["stable"]["digest"] == ground.equal.digest
    return held and went_on and everything.failed == 0


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rollouts", type=int, default=20, help="of equal models (default %(default)s)")
    parser.add_argument("--outage", type=float, default=300, help="seconds without Prometheus (default %(default)s)")
    parsed = parser.parse_args()
    if parsed.outage and not PROMETHEUS.get("deployment", "prometheus"):
        parser.error("there is no Prometheus to take away: run `make prometheus` first, or ask for --outage 0")
    with new_ground() as ground:
        went_well = [
            not parsed.rollouts or equal_models(ground, parsed.rollouts),
            not parsed.outage or outage(ground, parsed.outage),
        ]
    return int(not all(went_well))


if __name__ == "__main__":
    sys.exit(main())
