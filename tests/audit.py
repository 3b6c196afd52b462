"""The operator's writes as the API server's audit log has them. Owns no fixture; judges nothing."""

import json
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from plant import ROOT, SYSTEM_NAMESPACE

OPERATOR: Final = f"system:serviceaccount:{SYSTEM_NAMESPACE}:modelcycle-operator"


class AuditLog:
    """The log from the moment this object was made."""

    def __init__(self) -> None:
        command = [sys.executable, "hack/cluster", "status", "--json"]
        state = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
        self._path = Path(state["audit_log"])
        self._after = self._path.stat().st_size

    def writes(self, namespaces: Collection[str]) -> list[dict[str, Any]]:
        """The operator's writes in these namespaces since then ("" is the cluster's own), its Lease left out."""
        with self._path.open("rb") as file:
            file.seek(self._after)
            events = [json.loads(line) for line in file.read().splitlines() if line.endswith(b"}")]
        own = [e for e in events if e.get("user", {}).get("username") == OPERATOR]
        here = [e for e in own if e["objectRef"].get("namespace", "") in namespaces]
        return [e for e in here if e["objectRef"]["resource"] != "leases"]
