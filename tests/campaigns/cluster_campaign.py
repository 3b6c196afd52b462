"""Rollouts of equal models on the real cluster, each with cold pods: how many are taken back although nothing is wrong.

Prints a line for each and the sum; exits 1 when more than a tenth were taken back, or a request of a user failed.
"""

import argparse
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

from canary_ground import Line, Model, new_ground
from demo.kubectl import is_current

SAME_CLIENTS = 5
"""Rollouts until the clients are replaced: they end by themselves after a while."""

AS_USERS_DO: Final[Mapping[str, Any]] = {"server": {"replicas": 1}, "traffic": {}}
"""Resources and patience by default."""


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
    told = f"{'promoted' if promoted else 'taken back'} after {time.monotonic() - began:.0f} s: errors {arms}, "
    return promoted, told + f"E {metric['evidence']['rollback']}, P {metric['evidence']['promote']}"


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rollouts", type=int, default=20, help="default %(default)s")
    wanted: int = parser.parse_args().rollouts
    taken_back = failed = requests = 0
    with new_ground() as ground:
        line, models = ground.line("equal"), [ground.equal, ground.usual]
        line.serve(ground.usual, **AS_USERS_DO)
        for number in range(wanted):
            if number % SAME_CLIENTS == 0:
                line.load()
            promoted, told = rollout(line, models[0])
            print(f"{number + 1:3} {told}", flush=True)
            if promoted:
                models.reverse()
            taken_back += not promoted
            if (number + 1) % SAME_CLIENTS == 0 or number + 1 == wanted:
                everything, _ = line.clients.stop()
                failed, requests = failed + everything.failed, requests + everything.requests
    print(f"{taken_back} of {wanted} rollouts of equal models taken back; {failed} of {requests} requests failed")
    return int(taken_back > wanted / 10 or failed > 0)


if __name__ == "__main__":
    sys.exit(main())
