"""From spec and Experiment to the revision wanted: a Target, or why there is none. Pure.

Owns the inheritance from the Experiment (model, store Secret) and the refusal to hand the signing key to serving pods.
"""

from collections.abc import Mapping
from typing import Any

from modelcycle.api.modeldeployment import DEFAULT_KEY_SECRET, Spec
from modelcycle.api.modeldeployment import DeploymentReason as Reason
from modelcycle.deployment.revision import Target
from modelcycle.deployment.world import Unresolved


def resolve(spec: Spec, experiment: Mapping[str, Any] | None) -> Target | Unresolved:
    """`experiment` is the object that `spec.model.experiment` names, None when there is none (or none is named)."""
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
