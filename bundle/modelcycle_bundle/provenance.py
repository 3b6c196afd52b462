"""How a model came to be: an in-toto statement with an SLSA v1 predicate in a DSSE envelope, signed with the model's key.

Owns the statement's shape. Holds no time and no host name: sealing the same candidate twice gives the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from modelcycle_bundle import dsse, keys
from modelcycle_bundle.contract import SealTask
from modelcycle_bundle.dsse import VerificationError

__all__ = ["Provenance", "VerificationError", "seal", "statement", "verify"]

PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"
BUILD_TYPE: Final = "https://modelcycle.dev/experiment/v1"
IMPORT_BUILD_TYPE: Final = "https://modelcycle.dev/import/v1"
"""Of a model that was made elsewhere: its first dependency is the reference table, its second the file that was taken over."""
IMPORT_INVOCATION: Final = "import/0"
BUILDER_ID: Final = "https://modelcycle.dev/seal/v1"


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a verified statement says of a model's origin. Strings are those of the signed document."""

    key_hint: str
    invocation_id: str
    """`<experiment uid>/<trial index>`."""
    data_uri: str
    data_digest: str
    """`sha256:<hex>` of the training data's bytes."""


def statement(task: SealTask, digest: str) -> dict[str, Any]:
    """The statement that this task's candidate is the model with OMS root `digest` (`sha256:<hex>`)."""
    dependencies = [_dependency(task.data_uri, task.data_digest)]
    if task.image_id:
        dependencies.append(_dependency(task.image_id, task.image_id.rpartition("@")[2]))
    definition = {
        "buildType": BUILD_TYPE,
        "externalParameters": {"experiment": task.experiment, **task.external_parameters},
        "internalParameters": {"candidateDigest": task.candidate_digest},
        "resolvedDependencies": dependencies,
    }
    return _statement(digest, definition, f"{task.experiment_uid}/{task.index}")


def import_statement(digest: str, reference: tuple[str, str], source: tuple[str, str]) -> dict[str, Any]:
    """The statement that the model `digest` was imported; (name, `sha256:<hex>`) of the reference table and of the file taken over."""
    definition = {
        "buildType": IMPORT_BUILD_TYPE,
        "externalParameters": {},
        "resolvedDependencies": [_dependency(*reference), _dependency(*source)],
    }
    return _statement(digest, definition, IMPORT_INVOCATION)


def _statement(digest: str, definition: dict[str, Any], invocation: str) -> dict[str, Any]:
    return {
        "_type": dsse.STATEMENT_TYPE,
        "subject": [{"name": "model", "digest": {"sha256": digest.removeprefix("sha256:")}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": definition,
            "runDetails": {"builder": {"id": BUILDER_ID}, "metadata": {"invocationId": invocation}},
        },
    }


def seal(statement: dict[str, Any], private_pem: bytes) -> bytes:
    """The signed envelope as it is stored; the same bytes each time. Raises keys.BadKey."""
    hint = keys.hint(keys.public_of(private_pem))
    return dsse.canonical(dsse.envelope(statement, private_pem, hint)) + b"\n"


def verify(envelope: bytes, public_pems: Sequence[str], digest: str) -> Provenance:
    """Check that a trusted key signed the origin of the model `digest`.

    Raises VerificationError, and nothing else whatever the bytes.
    """
    opened = dsse.open_envelope(dsse.parse(envelope), public_pems, None)
    if dsse.text(opened.statement, "predicateType") != PREDICATE_TYPE:
        raise VerificationError(f"predicateType is not {PREDICATE_TYPE}")
    subject = dsse.subject_digest(opened.statement)
    if subject != digest:
        raise VerificationError(f"the statement is about {subject}, not {digest}")
    predicate = dsse.obj(opened.statement.get("predicate"), "predicate")
    build = dsse.obj(predicate.get("buildDefinition"), "buildDefinition")
    if dsse.text(build, "buildType") not in (BUILD_TYPE, IMPORT_BUILD_TYPE):
        raise VerificationError(f"buildType is neither {BUILD_TYPE} nor {IMPORT_BUILD_TYPE}")
    dependencies = dsse.items(build, "resolvedDependencies")
    if not dependencies:
        raise VerificationError("resolvedDependencies names no data")
    data = dsse.obj(dependencies[0], "resolvedDependencies[0]")
    metadata = dsse.obj(dsse.obj(predicate.get("runDetails"), "runDetails").get("metadata"), "metadata")
    return Provenance(
        key_hint=opened.key_hint,
        invocation_id=dsse.text(metadata, "invocationId"),
        data_uri=dsse.text(data, "uri"),
        data_digest=dsse.sha256(dsse.text(dsse.obj(data.get("digest"), "digest"), "sha256")),
    )


def _dependency(uri: str, digest: str) -> dict[str, Any]:
    algorithm, _, value = digest.partition(":")
    return {"uri": uri, "digest": {algorithm: value}} if algorithm == "sha256" and value else {"uri": uri}
