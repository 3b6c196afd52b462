"""Which revision answers a request, and what becomes of it when the other one does not.

Owns the split, the fall back to this pod's own model and the count of each request by arm and outcome, timed by one clock. Whoever asked
gets an answer of this pod's model whenever the other gives none: late, broken, refused or gone. Never hands a request on twice and never
logs a payload.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import Random
from typing import Final

from modelcycle_bundle import metric_names as names
from modelcycle_bundle.traffic import TEST_HEADER, Traffic, is_marked
from modelcycle_serving import deadlines
from modelcycle_serving.arm_counters import ArmCounters
from modelcycle_serving.forwarding import head, marker, response
from modelcycle_serving.logs import log
from modelcycle_serving.messages import Handler, Later, Pending, Request, Response, problem
from modelcycle_serving.shadow import Shadow
from modelcycle_serving.split import Split, place
from modelcycle_serving.tls import Tls
from modelcycle_serving.upstream import Answer, Kind, NoAnswer, Pool

_TEST: Final = TEST_HEADER.encode()
_OUTCOMES: Final = {
    Kind.UNREACHED: names.OUTCOME_UNREACHED,
    Kind.LATE: names.OUTCOME_LATE,
    Kind.BROKEN: names.OUTCOME_FAILED,
}
BEAT_SECONDS: Final = 0.05
"""Between two calls of `beat`."""


class Arms:
    """The split of one pod. `here` answers by the pod's own model; `clock` gives seconds."""

    def __init__(self, here: Handler, random: Random, clock: Callable[[], float], tls: Tls | None) -> None:
        self.counters: Final = ArmCounters()
        self._here: Final = here
        self._clock: Final = clock
        self._split: Final = Split(random)
        self._tls: Final = tls
        self._shadow: Final = Shadow(Random(random.random()), self.counters.shadow, tls)
        self._traffic = Traffic()
        self._salt = b""
        self._key = b""
        """The header that holds the key; empty when there is none."""
        self._pool: Pool | None = None
        self._told: set[str] = set()
        self._stalls: Final = Random(random.random())
        self._beat: float | None = None

    def beat(self) -> None:
        """The event loop is turning; called every BEAT_SECONDS, so that a pod which stood still notices."""
        self._beat = self._clock()

    def apply(self, traffic: Traffic) -> None:
        """From the next request on; those under way end by what they began with."""
        if (traffic.target, traffic.timeout) != (self._traffic.target, self._traffic.timeout):
            self._close_pool()
            self._pool = Pool(traffic.target, traffic.timeout, tls=self._tls) if traffic.target else None
        if traffic.rollout != self._traffic.rollout:
            self._told.clear()
        self._traffic = traffic
        self._salt, self._key = traffic.rollout.encode(), traffic.sticky.encode()
        self._shadow.apply(traffic)
        self.counters.apply(traffic)

    def close(self) -> None:
        """Close the connections that are not in use."""
        self._close_pool()
        self._shadow.close()

    def infer(self, request: Request) -> Response | Later:
        """Answer one inference request, here or by the other revision."""
        traffic, pool = self._traffic, self._pool
        if pool is None or not (traffic.share or traffic.shadow) or _is_handed_on(request, traffic):
            return self._here(request)
        if traffic.test_header and _TEST in request.headers:
            return self._for_a_test(request, traffic, pool)
        if not traffic.share:
            return self._unjudged(request, traffic)
        deadline = request.headers.get(deadlines.HEADER)
        if deadline is not None and not deadlines.leaves_time(deadline, traffic.timeout):
            # Before the draw, and for neither arm: so the arms are still asked the same kind of requests.
            self.counters.exempt(traffic.rollout)
            return self._here(request)
        now = self._clock()
        if not self._draw(request, traffic):
            return _then(self._here(request), partial(self._answered_here, request, traffic, self._arrived(now)))
        result = Pending()
        pool.ask(head(request, traffic), request.body, partial(self._answered, request, traffic, now, result))
        return result

    def _draw(self, request: Request, traffic: Traffic) -> bool:
        """Whether the request is the canary's: by its key, or without one by the exact sequence."""
        key = request.headers.get(self._key)
        by = names.DRAWN_BY_KEY if key else names.DRAWN_BY_SHARE
        drawn = place(self._salt, key) < traffic.share if key else self._split.take(traffic.share)
        self.counters.drawn(traffic.rollout, by, names.ARM_CANARY if drawn else names.ARM_STABLE)
        return drawn

    # This pod answers.

    def _arrived(self, now: float) -> float:
        """When a request that is read now had arrived, on average: before that, if this pod stood still.

        What a canary's pod stands still makes its answers late at their sender. So that stable's own do so too, a request that waited
        behind a stall is taken to have come at any moment of it.
        """
        if self._beat is None or now - self._beat <= 2 * BEAT_SECONDS:
            return now
        stopped = self._beat + BEAT_SECONDS * self._stalls.random()
        return stopped + (now - stopped) * self._stalls.random()

    def _answered_here(self, request: Request, traffic: Traffic, arrived: float, own: Response) -> None:
        is_late = self._clock() - arrived > traffic.timeout
        outcome = names.OUTCOME_LATE if is_late else _outcome(own.status)
        self.counters.count(traffic.rollout, names.ARM_STABLE, outcome)
        if traffic.shadow:
            self._shadow.offer(request, traffic, own)

    def _unjudged(self, request: Request, traffic: Traffic) -> Response | Later:
        return _then(self._here(request), partial(self._shadow.offer, request, traffic))

    # The other revision was asked.

    def _answered(
        self, request: Request, traffic: Traffic, begun: float, result: Pending, outcome: Answer | NoAnswer
    ) -> None:
        if isinstance(outcome, NoAnswer) and outcome.kind is Kind.CROWDED:
            self.counters.count(traffic.rollout, names.ARM_CANARY, names.OUTCOME_CROWDED)
            _settle(result, partial(self._unjudged, request, traffic))
            return
        seconds = self._clock() - begun
        self.counters.forwards.observe(seconds)
        if isinstance(outcome, Answer) and outcome.status == 200:
            # Whatever is late by the pool's clock is no Answer: this one lay here while this pod stood still.
            known = names.OUTCOME_OK if seconds <= traffic.timeout else names.OUTCOME_CROWDED
            self.counters.count(traffic.rollout, names.ARM_CANARY, known)
            result.set_result(response(outcome))
        else:
            _settle(result, partial(self._make_good, request, traffic, outcome))

    def _make_good(self, request: Request, traffic: Traffic, outcome: Answer | NoAnswer) -> Response | Later:
        """Not counted for stable: what the other arm failed is no random sample of the requests."""
        return _then(self._here(request), partial(self._count_made_good, traffic, outcome, self._clock()))

    def _count_made_good(self, traffic: Traffic, outcome: Answer | NoAnswer, begun: float, own: Response) -> None:
        is_good_here = _outcome(own.status) == names.OUTCOME_OK
        if isinstance(outcome, Answer):
            bad, detail = _outcome(outcome.status), f"status {outcome.status}"
        else:
            bad, detail = _OUTCOMES[outcome.kind], outcome.detail
        if bad == names.OUTCOME_CLIENT and is_good_here:
            bad = names.OUTCOME_REFUSED
        self.counters.count(traffic.rollout, names.ARM_CANARY, bad)
        # A stable arm that is as late to the same request shows nothing against the canary.
        if is_good_here and bad != names.OUTCOME_UNREACHED and self._clock() - begun <= traffic.timeout:
            self.counters.rescued(traffic.rollout)
        if bad != names.OUTCOME_CLIENT:
            self._tell(traffic, bad, detail)

    def _tell(self, traffic: Traffic, outcome: str, detail: str) -> None:
        """Log the first of each kind in a rollout; the counters tell how many."""
        if traffic.rollout == self._traffic.rollout and detail not in self._told:
            self._told.add(detail)
            log.warning(
                "the other revision did not answer a request; this one did",
                extra={"rollout": traffic.rollout, "outcome": outcome, "detail": detail},
            )

    # Tests pick their arm, and are no evidence.

    def _for_a_test(self, request: Request, traffic: Traffic, pool: Pool) -> Response | Later:
        wanted = request.headers[_TEST]
        if wanted not in (names.ARM_CANARY.encode(), names.ARM_STABLE.encode()):
            return problem(400, f"{TEST_HEADER}: expected {names.ARM_CANARY} or {names.ARM_STABLE}")
        result = Pending()
        if wanted == names.ARM_STABLE.encode():
            _settle(result, partial(self._here, request), names.ARM_STABLE)
        else:
            pool.ask(head(request, traffic), request.body, partial(self._answered_test, request, result))
        return result

    def _answered_test(self, request: Request, result: Pending, outcome: Answer | NoAnswer) -> None:
        if isinstance(outcome, Answer) and outcome.status == 200:
            _settle(result, partial(response, outcome), names.ARM_CANARY)
        else:
            _settle(result, partial(self._here, request), names.ARM_STABLE)

    def _close_pool(self) -> None:
        if self._pool is not None:
            self._pool.close()


def _is_handed_on(request: Request, traffic: Traffic) -> bool:
    text = marker(request)
    return text is not None and is_marked(traffic, text)


def _outcome(status: int) -> str:
    """What an answer's status says of the arm that gave it; 200 is the only success of the protocol."""
    if status == 200:
        return names.OUTCOME_OK
    return names.OUTCOME_CLIENT if 400 <= status < 500 else names.OUTCOME_FAILED


def _then(answer: Response | Later, act: Callable[[Response], None]) -> Response | Later:
    """The answer, acted on as soon as it is known."""
    if isinstance(answer, Response):
        act(answer)
    else:
        answer.add_done_callback(lambda done: act(done.result()))
    return answer


def _settle(result: Pending, answer: Callable[[], Response | Later], arm: str | None = None) -> None:
    """Give the answer to whoever waits for `result`; `arm` is told to a test. Whatever goes wrong, nobody is left waiting."""

    def give(response: Response) -> None:
        told = () if arm is None else ((_TEST, arm.encode()),)
        result.set_result(replace(response, headers=(*response.headers, *told)) if told else response)

    try:
        given = answer()
    except Exception as error:
        # Only the type: the text of an exception may quote the payload.
        log.error("a request handler raised", extra={"exception": type(error).__name__})
        given = problem(500, "internal error")
    _then(given, give)
