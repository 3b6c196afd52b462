"""How long a model that fails every request goes on getting some. Prints figures; asserts nothing.

The same model is tried several times on a line under load. An eyewitness in the cluster reads the serving pods' own counters ten times a
second: the time runs from its first sight of a failing answer until no pod hands on requests. Users get stable's answers meanwhile.
"""

import os
import platform
import statistics
import sys

from canary_ground import RATE, Line, eventually, new_ground, rejections
from demo.traffic import Moments, moments

RUNS = 5
INTERVAL = {"interval": "2s"}
GOAL_SECONDS = 5.0


def measured(line: Line) -> Moments:
    """Of the rollout that is under way. Raises AssertionError when its end is not seen."""
    done = line.ended()
    assert rejections(done), "it was not taken back"
    rollout = done["status"]["analysis"]["rollout"]
    eventually(lambda: moments(line.clients.sightings(), rollout) is not None, "a share of 0 at every pod")
    found = moments(line.clients.sightings(), rollout)
    assert found is not None
    return found


def main() -> None:
    """Print the figures."""
    say = sys.stdout.write
    say(f"machine: {os.cpu_count()} cores, {platform.platform()}; load {os.getloadavg()[0]:.1f}\n")
    taken: list[float] = []
    with new_ground() as ground:
        broken, line = ground.broken, ground.line("failing", 2)
        line.serve(ground.usual)
        line.load()
        line.ask(broken, analysis=INTERVAL)
        for run in range(RUNS):
            if run:
                line.person("retry")
            seen = measured(line)
            taken.append(seen.share_zero - seen.first_bad)
            say(f"  {taken[-1]:.1f} s\n")
        everything, _ = line.clients.stop()
    say(
        f"first failing answer -> share 0 at every pod, {RATE / 2:.0f} canary requests/s, look every 2 s: "
        f"median {statistics.median(taken):.1f} s, max {max(taken):.1f} s, {RUNS} rollouts (goal {GOAL_SECONDS:.0f} s); "
        f"{everything.failed} of {everything.requests} requests of users failed\n"
    )


if __name__ == "__main__":
    main()
