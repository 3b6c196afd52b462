"""From the trainer of a spec to an unfitted scikit-learn estimator.

Owns the allow-list: the classes that `sklearn.utils.all_estimators()` lists, and the operator's own list. Never imports a module named
by anyone else, and never passes a parameter that is not a JSON value.
"""

import importlib
import inspect
from collections.abc import Mapping
from typing import Any, Final

from modelcycle_bundle.contract import FailureClass, FailureReason, JsonValue, PipelineStep, Trainer
from modelcycle_training.failures import TaskFailed, failed
from modelcycle_training.labels import LearningTask

_UNLISTED_MODULES: Final = frozenset({"tests", "externals", "setup", "conftest", "experimental", "estimator_checks"})
"""What `all_estimators()` leaves out as well."""
_SEEDS: Final = 2**32
"""scikit-learn takes seeds below this."""


def build(trainer: Trainer, parameters: Mapping[str, JsonValue], seed: int) -> Any:
    """The unfitted estimator with the assignment applied; every `random_state` not given is set from the seed.

    Raises TaskFailed with EstimatorNotAllowed or BadParameters.
    """
    if not trainer.steps:
        raise failed(FailureClass.POLICY, FailureReason.ESTIMATOR_NOT_ALLOWED, "trainer names no estimator")
    if len(trainer.steps) == 1:
        step = trainer.steps[0]
        estimator = _construct(step, {**step.fixed, **parameters}, trainer.extra_estimators)
    else:
        estimator = _pipeline(trainer, parameters)
    _seed(estimator, seed)
    return estimator


def learning_task(estimator: Any, declared: str | None) -> LearningTask:
    """The task, from the estimator. Raises TaskFailed when there is none or the spec declares the other one."""
    from sklearn.base import is_classifier, is_regressor

    name = type(_last_step(estimator)).__name__
    try:
        classifier, regressor = is_classifier(estimator), is_regressor(estimator)
    except AttributeError as error:  # a wrapper asks the estimator that it was not given
        raise _bad(f"{name} does not tell what it predicts: it needs an estimator to wrap") from error
    if not classifier and not regressor:
        raise failed(
            FailureClass.POLICY,
            FailureReason.ESTIMATOR_NOT_ALLOWED,
            f"{name} is neither a classifier nor a regressor: the last step of the trainer must be one",
        )
    task = LearningTask.CLASSIFICATION if classifier else LearningTask.REGRESSION
    if declared is not None and declared != task.value:
        raise failed(
            FailureClass.POLICY,
            FailureReason.INVALID_SPEC,
            f"spec.data.task: {declared}, but {name} in spec.trainer is made for {task.value}: correct one of them",
        )
    return task


def resolve(path: str, extra: tuple[str, ...] = ()) -> type[Any]:
    """The estimator class of a dotted path, public (`sklearn.svm.SVC`) or full (`sklearn.svm._classes.SVC`).

    Raises TaskFailed with EstimatorNotAllowed.
    """
    module_path, _, name = path.rpartition(".")
    if path in extra:
        listed: type[Any] = _member(path, module_path, name)
        return listed
    parts = module_path.split(".")
    public = next((parts[:at] for at, part in enumerate(parts) if part.startswith("_")), parts)
    if not _is_listed_module(parts, public, name):
        raise _not_allowed(path)
    found: type[Any] = _member(path, ".".join(public), name)
    if not _is_listed_class(found) or (public != parts and found.__module__ != module_path):
        raise _not_allowed(path)
    return found


def _is_listed_module(parts: list[str], public: list[str], name: str) -> bool:
    if len(public) < 2 or public[0] != "sklearn" or name.startswith("_"):
        return False
    if not all(part.isidentifier() for part in (*parts, name)) or _UNLISTED_MODULES.intersection(parts):
        return False
    import sklearn

    return public[1] in sklearn.__all__


def _is_listed_class(found: Any) -> bool:
    from sklearn.base import BaseEstimator

    return (
        inspect.isclass(found)
        and issubclass(found, BaseEstimator)
        and found is not BaseEstimator
        and not inspect.isabstract(found)
    )


def _member(path: str, module_path: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module_path), name)
    except (ImportError, AttributeError, ValueError):
        raise _not_allowed(path) from None


def _not_allowed(path: str) -> TaskFailed:
    return failed(
        FailureClass.POLICY,
        FailureReason.ESTIMATOR_NOT_ALLOWED,
        f"{path[:120]!r} is not an estimator of scikit-learn's all_estimators() (such as sklearn.svm.SVC),"
        " nor listed in the operator's MODELCYCLE_EXTRA_ESTIMATORS",
    )


def _pipeline(trainer: Trainer, parameters: Mapping[str, JsonValue]) -> Any:
    from sklearn.pipeline import Pipeline

    assigned: dict[str, dict[str, JsonValue]] = {step.name: dict(step.fixed) for step in trainer.steps}
    if len(assigned) < len(trainer.steps):
        raise _bad("two steps of trainer have the same name")
    for name, value in parameters.items():
        step, _, inner = name.partition("__")
        if step not in assigned or not inner:
            raise _bad(
                f"parameter {name!r} addresses no step of the pipeline: write it as step__parameter, steps: {', '.join(assigned)}"
            )
        assigned[step][inner] = value
    return Pipeline(
        [(step.name, _construct(step, assigned[step.name], trainer.extra_estimators)) for step in trainer.steps]
    )


def _construct(step: PipelineStep, assigned: Mapping[str, JsonValue], extra: tuple[str, ...]) -> Any:
    found = resolve(step.estimator, extra)
    arguments = [p for p in inspect.signature(found).parameters.values() if p.kind is not p.VAR_POSITIONAL]
    accepts_any = any(p.kind is p.VAR_KEYWORD for p in arguments)
    known = {p.name for p in arguments if p.kind is not p.VAR_KEYWORD}
    for name in assigned:
        if name.partition("__")[0] not in known and not accepts_any:
            raise _bad(f"{found.__name__} has no parameter {name!r}; it has: {', '.join(sorted(known))}")
    for argument in arguments:
        if (
            argument.default is argument.empty
            and argument.kind is not argument.VAR_KEYWORD
            and argument.name not in assigned
        ):
            raise _bad(f"{found.__name__} needs parameter {argument.name!r}: set it in trainer.fixed")
    try:
        estimator = found(**{name: value for name, value in assigned.items() if "__" not in name})
        estimator.set_params(**{name: value for name, value in assigned.items() if "__" in name})
    except (TypeError, ValueError, AttributeError) as error:
        nested = ", ".join(name for name in assigned if "__" in name) or ", ".join(assigned)
        raise _bad(f"{found.__name__} does not take these parameters: {nested} ({type(error).__name__})") from error
    return estimator


def _seed(estimator: Any, seed: int) -> None:
    parameters = estimator.get_params(deep=True)
    unset = [
        name
        for name, value in parameters.items()
        if value is None and (name == "random_state" or name.endswith("__random_state"))
    ]
    estimator.set_params(**dict.fromkeys(unset, seed % _SEEDS))


def _last_step(estimator: Any) -> Any:
    return estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator


def _bad(message: str) -> TaskFailed:
    return failed(FailureClass.PARAMETERS, FailureReason.BAD_PARAMETERS, message[:800])
