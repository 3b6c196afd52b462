"""kubectl as the demo's only door to the cluster. Owns subprocesses; decides nothing."""

import contextlib
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

LOOK_SECONDS: Final = 0.5
"""Between two looks of a wait at what it knows, when nothing new arrives."""


class KubectlError(RuntimeError):
    """kubectl answered with an error; the text is its own."""


class WaitExpired(RuntimeError):
    """A condition did not come true in time; the text says what was last seen."""


@dataclass(frozen=True)
class Kubectl:
    """One kubeconfig and one namespace."""

    kubeconfig: Path
    namespace: str

    def run(self, *args: str, stdin: str | None = None) -> str:
        """Run `kubectl <args>` in the namespace and return its output. Raises KubectlError."""
        return self._run(["-n", self.namespace, *args], stdin)

    def keygen(self) -> str:
        """`kubectl modelcycle keygen`: a signing key for the namespace. kubectl wants a plugin's name before any flag."""
        return self.plugin("keygen")

    def plugin(self, *words: str) -> str:
        """`kubectl modelcycle` with these words, in the namespace."""
        return self._run(["modelcycle", *words, "-n", self.namespace], None)

    def _run(self, args: list[str], stdin: str | None) -> str:
        command = [_program(), *args]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, env=self.environment(), check=False)
        if done.returncode != 0:
            raise KubectlError(done.stderr.strip() or done.stdout.strip())
        return done.stdout

    def environment(self) -> dict[str, str]:
        """The process environment with our kubeconfig, and our programs first on PATH."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "PATH": path}

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """`kubectl apply -f -` of one or more objects."""
        self.run("apply", "-f", "-", stdin="\n---\n".join(json.dumps(o) for o in objects))

    def place(self, *objects: Mapping[str, Any]) -> None:
        """`kubectl apply --server-side`, for what is too large for the annotation that the other apply keeps a copy in."""
        self.run("apply", "--server-side", "-f", "-", stdin="\n---\n".join(json.dumps(o) for o in objects))

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """One object, or None."""
        text = self.run("get", kind, name, "-o", "json", "--ignore-not-found")
        return json.loads(text) if text.strip() else None

    def wait(
        self,
        kind: str,
        name: str,
        until: Callable[[dict[str, Any]], bool],
        seconds: float,
        *,
        each: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        """Watch one object until `until` holds; `each` sees every state on the way, and the last one again every LOOK_SECONDS.

        Raises WaitExpired after `seconds`.
        """
        deadline = time.monotonic() + seconds
        seen: dict[str, Any] = {}
        while time.monotonic() < deadline:
            # A watch ends with the API server that it asks; one that is being restarted is waited for, like anything else here.
            with self.watch(kind, name) as states:
                for state in states:
                    seen = state or seen
                    with contextlib.suppress(KubectlError):
                        if each and seen:
                            each(seen)
                        if seen and until(seen):
                            return seen
                    if time.monotonic() >= deadline:
                        break
            time.sleep(LOOK_SECONDS)
        raise WaitExpired(f"{kind}/{name} did not get there in {seconds:.0f} s; last seen: {describe(seen)}")

    @contextlib.contextmanager
    def watch(self, kind: str, name: str) -> Iterator[Iterator[dict[str, Any] | None]]:
        """Every state of an object from now on, the present one first; None when LOOK_SECONDS brought nothing new.

        One process for all of it. The iterator ends with the watch: the API server may end one at any time.
        """
        command = [
            _program(),
            "-n",
            self.namespace,
            "get",
            kind,
            "--field-selector",
            f"metadata.name={name}",
            "--watch",
        ]
        process = subprocess.Popen(
            [*command, "-o", r'jsonpath={@}{"\n"}'],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self.environment(),
        )
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        reader = threading.Thread(target=_feed, args=(process, lines), daemon=True)
        reader.start()
        try:
            yield _states(lines)
        finally:
            process.terminate()
            process.wait(timeout=10)
            reader.join(timeout=10)

    @contextlib.contextmanager
    def forward(self, target: str, port: int) -> Iterator[int]:
        """A local port that reaches `target` (for example `svc/store`), for the length of the block."""
        command = [_program(), "-n", self.namespace, "port-forward", target, f":{port}"]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.environment()
        )
        try:
            line = process.stdout.readline() if process.stdout else ""
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            if not found:
                raise KubectlError(f"port-forward {target}: {line.strip()}")
            yield int(found.group(1))
        finally:
            process.terminate()
            process.wait(timeout=10)


def _feed(process: subprocess.Popen[str], lines: queue.SimpleQueue[str]) -> None:
    """Move what a process prints into a queue; an empty text is the end."""
    for line in process.stdout or ():
        lines.put(line)
    lines.put("")


def _states(lines: queue.SimpleQueue[str]) -> Iterator[dict[str, Any] | None]:
    while True:
        try:
            line = lines.get(timeout=LOOK_SECONDS)
        except queue.Empty:
            yield None
            continue
        if not line:
            return
        yield json.loads(line)


def condition(obj: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """One condition of an object, empty when it is absent."""
    return next((c for c in obj.get("status", {}).get("conditions", []) if c["type"] == kind), {})


def is_current(obj: Mapping[str, Any]) -> bool:
    """Ready for the generation that was applied last."""
    ready = condition(obj, "Ready")
    return ready.get("status") == "True" and ready.get("observedGeneration") == obj["metadata"]["generation"]


def is_stalled(obj: Mapping[str, Any]) -> bool:
    """Stalled for the generation that was applied last."""
    stalled = condition(obj, "Stalled")
    return stalled.get("status") == "True" and stalled.get("observedGeneration") == obj["metadata"]["generation"]


def describe(obj: Mapping[str, Any]) -> str:
    """`Reason: message` of an object's Ready condition."""
    ready = condition(obj, "Ready")
    return f"{ready.get('reason', 'no status yet')}: {ready.get('message', '')}" if obj else "not found"


def _program() -> str:
    beside = Path(sys.executable).parent / "kubectl"
    return str(beside) if beside.exists() else shutil.which("kubectl") or "kubectl"
