"""Card and bill of materials: valid against the CycloneDX schema, from recorded facts, the same bytes each time."""

import dataclasses
import json

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from modelcycle_bundle import bom, card
from modelcycle_bundle.facts import Imported, ModelFacts

CLASSIFIER = ModelFacts(
    estimator="sklearn.ensemble.HistGradientBoostingClassifier",
    steps=("sklearn.preprocessing.StandardScaler", "sklearn.ensemble.HistGradientBoostingClassifier"),
    parameters={"max_leaf_nodes": 31, "early_stopping": False, "l2_regularization": None},
    task="classification",
    target="is_scrap",
    features=("temperature", "pressure | bar", "`x`\n# y", "ü"),
    objective_metric="roc_auc",
    metrics={"roc_auc": "0.953", "log_loss": "0.21"},
    data_digest="sha256:" + "a" * 64,
    rows=48210,
    holdout_rows=9642,
    split_seed=0,
    trial_seed=7,
    libraries={"scikit-learn": "1.9.1", "skl2onnx": "1.20.0", "numpy": "2.4.6"},
    opset=21,
    ir_version=10,
    onnx_sha256="b" * 64,
    parity_max_difference="1.2e-07",
    profile_hash="0123456789ab",
    golden_rows=64,
    classes=("0", "1"),
)
REGRESSOR = dataclasses.replace(
    CLASSIFIER, task="regression", classes=(), objective_metric="r2", metrics={"r2": "0.5"}, libraries={}
)
IMPORTED = dataclasses.replace(
    CLASSIFIER,
    estimator="onnx",
    steps=("Scaler", "LinearClassifier"),
    parameters={},
    metrics={},
    objective_metric="",
    parity_max_difference="",
    imported=Imported("onnx", "c" * 64, "skl2onnx 1.20.0"),
)


@pytest.mark.parametrize("facts", [CLASSIFIER, REGRESSOR, IMPORTED])
def test_the_bom_is_valid_cyclonedx_1_6_experiment_53(facts: ModelFacts) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bom.to_json(facts)) is None


def test_the_validator_would_see_a_wrong_bom() -> None:
    wrong = bom.to_json(CLASSIFIER).replace('"supervised"', '"guessing"')
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(wrong) is not None


def test_the_bom_names_model_data_and_libraries() -> None:
    plain = json.loads(bom.to_json(CLASSIFIER))
    assert plain["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": "b" * 64}]
    assert plain["components"][0]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert "pkg:pypi/scikit-learn@1.9.1" in [each.get("purl") for each in plain["components"]]


@pytest.mark.parametrize("render", [bom.to_json, card.to_json, card.to_markdown])
def test_the_order_in_which_facts_were_recorded_does_not_matter_experiment_46(render: object) -> None:
    assert callable(render)
    reordered = dataclasses.replace(
        CLASSIFIER,
        parameters=dict(reversed(list(CLASSIFIER.parameters.items()))),
        metrics=dict(reversed(list(CLASSIFIER.metrics.items()))),
        libraries=dict(reversed(list(CLASSIFIER.libraries.items()))),
    )
    assert render(reordered) == render(CLASSIFIER)


def test_the_card_holds_every_recorded_fact() -> None:
    text, markdown = card.to_json(CLASSIFIER), card.to_markdown(CLASSIFIER)
    for fact in ("48210", "9642", "0.953", "0.21", "1.2e-07", "a" * 64, "b" * 64, "0123456789ab", "1.9.1"):
        assert fact in text
        assert fact in markdown


def test_of_an_imported_model_nothing_is_said_that_belongs_to_training() -> None:
    text, markdown, bill = card.to_json(IMPORTED), card.to_markdown(IMPORTED), bom.to_json(IMPORTED)
    for fact in ("c" * 64, "skl2onnx 1.20.0"):
        assert fact in text
        assert fact in markdown
    assert f"sha256:{'c' * 64}" in bill
    for word in ("seed", "holdout", "held", "train", "parity", "evaluation", "Metrics", "difference"):
        assert word not in text, word
        assert word not in markdown.replace("how it was trained is not known here", ""), word
        assert word not in bill, word


def test_a_column_name_cannot_become_markup() -> None:
    lines = card.to_markdown(CLASSIFIER).splitlines()
    assert "3. `'x' # y`" in lines
    assert all(line.count("|") - line.count("\\|") == 3 for line in lines if line.startswith("|"))
