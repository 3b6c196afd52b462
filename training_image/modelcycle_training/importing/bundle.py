"""The files of an imported bundle, and the folder they are written to.

Owns what is recorded of a model whose training nobody saw. Deterministic: the same model, table and image give the same bytes, whatever the
files were called.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from modelcycle_bundle import keys, layout, oms, profile, provenance
from modelcycle_bundle.facts import Imported, ModelFacts
from modelcycle_bundle.outputs import ClassOutputs
from modelcycle_training import bundling, parity
from modelcycle_training.candidate import manifest_of
from modelcycle_training.importing.failures import cannot
from modelcycle_training.inference import OnnxModel
from modelcycle_training.parity import Missing
from modelcycle_training.table import Float32Matrix


@dataclass(frozen=True, slots=True)
class Subject:
    """A model as it is going to be served, and what is known of it."""

    onnx: bytes
    origin: Imported
    estimator: str
    steps: tuple[str, ...]
    classes: tuple[str, ...]
    """In the model's order; empty for a regression."""
    opset: int
    ir_version: int
    missing: Missing
    max_difference: str = ""
    """Between the estimator and its conversion; empty when there was none."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The table. `target` is empty when it has no column of labels."""

    features: tuple[str, ...]
    values: Float32Matrix
    digest: str
    target: str
    name: str
    """Of the file, for the provenance alone."""


@dataclass(frozen=True, slots=True)
class Written:
    """What lies in the folder now. `key_hint` is None for a bundle that was not signed."""

    digest: str
    key_hint: str | None


def missing_values(model: OnnxModel, reference: Float32Matrix) -> Missing:
    """A reference with gaps says that gaps are normal; they are answered when the model gives numbers for all of its rows."""
    gaps = reference[np.isnan(reference).any(axis=1)]
    answered = len(gaps) > 0 and bool(np.isfinite(bundling.numbers(model.answer(gaps))).all())
    return Missing.ANSWERED if answered else Missing.REFUSED


def files(subject: Subject, reference: Reference) -> Mapping[str, bytes]:
    """Name and bytes of each file in `model/`. Raises TaskFailed when the model has no finite answers to the reference."""
    model = OnnxModel(subject.onnx)
    rows = reference.values
    if subject.missing is Missing.REFUSED:
        rows = rows[~np.isnan(rows).any(axis=1)]
    answers = model.answer(rows)
    finite = np.isfinite(bundling.numbers(answers))
    if not finite.all():
        raise cannot(f"{int((~finite).sum())} of {len(rows)} rows of the reference table get no finite answer")
    bins = profile.build(reference.features, reference.values, answers, subject.classes)
    replay = bundling.replayed(rows, parity.made_up_rows(rows, rows), subject.missing, model)
    facts = _facts(subject, reference, bins.hash, replay.rows, classifies=isinstance(answers, ClassOutputs))
    return bundling.contents(subject.onnx, bins, replay, facts)


def _facts(
    subject: Subject, reference: Reference, profile_hash: str, golden_rows: int, *, classifies: bool
) -> ModelFacts:
    return ModelFacts(
        estimator=subject.estimator,
        steps=subject.steps,
        parameters={},
        task="classification" if classifies else "regression",
        target=reference.target,
        features=reference.features,
        objective_metric="",
        metrics={},
        data_digest=reference.digest,
        rows=len(reference.values),
        holdout_rows=0,
        split_seed=0,
        trial_seed=0,
        libraries={name: version(name) for name in bundling.LIBRARIES},
        opset=subject.opset,
        ir_version=subject.ir_version,
        onnx_sha256=hashlib.sha256(subject.onnx).hexdigest(),
        parity_max_difference=subject.max_difference,
        profile_hash=profile_hash,
        golden_rows=golden_rows,
        accepts_missing=subject.missing is Missing.ANSWERED,
        classes=subject.classes,
        imported=subject.origin,
    )


def write(out: Path, model: Mapping[str, bytes], subject: Subject, reference: Reference, key: bytes | None) -> Written:
    """Write the bundle, signed by a private key in PEM form where there is one. Raises TaskFailed, OSError, keys.BadKey.

    A folder that holds the very same model is left as it is, and gets a signature that it lacks.
    """
    manifest = manifest_of(model)
    contents = {f"{layout.MODEL_DIR}/{name}": data for name, data in model.items()}
    hint = None if key is None else keys.hint(keys.public_of(key))
    if key is not None:
        source = (subject.origin.format, f"sha256:{subject.origin.sha256}")
        statement = provenance.import_statement(manifest.root, (reference.name, reference.digest), source)
        contents[f"{layout.PROVENANCE_DIR}/import-{hint}.intoto.json"] = provenance.seal(statement, key)
        contents[f"{layout.SIGNATURES_DIR}/{hint}.sig"] = oms.sign(manifest, key)
    if out.exists() and any(out.iterdir()):
        _require_same(out, manifest)
        _put(out, {name: data for name, data in contents.items() if not name.startswith(layout.MODEL_DIR)})
        return Written(manifest.root, hint)
    out.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        _put(half, contents)
        half.chmod(0o755)
        if out.exists():
            out.rmdir()
        half.rename(out)
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise
    return Written(manifest.root, hint)


def _require_same(out: Path, manifest: oms.Manifest) -> None:
    try:
        same = oms.digest_directory(out / layout.MODEL_DIR) == manifest
    except (OSError, oms.ManifestError):
        same = False
    if not same:
        raise cannot(f"{out} holds something else: name a new folder with --out, or remove that one")


def _put(folder: Path, contents: Mapping[str, bytes]) -> None:
    for name, data in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
