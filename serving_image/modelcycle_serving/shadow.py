"""Copies of requests to the other revision, whose answers are compared with this pod's own and thrown away.

Owns which requests are copied and the bounds of that. Nobody waits for a copy: it leaves after this pod's own answer, and above
the bounds it is dropped and counted. Never changes an answer, never logs what it read.
"""

from dataclasses import replace
from functools import partial
from random import Random
from typing import Final

from modelcycle_bundle import metric_names as names
from modelcycle_bundle.traffic import Traffic
from modelcycle_serving.bodies import HEADER_LENGTH, HEADER_LENGTH_KEY
from modelcycle_serving.comparison import compare, read
from modelcycle_serving.forwarding import head
from modelcycle_serving.messages import Request, Response
from modelcycle_serving.shadow_counters import ShadowCounters
from modelcycle_serving.split import Split
from modelcycle_serving.tls import Tls
from modelcycle_serving.upstream import Answer, Kind, NoAnswer, Pool, PoolLimits

MAX_ANSWER: Final = 64 * 1024
"""Bytes of an answer that is still compared: about a third of a millisecond of the event loop."""
MAX_HELD: Final = 16 * 1024 * 1024
"""Bytes of requests and answers kept for copies under way."""
LIMITS: Final = PoolLimits(connections=16, spread=4, answer=MAX_ANSWER, held=MAX_HELD)
_OUTCOMES: Final = {
    Kind.CROWDED: names.SHADOW_DROPPED,
    Kind.UNREACHED: names.OUTCOME_UNREACHED,
    Kind.LATE: names.OUTCOME_LATE,
    Kind.BROKEN: names.OUTCOME_FAILED,
}


class Shadow:
    """The copies of one pod."""

    def __init__(
        self, random: Random, counters: ShadowCounters, tls: Tls | None = None, limits: PoolLimits = LIMITS
    ) -> None:
        self._counters: Final = counters
        self._split: Final = Split(random)
        self._tls: Final = tls
        self._limits: Final = limits
        self._traffic = Traffic()
        self._pool: Pool | None = None
        self._held = 0

    def apply(self, traffic: Traffic) -> None:
        """From the next request on."""
        told, self._traffic = self._traffic, traffic
        if replace(told, seq=0) == replace(traffic, seq=0):
            return
        self.close()
        if traffic.shadow:
            self._pool = Pool(traffic.target, traffic.timeout, self._limits, self._tls)
            self._counters.begin(traffic.rollout)

    def close(self) -> None:
        """Copy nothing any more."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def offer(self, request: Request, traffic: Traffic, own: Response) -> None:
        """A request that this pod has answered; its answer is on the way before a copy is."""
        if own.status != 200 or self._pool is None or not self._split.take(traffic.shadow):
            return
        size = len(request.body) + len(own.body)
        if len(own.body) > MAX_ANSWER or self._held + size > MAX_HELD:
            self._counters.count(traffic.rollout, names.SHADOW_DROPPED)
            return
        self._held += size
        self._pool.loop.call_soon(self._send, request, traffic, own, size, self._pool)

    def _send(self, request: Request, traffic: Traffic, own: Response, size: int, pool: Pool) -> None:
        pool.ask(head(request, traffic), request.body, partial(self._answered, traffic.rollout, own, size))

    def _answered(self, rollout: str, own: Response, size: int, outcome: Answer | NoAnswer) -> None:
        self._held -= size
        if isinstance(outcome, NoAnswer):
            self._counters.count(rollout, _OUTCOMES[outcome.kind])
        elif outcome.status != 200:
            refused = 400 <= outcome.status < 500
            self._counters.count(rollout, names.OUTCOME_REFUSED if refused else names.OUTCOME_FAILED)
        else:
            self._compare(rollout, own, outcome)

    def _compare(self, rollout: str, own: Response, other: Answer) -> None:
        try:
            found = compare(
                read(own.body, dict(own.headers).get(HEADER_LENGTH)),
                read(other.body, other.headers.get(HEADER_LENGTH_KEY)),
            )
        except ValueError:
            self._counters.count(rollout, names.OUTCOME_FAILED)
            return
        self._counters.count(rollout, names.SHADOW_AGREE if found.agree else names.SHADOW_DIFFER)
        if found.difference is not None:
            self._counters.observe(rollout, found.difference)
