"""Which revision answers a request, and what becomes of it when the other one does not.

Owns the split, the fall back to this pod's own model and the count of each request by arm and outcome. Whoever asked gets an answer of this
pod's model whenever the other gives none: late, broken, refused or gone. Never hands a request on twice and never logs a payload.
"""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Final

from modelcycle_bundle import metric_names as names
from modelcycle_bundle.traffic import MARKER, Traffic, is_marked
from modelcycle_serving.arm_counters import ArmCounters
from modelcycle_serving.http import JSON, Request, Response
from modelcycle_serving.logs import log
from modelcycle_serving.split import Split
from modelcycle_serving.upstream import Crowded, NoAnswer, Pool, PoolLimits, Unreached

_MARKER: Final = MARKER.encode()
_COPIED: Final = (b"content-type", b"inference-header-content-length")
"""Request headers that the body cannot be read without."""

Here = Callable[[Request], "Response | asyncio.Future[Response]"]


class Arms:
    """The split of one pod. `here` answers by the pod's own model; `clock` gives seconds."""

    def __init__(self, here: Here, random: Random, clock: Callable[[], float]) -> None:
        self.counters: Final = ArmCounters()
        self._here: Final = here
        self._clock: Final = clock
        self._split: Final = Split(random)
        self._traffic = Traffic()
        self._pool: Pool | None = None
        self._under_way: set[asyncio.Task[Response]] = set()
        self._told: set[str] = set()

    def apply(self, traffic: Traffic) -> None:
        """From the next request on; those under way end by what they began with."""
        if (traffic.target, traffic.timeout) != (self._traffic.target, self._traffic.timeout):
            self.close()
            # Sooner than late: that nobody is there is another thing than that somebody does not answer.
            limits = PoolLimits(connecting=min(PoolLimits().connecting, traffic.timeout / 2))
            self._pool = Pool(traffic.target, self._clock, limits) if traffic.target else None
        if traffic.rollout != self._traffic.rollout:
            self._told.clear()
        self._traffic = traffic
        self.counters.apply(traffic)

    def close(self) -> None:
        """Close the connections that are not in use."""
        if self._pool is not None:
            self._pool.close()

    def infer(self, request: Request) -> "Response | asyncio.Future[Response]":
        """Answer one inference request, here or by the other revision."""
        traffic, pool = self._traffic, self._pool
        if not traffic.share or pool is None:
            return self._here(request)
        marker = request.headers.get(_MARKER)
        if marker is not None and is_marked(traffic, marker.decode("latin-1")):
            return self._here(request)
        if not self._split.take(traffic.share):
            return self._as_stable(request, traffic)
        task = asyncio.get_running_loop().create_task(self._forward(request, traffic, pool))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    def _as_stable(self, request: Request, traffic: Traffic) -> "Response | asyncio.Future[Response]":
        response = self._here(request)
        if isinstance(response, Response):
            self._count_stable(traffic, response)
        else:
            response.add_done_callback(lambda done: self._count_stable(traffic, done.result()))
        return response

    def _count_stable(self, traffic: Traffic, response: Response) -> None:
        self.counters.count(traffic.rollout, names.ARM_STABLE, _outcome(response.status))

    async def _forward(self, request: Request, traffic: Traffic, pool: Pool) -> Response:
        answer = None
        begun = self._clock()
        try:
            async with asyncio.timeout(traffic.timeout):
                answer = await pool.exchange(_head(request, traffic), request.body)
            outcome, detail = _outcome(answer.status), f"status {answer.status}"
        except Crowded:
            return await _settled(self._as_stable(request, traffic))
        except TimeoutError:
            outcome, detail = names.OUTCOME_LATE, "late"
        except Unreached as error:
            outcome, detail = names.OUTCOME_UNREACHED, str(error)
        except NoAnswer as error:
            outcome, detail = names.OUTCOME_FAILED, str(error)
        self.counters.forwards.observe(self._clock() - begun)
        if answer is not None and outcome == names.OUTCOME_OK:
            self.counters.count(traffic.rollout, names.ARM_CANARY, outcome)
            return Response(answer.status, answer.body, answer.content_type or JSON)
        # Not counted for stable: what the other arm failed is no random sample of the requests.
        response = await _settled(self._here(request))
        is_good_here = _outcome(response.status) == names.OUTCOME_OK
        if outcome == names.OUTCOME_CLIENT and is_good_here:
            outcome = names.OUTCOME_REFUSED
        self.counters.count(traffic.rollout, names.ARM_CANARY, outcome)
        if is_good_here and outcome != names.OUTCOME_UNREACHED:
            self.counters.rescued(traffic.rollout)
        if outcome != names.OUTCOME_CLIENT:
            self._tell(traffic, outcome, detail)
        return response

    def _tell(self, traffic: Traffic, outcome: str, detail: str) -> None:
        """Log the first of each kind in a rollout; the counters tell how many."""
        if traffic.rollout == self._traffic.rollout and detail not in self._told:
            self._told.add(detail)
            log.warning(
                "the other revision did not answer a request; this one did",
                extra={"rollout": traffic.rollout, "outcome": outcome, "detail": detail},
            )


def _outcome(status: int) -> str:
    """What an answer's status says of the arm that gave it; 200 is the only success of the protocol."""
    if status == 200:
        return names.OUTCOME_OK
    return names.OUTCOME_CLIENT if 400 <= status < 500 else names.OUTCOME_FAILED


def _head(request: Request, traffic: Traffic) -> bytes:
    """The request's head, made anew: of what the client sent only what the body cannot be read without."""
    copied = b"".join(b"%s: %s\r\n" % (name, request.headers[name]) for name in _COPIED if name in request.headers)
    return b"POST %s HTTP/1.1\r\nHost: %s\r\n%s: %s\r\nContent-Length: %d\r\n%s\r\n" % (
        request.path,
        traffic.target.encode(),
        _MARKER,
        traffic.rollout.encode(),
        len(request.body),
        copied,
    )


async def _settled(answer: "Response | asyncio.Future[Response]") -> Response:
    return answer if isinstance(answer, Response) else await answer
