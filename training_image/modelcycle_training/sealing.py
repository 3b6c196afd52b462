"""`seal`: recompute, replay, sign and publish one candidate, then remove those that lost.

The only program that signs. Runs no user code and unpickles nothing: it never imports scikit-learn, and an ONNX graph is data.
"""

from collections.abc import Mapping

from modelcycle_bundle import layout, oms, provenance
from modelcycle_bundle.contract import FailureClass, FailureReason, SealResult, SealTask
from modelcycle_bundle.golden import Golden, GoldenError, compare
from modelcycle_bundle.store import AlreadyThere, Store
from modelcycle_training.candidate import Candidate, candidate_place
from modelcycle_training.context import Context
from modelcycle_training.failures import TaskFailed, failed
from modelcycle_training.inference import OnnxModel
from modelcycle_training.retention import remove_losing
from modelcycle_training.signing_key import SigningKey, read_key


def seal(task: SealTask, context: Context) -> SealResult:
    """The published bundle. Repeating it is a no-op. Raises TaskFailed, StoreError."""
    key = read_key(context.key_dir)
    place = candidate_place(task, context.env)
    candidate = place.read_model(task.candidate_digest)
    context.log("candidate read", digest=candidate.manifest.root, files=len(candidate.files))
    rows = _replay(candidate.files)
    context.log("golden answers reproduced", rows=rows)
    _publish(place.store, task, candidate, key)
    removed = remove_losing(place.store, task, context)
    digest = candidate.manifest.root
    uri = f"{task.output_uri.rstrip('/')}/{layout.sealed_prefix(digest)}"
    context.log("published", uri=uri, key=key.hint)
    return SealResult(
        uri=uri,
        digest=digest,
        key_hint=key.hint,
        size_bytes=sum(map(len, candidate.files.values())),
        golden_rows=rows,
        removed=removed.candidates,
        removal_problem=removed.problem,
    )


def _replay(files: Mapping[str, bytes]) -> int:
    """Rows replayed. Whatever the candidate holds was written by a trial, so anything it does wrong is its own."""
    try:
        golden = Golden.parse(files[layout.GOLDEN_FILE].decode())
    except (GoldenError, UnicodeDecodeError) as error:
        raise _policy(FailureReason.BUNDLE_MALFORMED, f"{layout.GOLDEN_FILE}: {error}") from error
    try:
        answers = OnnxModel(files[layout.MODEL_FILE]).answer(golden.inputs)
    except Exception as error:  # onnxruntime has an exception type per status code, without a common parent
        raise _policy(
            FailureReason.BUNDLE_MALFORMED, f"onnxruntime cannot run {layout.MODEL_FILE} ({type(error).__name__})"
        ) from error
    comparison = compare(golden, answers)
    if not comparison.ok:
        raise _policy(FailureReason.GOLDEN_MISMATCH, comparison.message)
    return len(golden.inputs)


def _publish(store: Store, task: SealTask, candidate: Candidate, key: SigningKey) -> None:
    """Model, then provenance, then the signature: until the last put the folder verifies nowhere."""
    manifest = candidate.manifest
    prefix = layout.sealed_prefix(manifest.root)
    statement = provenance.statement(task, manifest.root)
    objects = {f"{layout.MODEL_DIR}/{name}": data for name, data in candidate.files.items()}
    name = layout.provenance_file(task.experiment_uid, task.index)
    objects[f"{layout.PROVENANCE_DIR}/{name}"] = provenance.seal(statement, key.private_pem)
    objects[f"{layout.SIGNATURES_DIR}/{key.hint}.sig"] = oms.sign(manifest, key.private_pem)
    for path, data in objects.items():
        try:
            store.put_new(f"{prefix}/{path}", data)
        except AlreadyThere as error:
            raise _policy(
                FailureReason.DIGEST_MISMATCH,
                f"{prefix}/{path} holds other bytes than this model's: remove that folder",
            ) from error


def _policy(reason: FailureReason, message: str) -> TaskFailed:
    return failed(FailureClass.POLICY, reason, message)
