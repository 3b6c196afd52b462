"""The smallest sample applies word for word and succeeds once the two Secrets exist."""

import csv
import io

from sklearn.datasets import load_iris

from demo.kubectl import describe, is_current, is_stalled
from plant import ROOT, Plant

SECONDS = 280.0


def scrap_table() -> bytes:
    """Real measurements (scikit-learn's iris) with a target of the sample's name: is it the third species?"""
    data = load_iris()
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["sepal_length", "sepal_width", "petal_length", "petal_width", "is_scrap"])
    writer.writerows(
        [*row, int(target == 2)] for row, target in zip(data.data.tolist(), data.target.tolist(), strict=True)
    )
    return out.getvalue().encode()


def test_minimal_sample_applies_verbatim_and_succeeds(plant: Plant) -> None:
    plant.data.put_new("scrap/train.csv", scrap_table())
    plant.kubectl.run("apply", "-f", str(ROOT / "manifests" / "samples" / "minimal.yaml"))
    for kind in ("experiment", "modeldeployment", "driftmonitor"):
        seen = plant.kubectl.wait(kind, "scrap", lambda o: is_current(o) or is_stalled(o), SECONDS)
        assert is_current(seen), f"{kind}: {describe(seen)}"
