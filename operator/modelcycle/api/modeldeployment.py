"""The ModelDeployment kind as frozen data: parse(dict) -> Spec, and the vocabulary of its conditions.

Owns names, defaults (the CRD's, repeated for objects stored before a default existed) and reasons. Does no I/O; decides nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

DEFAULT_REPLICAS: Final = 1
DEFAULT_PROGRESS_DEADLINE: Final = timedelta(seconds=600)
DEFAULT_HISTORY_LIMIT: Final = 5
DEFAULT_GUARD_WINDOW: Final = timedelta(seconds=30)
DEFAULT_STORE_SECRET: Final = "modelcycle-store"
DEFAULT_KEY_SECRET: Final = "modelcycle-signing-key"


class DeploymentCondition(StrEnum):
    """Condition types of a ModelDeployment; each is a row in docs/modeldeployment.md."""

    READY = "Ready"
    """The revision the spec asks for is stable, at full size, and no replacement is under way."""
    RECONCILING = "Reconciling"
    """On the way there; absent otherwise."""
    STALLED = "Stalled"
    """Will not get there without a person or a change in Git; absent otherwise."""
    AVAILABLE = "Available"
    """At least one verified pod answers behind the Service, whatever a replacement does."""
    TRUSTED = "Trusted"
    """The namespace has at least one trusted public key, so new pods can verify a model."""


class DeploymentReason(StrEnum):
    """Why a condition is what it is; each is a row in docs/modeldeployment.md."""

    SERVING = "Serving"
    """The wanted revision is stable and all its replicas are Ready."""
    KEYS_TRUSTED = "KeysTrusted"
    """The trust ConfigMap names at least one public key for this namespace."""
    PAUSED = "Paused"
    """`spec.paused` holds back new revisions; what serves goes on."""
    WAITING_FOR_EXPERIMENT = "WaitingForExperiment"
    """`experimentRef` names an Experiment that is not there (yet)."""
    WAITING_FOR_MODEL = "WaitingForModel"
    """The Experiment has not published a model yet."""
    WAITING_FOR_CLEANUP = "WaitingForCleanup"
    """Pods or objects left from before must go first; the cluster is deleting them."""
    REVISION_STARTING = "RevisionStarting"
    """Pods of the new revision fetch, verify and load the model."""
    SELECTOR_MOVING = "SelectorMoving"
    """The decision for the new revision is recorded and the Service is being moved to it."""
    GUARD_WINDOW = "GuardWindow"
    """The new revision serves; the old one is kept at full size until the guard window ends."""
    REPLICAS_NOT_READY = "ReplicasNotReady"
    """The stable revision has fewer Ready pods than `server.replicas`."""
    UNSCHEDULABLE = "Unschedulable"
    """The scheduler finds no node for a pod of the new revision."""
    PODS_REFUSED = "PodsRefused"
    """The cluster refuses to create pods: quota, admission or limits."""
    IMAGE_PULL_FAILING = "ImagePullFailing"
    """The serving image cannot be pulled; tried again for 60 s."""
    FETCH_RETRYING = "FetchRetrying"
    """The fetch step ended without a verdict and runs again."""
    STORE_UNREACHABLE = "StoreUnreachable"
    """The object store does not answer; the fetch step tries again until the progress deadline."""
    CONTAINER_START_FAILED = "ContainerStartFailed"
    """The kubelet cannot start a container; tried again until the progress deadline."""

    INVALID_SPEC = "InvalidSpec"
    """The spec does not parse; the message names the field."""
    WRITE_REFUSED = "WriteRefused"
    """The API server refuses a change that the operator has to make: quota, policy, rights or schema."""
    NAME_TAKEN = "NameTaken"
    """An object of a name we need belongs to someone else; the message names it and its owner."""
    FORBIDDEN_SECRET = "ForbiddenSecret"
    """`secretRef` names the signing key's Secret; serving pods never see it."""
    NO_TRUSTED_KEY = "NoTrustedKey"
    """The trust ConfigMap has no public key for this namespace."""
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    """The new revision was not Ready within `progressDeadlineSeconds`."""
    IMAGE_UNAVAILABLE = "ImageUnavailable"
    """The serving image does not exist, may not be pulled, or its name is not valid."""
    SERVER_FAILED = "ServerFailed"
    """The server container of the new revision ends or crash-loops; the message holds its reason."""
    FETCH_FAILED = "FetchFailed"
    """The fetch step keeps failing without saying why (killed, out of memory, wrong image)."""
    STORE_DENIED = "StoreDenied"
    """The object store refused the credentials, or there were none."""
    MODEL_NOT_FOUND = "ModelNotFound"
    """No bundle lies at the model URI."""
    DIGEST_MISMATCH = "DigestMismatch"
    """The bytes at the URI are not those of the digest."""
    SIGNATURE_MISSING = "SignatureMissing"
    """No signature lies beside the model."""
    SIGNATURE_INVALID = "SignatureInvalid"
    """No signature verifies with a trusted key."""
    PROVENANCE_INVALID = "ProvenanceInvalid"
    """No provenance statement for the digest verifies with a trusted key."""
    BUNDLE_MALFORMED = "BundleMalformed"
    """A file of the bundle is missing, unlisted, too large or not parseable."""
    GOLDEN_MISMATCH = "GoldenMismatch"
    """The server does not reproduce the recorded answers."""
    FETCH_TIMEOUT = "FetchTimeout"
    """The bundle could not be fetched within the time limit."""
    TASK_INVALID = "TaskInvalid"
    """Operator and serving image are of versions that do not fit."""
    INTERNAL_ERROR = "InternalError"
    """A defect of the fetch step; the message holds the exception's type."""


class SpecError(ValueError):
    """A field of the spec cannot be used; the text starts with the field's path."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where the model comes from: `uri` and `digest`, or `experiment`."""

    uri: str | None
    digest: str | None
    """`sha256:<64 hex>`: OMS root digest of `model/`."""
    experiment: str | None
    secret: str | None
    """Secret with store credentials; None: the Experiment's, else DEFAULT_STORE_SECRET."""


@dataclass(frozen=True, slots=True)
class Server:
    """Pods of one revision."""

    replicas: int = DEFAULT_REPLICAS
    image: str | None = None
    """None: the operator's serving image at the time the revision is made."""
    requests: Mapping[str, str] | None = None
    limits: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Spec:
    """What the user asks for."""

    model: ModelSource
    server: Server
    guard_window: timedelta = DEFAULT_GUARD_WINDOW
    progress_deadline: timedelta = DEFAULT_PROGRESS_DEADLINE
    history_limit: int = DEFAULT_HISTORY_LIMIT
    paused: bool = False


def parse(spec: Mapping[str, Any]) -> Spec:
    """Parse `.spec`. Raises SpecError, which the CRD's schema makes unreachable for objects it has admitted."""
    model = _mapping(spec, "spec", "model")
    server = _mapping(spec, "spec", "server")
    strategy = _mapping(spec, "spec", "strategy")
    canary = _mapping(strategy, "spec.strategy", "canary")
    return Spec(
        model=_source(model),
        server=_server(server),
        guard_window=parse_duration(
            "spec.strategy.canary.guardWindow", canary.get("guardWindow"), DEFAULT_GUARD_WINDOW
        ),
        progress_deadline=timedelta(
            seconds=_integer(spec, "spec", "progressDeadlineSeconds", int(DEFAULT_PROGRESS_DEADLINE.total_seconds()))
        ),
        history_limit=_integer(spec, "spec", "revisionHistoryLimit", DEFAULT_HISTORY_LIMIT),
        paused=spec.get("paused") is True,
    )


_DURATION: Final = re.compile(r"^(?:(\d{1,4})h)?(?:(\d{1,5})m)?(?:(\d{1,6})s)?$")


def parse_duration(path: str, text: object, default: timedelta) -> timedelta:
    """`1h30m`, `10m`, `30s`; None gives `default`. Raises SpecError naming `path`."""
    if text is None:
        return default
    match = _DURATION.match(text) if isinstance(text, str) else None
    if match is None or not text:
        raise SpecError(f"{path}: {text!r} is not a duration such as 30s, 10m or 1h30m")
    hours, minutes, seconds = (int(group or 0) for group in match.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def _source(model: Mapping[str, Any]) -> ModelSource:
    reference = _mapping(model, "spec.model", "experimentRef")
    experiment = _text(reference, "spec.model.experimentRef", "name")
    uri, digest = _text(model, "spec.model", "uri"), _text(model, "spec.model", "digest")
    if (uri is None) == (experiment is None):
        raise SpecError("spec.model: give exactly one of uri and experimentRef")
    if (uri is None) != (digest is None):
        raise SpecError("spec.model.digest: uri and digest go together")
    if digest is not None and not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise SpecError("spec.model.digest: expected sha256:<64 hex digits>")
    secret = _text(_mapping(model, "spec.model", "secretRef"), "spec.model.secretRef", "name")
    return ModelSource(uri, digest, experiment, secret)


def _server(server: Mapping[str, Any]) -> Server:
    resources = _mapping(server, "spec.server", "resources")
    return Server(
        replicas=_integer(server, "spec.server", "replicas", DEFAULT_REPLICAS),
        image=_text(server, "spec.server", "image"),
        requests=_quantities(resources, "requests"),
        limits=_quantities(resources, "limits"),
    )


def _quantities(resources: Mapping[str, Any], name: str) -> Mapping[str, str] | None:
    if name not in resources:
        return None
    return {key: str(value) for key, value in _mapping(resources, "spec.server.resources", name).items()}


def _mapping(parent: Mapping[str, Any], path: str, name: str) -> Mapping[str, Any]:
    value = parent.get(name, {})
    if not isinstance(value, Mapping):
        raise SpecError(f"{path}.{name}: expected an object")
    return value


def _text(parent: Mapping[str, Any], path: str, name: str) -> str | None:
    value = parent.get(name)
    if value is not None and (not isinstance(value, str) or not value):
        raise SpecError(f"{path}.{name}: expected text")
    return value


def _integer(parent: Mapping[str, Any], path: str, name: str, default: int) -> int:
    value = parent.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise SpecError(f"{path}.{name}: expected a whole number of 0 or more")
    return value
