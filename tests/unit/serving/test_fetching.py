"""The `fetch` command on a real signed bundle: exit codes, termination message, and a server on what it fetched."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budget import examples
from modelcycle.deployment.diagnose import diagnose
from modelcycle_bundle import keys, layout, oms, provenance
from modelcycle_bundle.contract import (
    Failure,
    FailureClass,
    FailureReason,
    FetchResult,
    FetchTask,
    SealTask,
    from_json,
    to_json,
)
from modelcycle_bundle.fetch import fetch
from modelcycle_serving import termination
from unit.bundle.bundles import Sealed as Bundle
from unit.bundle.bundles import write_bundle
from unit.bundle.test_fetch import KEY, REFUSALS
from unit.deployment.test_diagnose import ended, pod
from unit.serving import rig


@dataclass
class Sealed:
    """A published bundle and what its fetch needs."""

    store: Path
    digest: str
    trust: Path
    folder: Path

    def fetch(self, **change: str) -> tuple[int, FetchResult]:
        task = to_json(FetchTask(uri=change.get("uri", self.store.as_uri()), digest=self.digest))
        message = self.folder / "termination"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "modelcycle_serving", "fetch"),
                *("--destination", str(self.folder / "mount")),
                *("--trust", change.get("trust", str(self.trust))),
            ],
            env={
                "MODELCYCLE_TASK": change.get("task", task),
                "MODELCYCLE_TERMINATION_LOG": str(message),
                **{name: value for name, value in change.items() if name.startswith("STORE_")},
            },
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert all(json.loads(line)["time"] for line in done.stdout.splitlines())
        return done.returncode, from_json(FetchResult, message.read_text())


@pytest.fixture
def sealed(bundles: dict[str, Path], tmp_path: Path) -> Sealed:
    pair = keys.generate()
    store = tmp_path / "store"
    shutil.copytree(bundles["classes"], store)
    manifest = oms.digest_directory(store / layout.MODEL_DIR)
    task = SealTask("e", "u", 0, manifest.root, "sha256:" + "0" * 64, "file:///d.csv", "file:///o", None, {})
    statement = provenance.seal(provenance.statement(task, manifest.root), pair.private_pem)
    _put(store / layout.SIGNATURES_DIR / f"{keys.hint(pair.public_pem)}.sig", oms.sign(manifest, pair.private_pem))
    _put(store / layout.PROVENANCE_DIR / layout.provenance_file("u", 0), statement)
    (tmp_path / "keys.pem").write_text(pair.public_pem)
    return Sealed(store, manifest.root, tmp_path / "keys.pem", tmp_path)


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(data)


def test_verified_bundle_is_fetched_reported_and_served(sealed: Sealed) -> None:
    code, result = sealed.fetch()
    assert (code, result.digest, result.failure) == (0, sealed.digest, None)
    server = rig.start(sealed.folder / "mount", "--expect-digest", sealed.digest, "--drain-settle", "0")
    assert server.wait_for("ready")["digest"] == sealed.digest
    server.terminate()
    assert server.end() == 0


def test_flipped_bit_is_refused_for_good(sealed: Sealed) -> None:
    path = sealed.store / layout.MODEL_DIR / layout.MODEL_FILE
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    code, result = sealed.fetch()
    assert result.failure is not None
    assert (code, result.failure.reason) == (1, FailureReason.DIGEST_MISMATCH)
    assert not (sealed.folder / "mount" / layout.MODEL_DIR).exists()


def test_untrusted_key_missing_trust_and_foreign_task_are_told_apart(sealed: Sealed) -> None:
    other = sealed.folder / "other.pem"
    other.write_text(keys.generate().public_pem)
    changes = [{"trust": str(other)}, {"trust": "/nonexistent"}, {"task": "{}"}]
    outcomes = [sealed.fetch(**change) for change in changes]
    assert [code for code, _ in outcomes] == [1, 1, 1]
    assert [result.failure and result.failure.reason for _, result in outcomes] == [
        FailureReason.SIGNATURE_INVALID,
        FailureReason.NO_TRUSTED_KEY,
        FailureReason.TASK_INVALID,
    ]


def test_unreachable_store_is_worth_another_try(sealed: Sealed) -> None:
    task = to_json(FetchTask(uri="https://127.0.0.1:9/bundle", digest=sealed.digest, timeout_seconds=1))
    code, result = sealed.fetch(task=task)
    assert result.failure is not None
    assert (code, result.failure.failure_class) == (75, FailureClass.INFRASTRUCTURE)


def test_credentials_of_the_store_secret_reach_the_store_and_nothing_else_of_it_counts(sealed: Sealed) -> None:
    code, result = sealed.fetch(uri="s3://models/scrap", STORE_AWS_ENDPOINT_URL="not a URL")
    assert (code, result.failure is not None and "AWS_ENDPOINT_URL" in result.failure.message) == (75, True)
    evil = {"STORE_PYTHONPATH": "/nowhere", "STORE_MODELCYCLE_TASK": "{}", "STORE_LD_PRELOAD": "/nowhere.so"}
    assert sealed.fetch(**evil)[0] == 0


CONTAINERS = 12
KEPT = 12 * 1024 // CONTAINERS
"""Bytes that the kubelet keeps of each termination message."""


@pytest.mark.parametrize(("damage", "reason"), REFUSALS, ids=lambda value: getattr(value, "__name__", None))
def test_the_cause_of_a_refused_bundle_is_read_whole_beside_eleven_sidecars_and_behind_a_long_address(
    tmp_path: Path, damage: Callable[[Bundle], None], reason: FailureReason
) -> None:
    folder = tmp_path
    while len(folder.as_uri()) < 900:
        folder /= "a" * 99
    folder.mkdir(parents=True)
    bundle = write_bundle(folder / "published", KEY)
    damage(bundle)
    failure = fetch(bundle.task, KEY.public_pem, tmp_path / "bundle", {}).failure
    assert failure is not None
    assert failure.reason is reason
    assert_read_whole(failure)


def test_a_store_that_is_away_is_read_whole_beside_eleven_sidecars(tmp_path: Path) -> None:
    task = FetchTask(f"https://127.0.0.1:9/{'a' * 900}", "sha256:" + "0" * 64, timeout_seconds=1)
    failure = fetch(task, KEY.public_pem, tmp_path / "bundle", {}).failure
    assert failure is not None
    assert_read_whole(failure)


def assert_read_whole(failure: Failure) -> None:
    written = termination.bounded(FetchResult(failure=failure))
    problem = diagnose(None, [pod(ended(1, written.encode()[:KEPT].decode()))])
    assert problem is not None
    assert problem.reason.value == failure.reason.value
    short = [word for word in failure.message.split() if len(word) <= termination.WORD_LIMIT]
    assert [word for word in problem.message.split() if "..." not in word] == short
    assert len(short) >= 3


@given(st.text(max_size=3000))
@settings(max_examples=examples(100), deadline=None)
def test_any_failure_keeps_its_reason_beside_eleven_sidecars(text: str) -> None:
    failure = Failure(FailureClass.INFRASTRUCTURE, FailureReason.STORE_UNREACHABLE, text)
    written = termination.bounded(FetchResult(failure=failure)).encode()
    assert len(written) <= KEPT
    read = from_json(FetchResult, written.decode()).failure
    assert read is not None
    assert (read.failure_class, read.reason) == (failure.failure_class, failure.reason)
    if (
        all(len(json.dumps(word)) - 2 <= termination.WORD_LIMIT for word in text.split())
        and len(json.dumps(text)) < 900
    ):
        assert read.message == text


def test_a_verified_bundle_is_told_beside_eleven_sidecars(sealed: Sealed) -> None:
    _, result = sealed.fetch()
    assert len(termination.bounded(result)) <= KEPT
