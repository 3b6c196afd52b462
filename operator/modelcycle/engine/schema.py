"""Whether the CRDs in the cluster are what this operator needs. Owns the schema number; reads CRDs, writes nothing."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from modelcycle.kube.errors import ApiError
from modelcycle.kube.kinds import CUSTOM_RESOURCE_DEFINITION, GROUP, Kind
from modelcycle.kube.port import Kube, Object

SCHEMA_ANNOTATION: Final = f"{GROUP}/schema"
SCHEMA_NEEDED: Final = 3
CHECK_EVERY_SECONDS: Final = 60.0
WAIT_SECONDS: Final = 2.0

_log = logging.getLogger(__name__)


def problem_of(name: str, definition: Object | None) -> str | None:
    """What is wrong with one CRD, or None."""
    if definition is None:
        return f"CRDOutdated: CustomResourceDefinition {name} is missing: kubectl apply -k crds"
    text = str(definition["metadata"].get("annotations", {}).get(SCHEMA_ANNOTATION, ""))
    if not text.isdigit() or int(text) < SCHEMA_NEEDED:
        found = text or "none"
        return (
            f"CRDOutdated: CustomResourceDefinition {name} has {SCHEMA_ANNOTATION}={found}, "
            f"this operator needs {SCHEMA_NEEDED}: kubectl apply -k crds"
        )
    conditions: Sequence[Mapping[str, str]] = definition.get("status", {}).get("conditions", [])
    if not any(c.get("type") == "Established" and c.get("status") == "True" for c in conditions):
        return f"CRDOutdated: CustomResourceDefinition {name} is not established yet"
    return None


class SchemaGate:
    """`problem` is None when all CRDs are good. `run` keeps it current; `ready` is set when they were good for the first time."""

    def __init__(self, kube: Kube, kinds: Sequence[Kind]) -> None:
        self._kube = kube
        self._names = [f"{kind.plural}.{kind.group}" for kind in kinds]
        self.problem: str | None = "CRDOutdated: the CustomResourceDefinitions have not been read yet"
        self.ready = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled: look every few seconds while something is wrong, every minute when all is well."""
        while True:
            before, self.problem = self.problem, await self.check()
            if self.problem is None:
                self.ready.set()
            elif self.problem != before:
                _log.warning(self.problem)
            await asyncio.sleep(WAIT_SECONDS if self.problem else CHECK_EVERY_SECONDS)

    async def check(self) -> str | None:
        """The first problem among the CRDs, or None. An unreadable CRD is a problem until the first good look, then ignored."""
        try:
            for name in self._names:
                problem = problem_of(name, await self._kube.get(CUSTOM_RESOURCE_DEFINITION, "", name))
                if problem:
                    return problem
        except ApiError as error:
            return None if self.ready.is_set() else f"cannot read the CustomResourceDefinitions: {error}"
        return None
