"""`inspect`: what the signing Secret and the data look like, before trials are spent on them.

Owns the facts of key and data. Never runs an estimator, and never tells more of the private key than its public half.
"""

from dataclasses import dataclass, replace

from modelcycle_bundle import layout
from modelcycle_bundle.contract import DataRef, Failure, FailureReason, InspectResult, InspectTask
from modelcycle_bundle.store import StoreError, open_store
from modelcycle_training import data
from modelcycle_training.context import Context
from modelcycle_training.failures import TaskFailed
from modelcycle_training.signing_key import SigningKey, read_key
from modelcycle_training.table import Table, read_table


@dataclass(frozen=True, slots=True)
class _Facts:
    digest: str | None = None
    table: Table | None = None
    failure: Failure | None = None


def inspect(task: InspectTask, context: Context) -> InspectResult:
    """Never raises TaskFailed or StoreError: what was found is told together with the first thing that is wrong.

    A key that is missing comes first, then the data, then the output.
    """
    key: SigningKey | None = None
    key_failure: Failure | None = None
    try:
        key = read_key(context.key_dir)
        context.log("key read", hint=key.hint)
    except TaskFailed as error:
        key_failure = error.failure
        context.log("no signing key")
    facts = _data_facts(task.data, context)
    failure = key_failure or facts.failure or _output_failure(task.output_uri, context)
    result = InspectResult(
        key_present=key is not None,
        public_key=key.public_pem if key else None,
        key_hint=key.hint if key else None,
        data_digest=facts.digest,
        failure=failure,
    )
    if facts.table is None:
        return result
    table = facts.table
    return replace(result, rows=table.rows, columns=table.columns, labelled_rows=int(table.labelled.sum()))


def _data_facts(ref: DataRef, context: Context) -> _Facts:
    digest: str | None = None
    table: Table | None = None
    try:
        read = data.read(ref, context.env)
        digest = read.digest
        context.log("data read", digest=digest, bytes=len(read.content))
        table = read_table(read.content, ref.target)
        data.require_pinned(ref, digest)
    except (TaskFailed, StoreError) as error:
        return _Facts(digest, table, error.failure)
    return _Facts(digest, table)


def _output_failure(uri: str, context: Context) -> Failure | None:
    try:
        open_store(uri, context.env, missing=FailureReason.MODEL_NOT_FOUND).list(layout.MODEL_DIR)
    except StoreError as error:
        return replace(error.failure, message=f"output.uri {uri} cannot be used: {error.failure.message}")
    return None
