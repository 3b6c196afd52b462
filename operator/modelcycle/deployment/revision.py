"""The identity of a revision: a hash of a declared list of fields, written as versioned canonical JSON.

Owns the field list. Whatever is not in it (replicas, the operator's default image, the trust set, defaults of the pod template) starts no
rollout when it changes. Golden tests pin the hashes: a change here would roll out every model of every cluster on upgrade.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

HASH_VERSION: Final = 1
HASH_LENGTH: Final = 10


@dataclass(frozen=True, slots=True)
class Target:
    """What a revision is made from: the model, resolved, and the parts of the spec that shape its pods."""

    uri: str
    digest: str
    secret: str | None
    """Secret named by the spec or inherited from the Experiment; None: the default one."""
    image: str | None
    """`spec.server.image`; None: the operator's default, which is outside the hash."""
    requests: Mapping[str, str] | None = None
    limits: Mapping[str, str] | None = None

    @property
    def hash(self) -> str:
        """Ten hex digits over the declared fields."""
        return hashlib.sha256(canonical(self).encode()).hexdigest()[:HASH_LENGTH]


def canonical(target: Target) -> str:
    """The bytes that are hashed: sorted keys, no spaces, absent fields left out, and the version of the list."""
    fields = {
        "v": HASH_VERSION,
        "uri": target.uri,
        "digest": target.digest,
        "secret": target.secret,
        "image": target.image,
        "requests": None if target.requests is None else dict(target.requests),
        "limits": None if target.limits is None else dict(target.limits),
    }
    return json.dumps(
        {name: value for name, value in fields.items() if value is not None}, sort_keys=True, separators=(",", ":")
    )
