"""`kubectl modelcycle keygen`: a signing key for a namespace, and the trust in it.

Owns the Secret's and the trust entry's form. Never overwrites a Secret: a lost key makes every model it signed unverifiable once its
entry goes. Other namespaces' entries and this one's older keys are left alone.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from modelcycle.cli.kubectl import Existing, Kubectl, Missing, NotAllowed, on_latest
from modelcycle_bundle import layout

SECRET: Final = "modelcycle-signing-key"
OPERATOR_NAMESPACE: Final = "modelcycle-system"
TRUST: Final = "modelcycle-trust"
MANAGER: Final = "modelcycle-keygen"
"""Field manager of trust entries."""
_LABELS: Final = {"app.kubernetes.io/name": "modelcycle"}


class KeygenError(Exception):
    """Something is there that cannot be used; the text names it and says what to do."""


class TrustNotWritten(KeygenError):
    """The key is there and the trust entry is not; `entry` is the YAML that an admin can apply."""

    def __init__(self, message: str, entry: str) -> None:
        super().__init__(message)
        self.entry = entry


@dataclass(frozen=True, slots=True)
class Place:
    """Where key and trust belong."""

    namespace: str
    secret: str
    operator_namespace: str


def manifests(place: Place) -> str:
    """Secret and trust entry of a new key as YAML."""
    from modelcycle_bundle import keys

    pair = keys.generate()
    return _yaml(_secret(place, pair.private_pem.decode(), pair.public_pem), _trust(place, pair.public_pem))


def run(kubectl: Kubectl, place: Place, say: Callable[[str], None]) -> None:
    """Make what is missing and say what was done. Raises KeygenError or KubectlError."""
    from modelcycle_bundle import keys

    public_pem = _public_key(kubectl, place)
    if public_pem is None:
        pair = keys.generate()
        try:
            kubectl.create(_secret(place, pair.private_pem.decode(), pair.public_pem))
        except Existing:
            # Somebody made it between our look and our create: theirs stands.
            public_pem = _public_key(kubectl, place)
        else:
            public_pem = pair.public_pem
            say(f"secret/{place.secret} created in namespace {place.namespace}")
    else:
        say(f"secret/{place.secret} exists in namespace {place.namespace}: kept")
    if public_pem is None:
        raise KeygenError(f"Secret {place.secret} in namespace {place.namespace} appeared and vanished: try again")
    try:
        hint = keys.hint(public_pem)
    except keys.BadKey as error:
        raise _unusable(place, f"holds no usable P-256 key in {layout.PUBLIC_KEY_FILE}") from error
    _ensure_trust(kubectl, place, public_pem, say)
    say(f"key {hint[:16]} signs and is trusted in namespace {place.namespace}")


def _public_key(kubectl: Kubectl, place: Place) -> str | None:
    found = kubectl.get("secret", place.namespace, place.secret)
    if found is None:
        return None
    data = found.get("data") or {}
    for name in (layout.PRIVATE_KEY_FILE, layout.PUBLIC_KEY_FILE):
        if name not in data:
            raise _unusable(place, f"has no entry {name}")
    try:
        return base64.b64decode(data[layout.PUBLIC_KEY_FILE], validate=True).decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise _unusable(place, f"holds no PEM text in {layout.PUBLIC_KEY_FILE}") from error


def _unusable(place: Place, why: str) -> KeygenError:
    return KeygenError(
        f"Secret {place.secret} in namespace {place.namespace} {why}: it is not overwritten."
        f" Delete it if nothing was signed with it, or choose another name with --secret"
    )


def _ensure_trust(kubectl: Kubectl, place: Place, public_pem: str, say: Callable[[str], None]) -> None:
    where = f"configmap/{TRUST} in namespace {place.operator_namespace}"
    is_new = on_latest(lambda: _add_trust(kubectl, place, public_pem, where))
    say(f"{where} {'now' if is_new else 'already'} trusts it for namespace {place.namespace}")


def _add_trust(kubectl: Kubectl, place: Place, public_pem: str, where: str) -> bool:
    """Whether it had to be written. Raises TrustNotWritten, and Existing or Outdated when somebody else wrote meanwhile."""
    text = public_pem
    try:
        found = kubectl.get("configmap", place.operator_namespace, TRUST)
        trusted = str(((found or {}).get("data") or {}).get(place.namespace, ""))
        if _holds(trusted, public_pem):
            return False
        text = "\n".join(part.strip() for part in (trusted, public_pem) if part.strip()) + "\n"
        _write_trust(kubectl, place, found, text)
    except NotAllowed as error:
        raise TrustNotWritten(
            f"you may not write {where}. Ask an admin to add this entry with kubectl patch configmap {TRUST}"
            f" -n {place.operator_namespace} --type=merge --patch-file=FILE, or kubectl create -f FILE when there is none",
            _yaml(_trust(place, text)),
        ) from error
    except Missing as error:
        raise TrustNotWritten(
            f"namespace {place.operator_namespace} does not exist: install the operator, or name its namespace with"
            " --operator-namespace; then run this again. The entry:",
            _yaml(_trust(place, text)),
        ) from error
    return True


def _write_trust(kubectl: Kubectl, place: Place, found: Mapping[str, Any] | None, text: str) -> None:
    """Write this namespace's entry and no other. Raises Existing or Outdated when somebody else wrote meanwhile."""
    if found is None:
        kubectl.create(_trust(place, text))
        return
    change = {"metadata": {"resourceVersion": found["metadata"]["resourceVersion"]}, "data": {place.namespace: text}}
    kubectl.merge("configmap", place.operator_namespace, TRUST, change, MANAGER)


def _holds(trusted: str, public_pem: str) -> bool:
    from modelcycle_bundle import keys

    wanted = keys.split_pems(public_pem)
    return bool(wanted) and wanted[0] in keys.split_pems(trusted)


class _Dumper(yaml.SafeDumper):
    """Writes PEM text as a block, so that people can read it."""


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text_node)


def _yaml(*documents: Mapping[str, Any]) -> str:
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False)


def _secret(place: Place, private_pem: str, public_pem: str) -> Mapping[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": place.secret, "namespace": place.namespace, "labels": dict(_LABELS)},
        "type": "Opaque",
        "stringData": {layout.PRIVATE_KEY_FILE: private_pem, layout.PUBLIC_KEY_FILE: public_pem},
    }


def _trust(place: Place, text: str) -> Mapping[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": TRUST, "namespace": place.operator_namespace, "labels": dict(_LABELS)},
        "data": {place.namespace: text},
    }
