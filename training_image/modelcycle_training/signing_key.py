"""The signing key as the Secret mounts it. Imported by `inspect` and `seal` only; a trial has no such mount."""

from dataclasses import dataclass, field
from pathlib import Path

from modelcycle_bundle import keys, layout
from modelcycle_bundle.contract import FailureClass, FailureReason
from modelcycle_training.failures import TaskFailed, failed


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A usable P-256 key."""

    private_pem: bytes = field(repr=False)
    public_pem: str
    hint: str


def read_key(folder: Path) -> SigningKey:
    """Raises TaskFailed with NoSigningKey."""
    try:
        private_pem = (folder / layout.PRIVATE_KEY_FILE).read_bytes()
    except OSError as error:
        raise _no_key(f"it has no readable {layout.PRIVATE_KEY_FILE} ({type(error).__name__})") from error
    try:
        public_pem = keys.public_of(private_pem)
        _require_same(folder, public_pem)
        return SigningKey(private_pem, public_pem, keys.hint(public_pem))
    except keys.BadKey as error:
        raise _no_key(f"{layout.PRIVATE_KEY_FILE}: {error}") from error


def _require_same(folder: Path, public_pem: str) -> None:
    """Trust roots are made from the Secret's public.pem: signing with another key's private half helps nobody."""
    path = folder / layout.PUBLIC_KEY_FILE
    if not path.exists():
        return
    try:
        stated = keys.hint(path.read_text(encoding="ascii", errors="replace"))
    except (keys.BadKey, OSError) as error:
        raise _no_key(f"{layout.PUBLIC_KEY_FILE} is not a P-256 public key") from error
    if stated != keys.hint(public_pem):
        raise _no_key(f"{layout.PUBLIC_KEY_FILE} does not belong to {layout.PRIVATE_KEY_FILE}")


def _no_key(why: str) -> TaskFailed:
    return failed(
        FailureClass.POLICY,
        FailureReason.NO_SIGNING_KEY,
        f"the signing Secret (seal.keySecretRef, default modelcycle-signing-key) is absent or unusable: {why};"
        " make one with: kubectl modelcycle keygen -n <namespace>",
    )
