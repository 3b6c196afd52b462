"""Load generator: runs inside the cluster from a ConfigMap, standard library only, bounded in count and time.

Keep-alive connections to one Service, no retries: every request that does not get a 200 is a failed request. Prints one JSON line a
second while it runs and a closing summary, which is also its termination message.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter

HOST = os.environ["LOAD_HOST"]
PORT = int(os.environ.get("LOAD_PORT", "80"))
PATH = os.environ.get("LOAD_PATH", "/v2/models/model/infer")
SECONDS = float(os.environ.get("LOAD_SECONDS", "60"))
CONNECTIONS = int(os.environ.get("LOAD_CONNECTIONS", "8"))
RATE = float(os.environ.get("LOAD_RATE", "100"))
MAX_REQUESTS = int(os.environ.get("LOAD_MAX_REQUESTS", "100000"))
ROWS_FILE = os.environ.get("LOAD_ROWS", "/load/rows.json")


class Tally:
    def __init__(self) -> None:
        self.codes: Counter[str] = Counter()
        self.versions: Counter[str] = Counter()
        self.failures: list[str] = []
        self.sent = 0
        self.first_seen: dict[str, float] = {}
        self.slowest = 0.0

    def summary(self) -> dict[str, object]:
        return {
            "requests": self.sent,
            "failed": self.sent - self.codes["200"],
            "codes": dict(self.codes),
            "versions": dict(self.versions),
            "firstSeen": self.first_seen,
            "slowestSeconds": round(self.slowest, 3),
            "failures": self.failures[:5],
        }


async def answer(reader: asyncio.StreamReader) -> tuple[str, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
    return head[0].split(" ")[1], headers, await reader.readexactly(int(headers.get("content-length", "0")))


async def connection(tally: Tally, bodies: list[bytes], start: float, lane: int) -> None:
    writer: asyncio.StreamWriter | None = None
    pace = CONNECTIONS / RATE
    due = start + pace * lane / CONNECTIONS
    while due < start + SECONDS and tally.sent < MAX_REQUESTS:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        due = max(due + pace, time.monotonic())
        body = bodies[tally.sent % len(bodies)]
        tally.sent += 1
        began = time.monotonic()
        try:
            async with asyncio.timeout(10):
                if writer is None:
                    reader, writer = await asyncio.open_connection(HOST, PORT)
                writer.write(
                    b"POST %b HTTP/1.1\r\nHost: %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                    % (PATH.encode(), HOST.encode(), len(body), body)
                )
                code, headers, content = await answer(reader)
            tally.codes[code] += 1
            tally.slowest = max(tally.slowest, time.monotonic() - began)
            if code == "200":
                version = json.loads(content).get("model_version", "?")
                tally.versions[version] += 1
                tally.first_seen.setdefault(version, round(time.time(), 3))
            else:
                tally.failures.append(f"{code} {content[:120].decode(errors='replace')}")
            if headers.get("connection", "").lower() == "close":
                writer.close()
                writer = None
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            tally.codes["none"] += 1
            tally.failures.append(f"{time.time():.3f} {type(error).__name__}: {error}")
            if writer is not None:
                writer.close()
            writer = None
    if writer is not None:
        writer.close()


async def main() -> None:
    with open(ROWS_FILE, encoding="utf-8") as file:  # noqa: ASYNC230 - read once, before any load
        rows = json.load(file)
    bodies = [
        json.dumps({"inputs": [{"name": "input", "shape": [1, len(row)], "datatype": "FP32", "data": row}]}).encode()
        for row in rows
    ]
    tally, start = Tally(), time.monotonic()
    lanes = [asyncio.create_task(connection(tally, bodies, start, lane)) for lane in range(CONNECTIONS)]
    while not all(lane.done() for lane in lanes):
        await asyncio.wait(lanes, timeout=1)
        print(json.dumps(tally.summary()), flush=True)
    summary = json.dumps(tally.summary())
    with open("/dev/termination-log", "w", encoding="utf-8") as file:  # noqa: ASYNC230 - after the load
        file.write(summary)
    sys.exit(0 if tally.sent else 1)


if __name__ == "__main__":
    asyncio.run(main())
