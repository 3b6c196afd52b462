"""Load generator: runs inside the cluster from a ConfigMap, standard library only, bounded in count and time.

Keep-alive connections to one Service, no retries: every request that does not get a 200 is a failed request. A *phase* is a name, a
set of rows and a rate; the file LOAD_CONTROL names the one that is wanted, and `{"name": "stop"}` ends the run. Rows go out in a seeded
order, each once a round. Prints one JSON line a second and a closing summary by phase, which is also its termination message.
"""

import asyncio
import json
import os
import random
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

HOST = os.environ.get("LOAD_HOST", "127.0.0.1")
PORT = int(os.environ.get("LOAD_PORT", "80"))
PATH = os.environ.get("LOAD_PATH", "/v2/models/model/infer")
SECONDS = float(os.environ.get("LOAD_SECONDS", "60"))
CONNECTIONS = int(os.environ.get("LOAD_CONNECTIONS", "8"))
MAX_REQUESTS = int(os.environ.get("LOAD_MAX_REQUESTS", "200000"))
SEED = int(os.environ.get("LOAD_SEED", "7"))
FIRST_PHASE = {"name": "load", "rows": "rows", "rate": float(os.environ.get("LOAD_RATE", "100"))}
FOLDER = os.environ.get("LOAD_FOLDER", "/load")
CONTROL = os.environ.get("LOAD_CONTROL", "/control/phase.json")
TERMINATION_LOG = os.environ.get("LOAD_TERMINATION_LOG", "/dev/termination-log")
CONTROL_SECONDS = 0.2


@dataclass
class Phase:
    """What is sent, and what came of it. `rate` in requests a second over all connections; 0: none."""

    name: str
    rows: str
    rate: float
    codes: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    failed_rows: Counter[int] = field(default_factory=Counter)
    asked_rows: Counter[int] = field(default_factory=Counter)
    sent: int = 0
    slowest: float = 0.0

    def summary(self) -> dict[str, object]:
        """Exact counts; what is under way is among the requests and has not failed.

        `failedRows`: of each row that failed, how often it did; `askedRows`: how often each of these was sent.
        """
        return {
            "requests": self.sent,
            "failed": self.codes.total() - self.codes["200"],
            "codes": dict(self.codes),
            "versions": dict(self.versions),
            "slowestSeconds": round(self.slowest, 3),
            "failedRows": {str(row): count for row, count in sorted(self.failed_rows.items())[:40]},
            "askedRows": {str(row): self.asked_rows[row] for row in sorted(self.failed_rows)[:40]},
        }


class Run:
    """All phases so far; the last one is under way."""

    def __init__(self) -> None:
        self.phases = [Phase(**FIRST_PHASE)]  # type: ignore[arg-type]
        self.first_seen: dict[str, float] = {}
        self.failures: deque[str] = deque(maxlen=3)
        self.stopped = False
        self._bodies: dict[str, list[bytes]] = {}
        self._orders: dict[str, Iterator[int]] = {}

    @property
    def phase(self) -> Phase:
        """The one under way."""
        return self.phases[-1]

    @property
    def sent(self) -> int:
        """Requests of all phases."""
        return sum(phase.sent for phase in self.phases)

    def turn(self, wanted: dict[str, object]) -> None:
        """Go over to another phase, unless it is the one under way."""
        name = str(wanted["name"])
        self.stopped = self.stopped or name == "stop"
        if name not in ("stop", self.phase.name):
            self.phases.append(Phase(name, str(wanted["rows"]), float(str(wanted["rate"]))))

    def next_row(self, rows: str) -> tuple[int, bytes]:
        """The next row of a set in the seeded order, and its request body."""
        if rows not in self._bodies:
            with open(f"{FOLDER}/{rows}.json", encoding="utf-8") as file:
                self._bodies[rows] = [body(row) for row in json.load(file)]
            self._orders[rows] = rounds(len(self._bodies[rows]))
        at = next(self._orders[rows])
        return at, self._bodies[rows][at]

    def summary(self) -> dict[str, object]:
        """Totals, and each phase by name."""
        codes: Counter[str] = sum((phase.codes for phase in self.phases), Counter())
        return {
            "requests": self.sent,
            "failed": codes.total() - codes["200"],
            "codes": dict(codes),
            "versions": dict(sum((phase.versions for phase in self.phases), Counter())),
            "firstSeen": self.first_seen,
            "slowestSeconds": round(max(phase.slowest for phase in self.phases), 3),
            "failures": list(self.failures),
            "phases": {phase.name: phase.summary() for phase in self.phases if phase.sent},
        }


def body(row: list[float]) -> bytes:
    """An inference request of one row."""
    tensor = {"name": "input", "shape": [1, len(row)], "datatype": "FP32", "data": row}
    return json.dumps({"inputs": [tensor]}).encode()


def rounds(count: int) -> Iterator[int]:
    """Every number below `count` once, in a seeded order, and so on for ever in ever new orders."""
    chance = random.Random(SEED)
    while True:
        yield from chance.sample(range(count), count)


async def answer(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes]:
    """Status code, headers and content of one response."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
    return head[0].split(" ")[1], headers, await reader.readexactly(int(headers.get("content-length", "0")))


async def connection(run: Run, start: float, lane: int) -> None:
    """One keep-alive connection: a request, its answer, the next."""
    writer: asyncio.StreamWriter | None = None
    due = start + lane / max(run.phase.rate, 1.0)
    while time.monotonic() < start + SECONDS and run.sent < MAX_REQUESTS and not run.stopped:
        if run.phase.rate <= 0 or due - time.monotonic() > CONTROL_SECONDS:
            await asyncio.sleep(CONTROL_SECONDS)
            due = max(due, time.monotonic())
            continue
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        phase = run.phase
        due = max(due + CONNECTIONS / max(phase.rate, 0.01), time.monotonic())
        row, content = run.next_row(phase.rows)
        phase.sent += 1
        phase.asked_rows[row] += 1
        began = time.monotonic()
        try:
            async with asyncio.timeout(10):
                if writer is None:
                    reader, writer = await asyncio.open_connection(HOST, PORT)
                writer.write(
                    b"POST %b HTTP/1.1\r\nHost: %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                    % (PATH.encode(), HOST.encode(), len(content), content)
                )
                code, headers, answered = await answer(reader)
            phase.codes[code] += 1
            phase.slowest = max(phase.slowest, time.monotonic() - began)
            if code == "200":
                version = json.loads(answered).get("model_version", "?")
                phase.versions[version] += 1
                run.first_seen.setdefault(version, round(time.time(), 3))
            else:
                phase.failed_rows[row] += 1
                run.failures.append(f"{code} {answered[:120].decode(errors='replace')}")
            if headers.get("connection", "").lower() == "close":
                writer.close()
                writer = None
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            phase.codes["none"] += 1
            phase.failed_rows[row] += 1
            run.failures.append(f"{time.time():.3f} {type(error).__name__}: {error}")
            if writer is not None:
                writer.close()
            writer = None
    if writer is not None:
        writer.close()


async def obey(run: Run) -> None:
    """Look at the control file for as long as the run goes on. Half a file, or none, is no order."""
    while not run.stopped:
        try:
            with open(CONTROL, encoding="utf-8") as file:  # noqa: ASYNC230 - a few bytes in memory
                run.turn(json.load(file))
        except (OSError, ValueError, KeyError):
            pass
        await asyncio.sleep(CONTROL_SECONDS)


async def main() -> None:
    """Send until told to stop, or until the time or the count is up."""
    run, start = Run(), time.monotonic()
    orders = asyncio.create_task(obey(run))
    lanes = [asyncio.create_task(connection(run, start, lane)) for lane in range(CONNECTIONS)]
    while not all(lane.done() for lane in lanes):
        await asyncio.wait(lanes, timeout=1)
        print(json.dumps({"phase": run.phase.name, **run.phase.summary()}), flush=True)
    orders.cancel()
    summary = json.dumps(run.summary())
    print(summary, flush=True)
    with open(TERMINATION_LOG, "w", encoding="utf-8") as file:  # noqa: ASYNC230 - after the load
        file.write(summary)
    sys.exit(0 if run.sent else 1)


if __name__ == "__main__":
    asyncio.run(main())
