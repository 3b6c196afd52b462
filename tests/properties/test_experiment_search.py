"""Search properties: determinism, bounds, no duplicates, exact exhaustion."""

from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from budget import examples
from fakes.experiment_lab import MINIMAL
from modelcycle.api.experiment import ExperimentSpec, parse
from modelcycle.api.space import ParameterType
from modelcycle.experiment.search import Space, assignment, assignments, json_values, planned_trials

NUMBERS = st.decimals(Decimal("-1e6"), Decimal("1e6"), allow_nan=False, allow_infinity=False, places=3)


@st.composite
def double(draw: st.DrawFn) -> dict[str, Any]:
    low, width = draw(NUMBERS), draw(st.decimals(Decimal("0.001"), Decimal(1000), places=3))
    space: dict[str, Any] = {"min": str(low), "max": str(low + width)}
    if draw(st.booleans()):
        space["step"] = str(draw(st.decimals(Decimal("0.001"), Decimal(100), places=3)))
    elif low > 0 and draw(st.booleans()):
        space["distribution"] = "logUniform"
    return {"parameterType": "double", "feasibleSpace": space}


@st.composite
def whole(draw: st.DrawFn) -> dict[str, Any]:
    low, width = draw(st.integers(-1000, 1000)), draw(st.integers(1, 40))
    space: dict[str, Any] = {"min": str(low), "max": str(low + width)}
    if low > 0 and draw(st.booleans()):
        space["distribution"] = "logUniform"
    elif draw(st.booleans()):
        space["step"] = str(draw(st.integers(1, 9)))
    return {"parameterType": "int", "feasibleSpace": space}


@st.composite
def listed(draw: st.DrawFn) -> dict[str, Any]:
    values = draw(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=6, unique=True))
    return {"parameterType": "categorical", "feasibleSpace": {"list": values}}


@st.composite
def specs(draw: st.DrawFn) -> ExperimentSpec:
    raw = draw(st.lists(st.one_of(double(), whole(), listed()), min_size=1, max_size=4))
    parameters = [{"name": f"p{at}", **p} for at, p in enumerate(raw)]
    finite = all(p["parameterType"] != "double" or "step" in p["feasibleSpace"] for p in parameters)
    name = draw(st.sampled_from(["random", "grid"])) if finite else "random"
    algorithm = {"algorithmName": name, "seed": draw(st.integers(0, 99))}
    count = draw(st.integers(1, 60))
    return parse({"spec": {**MINIMAL, "parameters": parameters, "algorithm": algorithm, "maxTrialCount": count}})


@settings(max_examples=examples(200), deadline=None)
@given(specs())
def test_values_stay_in_bounds_and_convert(spec: ExperimentSpec) -> None:
    for point in assignments(spec):
        for parameter, (name, text) in zip(spec.parameters, point, strict=True):
            assert name == parameter.name
            if parameter.type is ParameterType.CATEGORICAL:
                assert text in parameter.values
            else:
                assert parameter.low <= Decimal(text) <= parameter.high
                assert len(text) <= 64
        values = json_values(spec, point)
        assert all(isinstance(values[p.name], int) for p in spec.parameters if p.type is ParameterType.INT)


@settings(max_examples=examples(200), deadline=None)
@given(specs())
def test_no_duplicates_while_the_space_has_others_experiment_14(spec: ExperimentSpec) -> None:
    points = assignments(spec)
    size = Space(spec.parameters).size
    assert len(points) == planned_trials(spec) == (spec.max_trials if size is None else min(spec.max_trials, size))
    if size is not None:
        assert len(set(points)) == len(points)


@settings(max_examples=examples(50), deadline=None)
@given(specs(), st.integers(0, 80))
def test_an_assignment_does_not_depend_on_the_count_experiment_15(spec: ExperimentSpec, index: int) -> None:
    points = assignments(spec)
    if index < len(points):
        assert assignment(spec, index) == points[index]


def test_sixty_points_in_forty_asks_experiment_14() -> None:
    lists = [("a", 3), ("b", 4), ("c", 5)]
    parameters = [
        {"name": n, "parameterType": "categorical", "feasibleSpace": {"list": [f"{n}{i}" for i in range(k)]}}
        for n, k in lists
    ]
    spec = parse({"spec": {**MINIMAL, "parameters": parameters, "maxTrialCount": 60}})
    assert len(set(assignments(spec))) == 60


def test_extreme_ranges_are_searched_all_the_same() -> None:
    space = {"min": "-1e99", "max": "1e99", "step": "1e-99"}
    parameters = [{"name": f"p{i}", "parameterType": "double", "feasibleSpace": space} for i in range(32)]
    spec = parse({"spec": {**MINIMAL, "parameters": parameters, "maxTrialCount": 5}})
    assert len(set(assignments(spec))) == 5
