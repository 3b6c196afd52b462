"""From spec and Experiment to the revision wanted: a Target, or why there is none. Pure.

Owns the inheritance from the Experiment (model, store Secret), the refusal to hand the signing key to serving pods, and of images that the
operator's settings do not allow.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

from modelcycle.api.modeldeployment import DEFAULT_KEY_SECRET, Spec
from modelcycle.api.modeldeployment import DeploymentReason as Reason
from modelcycle.deployment.revision import Target
from modelcycle.deployment.world import Unresolved

ANY_IMAGE: Final = ("*",)


def resolve(
    spec: Spec, experiment: Mapping[str, Any] | None, allowed: Sequence[str] = ANY_IMAGE
) -> Target | Unresolved:
    """`experiment` is the object that `spec.model.experiment` names, None when there is none (or none is named).

    `allowed`: patterns that `spec.server.image` has to match one of.
    """
    image = spec.server.image
    if image is not None and not any(fnmatchcase(image, pattern) for pattern in allowed):
        text = (
            f"spec.server.image: {image} matches no pattern of the operator's setting MODELCYCLE_ALLOWED_SERVER_IMAGES "
            f"({', '.join(allowed)}): name an allowed image, leave the field out, or have the setting extended"
        )
        return Unresolved(Reason.IMAGE_NOT_ALLOWED, text, stalled=True)
    if spec.model.experiment is None:
        return _target(spec, spec.model.uri or "", spec.model.digest or "", spec.model.secret, {DEFAULT_KEY_SECRET})
    if experiment is None:
        text = f"spec.model.experimentRef: no Experiment {spec.model.experiment} in this namespace yet"
        return Unresolved(Reason.WAITING_FOR_EXPERIMENT, text, stalled=False)
    wanted, status = experiment.get("spec") or {}, experiment.get("status") or {}
    model = status.get("model") or {}
    if not model.get("uri") or not model.get("digest"):
        return Unresolved(Reason.WAITING_FOR_MODEL, _no_model(spec.model.experiment, status), stalled=False)
    inherited = _name(wanted.get("output")) if spec.model.secret is None else spec.model.secret
    key = ((wanted.get("seal") or {}).get("keySecretRef") or {}).get("name", DEFAULT_KEY_SECRET)
    return _target(spec, model["uri"], model["digest"], inherited, {DEFAULT_KEY_SECRET, key})


def _target(spec: Spec, uri: str, digest: str, secret: str | None, keys: set[str]) -> Target | Unresolved:
    if secret in keys:
        text = (
            f"spec.model.secretRef: Secret {secret} holds the signing key; name the Secret with the store credentials"
        )
        return Unresolved(Reason.FORBIDDEN_SECRET, text, stalled=True)
    return Target(
        uri=uri,
        digest=digest,
        secret=secret,
        image=spec.server.image,
        requests=spec.server.requests,
        limits=spec.server.limits,
    )


def _name(holder: Any) -> str | None:
    reference = (holder or {}).get("secretRef") or {}
    return reference.get("name") or None


def _no_model(name: str, status: Mapping[str, Any]) -> str:
    text = f"Experiment {name} has not published a model yet"
    ready = next((c for c in status.get("conditions", ()) if c.get("type") == "Ready"), None)
    return f"{text}: it is {ready.get('reason')} ({ready.get('message', '')})" if ready else text
