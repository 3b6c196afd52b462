"""The user's kubectl as a subprocess. Owns its arguments and what its failures mean; Secrets go by stdin, never by argument."""

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

TIMEOUT: Final = 60.0
"""Seconds for one call."""
ATTEMPTS: Final = 8
"""Writes that are tried while others write the same object."""

T = TypeVar("T")


class KubectlError(Exception):
    """kubectl failed; the text is its own last words."""


class NotAllowed(KubectlError):
    """The user may not do this (403)."""


class Missing(KubectlError):
    """The object or its namespace does not exist (404)."""


class Existing(KubectlError):
    """An object of that name exists already (409)."""


class Outdated(KubectlError):
    """Somebody wrote the object after it was read (409)."""


_SIGNS: Final[tuple[tuple[str, type[KubectlError]], ...]] = (
    ("the object has been modified", Outdated),
    ("(Forbidden)", NotAllowed),
    ("is forbidden", NotAllowed),
    ("(NotFound)", Missing),
    ("(AlreadyExists)", Existing),
)


def on_latest(attempt: Callable[[], T]) -> T:
    """What `attempt` gives, which reads an object and writes it: again where somebody else wrote it in between, ATTEMPTS times in all.

    Raises the last Outdated or Existing.
    """
    for _ in range(ATTEMPTS - 1):
        with suppress(Outdated, Existing):
            return attempt()
    return attempt()


class Kubectl:
    """kubectl with the user's choice of cluster."""

    def __init__(
        self,
        *,
        context: str | None = None,
        kubeconfig: str | None = None,
        impersonate: str | None = None,
        program: str = "kubectl",
    ) -> None:
        chosen = (("--kubeconfig", kubeconfig), ("--context", context), ("--as", impersonate))
        self._command = [program, *(word for flag, value in chosen if value for word in (flag, value))]

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Output of one call. Raises KubectlError or the subclass that fits."""
        try:
            done = subprocess.run(
                [*self._command, *arguments], input=stdin, capture_output=True, text=True, check=False, timeout=TIMEOUT
            )
        except FileNotFoundError as error:
            raise KubectlError("kubectl is not on the PATH: install it first") from error
        except subprocess.TimeoutExpired as error:
            raise KubectlError(f"kubectl {arguments[0]} did not finish within {TIMEOUT:g} s") from error
        if done.returncode:
            words = done.stderr.strip() or f"kubectl {arguments[0]} failed with exit code {done.returncode}"
            raise next((kind for sign, kind in _SIGNS if sign in words), KubectlError)(words)
        return done.stdout

    def get(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        """One object with its managed fields, or None. Raises KubectlError."""
        how = ("--ignore-not-found", "--show-managed-fields", "--output", "json")
        text = self.run("get", kind, name, "--namespace", namespace, *how)
        if not text.strip():
            return None
        found: Mapping[str, Any] = json.loads(text)
        return found

    def list(self, kinds: str, namespace: str, *options: str) -> Sequence[Mapping[str, Any]]:
        """All objects of these kinds (`a,b`) in a namespace, with their managed fields. Raises KubectlError."""
        how = ("--show-managed-fields", "--output", "json")
        found = json.loads(self.run("get", kinds, "--namespace", namespace, *how, *options))
        items: Sequence[Mapping[str, Any]] = found["items"]
        return items

    def create(self, body: Mapping[str, Any]) -> None:
        """Raises Existing when the name is taken."""
        self.run("create", "--filename", "-", stdin=json.dumps(body))

    def patch(
        self, kind: str, namespace: str, name: str, operations: Sequence[Mapping[str, Any]], manager: str, *options: str
    ) -> None:
        """JSON patch as `manager`, which owns what it adds and nothing else. Raises Outdated when the resourceVersion is not the latest."""
        self._patch("json", operations, manager, kind, name, "--namespace", namespace, *options)

    def merge(
        self, kind: str, namespace: str, name: str, change: Mapping[str, Any], manager: str, *options: str
    ) -> None:
        """JSON merge patch, otherwise like `patch`."""
        self._patch("merge", change, manager, kind, name, "--namespace", namespace, *options)

    def _patch(self, form: str, body: Any, manager: str, *arguments: str) -> None:
        # Patches hold no secret, and kubectl takes them from an argument or a file only.
        self.run("patch", *arguments, f"--type={form}", f"--field-manager={manager}", f"--patch={json.dumps(body)}")

    def whoami(self) -> str:
        """The user's name as the API server knows it."""
        return str(json.loads(self.run("auth", "whoami", "--output", "json"))["status"]["userInfo"]["username"])

    def current_namespace(self) -> str:
        """Namespace of the current context; `default` when it names none."""
        return self.run("config", "view", "--minify", "--output", "jsonpath={..namespace}").strip() or "default"
