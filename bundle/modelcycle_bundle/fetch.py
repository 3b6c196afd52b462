"""The fetch step: bring one bundle from a store into a folder, and let nothing unverified get there.

Owns the order of the checks and the folder's crash safety: `model/` appears last, by one rename, so its presence means that
everything was verified. Never raises for a bad bundle; never follows a symbolic link; never loads a model.
"""

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from modelcycle_bundle import keys, layout, oms, provenance
from modelcycle_bundle.contract import Failure, FailureClass, FailureReason, FetchResult, FetchTask
from modelcycle_bundle.oms import FileDigest, Manifest, ManifestError, VerificationError
from modelcycle_bundle.store import Entry, Patience, Store, StoreError, StoreStalled, open_store

MAX_FILES: Final = 64
"""Files in `model/`."""
MAX_SIDECAR_BYTES: Final = 1 << 20
"""Bytes of one signature or one provenance statement."""
MAX_SIDECARS: Final = 256
"""Signatures, and provenance statements, that are tried."""
_NEEDED: Final = (layout.MODEL_FILE, layout.PROFILE_FILE, layout.GOLDEN_FILE)
_STAGING: Final = ".incoming"
NAMED: Final = 80
"""Characters of a file's name in a message: the cause behind it counts more."""


class _Refused(Exception):
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class _Sidecar:
    """One signature or statement as read: `name` within its folder."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class _Job:
    """What all steps of one fetch need."""

    task: FetchTask
    trusted: tuple[str, ...]
    deadline: float
    clock: Callable[[], float]

    def check_time(self) -> None:
        if self.clock() > self.deadline:
            seconds = self.task.timeout_seconds
            message = f"{self.task.uri}: not fetched within {seconds} s"
            raise _refuse(FailureReason.FETCH_TIMEOUT, message, FailureClass.INFRASTRUCTURE)


def fetch(
    task: FetchTask,
    trust_pem: str,
    destination: Path,
    env: Mapping[str, str],
    clock: Callable[[], float] = time.monotonic,
) -> FetchResult:
    """Verify the bundle at `task.uri` and put `model/`, `signatures/` and `provenance/` into `destination`.

    `clock` gives seconds. A complete bundle already there is verified again and kept; anything else there is replaced. Returns
    a result with a `failure` instead of raising.
    """
    job = _Job(task, keys.split_pems(trust_pem), clock() + task.timeout_seconds, clock)
    try:
        _check_trust(job)
        hint = _verified_locally(job, destination) or _fetch(job, destination, env)
    except _Refused as refusal:
        return FetchResult(failure=refusal.failure)
    except StoreError as error:
        return FetchResult(failure=_store_failure(job, error))
    except OSError as error:
        return FetchResult(failure=_disk_failure(destination, error))
    except (
        Exception
    ) as error:  # the boundary of a program: a defect here must still be reported in the task's own terms
        message = f"{type(error).__name__} while fetching {task.uri}"
        return FetchResult(failure=Failure(FailureClass.POLICY, FailureReason.INTERNAL, message))
    return FetchResult(digest=task.digest, key_hint=hint)


def _check_trust(job: _Job) -> None:
    if not any(_is_key(pem) for pem in job.trusted):
        what = (
            f"holds {len(job.trusted)} PEM blocks, none of them a P-256 public key" if job.trusted else "holds no key"
        )
        raise _refuse(
            FailureReason.NO_TRUSTED_KEY,
            f"the trust of this namespace {what}; add its public key to the ConfigMap modelcycle-trust",
        )


def _fetch(job: _Job, destination: Path, env: Mapping[str, str]) -> str:
    seconds = max(1, job.task.timeout_seconds)
    patience = Patience(
        retry_seconds=min(25, seconds), silence_seconds=min(10, seconds), transfer_seconds=min(600, seconds)
    )
    store = open_store(job.task.uri, env, FailureReason.MODEL_NOT_FOUND, patience)
    entries = store.list()
    model = _model_files(job, entries)
    job.check_time()
    signatures = _read_sidecars(job, store, entries, layout.SIGNATURES_DIR)
    signed = _signature(job, signatures)
    expected = signed.verified.manifest if isinstance(signed, _Signed) else None
    staging = _fresh_staging(destination)
    try:
        root = _download(job, store, model, expected, staging / layout.MODEL_DIR)
        if root != job.task.digest:
            raise _refuse(FailureReason.DIGEST_MISMATCH, f"{job.task.uri}: model/ is {root}, not {job.task.digest}")
        if not isinstance(signed, _Signed):
            raise _Refused(signed)
        statements = _read_sidecars(job, store, entries, layout.PROVENANCE_DIR)
        statement = _provenance(job, statements)
        _write(staging / layout.SIGNATURES_DIR / signed.sidecar.name, signed.sidecar.data)
        _write(staging / layout.PROVENANCE_DIR / statement.name, statement.data)
        _publish(staging, destination)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return signed.verified.key_hint


@dataclass(frozen=True, slots=True)
class _Signed:
    sidecar: _Sidecar
    verified: oms.Verified


def _model_files(job: _Job, entries: Sequence[Entry]) -> list[Entry]:
    """The entries of `model/`, with names relative to it, once their number, names and sizes are acceptable."""
    if not entries:
        raise _refuse(FailureReason.MODEL_NOT_FOUND, f"{job.task.uri}: no bundle there", FailureClass.DATA)
    prefix = layout.MODEL_DIR + "/"
    files = [Entry(each.path.removeprefix(prefix), each.size) for each in entries if each.path.startswith(prefix)]
    if absent := [name for name in _NEEDED if name not in {each.path for each in files}]:
        raise _malformed(job, f"model/{absent[0]} is missing")
    if len(files) > MAX_FILES:
        raise _malformed(job, f"model/ holds {len(files)} files, more than {MAX_FILES}")
    if unsafe := [each.path for each in files if not oms.is_safe_name(each.path)]:
        raise _malformed(job, f"model/ holds a file with the unsafe name {unsafe[0][:NAMED]!r}")
    total = sum(each.size for each in files)
    if total > job.task.max_bytes:
        raise _malformed(job, f"model/ has {total} bytes, more than the limit of {job.task.max_bytes}")
    return files


def _read_sidecars(job: _Job, store: Store, entries: Sequence[Entry], folder: str) -> list[_Sidecar]:
    """The small files of a folder. Too large or oddly named ones are left out: they cannot help to verify."""
    sidecars: list[_Sidecar] = []
    for entry in [each for each in entries if each.path.startswith(folder + "/")][:MAX_SIDECARS]:
        name = entry.path.removeprefix(folder + "/")
        if "/" in name or not oms.is_safe_name(name) or entry.size > MAX_SIDECAR_BYTES:
            continue
        job.check_time()
        data = bytearray()
        for chunk in store.stream(entry.path):
            data += chunk
            if len(data) > MAX_SIDECAR_BYTES:
                break
        else:
            sidecars.append(_Sidecar(name, bytes(data)))
    return sidecars


def _signature(job: _Job, sidecars: Sequence[_Sidecar]) -> _Signed | Failure:
    if not sidecars:
        message = f"{job.task.uri}: no signature of at most {MAX_SIDECAR_BYTES} bytes lies beside the model"
        return _refuse(FailureReason.SIGNATURE_MISSING, message).failure
    reasons: list[str] = []
    for sidecar in sidecars:
        try:
            verified = oms.verify(sidecar.data, job.trusted)
        except VerificationError as error:
            reasons.append(f"{sidecar.name[:12]}: {error}")
            continue
        if verified.manifest.root == job.task.digest:
            return _Signed(sidecar, verified)
        reasons.append(f"{sidecar.name[:12]}: signs {verified.manifest.root}, not {job.task.digest}")
    return _refuse(FailureReason.SIGNATURE_INVALID, _summary(job, "signature", reasons)).failure


def _provenance(job: _Job, sidecars: Sequence[_Sidecar]) -> _Sidecar:
    reasons: list[str] = []
    for sidecar in sidecars:
        try:
            provenance.verify(sidecar.data, job.trusted, job.task.digest)
        except VerificationError as error:
            reasons.append(f"{sidecar.name[:40]}: {error}")
            continue
        return sidecar
    raise _refuse(FailureReason.PROVENANCE_INVALID, _summary(job, "provenance statement", reasons))


def _summary(job: _Job, what: str, reasons: Sequence[str]) -> str:
    if not reasons:
        return f"{job.task.uri}: no {what} lies beside the model"
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return f"{job.task.uri}: no {what} by a trusted key for this digest: {reasons[0]}{more}"


def _download(job: _Job, store: Store, files: Sequence[Entry], expected: Manifest | None, folder: Path) -> str:
    """Stream every file into `folder`, digesting on the way; the root digest of what was written."""
    if expected is not None:
        names, listed = {each.path for each in files}, {each.name for each in expected.files}
        if unlisted := sorted(names - listed):
            raise _malformed(job, f"model/{unlisted[0][:NAMED]} is not listed in the signed manifest")
        if absent := sorted(listed - names):
            raise _malformed(job, f"model/{absent[0][:NAMED]} is missing")
    digests: list[FileDigest] = []
    budget = job.task.max_bytes
    for entry in files:
        digest, size = _download_file(job, store, entry, folder / entry.path, budget)
        budget -= size
        wanted = expected.digest_of(entry.path) if expected is not None else digest
        if digest != wanted:
            raise _refuse(
                FailureReason.DIGEST_MISMATCH,
                f"{job.task.uri}/model/{entry.path[:NAMED]}: sha256 {digest}, signed {wanted}",
            )
        digests.append(FileDigest(entry.path, digest))
    return Manifest(tuple(digests)).root


def _download_file(job: _Job, store: Store, entry: Entry, target: Path, budget: int) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with _create(target) as out:
        for chunk in store.stream(f"{layout.MODEL_DIR}/{entry.path}"):
            job.check_time()
            size += len(chunk)
            if size > min(entry.size, budget):
                raise _malformed(job, f"model/{entry.path[:NAMED]} is larger than the {entry.size} bytes listed")
            digest.update(chunk)
            out.write(chunk)
    job.check_time()
    return digest.hexdigest(), size


def _fresh_staging(destination: Path) -> Path:
    """An empty folder inside the destination: same file system, so that the last step is a rename."""
    destination.mkdir(parents=True, exist_ok=True)
    staging = destination / _STAGING
    _remove(staging)
    staging.mkdir(mode=0o755)
    return staging


def _publish(staging: Path, destination: Path) -> None:
    # model/ goes away first and comes last: whoever dies in between leaves a folder that reads as incomplete.
    for name in (layout.MODEL_DIR, layout.SIGNATURES_DIR, layout.PROVENANCE_DIR):
        _remove(destination / name)
    for name in (layout.SIGNATURES_DIR, layout.PROVENANCE_DIR, layout.MODEL_DIR):
        os.rename(staging / name, destination / name)


def _verified_locally(job: _Job, destination: Path) -> str | None:
    """The key hint of a complete, valid bundle in the destination, None when it must be fetched."""
    try:
        if oms.digest_directory(destination / layout.MODEL_DIR).root != job.task.digest:
            return None
        signed = _signature(job, _local_sidecars(destination / layout.SIGNATURES_DIR))
        _provenance(job, _local_sidecars(destination / layout.PROVENANCE_DIR))
    except (OSError, ManifestError, _Refused):
        return None
    if not isinstance(signed, _Signed):
        return None
    _remove(destination / _STAGING)  # left behind by a run that was killed after its last rename
    return signed.verified.key_hint


def _local_sidecars(folder: Path) -> list[_Sidecar]:
    files = sorted(each for each in folder.iterdir() if each.is_file() and not each.is_symlink())
    return [_Sidecar(each.name, each.read_bytes()) for each in files if each.stat().st_size <= MAX_SIDECAR_BYTES]


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with _create(path) as out:
        out.write(data)


def _create(path: Path) -> BinaryIO:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    return os.fdopen(descriptor, "wb")


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)


def _is_key(pem: str) -> bool:
    try:
        keys.load_public(pem)
    except keys.BadKey:
        return False
    return True


def _refuse(reason: FailureReason, message: str, failure_class: FailureClass = FailureClass.POLICY) -> _Refused:
    return _Refused(Failure(failure_class, reason, message))


def _malformed(job: _Job, message: str) -> _Refused:
    return _refuse(FailureReason.BUNDLE_MALFORMED, f"{job.task.uri}: {message}")


def _store_failure(job: _Job, error: StoreError) -> Failure:
    if isinstance(error, StoreStalled) or (
        error.failure.reason is FailureReason.STORE_UNREACHABLE and job.clock() > job.deadline
    ):
        return Failure(FailureClass.INFRASTRUCTURE, FailureReason.FETCH_TIMEOUT, error.failure.message)
    return error.failure


def _disk_failure(destination: Path, error: OSError) -> Failure:
    reason = FailureReason.FETCH_NO_SPACE if error.errno in (errno.ENOSPC, errno.EDQUOT) else FailureReason.INTERNAL
    return Failure(FailureClass.INFRASTRUCTURE, reason, f"{destination}: {error.strerror or type(error).__name__}")
