"""One run of one program: task in, result and exit code out.

Owns exit codes and the way every exception becomes a result. The programs themselves are imported when they are run, so that
`inspect` and `collect` do not wait for the machine learning libraries.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from modelcycle_bundle import layout
from modelcycle_bundle.contract import (
    EXIT_FAILED,
    EXIT_RETRY,
    CollectTask,
    CompareResult,
    CompareTask,
    ContractError,
    Failure,
    FailureClass,
    FailureReason,
    InspectResult,
    InspectTask,
    SealResult,
    SealTask,
    TaskKind,
    TrialResult,
    TrialTask,
    from_json,
)
from modelcycle_training.context import Context
from modelcycle_training.failures import TaskFailed, failed
from modelcycle_training.reporting import TERMINATION_LOG_ENV, JsonLines, Result, write_termination_message


@dataclass(frozen=True, slots=True)
class _Program:
    task: type[Any]
    module: str
    function: str


_PROGRAMS: Final = {
    TaskKind.INSPECT: _Program(InspectTask, "modelcycle_training.inspection", "inspect"),
    TaskKind.TRIAL: _Program(TrialTask, "modelcycle_training.trial", "trial"),
    TaskKind.SEAL: _Program(SealTask, "modelcycle_training.sealing", "seal"),
    TaskKind.COLLECT: _Program(CollectTask, "modelcycle_training.collecting", "collect"),
    TaskKind.COMPARE: _Program(CompareTask, "modelcycle_training.comparing", "compare"),
}


def run(kind: TaskKind, env: Mapping[str, str], key_dir: Path, log: JsonLines) -> int:
    """Carry out the task of `layout.TASK_ENV`, write the termination message, return the exit code. Never raises."""
    result = _result(kind, env, Context(env, key_dir, log))
    failure = result.failure
    if failure is None:
        log("done")
    else:
        log("failed", failure=failure.failure_class, reason=failure.reason, message=failure.message)
    try:
        log.facts(result)
    except (OSError, ValueError) as error:
        log("facts not written", error=type(error).__name__)
    path = Path(env.get(TERMINATION_LOG_ENV, layout.TERMINATION_MESSAGE_PATH))
    try:
        write_termination_message(result, path)
    except (OSError, ValueError) as error:
        log("termination message not written", path=str(path), error=type(error).__name__)
    return exit_code(failure)


def exit_code(failure: Failure | None) -> int:
    """0: a result the search can use, also when its metric is unavailable; 75: try again; 1: failed for good."""
    if failure is None or failure.failure_class is FailureClass.METRICS:
        return 0
    # Refused credentials stay refused until a person mends them: the operator says so now and has the store looked at again by itself.
    again = failure.failure_class is FailureClass.INFRASTRUCTURE and failure.reason is not FailureReason.STORE_DENIED
    return EXIT_RETRY if again else EXIT_FAILED


def _result(kind: TaskKind, env: Mapping[str, str], context: Context) -> Result:
    program = _PROGRAMS[kind]
    task: Any = None
    try:
        task = _task(program, env)
        context.log("started")
        function = getattr(importlib.import_module(program.module), program.function)
        result: Result = function(task, context)
        return result
    except TaskFailed as error:
        failure = error.failure
    except Exception as error:
        failure = _failure_of(error)
    return _failed_result(kind, getattr(task, "index", 0), failure)


def _task(program: _Program, env: Mapping[str, str]) -> Any:
    text = env.get(layout.TASK_ENV, "")
    try:
        return from_json(program.task, text)
    except ContractError as error:
        detail = str(error)[:300] if text else "it is not set"
        raise failed(
            FailureClass.POLICY,
            FailureReason.TASK_INVALID,
            f"{layout.TASK_ENV}: {detail}; are operator and training image of the same version?",
        ) from error


def _failure_of(error: Exception) -> Failure:
    from modelcycle_bundle.store import StoreError

    if isinstance(error, StoreError):
        return error.failure
    if isinstance(error, MemoryError):  # no limit was reached: one allocation was larger than what is left
        text = "spec.trainer.resources.limits.memory: the program asked for more memory than there is: raise it"
        return Failure(FailureClass.TRAINER, FailureReason.OUT_OF_MEMORY, text)
    return Failure(FailureClass.TRAINER, FailureReason.INTERNAL, f"defect of the program: {type(error).__name__}")


def _failed_result(kind: TaskKind, index: int, failure: Failure) -> Result:
    match kind:
        case TaskKind.INSPECT:
            return InspectResult(key_present=False, failure=failure)
        case TaskKind.SEAL:
            return SealResult(failure=failure)
        case TaskKind.COMPARE:
            return CompareResult(failure=failure)
        case TaskKind.TRIAL | TaskKind.COLLECT:
            return TrialResult(index=index, failure=failure)
