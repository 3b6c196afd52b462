"""The unsigned candidate of one trial in the store: `model/` and `result.json` below its prefix.

Owns the order of writes, what may be taken from an earlier attempt of the same trial, and when stored files are still those that the
trial reported. Never signs.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from modelcycle_bundle import layout, oms
from modelcycle_bundle.contract import (
    CollectTask,
    CompareTask,
    ContractError,
    FailureClass,
    FailureReason,
    SealTask,
    TrialResult,
    TrialTask,
    from_json,
    to_json,
)
from modelcycle_bundle.store import AlreadyThere, Store, StoreError, open_store
from modelcycle_training.failures import TaskFailed, failed

RESULT_FILE: Final = "result.json"
MAX_BYTES: Final = 2 * 1024**3
"""Of the files of `model/`."""

_SETTLED: Final = frozenset(
    {FailureClass.PARAMETERS, FailureClass.METRICS, FailureClass.CONVERSION, FailureClass.TRAINER}
)
"""Failures that a repetition of the same trial would meet again."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """The bytes of `model/`, whose digest is the one that the trial reported."""

    files: Mapping[str, bytes]
    manifest: oms.Manifest


@dataclass(frozen=True, slots=True)
class CandidatePlace:
    """Where one trial's candidate lies."""

    store: Store
    prefix: str
    """`candidates/<uid>/<index>`, relative to the store."""

    def read_result(self) -> TrialResult | None:
        """The result an attempt has written, None when there is none. Raises TaskFailed, StoreError."""
        try:
            data = self.store.get(self._path(RESULT_FILE))
        except StoreError as error:
            if error.failure.reason is FailureReason.MODEL_NOT_FOUND:
                return None
            raise
        try:
            return from_json(TrialResult, data.decode())
        except (ContractError, UnicodeDecodeError) as error:
            raise failed(
                FailureClass.POLICY,
                FailureReason.TASK_INVALID,
                f"{self._path(RESULT_FILE)} is not a trial's result: {error}",
            ) from error

    def read_model(self, digest: str) -> Candidate:
        """The files of `model/`. Raises TaskFailed when they are not the ones of this digest, StoreError."""
        folder = self._path(layout.MODEL_DIR)
        entries = self.store.list(folder)
        names = {entry.path.removeprefix(f"{folder}/") for entry in entries}
        if names != set(layout.MODEL_FILES):
            wrong = sorted(names.symmetric_difference(layout.MODEL_FILES))
            raise _malformed(f"{folder}: missing or unexpected files: {', '.join(wrong)[:400]}")
        if sum(entry.size for entry in entries) > MAX_BYTES:
            raise _malformed(f"{folder} is larger than {MAX_BYTES} bytes")
        files = {name: self.store.get(f"{folder}/{name}") for name in sorted(names)}
        manifest = manifest_of(files)
        if manifest.root != digest:
            raise failed(
                FailureClass.POLICY,
                FailureReason.CANDIDATE_MISMATCH,
                f"{folder} has digest {manifest.root}, but the trial reported {digest}: it was changed since",
            )
        return Candidate(files, manifest)

    def write_model(self, files: Mapping[str, bytes]) -> None:
        """Put the files of `model/`. Raises TaskFailed when another run's files lie there, StoreError."""
        for name, data in files.items():
            path = self._path(f"{layout.MODEL_DIR}/{name}")
            try:
                self.store.put_new(path, data)
            except AlreadyThere as error:
                raise _other_run(path) from error

    def write_result(self, result: TrialResult) -> TrialResult:
        """Put `result.json` last: a candidate with it is whole. An earlier attempt's result stands and is returned."""
        if result.failure is not None and result.failure.failure_class not in _SETTLED:
            return result
        try:
            self.store.put_new(self._path(RESULT_FILE), to_json(result).encode())
        except AlreadyThere:
            return self.read_result() or result
        return result

    def _path(self, name: str) -> str:
        return f"{self.prefix}/{name}"


def candidate_place(task: TrialTask | CollectTask | SealTask | CompareTask, env: Mapping[str, str]) -> CandidatePlace:
    """Where this attempt of the trial puts its candidate. Raises StoreError."""
    store = open_store(task.output_uri, env, missing=FailureReason.MODEL_NOT_FOUND)
    return CandidatePlace(store, layout.candidate_prefix(task.experiment_uid, task.index, task.attempt))


def manifest_of(files: Mapping[str, bytes]) -> oms.Manifest:
    """The OMS manifest of files held in memory."""
    return oms.Manifest(tuple(oms.FileDigest(name, hashlib.sha256(data).hexdigest()) for name, data in files.items()))


def _malformed(message: str) -> TaskFailed:
    return failed(FailureClass.POLICY, FailureReason.BUNDLE_MALFORMED, message)


def _other_run(path: str) -> TaskFailed:
    return failed(
        FailureClass.POLICY,
        FailureReason.CANDIDATE_MISMATCH,
        f"{path} holds other bytes, of a run with other data or another image: remove that candidate's folder",
    )
