"""Contributions are those of shap, the library that everybody compares with; its numbers are computed here and now."""

import pickle
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelcycle_bundle import layout
from modelcycle_bundle.profile import Profile
from modelcycle_serving.explain import sampling
from unit.serving.explain import cases
from unit.serving.explain.cases import CASES

pytestmark = [pytest.mark.oracle, pytest.mark.timeout(900)]  # the first run installs shap

WAYS = {
    "logistic": "linear",
    "least-squares": "linear",
    "multinomial": "linear",
    "tree": "trees",
    "forest": "trees",
    "forest-3": "trees",
    "forest-values": "trees",
    "forest-bootstrap": "counted",
    "boosting": "trees",
    "boosting-values": "trees",
    "histogram": "trees",
    "histogram-gaps": "trees",
    "histogram-3": "trees",
    "histogram-values": "trees",
    "network": "exact",
    "network-values": "exact",
}
SAMPLED = [name for name, way in WAYS.items() if way == "exact"]
ADDITIVE = [name for name in WAYS if name not in SAMPLED]
TOLERANCE = 1e-6
"""Of the largest contribution. ONNX holds thresholds, weights and coefficients as float32."""


@pytest.fixture(scope="module")
def found(shap_python: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Ours and shap's of every case; shap takes longer to start than to explain, so it starts once."""
    folder = tmp_path_factory.mktemp("shap")
    ours = {name: prepare(folder / name, name) for name in WAYS}
    oracle = Path(__file__).with_name("shap_oracle.py")
    subprocess.run([shap_python, str(oracle), *(str(folder / name) for name in WAYS)], check=True)
    return {name: (ours[name], np.load(folder / name / "shap.npz")) for name in WAYS}


def prepare(folder: Path, name: str) -> Any:
    model = cases.fitted(name)
    rows = model.table[::20]
    loaded = cases.explainer_of(folder / "bundle", name)
    profile = Profile.parse((folder / "bundle" / layout.MODEL_DIR / layout.PROFILE_FILE).read_text())
    (folder / "way.txt").write_text(WAYS[name])
    (folder / "estimator.pkl").write_bytes(pickle.dumps(model.estimator))
    arrays = {
        "rows": rows,
        "table": model.table,
        "background": sampling.backgrounds(profile.features, CASES[name].gaps),
    }
    for file, array in arrays.items():
        np.save(folder / f"{file}.npy", array)
    return cases.explained(loaded, rows)


def of_class(values: Any, explained: Any, columns: int) -> Any:
    """shap's contributions to the explained class: [N, F] of the second one, or [N, F, C]."""
    if values.ndim == 3:
        return np.stack([values[at, :, chosen] for at, chosen in enumerate(explained)])
    return np.where(explained == 1, 1, -1)[:, None] * values if columns == 2 else values


@pytest.mark.parametrize("name", ADDITIVE)
def test_contributions_are_those_of_shap(name: str, found: dict[str, Any]) -> None:
    ours, theirs = found[name]
    wanted = of_class(theirs["values"], ours.explained, len(cases.fitted(name).classes))
    scale = np.abs(wanted).max()
    difference = np.abs(ours.contributions - wanted).max() / scale
    print(f"{name}: largest difference to shap {difference:.1e} of the largest contribution {scale:.3g}")
    assert difference < TOLERANCE


@pytest.mark.parametrize("name", SAMPLED)
def test_sampling_comes_close_to_every_coalition(name: str, found: dict[str, Any]) -> None:
    ours, theirs = found[name]
    wanted = of_class(theirs["values"], ours.explained, len(cases.fitted(name).classes))
    base = theirs["base"]
    wanted_base = base[np.arange(len(base)), ours.explained] if base.ndim == 2 else base
    np.testing.assert_allclose(ours.base, wanted_base, rtol=1e-4, atol=1e-4)
    difference = np.abs(ours.contributions - wanted)
    scale = np.abs(wanted).max()
    print(f"{name}: sampling off by {difference.mean() / scale:.2%} on average, {difference.max() / scale:.2%} at most")
    assert difference.mean() < 0.03 * scale
    assert difference.max() < 0.15 * scale
