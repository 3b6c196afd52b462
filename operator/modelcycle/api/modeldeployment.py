"""The ModelDeployment kind as frozen data: parse(dict) -> Spec, and the vocabulary of its conditions.

Owns names, defaults (the CRD's, repeated for objects stored before a default existed) and reasons. Does no I/O; decides nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from modelcycle.api import rollout
from modelcycle.api.fields import SpecError, choice, duration, integer, mapping, short_duration, shown, text
from modelcycle.api.rollout import DEFAULT_STRATEGY, Approval, CanaryStrategy, UserRequest

__all__ = ["DeploymentCondition", "DeploymentReason", "ModelSource", "Provider", "Server", "Spec", "SpecError", "parse"]

DEFAULT_REPLICAS: Final = 1
DEFAULT_PROGRESS_DEADLINE: Final = timedelta(seconds=600)
DEFAULT_HISTORY_LIMIT: Final = 5
DEFAULT_GUARD_WINDOW: Final = timedelta(seconds=30)
DEFAULT_CANARY_TIMEOUT: Final = timedelta(seconds=1)
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
    """The namespace has a trusted public key, and what serves was verified by the operator's own image."""

    CHILDREN_ALTERED = "ChildrenAltered"
    """True while a Service or Deployment stays other than asked for, since a policy or another controller sets it; absent otherwise."""


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
    AWAITING_APPROVAL = "AwaitingApproval"
    """The new revision is Ready and gets no request before its digest is approved."""
    APPROVALS_UNENFORCED = "ApprovalsUnenforced"
    """The admission policies behind approvals are absent or altered: approvals do not count."""
    CANARY_IN_PROGRESS = "CanaryInProgress"
    """The new revision gets its share of the requests and is compared with stable."""
    CANARY_PAUSED = "CanaryPaused"
    """A pause step, or evidence that did not come within `maxDuration`, waits for a person."""
    METRICS_UNAVAILABLE = "MetricsUnavailable"
    """The counts are missing or too old: the rollout holds, neither forward nor back."""
    COUNTS_INCONSISTENT = "CountsInconsistent"
    """A counter ran backwards within its epoch: that pod is left out, the rollout holds."""
    PROMOTING = "Promoting"
    """The evidence is there; the new revision grows to full size and gets all requests before the Service moves."""
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

    CANARY_FAILED = "CanaryFailed"
    """The evidence says that the new revision does harm; it was taken back and stays rejected."""
    CANARY_FAIL_FAST = "CanaryFailFast"
    """All answers of the new revision of late were bad while stable's were not; it was taken back at once and stays rejected."""
    CANARY_CRASHED = "CanaryCrashed"
    """The pods of the new revision died while it had a share of the requests."""
    INCOMPATIBLE_SIGNATURE = "IncompatibleSignature"
    """The new revision does not accept the requests that stable accepts."""
    ABORTED = "Aborted"
    """A person took the new revision back."""
    INCONCLUSIVE = "Inconclusive"
    """`maxDuration` ended without evidence and `onInconclusive` is Rollback."""
    ALTERED_BY_OTHERS = "AlteredByOthers"
    """What the operator writes to a child comes back changed, or is undone again and again; the message names the fields."""
    INVALID_SPEC = "InvalidSpec"
    """The spec does not parse; the message names the field."""
    NEWER_STATE = "NewerState"
    """A newer operator wrote the status; this one changes nothing."""
    WRITE_REFUSED = "WriteRefused"
    """The API server refuses a change that the operator has to make: quota, policy, rights or schema."""
    NAME_TAKEN = "NameTaken"
    """An object of a name we need belongs to someone else; the message names it and its owner."""
    FORBIDDEN_SECRET = "ForbiddenSecret"
    """`secretRef` names the signing key's Secret; serving pods never see it."""
    IMAGE_NOT_ALLOWED = "ImageNotAllowed"
    """`server.image` matches no pattern of the operator's setting; what serves goes on."""
    FETCH_BY_SERVER_IMAGE = "FetchByServerImage"
    """A revision of an earlier operator was verified by the image that the spec named, not by the operator's."""
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


class Provider(StrEnum):
    """What brings a canary its share of the requests; deployment/routing.py has the implementation of each."""

    IN_SERVER = "InServer"
    """The serving pods themselves forward an exact share."""


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
    canary: CanaryStrategy = DEFAULT_STRATEGY
    provider: Provider = Provider.IN_SERVER
    canary_timeout: timedelta = DEFAULT_CANARY_TIMEOUT
    sticky_header: str = ""
    """In lower case; "" when every request is drawn by itself."""
    test_header: bool = False
    approval: Approval = Approval.NONE
    approval_valid_for: timedelta = rollout.DEFAULT_VALID_FOR
    """How old an approval may be when the rollout that it is for begins."""
    requests: tuple[UserRequest, ...] = ()
    guard_window: timedelta = DEFAULT_GUARD_WINDOW
    progress_deadline: timedelta = DEFAULT_PROGRESS_DEADLINE
    history_limit: int = DEFAULT_HISTORY_LIMIT
    paused: bool = False


def parse(spec: Mapping[str, Any]) -> Spec:
    """Parse `.spec`. Raises SpecError, which the CRD's schema makes unreachable for objects it has admitted."""
    model = mapping(spec, "spec", "model")
    server = mapping(spec, "spec", "server")
    strategy = mapping(spec, "spec", "strategy")
    canary = mapping(strategy, "spec.strategy", "canary")
    traffic = mapping(spec, "spec", "traffic")
    return Spec(
        model=_source(model),
        server=_server(server),
        canary=rollout.parse_strategy(canary),
        provider=choice(traffic, "spec.traffic", "provider", Provider, Provider.IN_SERVER),
        canary_timeout=short_duration(
            "spec.traffic.canaryTimeout", traffic.get("canaryTimeout"), DEFAULT_CANARY_TIMEOUT
        ),
        sticky_header=_header(mapping(traffic, "spec.traffic", "sticky"), "spec.traffic.sticky"),
        test_header=traffic.get("testHeader") is True,
        approval=rollout.parse_approval(mapping(spec, "spec", "approval")),
        approval_valid_for=rollout.parse_valid_for(mapping(spec, "spec", "approval")),
        requests=rollout.parse_requests(spec.get("requests", ())),
        guard_window=duration("spec.strategy.canary.guardWindow", canary.get("guardWindow"), DEFAULT_GUARD_WINDOW),
        progress_deadline=timedelta(
            seconds=integer(spec, "spec", "progressDeadlineSeconds", int(DEFAULT_PROGRESS_DEADLINE.total_seconds()))
        ),
        history_limit=integer(spec, "spec", "revisionHistoryLimit", DEFAULT_HISTORY_LIMIT),
        paused=spec.get("paused") is True,
    )


def _source(model: Mapping[str, Any]) -> ModelSource:
    reference = mapping(model, "spec.model", "experimentRef")
    experiment = text(reference, "spec.model.experimentRef", "name")
    uri, digest = text(model, "spec.model", "uri"), text(model, "spec.model", "digest")
    if (uri is None) == (experiment is None):
        raise SpecError("spec.model: give exactly one of uri and experimentRef")
    if (uri is None) != (digest is None):
        raise SpecError("spec.model.digest: uri and digest go together")
    if digest is not None and not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise SpecError(f"spec.model.digest: {shown(digest)} is not sha256:<64 hex digits>")
    secret = text(mapping(model, "spec.model", "secretRef"), "spec.model.secretRef", "name")
    return ModelSource(uri, digest, experiment, secret)


def _header(sticky: Mapping[str, Any], path: str) -> str:
    name = text(sticky, path, "header")
    if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}", name):
        raise SpecError(f"{path}.header: {shown(name)} is no name of a request header, of letters, digits and dashes")
    if sticky and name is None:
        raise SpecError(f"{path}.header: required")
    return (name or "").lower()


def _server(server: Mapping[str, Any]) -> Server:
    resources = mapping(server, "spec.server", "resources")
    return Server(
        replicas=integer(server, "spec.server", "replicas", DEFAULT_REPLICAS),
        image=text(server, "spec.server", "image"),
        requests=_quantities(resources, "requests"),
        limits=_quantities(resources, "limits"),
    )


def _quantities(resources: Mapping[str, Any], name: str) -> Mapping[str, str] | None:
    if name not in resources:
        return None
    return {key: str(value) for key, value in mapping(resources, "spec.server.resources", name).items()}
