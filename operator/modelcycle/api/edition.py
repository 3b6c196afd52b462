"""Which spec something was decided under, and whether it was edited since. Pure.

`metadata.generation` alone does not tell: it rises with a request and with a number of replicas, which ask nothing new of a model.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

VERSION: Final = "1"
"""Of what the hash covers. A hash of another version is not compared, the generation is."""
NOT_AN_EDIT: Final = "requests"
"""What people ask of a rollout."""


@dataclass(frozen=True, slots=True)
class Edition:
    """One state of a spec. `hash` is "" in what the first release stored."""

    hash: str
    generation: int

    def is_edit_of(self, stored: "Edition") -> bool:
        """Whether the spec was edited since. A new default of the schema changes the hash and is no edit: the generation stays."""
        return self.generation != stored.generation and self.hash != stored.hash


def edition_of(obj: Mapping[str, Any]) -> Edition:
    """The edition of an object as the API server stores it."""
    spec = {name: value for name, value in (obj.get("spec") or {}).items() if name != NOT_AN_EDIT}
    server = spec.get("server")
    if isinstance(server, Mapping):
        spec["server"] = {name: value for name, value in server.items() if name != "replicas"}
    text = json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return Edition(f"{VERSION}-{digest}", int(obj["metadata"].get("generation", 0)))


def read_edition(raw: Mapping[str, Any]) -> Edition:
    """The edition in a stored form."""
    return Edition(str(raw.get("specHash", "")), int(raw.get("generation", 0)))


def write_edition(edition: Edition) -> dict[str, Any]:
    """Its stored form: fields of the object that it belongs to."""
    return {"generation": edition.generation} | ({"specHash": edition.hash} if edition.hash else {})
