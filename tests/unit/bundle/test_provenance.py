"""The provenance statement: its SLSA fields, and that it vouches for one digest only."""

import base64
import json

import pytest

from modelcycle_bundle import dsse, keys, provenance
from modelcycle_bundle.provenance import VerificationError
from unit.bundle.bundles import seal_task

KEY = keys.generate()
DIGEST = "sha256:" + "a" * 64


def test_it_names_subject_data_image_and_parameters_experiment_53() -> None:
    sealed = json.loads(provenance.seal(provenance.statement(seal_task(DIGEST), DIGEST), KEY.private_pem))
    statement = json.loads(base64.b64decode(sealed["payload"]))
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert statement["subject"] == [{"name": "model", "digest": {"sha256": "a" * 64}}]
    build = statement["predicate"]["buildDefinition"]
    assert build["externalParameters"] == {"experiment": "scrap", "assignment": {"learning_rate": "0.1"}}
    assert build["resolvedDependencies"] == [
        {"uri": "s3://factory/scrap.csv", "digest": {"sha256": "d" * 64}},
        {"uri": "registry.example/training@sha256:" + "e" * 64, "digest": {"sha256": "e" * 64}},
    ]
    assert statement["predicate"]["runDetails"]["metadata"] == {"invocationId": "uid-1/3"}


def test_a_verified_statement_tells_where_the_model_came_from() -> None:
    envelope = provenance.seal(provenance.statement(seal_task(DIGEST), DIGEST), KEY.private_pem)
    verified = provenance.verify(envelope, [keys.generate().public_pem, KEY.public_pem], DIGEST)
    assert verified == provenance.Provenance(
        keys.hint(KEY.public_pem), "uid-1/3", "s3://factory/scrap.csv", "sha256:" + "d" * 64
    )


def test_an_imported_model_names_the_reference_and_the_file_taken_over() -> None:
    reference, source = ("table.csv", "sha256:" + "b" * 64), ("onnx", "sha256:" + "c" * 64)
    envelope = provenance.seal(provenance.import_statement(DIGEST, reference, source), KEY.private_pem)
    verified = provenance.verify(envelope, [KEY.public_pem], DIGEST)
    assert (verified.data_uri, verified.data_digest) == reference
    statement = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
    build = statement["predicate"]["buildDefinition"]
    assert build["buildType"] == provenance.IMPORT_BUILD_TYPE
    assert build["resolvedDependencies"][1] == {"uri": "onnx", "digest": {"sha256": "c" * 64}}


def test_sealing_twice_gives_the_same_bytes_experiment_53() -> None:
    statement = provenance.statement(seal_task(DIGEST), DIGEST)
    assert provenance.seal(statement, KEY.private_pem) == provenance.seal(statement, KEY.private_pem)


def test_it_vouches_for_no_other_digest() -> None:
    envelope = provenance.seal(provenance.statement(seal_task(DIGEST), DIGEST), KEY.private_pem)
    with pytest.raises(VerificationError, match="is about"):
        provenance.verify(envelope, [KEY.public_pem], "sha256:" + "b" * 64)


def test_an_untrusted_key_s_statement_is_refused_experiment_57() -> None:
    envelope = provenance.seal(provenance.statement(seal_task(DIGEST), DIGEST), KEY.private_pem)
    with pytest.raises(VerificationError, match="any trusted key"):
        provenance.verify(envelope, [keys.generate().public_pem], DIGEST)


@pytest.mark.parametrize("field", ["buildDefinition", "runDetails"])
def test_a_signed_statement_without_a_required_part_is_refused(field: str) -> None:
    statement = provenance.statement(seal_task(DIGEST), DIGEST)
    del statement["predicate"][field]
    envelope = dsse.canonical(dsse.envelope(statement, KEY.private_pem, ""))
    with pytest.raises(VerificationError, match="is not"):
        provenance.verify(envelope, [KEY.public_pem], DIGEST)
