"""The few reads of the API server that start and status need, with nothing but the standard library."""

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any


class Api:
    """Reads as the cluster's administrator. Every call is bounded to a few seconds."""

    def __init__(self, server: str, pki: Path) -> None:
        self._server = server
        self._pki = pki

    def text(self, path: str) -> str | None:
        """The answer's body, or None when there was none or it was an error."""
        try:
            context = ssl.create_default_context(cafile=str(self._pki / "ca.crt"))
            context.load_cert_chain(self._pki / "admin.crt", self._pki / "admin.key")
            handler = urllib.request.HTTPSHandler(context=context)
            # An opener of its own: a proxy set for the outer world must not see this call.
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), handler)
            with opener.open(self._server + path, timeout=3) as answer:
                body: bytes = answer.read()
                return body.decode()
        except (OSError, ssl.SSLError, urllib.error.URLError, ValueError):
            return None

    def object(self, path: str) -> dict[str, Any]:
        """A Kubernetes object; empty when it is not there."""
        body = self.text(path)
        return json.loads(body) if body else {}

    def ready(self) -> bool:
        return self.text("/readyz") == "ok"

    def node_ready(self, name: str) -> bool:
        conditions = self.object(f"/api/v1/nodes/{name}").get("status", {}).get("conditions", [])
        return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)

    def deployment_ready(self, namespace: str, name: str) -> bool:
        """All replicas of the newest template serve."""
        found = self.object(f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}")
        status, wanted = found.get("status", {}), found.get("spec", {}).get("replicas", 1)
        return bool(
            found
            and status.get("observedGeneration") == found["metadata"]["generation"]
            and status.get("updatedReplicas", 0) == wanted == status.get("availableReplicas", 0)
            and status.get("replicas", 0) == wanted
        )

    def claims_older_than(self, moment: str) -> list[str]:
        """Pods whose status still names a container started before `moment` (RFC 3339, UTC)."""
        found = []
        for pod in self.object("/api/v1/pods").get("items", []):
            for container in pod.get("status", {}).get("containerStatuses", []):
                begun = container.get("state", {}).get("running", {}).get("startedAt")
                if begun and begun < moment:
                    found.append(f"{pod['metadata']['namespace']}/{pod['metadata']['name']}")
        return found
