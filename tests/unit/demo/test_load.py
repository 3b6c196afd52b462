"""The load generator as its pod runs it, against a server that counts what arrives."""

import asyncio
import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from demo import load, watch
from modelcycle_bundle import metric_names

SCRIPT = Path(load.__file__)
ROWS = {"usual": [[float(at), 1.0] for at in range(20)], "shifted": [[float(at), 2.0] for at in range(20)]}


@dataclass
class Server:
    """Answers 500 to `bad` rows and hangs up on `dropped` ones; every tenth answer of the others closes its connection."""

    bad: frozenset[float] = frozenset()
    dropped: frozenset[float] = frozenset()
    seen: Counter[tuple[float, float]] = field(default_factory=Counter)
    order: list[tuple[float, float]] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with_close = itertools.count(1)
        while True:
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            except asyncio.IncompleteReadError:
                break
            length = int(next(line for line in head.split("\r\n") if line.startswith("content-length")).split(":")[1])
            row = tuple(json.loads(await reader.readexactly(length))["inputs"][0]["data"])
            self.seen[row] += 1
            self.order.append(row)
            self.arrived.set()
            if row[0] in self.dropped:
                break
            code = 500 if row[0] in self.bad else 200
            body = json.dumps({"model_version": f"v{row[1]:.0f}"}).encode()
            close = next(with_close) % 10 == 0
            connection = "Connection: close\r\n" if close else ""
            writer.write(f"HTTP/1.1 {code} X\r\n{connection}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
            if close:
                break
        writer.close()

    async def until(self, requests: int) -> None:
        while len(self.order) < requests:
            self.arrived.clear()
            await self.arrived.wait()

    def sent(self, kind: float) -> int:
        return sum(count for row, count in self.seen.items() if row[1] == kind)


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[None]:
    listener = await asyncio.start_server(server.answer, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield


async def run_load(
    folder: Path, server: Server, orders: list[dict[str, object]], each: int = 150, connections: int = 8
) -> dict[str, Any]:
    """One run that goes through `orders`, to the next whenever `each` more requests have arrived. Returns its termination message."""
    for name, rows in ROWS.items():
        (folder / f"{name}.json").write_text(json.dumps(rows))
    control, message = folder / "phase.json", folder / "message"
    control.write_text(json.dumps(orders[0]))
    environment = {
        "LOAD_HOST": "127.0.0.1",
        "LOAD_PORT": str(server.port),
        "LOAD_FOLDER": str(folder),
        "LOAD_CONTROL": str(control),
        "LOAD_TERMINATION_LOG": str(message),
        "LOAD_CONNECTIONS": str(connections),
        "LOAD_RATE": "0",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SCRIPT), env={**os.environ, **environment}, stdout=subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(60):
            for order in [*orders[1:], {"name": "stop"}]:
                target = len(server.order) + each
                await server.until(target)
                control.write_text(json.dumps(order))
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    summary: dict[str, Any] = json.loads(message.read_text())
    assert len(message.read_bytes()) < 4096
    return summary


def phase(name: str, rows: str, rate: float = 400) -> dict[str, object]:
    return {"name": name, "rows": rows, "rate": rate}


async def test_each_phase_is_counted_exactly_and_sends_its_own_rows(tmp_path: Path) -> None:
    server = Server(bad=frozenset({3.0, 4.0}))
    async with serving(server):
        summary = await run_load(tmp_path, server, [phase("before", "usual"), phase("after", "shifted")])
    before, after = summary["phases"]["before"], summary["phases"]["after"]
    assert (before["requests"], after["requests"]) == (server.sent(1.0), server.sent(2.0))
    assert summary["requests"] == len(server.order)
    assert (set(before["versions"]), set(after["versions"])) == ({"v1"}, {"v2"})
    for counted, kind in ((before, 1.0), (after, 2.0)):
        expected = {str(int(row)): server.seen[(row, kind)] for row in (3.0, 4.0)}
        assert counted["failedRows"] == counted["askedRows"] == expected
        assert counted["failed"] == sum(expected.values()) == counted["codes"]["500"]


async def test_nothing_is_sent_twice_when_the_server_hangs_up(tmp_path: Path) -> None:
    server = Server(dropped=frozenset({5.0}))
    async with serving(server):
        summary = await run_load(tmp_path, server, [phase("only", "usual")])
    assert summary["requests"] == len(server.order)
    assert summary["failed"] == summary["codes"]["none"] == server.seen[(5.0, 1.0)] > 0


async def test_every_row_goes_out_once_a_round_in_the_seeded_order(tmp_path: Path) -> None:
    server = Server()
    async with serving(server):
        await run_load(tmp_path, server, [phase("only", "usual")], each=100, connections=1)
    assert [row[0] for row in server.order] == list(itertools.islice(load.rounds(20), len(server.order)))


def test_rounds_are_the_same_every_time_and_differ_from_one_another() -> None:
    first = list(itertools.islice(load.rounds(50), 150))
    assert first == list(itertools.islice(load.rounds(50), 150))
    assert first[:50] != first[50:100]
    assert sorted(first[:50]) == sorted(first[50:100]) == list(range(50))


def test_the_eyewitness_reads_shares_and_the_arms_of_each_rollout_of_a_metrics_page() -> None:
    name, share, rescued = metric_names.ARM_REQUESTS, metric_names.TRAFFIC_SHARE, metric_names.ARM_RESCUED
    assert (name, share, rescued) == (watch.REQUESTS, watch.SHARE, watch.RESCUED)
    assert (metric_names.OUTCOME_OK, metric_names.OUTCOME_CLIENT) == watch.HARMLESS
    counts = {
        "stable": {"ok": 70, "client": 5, "failed": 1, "late": 1},
        "canary": {"ok": 9, "client": 1, "failed": 3, "late": 1, "refused": 2, "unreached": 9, "crowded": 4},
    }
    assert {arm: set(outcomes) for arm, outcomes in counts.items()} == {
        arm: set(outcomes) for arm, outcomes in metric_names.ARM_OUTCOMES.items()
    }
    page = "\n".join(
        [
            f"# TYPE {name} counter",
            f'{share}{{rollout="abcdef-00000002"}} 0.2',
            *(
                f'{name}{{rollout="abcdef-00000001",arm="{arm}",outcome="{outcome}"}} {count}'
                for arm, outcomes in counts.items()
                for outcome, count in outcomes.items()
            ),
            f'{rescued}{{rollout="abcdef-00000001"}} 4',
            f'{name}{{rollout="abcdef-00000002",arm="canary",outcome="ok"}} 1',
            'modelcycle_forward_duration_seconds_count{rollout="abcdef-00000001"} 16',
        ]
    )
    assert watch.read(page) == watch.Page(
        "abcdef-00000002",
        0.2,
        {
            "abcdef-00000001": watch.Arms(canary=16, canary_bad=6, stable=77, stable_bad=2, rescued=4),
            "abcdef-00000002": watch.Arms(canary=1),
        },
    )
