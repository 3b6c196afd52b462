"""The fetch step: what it accepts, what it refuses and with which reason, and that nothing unverified lands."""

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelcycle_bundle import keys, layout, oms, provenance
from modelcycle_bundle.contract import FailureClass, FailureReason, FetchResult, FetchTask
from modelcycle_bundle.fetch import fetch
from unit.bundle.bundles import FILES, Sealed, seal_task, write_bundle
from unit.bundle.s3_double import Answer, listing, serving

KEY = keys.generate()
OTHER_KEY = keys.generate()


@pytest.fixture
def sealed(tmp_path: Path) -> Sealed:
    return write_bundle(tmp_path / "published", KEY)


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    return tmp_path / "bundle"


def fetched(sealed: Sealed, destination: Path, trust: str = KEY.public_pem) -> FetchResult:
    return fetch(sealed.task, trust, destination, {})


def reason_of(result: FetchResult) -> FailureReason | None:
    return result.failure.reason if result.failure else None


def assert_nothing_landed(destination: Path) -> None:
    left = sorted(str(path.relative_to(destination)) for path in destination.rglob("*")) if destination.exists() else []
    assert left == []


def test_a_valid_bundle_lands_whole(sealed: Sealed, destination: Path) -> None:
    result = fetched(sealed, destination)
    assert result == FetchResult(digest=sealed.digest, key_hint=keys.hint(KEY.public_pem))
    assert {path.name: path.read_bytes() for path in (destination / layout.MODEL_DIR).iterdir()} == FILES
    assert sorted(path.name for path in destination.iterdir()) == ["model", "provenance", "signatures"]


def test_zero_byte_file_is_fetched_and_verified_experiment_60(sealed: Sealed, destination: Path) -> None:
    assert FILES[layout.CARD_MD_FILE] == b""
    assert fetched(sealed, destination).failure is None
    assert (destination / layout.MODEL_DIR / layout.CARD_MD_FILE).read_bytes() == b""


def test_old_key_still_verifies_while_listed_experiment_58(sealed: Sealed, destination: Path) -> None:
    trust = "# the new key\n" + OTHER_KEY.public_pem + "# until 2027\n" + KEY.public_pem
    assert fetched(sealed, destination, trust).key_hint == keys.hint(KEY.public_pem)


def test_one_broken_trust_entry_does_not_disable_the_others(sealed: Sealed, destination: Path) -> None:
    broken = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
    assert fetched(sealed, destination, broken + KEY.public_pem).failure is None


def flip_bit(sealed: Sealed) -> None:
    model = sealed.folder / layout.MODEL_DIR / layout.MODEL_FILE
    data = bytearray(model.read_bytes())
    data[1000] ^= 1
    model.write_bytes(data)


def replace_by_untrusted_bundle(sealed: Sealed) -> None:
    shutil.rmtree(sealed.folder)
    write_bundle(sealed.folder, OTHER_KEY, FILES | {layout.MODEL_FILE: b"other"})


def resign_with_untrusted_key(sealed: Sealed) -> None:
    shutil.rmtree(sealed.folder)
    write_bundle(sealed.folder, OTHER_KEY)


def swap_signature(sealed: Sealed) -> None:
    other = write_bundle(sealed.folder.with_name("second"), KEY, FILES | {layout.MODEL_FILE: b"other"})
    sealed.signature.write_bytes(other.signature.read_bytes())


def truncate_signature(sealed: Sealed) -> None:
    sealed.signature.write_bytes(sealed.signature.read_bytes()[:-200])


def empty_signature(sealed: Sealed) -> None:
    sealed.signature.write_bytes(b"")


def huge_signature(sealed: Sealed) -> None:
    sealed.signature.write_bytes(b" " * (2 << 20) + sealed.signature.read_bytes())


def remove_signature(sealed: Sealed) -> None:
    sealed.signature.unlink()


def remove_provenance(sealed: Sealed) -> None:
    sealed.statement.unlink()


def provenance_of_another_model(sealed: Sealed) -> None:
    other = "sha256:" + "0" * 64
    sealed.statement.write_bytes(provenance.seal(provenance.statement(seal_task(other), other), KEY.private_pem))


def provenance_by_untrusted_key(sealed: Sealed) -> None:
    statement = provenance.statement(seal_task(sealed.digest), sealed.digest)
    sealed.statement.write_bytes(provenance.seal(statement, OTHER_KEY.private_pem))


def signature_as_provenance(sealed: Sealed) -> None:
    sealed.statement.write_bytes(sealed.signature.read_bytes())


def add_unlisted_file(sealed: Sealed) -> None:
    (sealed.folder / layout.MODEL_DIR / "extra.bin").write_bytes(b"")


def link_to_a_listed_file(sealed: Sealed) -> None:
    model = sealed.folder / layout.MODEL_DIR / layout.MODEL_FILE
    model.rename(sealed.folder / "elsewhere")
    model.symlink_to(sealed.folder / "elsewhere")


def remove_listed_file(sealed: Sealed) -> None:
    (sealed.folder / layout.MODEL_DIR / layout.CARD_MD_FILE).unlink()


def remove_model(sealed: Sealed) -> None:
    (sealed.folder / layout.MODEL_DIR / layout.MODEL_FILE).unlink()


def remove_all(sealed: Sealed) -> None:
    shutil.rmtree(sealed.folder)


REFUSALS: list[tuple[Callable[[Sealed], None], FailureReason]] = [
    (flip_bit, FailureReason.DIGEST_MISMATCH),
    (replace_by_untrusted_bundle, FailureReason.DIGEST_MISMATCH),
    (resign_with_untrusted_key, FailureReason.SIGNATURE_INVALID),
    (truncate_signature, FailureReason.SIGNATURE_INVALID),
    (empty_signature, FailureReason.SIGNATURE_INVALID),
    (swap_signature, FailureReason.SIGNATURE_INVALID),
    (huge_signature, FailureReason.SIGNATURE_MISSING),
    (remove_signature, FailureReason.SIGNATURE_MISSING),
    (remove_provenance, FailureReason.PROVENANCE_INVALID),
    (provenance_of_another_model, FailureReason.PROVENANCE_INVALID),
    (provenance_by_untrusted_key, FailureReason.PROVENANCE_INVALID),
    (signature_as_provenance, FailureReason.PROVENANCE_INVALID),
    (add_unlisted_file, FailureReason.BUNDLE_MALFORMED),
    (link_to_a_listed_file, FailureReason.MODEL_NOT_FOUND),
    (remove_listed_file, FailureReason.BUNDLE_MALFORMED),
    (remove_model, FailureReason.BUNDLE_MALFORMED),
    (remove_all, FailureReason.MODEL_NOT_FOUND),
]


@pytest.mark.parametrize(("damage", "reason"), REFUSALS, ids=lambda value: getattr(value, "__name__", None))
def test_a_damaged_bundle_is_refused_with_its_reason_experiment_56_57_62(
    sealed: Sealed, destination: Path, damage: Callable[[Sealed], None], reason: FailureReason
) -> None:
    damage(sealed)
    result = fetched(sealed, destination)
    assert (reason_of(result), result.digest) == (reason, None)
    assert_nothing_landed(destination)


def test_a_changed_file_is_named(sealed: Sealed, destination: Path) -> None:
    flip_bit(sealed)
    failure = fetched(sealed, destination).failure
    assert failure is not None
    assert "/model/model.onnx: sha256 " in failure.message


def test_a_bundle_larger_than_the_limit_is_refused_before_it_is_read(sealed: Sealed, destination: Path) -> None:
    task = FetchTask(uri=sealed.task.uri, digest=sealed.digest, max_bytes=1000)
    result = fetch(task, KEY.public_pem, destination, {})
    assert reason_of(result) is FailureReason.BUNDLE_MALFORMED
    assert result.failure is not None
    assert "more than the limit of 1000" in result.failure.message
    assert not destination.exists()


@pytest.mark.parametrize("trust", ["", "# nobody\n", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_no_usable_trusted_key_is_said_first(sealed: Sealed, destination: Path, trust: str) -> None:
    assert reason_of(fetched(sealed, destination, trust)) is FailureReason.NO_TRUSTED_KEY


def test_a_deadline_passed_while_streaming_is_a_timeout_that_is_tried_again_experiment_61(
    sealed: Sealed, destination: Path
) -> None:
    ticks = iter(range(0, 10_000, 50))
    result = fetch(sealed.task, KEY.public_pem, destination, {}, clock=lambda: float(next(ticks)))
    assert result.failure is not None
    assert result.failure.reason is FailureReason.FETCH_TIMEOUT
    assert result.failure.failure_class is FailureClass.INFRASTRUCTURE
    assert_nothing_landed(destination)


def test_an_unreachable_store_is_infrastructure(destination: Path) -> None:
    task = FetchTask(uri="s3://models/x", digest="sha256:" + "0" * 64, timeout_seconds=1)
    env = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    failure = fetch(task, KEY.public_pem, destination, env).failure
    assert failure is not None
    assert (failure.failure_class, failure.reason) in {
        (FailureClass.INFRASTRUCTURE, FailureReason.STORE_UNREACHABLE),
        (FailureClass.INFRASTRUCTURE, FailureReason.FETCH_TIMEOUT),
    }


def test_a_download_that_stalls_is_a_timeout_experiment_61(sealed: Sealed, destination: Path) -> None:
    release = threading.Event()
    found = {str(path.relative_to(sealed.folder)): path for path in sealed.folder.rglob("*") if path.is_file()}

    def stall_in_the_model(method: str, path: str) -> Answer:
        if "list-type=2" in path:
            return Answer(200, listing({f"m/{name}": file.stat().st_size for name, file in found.items()}))
        data = found[path.removeprefix("/models/m/")].read_bytes()
        stalls = path.endswith(layout.MODEL_FILE)
        return Answer(200, data[:70_000], len(data), release) if stalls else Answer(200, data)

    with serving(stall_in_the_model) as (env, _):
        task = FetchTask(uri="s3://models/m", digest=sealed.digest, timeout_seconds=1)
        failure = fetch(task, KEY.public_pem, destination, env).failure
        release.set()
    assert failure is not None
    assert (failure.failure_class, failure.reason) == (FailureClass.INFRASTRUCTURE, FailureReason.FETCH_TIMEOUT)
    assert_nothing_landed(destination)


def test_fetching_twice_keeps_the_verified_bundle_without_the_store(sealed: Sealed, destination: Path) -> None:
    assert fetched(sealed, destination).failure is None
    before = (destination / layout.MODEL_DIR / layout.MODEL_FILE).stat().st_ino
    shutil.rmtree(sealed.folder)
    assert fetched(sealed, destination).digest == sealed.digest
    assert (destination / layout.MODEL_DIR / layout.MODEL_FILE).stat().st_ino == before


def test_a_tampered_destination_is_fetched_again(sealed: Sealed, destination: Path) -> None:
    assert fetched(sealed, destination).failure is None
    (destination / layout.MODEL_DIR / layout.MODEL_FILE).write_bytes(b"tampered")
    assert fetched(sealed, destination).failure is None
    assert oms.digest_directory(destination / layout.MODEL_DIR).root == sealed.digest


def test_a_kept_bundle_whose_key_is_no_longer_trusted_is_refused(sealed: Sealed, destination: Path) -> None:
    assert fetched(sealed, destination).failure is None
    assert reason_of(fetched(sealed, destination, OTHER_KEY.public_pem)) is FailureReason.SIGNATURE_INVALID


class _Killed(BaseException):
    """Stands for SIGKILL: no `except Exception` and no message may swallow it."""


def test_it_recovers_from_a_kill_at_every_change_of_the_file_system(
    sealed: Sealed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for survived in range(100):
        destination = tmp_path / f"attempt-{survived}"
        if not _killed_after(survived, sealed, destination, monkeypatch):
            break
        model = destination / layout.MODEL_DIR
        assert not model.exists() or oms.digest_directory(model).root == sealed.digest
        assert not model.exists() or all((destination / each).exists() for each in ("signatures", "provenance"))
        assert fetched(sealed, destination).digest == sealed.digest
        assert sorted(path.name for path in destination.iterdir()) == ["model", "provenance", "signatures"]
    assert survived > 10


def _killed_after(survived: int, sealed: Sealed, destination: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run a fetch whose process dies before its change number `survived`; False when it needed fewer changes."""
    changes = 0

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def change(*args: Any, **kwargs: Any) -> Any:
            nonlocal changes
            changes += 1
            if changes > survived:
                raise _Killed
            return real(*args, **kwargs)

        return change

    with monkeypatch.context() as patch:
        for name in ("open", "mkdir", "rename"):
            patch.setattr(os, name, dying(getattr(os, name)))
        patch.setattr(shutil, "rmtree", dying(shutil.rmtree))
        try:
            fetched(sealed, destination)
        except _Killed:
            return True
    return False


def test_symbolic_links_in_the_destination_are_replaced_not_followed(
    sealed: Sealed, destination: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"keep")
    destination.mkdir()
    for name in (layout.MODEL_DIR, ".incoming"):
        (destination / name).symlink_to(outside, target_is_directory=True)
    assert fetched(sealed, destination).failure is None
    assert not (destination / layout.MODEL_DIR).is_symlink()
    assert [path.name for path in outside.iterdir()] == ["precious"]


def test_a_destination_that_cannot_be_written_is_reported(sealed: Sealed, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    failure = fetched(sealed, tmp_path / "file" / "bundle").failure
    assert failure is not None
    assert failure.failure_class is FailureClass.INFRASTRUCTURE


def test_a_full_volume_is_named_experiment_61(sealed: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full")
    real = os.open
    monkeypatch.setattr(
        os,
        "open",
        lambda path, flags, *rest: real(full, os.O_WRONLY) if flags & os.O_CREAT else real(path, flags, *rest),
    )
    assert reason_of(fetched(sealed, sealed.folder.parent / "bundle")) is FailureReason.FETCH_NO_SPACE
