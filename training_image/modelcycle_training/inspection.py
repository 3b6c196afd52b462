"""`inspect`: what the signing Secret and the data look like, before trials are spent on them.

Owns the facts of key and data. Never runs an estimator, and never tells more of the private key than its public half.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from modelcycle_bundle import layout
from modelcycle_bundle.contract import ColumnNote, DataRef, Failure, FailureReason, InspectResult, InspectTask, to_json
from modelcycle_bundle.store import AlreadyThere, StoreError, open_store
from modelcycle_training import data
from modelcycle_training.context import Context
from modelcycle_training.data import Data
from modelcycle_training.failures import TaskFailed
from modelcycle_training.signing_key import read_key
from modelcycle_training.table import Table, read_table

MAX_NOTES: Final = 1000


@dataclass(frozen=True, slots=True)
class _Facts:
    read: Data | None = None
    table: Table | None = None
    failure: Failure | None = None


def inspect(task: InspectTask, context: Context) -> InspectResult:
    """Never raises TaskFailed or StoreError: what was found is told together with the first thing that is wrong.

    A key that is missing comes first, then the data, then the output.
    """
    key = InspectResult(key_present=False) if task.output_uri is None else _key_facts(context)
    facts = _data_facts(task.data, context)
    failure = key.failure or facts.failure
    if failure is None and task.output_uri is not None:
        failure = _output_failure(task.output_uri, context)
    result = replace(key, failure=failure)
    if facts.read is not None:
        behind = facts.read.uri if facts.read.uri != task.data.uri else None
        result = replace(result, data_uri=behind, data_digest=facts.read.digest)
    if facts.table is not None:
        table = facts.table
        result = replace(result, rows=table.rows, columns=table.columns, labelled_rows=int(table.labelled.sum()))
        result = replace(result, column_notes=_notes(table) or None)
    if result.failure is None and task.output_uri is not None:
        _store(task.output_uri, result, context)
    return result


def _notes(table: Table) -> tuple[ColumnNote, ...]:
    notes = []
    for at, name in enumerate(table.features):
        cells = table.values[:, at]
        known = cells[~np.isnan(cells)]
        note = ColumnNote(name, len(cells) - len(known), len(known) == 0 or bool((known == known[0]).all()))
        notes += [note] if note.missing or note.constant else []
    return tuple(notes[:MAX_NOTES])


def _store(uri: str, result: InspectResult, context: Context) -> None:
    """A copy beside the candidates, for those who come when the cluster's is gone. Not having it is no failure of the data."""
    report = to_json(result).encode()
    path = layout.inspection_file(result.data_digest or "", report)
    try:
        open_store(uri, context.env, missing=FailureReason.MODEL_NOT_FOUND).put_new(path, report)
    except AlreadyThere:
        return
    except StoreError as error:
        context.log("report not stored", path=path, message=error.failure.message)


def _key_facts(context: Context) -> InspectResult:
    try:
        key = read_key(context.key_dir)
    except TaskFailed as error:
        context.log("no signing key")
        return InspectResult(key_present=False, failure=error.failure)
    context.log("key read", hint=key.hint)
    return InspectResult(key_present=True, public_key=key.public_pem, key_hint=key.hint)


def _data_facts(ref: DataRef, context: Context) -> _Facts:
    read: Data | None = None
    try:
        read = data.read(ref, context.env)
        context.log("data read", uri=read.uri, digest=read.digest, bytes=len(read.content))
    except (TaskFailed, StoreError) as error:
        return _Facts(read, failure=error.failure)
    changed: Failure | None = None
    try:
        data.require_pinned(ref, read.digest)
    except TaskFailed as error:
        changed = error.failure
    try:
        table = read_table(read.content, ref.target)
    except TaskFailed as error:  # of other bytes than the pinned ones it means nothing
        return _Facts(read, failure=changed or error.failure)
    return _Facts(read, table, changed)


def _output_failure(uri: str, context: Context) -> Failure | None:
    try:
        open_store(uri, context.env, missing=FailureReason.MODEL_NOT_FOUND).list(layout.MODEL_DIR)
    except StoreError as error:
        return replace(error.failure, message=f"output.uri {uri} cannot be used: {error.failure.message}")
    return None
