"""The open connections of one port and what becomes of each: kept, timed out, drained or cut.

Owns the drain rule and every time limit. `fate` is pure: time comes in as a number. It knows no HTTP syntax and no model.
The rule that keeps a drain lossless: a connection is only closed after an answer that said so, or after a silence of
`drain_idle` counted from the later of its last activity and the start of the drain.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from enum import StrEnum
from operator import itemgetter
from typing import Final, Protocol

SWEEP_SECONDS: Final = 0.5
"""Longest time between two looks at the connections; times below are exact to this much."""
ROOM: Final = 64
"""Idle connections closed at one time for new ones, so that looking for them is paid for once."""
ROOM_SECONDS: Final = 1.0
"""For so long a connection may be idle however many others want in."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one port. Sizes in bytes, times in seconds."""

    max_body: int = 8 * 1024 * 1024
    max_head: int = 16 * 1024
    max_target: int = 4 * 1024
    max_headers: int = 100
    max_connections: int = 4096
    max_buffered: int = 128 * 1024 * 1024
    """Request bodies, and answers that their clients do not read, held at one time by all connections together."""
    head_timeout: float = 10.0
    body_timeout: float = 30.0
    write_timeout: float = 30.0
    keep_alive: float = 300.0
    linger: float = 2.0
    """After a closing answer the peer's bytes are read and dropped this long, so that no reset destroys the answer."""


@dataclass(frozen=True, slots=True)
class DrainPolicy:
    """How a drain ends. Seconds."""

    idle: float = 15.0
    settle: float = 5.0
    """Shortest drain: new connections still arrive until every node has heard that this pod left the endpoints."""
    timeout: float = 60.0


class Stage(StrEnum):
    """What a connection is doing."""

    IDLE = "idle"
    """No request begun, none waiting."""
    HEAD = "head"
    """A request line or header has begun and is not complete."""
    BODY = "body"
    """The headers are complete, the body is not."""
    WORKING = "working"
    """A complete request waits for its answer."""
    BLOCKED = "blocked"
    """The peer does not read the answers."""
    LINGERING = "lingering"
    """The last answer is written; waiting for the peer to close."""


class Fate(StrEnum):
    """What is done with a connection at this look."""

    KEEP = "keep"
    """Nothing."""
    CLOSE = "close"
    """Closed in silence: nothing was asked on it."""
    TIME_OUT = "time out"
    """The request is answered 408 and the connection closed."""
    CUT = "cut"
    """The peer had its time; the connection is reset."""


def fate(
    stage: Stage, since: float, now: float, limits: Limits, drain_started: float | None, drain_idle: float
) -> Fate:
    """Decide about one connection that has been in `stage` since the time `since`."""
    age = now - since
    match stage:
        case Stage.WORKING:
            return Fate.KEEP
        case Stage.HEAD:
            return Fate.TIME_OUT if age > limits.head_timeout else Fate.KEEP
        case Stage.BODY:
            return Fate.TIME_OUT if age > limits.body_timeout else Fate.KEEP
        case Stage.BLOCKED:
            return Fate.CUT if age > limits.write_timeout else Fate.KEEP
        case Stage.LINGERING:
            return Fate.CUT if age > limits.linger else Fate.KEEP
        case Stage.IDLE:
            if drain_started is not None:
                return Fate.CLOSE if now - max(since, drain_started) >= drain_idle else Fate.KEEP
            return Fate.CLOSE if age > limits.keep_alive else Fate.KEEP


def drain_over(started: float, now: float, open_connections: int, policy: DrainPolicy) -> bool:
    """Whether the process may exit."""
    elapsed = now - started
    return elapsed >= policy.timeout or (elapsed >= policy.settle and open_connections == 0)


class Connection(Protocol):
    """What the registry needs of a connection."""

    def stage(self) -> tuple[Stage, float]:
        """The stage and the loop time at which it began."""
        ...

    def apply(self, fate: Fate) -> None:
        """Carry out a decision."""
        ...


class Connections:
    """Registry of one port: looked through every SWEEP_SECONDS, and more often where a shorter time is asked for."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self.limits = limits
        self.buffered = 0
        self.date = _http_date()
        self.drain_started: float | None = None
        self.told_to_close = False
        """Answers close their connections although nothing ends: clients are to come back by way of the Service."""
        self._drain = DrainPolicy()
        self._clock = clock
        self._open: set[Connection] = set()

    def __len__(self) -> int:
        return len(self._open)

    @property
    def closing(self) -> bool:
        """Whether an answer is the last of its connection."""
        return self.told_to_close or self.drain_started is not None

    def add(self, connection: Connection) -> None:
        """Register a connection just made."""
        self._open.add(connection)

    def discard(self, connection: Connection) -> None:
        """Forget a connection that is gone."""
        self._open.discard(connection)

    def make_room(self) -> bool:
        """Close those that have been idle longest, so that whoever only holds connections keeps nobody out. False: there are none."""
        latest = self._clock() - ROOM_SECONDS
        staged = [(*connection.stage(), connection) for connection in self._open]
        idle = sorted((each for each in staged if each[0] is Stage.IDLE and each[1] <= latest), key=itemgetter(1))
        for _, _, connection in idle[:ROOM]:
            connection.apply(Fate.CLOSE)
        return bool(idle)

    def start_drain(self, policy: DrainPolicy) -> None:
        """From now on every answer closes its connection, until the drain is over by `policy`."""
        self._drain = policy
        self.drain_started = self._clock()

    def drain_over(self) -> bool:
        """Whether a started drain has ended."""
        return self.drain_started is not None and drain_over(self.drain_started, self._clock(), len(self), self._drain)

    def sweep(self) -> None:
        """Look at every connection once."""
        now = self._clock()
        self.date = _http_date()
        for connection in tuple(self._open):
            stage, since = connection.stage()
            decided = fate(stage, since, now, self.limits, self.drain_started, self._drain.idle)
            if decided is not Fate.KEEP:
                connection.apply(decided)

    async def keep_sweeping(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(self._period())
            self.sweep()

    def _period(self) -> float:
        limits = self.limits
        shortest = min(self._drain.idle, limits.linger, limits.head_timeout, limits.body_timeout, limits.keep_alive)
        return min(SWEEP_SECONDS, max(shortest / 4, 0.01))


def _http_date() -> bytes:
    return formatdate(usegmt=True).encode()
