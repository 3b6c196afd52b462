"""The bill of materials of a model: CycloneDX 1.6 with a model card, data by digest and libraries by version.

Owns the rendering from recorded facts; the same facts give the same bytes, so it holds no serial number and no timestamp.
"""

import json
from typing import Any, Final
from urllib.parse import quote

from modelcycle_bundle.facts import ModelFacts

SPEC_VERSION: Final = "1.6"
_MODEL_REF: Final = "model"
_DATA_REF: Final = "data"


def to_json(facts: ModelFacts) -> str:
    """`bom.cdx.json`: indented, sorted keys."""
    libraries = [_library(name, version) for name, version in sorted(facts.libraries.items())]
    refs = [_DATA_REF, *(library["bom-ref"] for library in libraries)]
    plain = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "version": 1,
        "metadata": {"component": _model(facts)},
        "components": [_data(facts), *libraries],
        "dependencies": [{"ref": _MODEL_REF, "dependsOn": refs}],
    }
    return json.dumps(plain, sort_keys=True, indent=2, allow_nan=False) + "\n"


def _model(facts: ModelFacts) -> dict[str, Any]:
    return {
        "type": "machine-learning-model",
        "bom-ref": _MODEL_REF,
        "name": facts.estimator,
        "hashes": [{"alg": "SHA-256", "content": facts.onnx_sha256}],
        "modelCard": {
            "modelParameters": {
                "approach": {"type": "supervised"},
                "task": facts.task,
                "architectureFamily": "ONNX" if facts.estimator == "onnx" else "scikit-learn",
                "modelArchitecture": " -> ".join(facts.steps),
                "datasets": [{"ref": _DATA_REF}],
                "inputs": [{"format": f"float32 [N, {len(facts.features)}]"}],
                "outputs": [{"format": each} for each in _output_formats(facts)],
            },
            **_measured(facts),
        },
        "properties": [
            {"name": "modelcycle:onnx:opset", "value": str(facts.opset)},
            {"name": "modelcycle:onnx:irVersion", "value": str(facts.ir_version)},
            _origin(facts),
        ],
    }


def _measured(facts: ModelFacts) -> dict[str, Any]:
    metrics = [{"type": name, "value": value} for name, value in sorted(facts.metrics.items())]
    return {"quantitativeAnalysis": {"performanceMetrics": metrics}} if metrics else {}


def _origin(facts: ModelFacts) -> dict[str, str]:
    if facts.imported is None:
        return {"name": "modelcycle:seed", "value": str(facts.trial_seed)}
    return {"name": f"modelcycle:imported:{facts.imported.format}", "value": f"sha256:{facts.imported.sha256}"}


def _output_formats(facts: ModelFacts) -> list[str]:
    if facts.task == "regression":
        return ["prediction: float32 [N, 1]"]
    return ["label: [N]", f"probabilities: float32 [N, {len(facts.classes)}]"]


def _data(facts: ModelFacts) -> dict[str, Any]:
    name = "training data" if facts.imported is None else "reference data"
    return {
        "type": "data",
        "bom-ref": _DATA_REF,
        "name": name,
        "hashes": [{"alg": "SHA-256", "content": facts.data_digest.removeprefix("sha256:")}],
        "data": [{"type": "dataset", "name": name}],
        "properties": [{"name": "modelcycle:rows", "value": str(facts.rows)}],
    }


def _library(name: str, version: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{quote(name.lower().replace('_', '-'))}@{quote(version)}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
