"""Whatever bytes lie where a signature should be: verified, or a VerificationError. Never another exception, never trust."""

from hypothesis import given
from hypothesis import strategies as st

from modelcycle_bundle import keys, oms, provenance
from modelcycle_bundle.contract import SealTask
from modelcycle_bundle.oms import FileDigest, Manifest, VerificationError

KEY = keys.generate()
MANIFEST = Manifest((FileDigest("model.onnx", "1" * 64), FileDigest("profile.json", "2" * 64)))
SIGNATURE = oms.sign(MANIFEST, KEY.private_pem)
TASK = SealTask("e", "uid", 1, MANIFEST.root, "sha256:" + "3" * 64, "s3://d", "s3://o", None, {})
STATEMENT = provenance.seal(provenance.statement(TASK, MANIFEST.root), KEY.private_pem)


@st.composite
def mutations(draw: st.DrawFn, original: bytes) -> bytes:
    """The original with bytes replaced, removed or inserted somewhere, or cut off."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.integers(0, 40))
        data[at : at + length] = draw(
            st.binary(max_size=8) | st.sampled_from([b"", b"null", b'"', b"{}", b"[]", b"0", b"\\ud800"])
        )
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.integers(0, 9)) == 0 else bytes(data)


@given(mutations(SIGNATURE) | st.binary())
def test_a_mutated_signature_never_vouches_for_other_files_experiment_56(data: bytes) -> None:
    try:
        verified = oms.verify(data, [KEY.public_pem])
    except VerificationError:
        return
    assert verified.manifest == MANIFEST


@given(mutations(STATEMENT) | st.binary())
def test_a_mutated_statement_never_says_something_else_experiment_56(data: bytes) -> None:
    try:
        verified = provenance.verify(data, [KEY.public_pem], MANIFEST.root)
    except VerificationError:
        return
    assert (verified.invocation_id, verified.data_digest) == ("uid/1", TASK.data_digest)


names = st.text(
    st.characters(exclude_characters="/\\\0\n\r", exclude_categories=["Cs"]), min_size=1, max_size=12
).filter(lambda name: name not in (".", ".."))
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)
manifests = st.dictionaries(st.lists(names, min_size=1, max_size=3).map("/".join), digests, min_size=1, max_size=5).map(
    lambda files: Manifest(tuple(FileDigest(name, files[name]) for name in files))
)


@given(manifests)
def test_any_manifest_survives_signing(manifest: Manifest) -> None:
    assert oms.verify(oms.sign(manifest, KEY.private_pem), [KEY.public_pem]).manifest == manifest
