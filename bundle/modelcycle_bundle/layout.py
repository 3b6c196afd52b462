"""Where the parts of a bundle lie, as names only (design: "The model and its identity").

Owns every file name, mount path and object key that two programs agree on. Does no I/O.
"""

import hashlib
from typing import Final

MODEL_DIR: Final = "model"
CANDIDATES_DIR: Final = "candidates"
SIGNATURES_DIR: Final = "signatures"
PROVENANCE_DIR: Final = "provenance"

MODEL_FILE: Final = "model.onnx"
PROFILE_FILE: Final = "profile.json"
GOLDEN_FILE: Final = "golden.json"
CARD_JSON_FILE: Final = "card.json"
CARD_MD_FILE: Final = "card.md"
BOM_FILE: Final = "bom.cdx.json"
MODEL_FILES: Final = (MODEL_FILE, PROFILE_FILE, GOLDEN_FILE, CARD_JSON_FILE, CARD_MD_FILE, BOM_FILE)

TERMINATION_MESSAGE_PATH: Final = "/dev/termination-log"
TERMINATION_MESSAGE_LIMIT: Final = 3072
"""Bytes. Kubernetes cuts at 4096; the rest is left for a sidecar's share."""

KEY_DIR: Final = "/var/run/modelcycle/key"
"""Mounted from the signing Secret, in `inspect` and `seal` only: `private.pem` and `public.pem`."""
PRIVATE_KEY_FILE: Final = "private.pem"
PUBLIC_KEY_FILE: Final = "public.pem"

TRUST_DIR: Final = "/var/run/modelcycle/trust"
"""Mounted from the deployment's trust ConfigMap, in the fetch step only."""
TRUST_FILE: Final = "keys.pem"
"""PEM public keys, one after another."""

BUNDLE_MOUNT: Final = "/var/run/modelcycle/bundle"
"""Where the fetch step writes a verified bundle and the server reads it."""
PVC_MOUNT: Final = "/var/run/modelcycle/pvc"
"""`pvc://claim/path` is read at `<PVC_MOUNT>/<claim>/path`."""

POINTER_FILE: Final = "latest.json"
"""Last part of a data URI that names the table instead of being it (modelcycle_training.data)."""

STORE_ENV_PREFIX: Final = "STORE_"
"""Before every key of a store Secret in a pod's environment: users name the Secret, and no key of theirs is to mean anything to the loader
or to Python (LD_PRELOAD, PYTHONPATH) before the program chooses which ones it takes (modelcycle_bundle.credentials)."""

TASK_ENV: Final = "MODELCYCLE_TASK"
"""Environment variable that carries a task as JSON (modelcycle_bundle.contract)."""


def sealed_prefix(digest: str) -> str:
    """Folder of a sealed bundle below the output URI: `sha256-<64 hex>`."""
    return digest.replace(":", "-", 1)


def candidate_prefix(experiment_uid: str, index: int, attempt: int = 0) -> str:
    """Folder of a trial's unsigned candidate below the output URI; holds `model/` and `result.json`.

    A repeated attempt writes beside its predecessor: puts are create-only.
    """
    return f"{CANDIDATES_DIR}/{experiment_uid}/{index}" + (f"-{attempt}" if attempt else "")


def inspection_file(data_digest: str, report: bytes) -> str:
    """Name of a report of `inspect` below the output URI, by the data and by its own content: puts are create-only."""
    return f"inspections/{data_digest.replace(':', '-', 1)}/{hashlib.sha256(report).hexdigest()[:16]}.json"


def provenance_file(experiment_uid: str, index: int) -> str:
    """Name of one run's provenance statement inside `provenance/`."""
    return f"{experiment_uid}-{index}.intoto.json"
