"""The user's kubectl as a subprocess. Owns its arguments and what its failures mean; bodies go by stdin, never by argument."""

import json
import subprocess
from collections.abc import Mapping
from typing import Any, Final

TIMEOUT: Final = 60.0
"""Seconds for one call."""


class KubectlError(Exception):
    """kubectl failed; the text is its own last words."""


class NotAllowed(KubectlError):
    """The user may not do this (403)."""


class Missing(KubectlError):
    """The object or its namespace does not exist (404)."""


class Existing(KubectlError):
    """An object of that name exists already (409)."""


_SIGNS: Final[tuple[tuple[str, type[KubectlError]], ...]] = (
    ("(Forbidden)", NotAllowed),
    ("is forbidden", NotAllowed),
    ("(NotFound)", Missing),
    ("(AlreadyExists)", Existing),
)


class Kubectl:
    """kubectl with the user's choice of cluster."""

    def __init__(self, *, context: str | None = None, kubeconfig: str | None = None, program: str = "kubectl") -> None:
        self._command = [program]
        if kubeconfig:
            self._command += ["--kubeconfig", kubeconfig]
        if context:
            self._command += ["--context", context]

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
        """One object, or None. Raises KubectlError."""
        text = self.run("get", kind, name, "--namespace", namespace, "--ignore-not-found", "--output", "json")
        if not text.strip():
            return None
        found: Mapping[str, Any] = json.loads(text)
        return found

    def create(self, body: Mapping[str, Any]) -> None:
        """Raises Existing when the name is taken."""
        self.run("create", "--filename", "-", stdin=json.dumps(body))

    def apply(self, body: Mapping[str, Any], manager: str) -> None:
        """Server-side apply as `manager`."""
        self.run(
            "apply",
            "--server-side",
            "--force-conflicts",
            f"--field-manager={manager}",
            "--filename",
            "-",
            stdin=json.dumps(body),
        )

    def current_namespace(self) -> str:
        """Namespace of the current context; `default` when it names none."""
        return self.run("config", "view", "--minify", "--output", "jsonpath={..namespace}").strip() or "default"
