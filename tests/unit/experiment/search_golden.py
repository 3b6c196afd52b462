"""Specs whose sequences of assignments are kept in golden/search.json: what a search draws never changes."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fakes.experiment_lab import MINIMAL
from modelcycle.api.experiment import ExperimentSpec, parse
from modelcycle.experiment.search import Assignment

PARAMETERS: Final = 32
POINTS: Final = 5000


def listed(name: str, values: int, kind: str = "categorical") -> dict[str, Any]:
    return {"name": name, "parameterType": kind, "feasibleSpace": {"list": [str(v) for v in range(values)]}}


def between(name: str, kind: str, low: str, high: str, **more: str) -> dict[str, Any]:
    return {"name": name, "parameterType": kind, "feasibleSpace": {"min": low, "max": high, **more}}


def poisoned() -> list[dict[str, Any]]:
    """As many parameters as the schema allows, and a space of exactly as many points as trials are allowed."""
    tops = ["0.9", "0.9", "0.9", "0.4"] + ["0.05"] * (PARAMETERS - 4)
    return [between(f"p{at}", "double", "0", top, step="0.1") for at, top in enumerate(tops)]


def narrow() -> list[dict[str, Any]]:
    """Doubles that six digits do not tell apart: every draw is the same, and no other is found."""
    return [between(f"p{at}", "double", "1.00000001", "1.00000002") for at in range(PARAMETERS)]


def _spec(parameters: list[dict[str, Any]], count: int, seed: int = 0, name: str = "random") -> ExperimentSpec:
    algorithm = {"algorithmName": name, "seed": seed}
    return parse({"spec": {**MINIMAL, "parameters": parameters, "algorithm": algorithm, "maxTrialCount": count}})


SPECS: Final[Mapping[str, ExperimentSpec]] = {
    "5000 of 5000 points of 32 parameters": _spec(poisoned(), POINTS),
    "5000 draws of 32 parameters of one value each": _spec(narrow(), POINTS),
    "no parameters": _spec([], 1),
    "one double": _spec([between("rate", "double", "0.01", "0.3")], 200, 7),
    "one double, logarithmic": _spec([between("rate", "double", "1e-9", "0.3", distribution="logUniform")], 200, 7),
    "a double with step, logarithmic": _spec(
        [between("rate", "double", "0.5", "3", step="0.25", distribution="logUniform"), listed("kind", 2)], 22, 1
    ),
    "a double too narrow for six digits": _spec([between("rate", "double", "1.00000001", "1.00000002")], 30),
    "all of a logarithmic int": _spec([between("leaves", "int", "1", "700", distribution="logUniform")], 700, 3),
    "all of a stepped int": _spec([between("leaves", "int", "-5", "400", step="3")], 200, 4),
    "stepped to just below the maximum": _spec([between("share", "double", "0.1", "1", step="0.25")], 4, 5),
    "values that are the same point of two steps": _spec([listed("one", 1), listed("two", 7, "discrete")], 7, 6),
    "a huge space": _spec([between(f"p{at}", "double", "-1e99", "1e99", step="1e-99") for at in range(32)], 50, 8),
    "mixed": _spec(
        [
            between("rate", "double", "0.001", "1", distribution="logUniform"),
            between("leaves", "int", "2", "9"),
            listed("kind", 3),
            listed("alpha", 4, "discrete"),
        ],
        300,
        9,
    ),
    "a grid": _spec(
        [between("leaves", "int", "2", "9"), listed("kind", 3), listed("alpha", 4, "discrete")], 96, 0, "grid"
    ),
    "part of a grid": _spec([between("x", "double", "0", "1", step="0.001"), listed("kind", 3)], 100, 0, "grid"),
}


def shown(points: Sequence[Assignment]) -> dict[str, Any]:
    """A whole sequence as its length and digest, with its first and last point to read."""
    text = json.dumps(points, separators=(",", ":"))
    return {
        "count": len(points),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "first": dict(points[0]),
        "last": dict(points[-1]),
    }
