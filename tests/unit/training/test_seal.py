"""`seal` and `collect`: only an unchanged candidate that still gives its golden answers is signed."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from modelcycle_bundle import keys, layout, oms, provenance
from modelcycle_bundle.contract import CollectTask, FetchTask, SealTask
from modelcycle_bundle.fetch import fetch
from modelcycle_training.candidate import manifest_of
from unit.training.conftest import Lab, Outcome, Tables


@pytest.fixture
def trained(lab: Lab, tables: Tables) -> SealTask:
    task = lab.trial_task(tables.cancer, "sklearn.tree.DecisionTreeClassifier", {"max_depth": 3})
    return lab.seal_task(task, lab.run(task).result)


def sealed_files(lab: Lab) -> dict[str, bytes]:
    return {path: data for path, data in lab.files().items() if path.startswith("sha256-")}


def refused(outcome: Outcome, lab: Lab, reason: str) -> None:
    assert (outcome.exit_code, outcome.reason) == (1, reason)
    assert sealed_files(lab) == {}


def test_sealed_bundle_verifies_and_is_the_candidate_experiment_53(lab: Lab, trained: SealTask) -> None:
    pair = lab.make_key()
    outcome = lab.run(trained)
    assert (outcome.exit_code, outcome.reason) == (0, None)
    result = outcome.result
    prefix = layout.sealed_prefix(trained.candidate_digest)
    assert result.uri == f"{lab.output_uri}/{prefix}"
    assert result.digest == trained.candidate_digest
    files = sealed_files(lab)
    model = {name: files[f"{prefix}/model/{name}"] for name in layout.MODEL_FILES}
    signature = files[f"{prefix}/signatures/{result.key_hint}.sig"]
    envelope = files[f"{prefix}/provenance/uid-1-0.intoto.json"]
    assert len(files) == len(model) + 2
    verified = oms.verify(signature, [pair.public_pem])
    assert verified.manifest == manifest_of(model)
    assert verified.key_hint == result.key_hint == keys.hint(pair.public_pem)
    assert provenance.verify(envelope, [pair.public_pem], result.digest).data_digest == trained.data_digest
    assert result.size_bytes == sum(map(len, model.values()))


def test_fetch_step_takes_the_sealed_bundle_and_refuses_another_key(lab: Lab, trained: SealTask) -> None:
    pair = lab.make_key()
    sealed = lab.run(trained).result
    task = FetchTask(sealed.uri, sealed.digest)
    fetched = fetch(task, pair.public_pem, lab.folder / "mount", {})
    assert (fetched.failure, fetched.digest, fetched.key_hint) == (None, sealed.digest, sealed.key_hint)
    refused_result = fetch(task, keys.generate().public_pem, lab.folder / "other", {})
    assert refused_result.failure is not None
    assert refused_result.failure.reason == "SignatureInvalid"


def test_sealing_again_changes_nothing(lab: Lab, trained: SealTask) -> None:
    lab.make_key()
    first = lab.run(trained)
    before = lab.files()
    second = lab.run(trained)
    assert second.result == first.result
    assert lab.files() == before


def test_half_published_bundle_is_completed(lab: Lab, trained: SealTask) -> None:
    lab.make_key()
    lab.run(trained)
    whole = lab.files()
    for path in [path for path in sealed_files(lab) if path.endswith((".sig", "card.md"))]:
        (lab.folder / "out" / path).unlink()
    assert lab.run(trained).exit_code == 0
    assert lab.files() == whole


def test_signature_is_written_last(lab: Lab, trained: SealTask) -> None:
    """Without room for the provenance nothing is signed: what is there verifies nowhere."""
    lab.make_key()
    prefix = layout.sealed_prefix(trained.candidate_digest)
    obstacle = lab.folder / "out" / prefix / "provenance"
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("a file where a folder should be")
    outcome = lab.run(trained)
    assert outcome.exit_code != 0
    assert not any(path.endswith(".sig") for path in lab.files())


def test_missing_key_signs_nothing(lab: Lab, trained: SealTask) -> None:
    refused(lab.run(trained), lab, "NoSigningKey")


@pytest.mark.parametrize("name", [layout.MODEL_FILE, layout.CARD_MD_FILE])
def test_flipped_bit_is_a_candidate_mismatch(lab: Lab, trained: SealTask, name: str) -> None:
    lab.make_key()
    path = lab.candidate() / layout.MODEL_DIR / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    refused(lab.run(trained), lab, "CandidateMismatch")


def test_extra_or_missing_file_is_malformed(lab: Lab, trained: SealTask) -> None:
    lab.make_key()
    extra = lab.candidate() / layout.MODEL_DIR / "model.pkl"
    extra.write_bytes(b"x")
    refused(lab.run(trained), lab, "BundleMalformed")
    extra.unlink()
    (lab.candidate() / layout.MODEL_DIR / layout.BOM_FILE).unlink()
    refused(lab.run(trained), lab, "BundleMalformed")


def redigested(lab: Lab, task: SealTask, name: str, data: bytes) -> SealTask:
    """A candidate that was dishonest from the start: its digest fits."""
    folder = lab.candidate() / layout.MODEL_DIR
    (folder / name).write_bytes(data)
    manifest = manifest_of({path.name: path.read_bytes() for path in folder.iterdir()})
    return replace(task, candidate_digest=manifest.root)


def test_golden_answers_that_do_not_come_back_are_refused(lab: Lab, trained: SealTask) -> None:
    lab.make_key()
    path = lab.candidate() / layout.MODEL_DIR / layout.GOLDEN_FILE
    golden = json.loads(path.read_text())
    golden["probabilities"][0] = [0.25, 0.75]
    refused(lab.run(redigested(lab, trained, path.name, json.dumps(golden).encode())), lab, "GoldenMismatch")


@pytest.mark.parametrize(("name", "data"), [(layout.MODEL_FILE, b"not onnx"), (layout.GOLDEN_FILE, b"\xff{")])
def test_files_that_are_not_what_they_should_be_are_malformed(
    lab: Lab, trained: SealTask, name: str, data: bytes
) -> None:
    lab.make_key()
    refused(lab.run(redigested(lab, trained, name, data)), lab, "BundleMalformed")


def test_candidate_that_is_gone_is_malformed(lab: Lab, trained: SealTask) -> None:
    lab.make_key()
    outcome = lab.run(replace(trained, index=99))
    assert outcome.reason == "BundleMalformed"


def test_seal_and_its_imports_bring_neither_scikit_learn_nor_a_converter() -> None:
    program = (
        "import sys, modelcycle_training.__main__, modelcycle_training.sealing, modelcycle_training.inference, onnxruntime;"
        "print(sorted({'sklearn', 'skl2onnx', 'onnx', 'joblib', 'pickle5'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert told.stdout.strip() == "[]"


def test_collect_reads_the_result_back(lab: Lab, tables: Tables) -> None:
    trial = lab.run(lab.trial_task(tables.cancer, "sklearn.tree.DecisionTreeClassifier", index=4))
    outcome = lab.run(CollectTask("uid-1", 4, lab.output_uri))
    assert (outcome.exit_code, outcome.result) == (0, trial.result)


def test_collect_of_a_result_that_was_never_written(lab: Lab) -> None:
    outcome = lab.run(CollectTask("uid-1", 4, lab.output_uri))
    assert outcome.exit_code == 1  # final: no pod is made after this one
    assert "candidates/uid-1/4/result.json" in outcome.result.failure.message
    assert outcome.result.index == 4


def test_collect_of_a_broken_result_experiment_24(lab: Lab) -> None:
    lab.candidate(4).mkdir(parents=True)
    (lab.candidate(4) / "result.json").write_text('{"index": 4, "metr')
    outcome = lab.run(CollectTask("uid-1", 4, lab.output_uri))
    assert (outcome.exit_code, outcome.reason) == (1, "TaskInvalid")
