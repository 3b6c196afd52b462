"""Real tables in a file store, and the programs of the training image run in this process as a Job would run them."""

import csv
import io
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sklearn import datasets

from modelcycle_bundle import keys, layout
from modelcycle_bundle.contract import (
    CollectTask,
    CompareResult,
    CompareTask,
    DataRef,
    InspectResult,
    InspectTask,
    JsonValue,
    PipelineStep,
    SealResult,
    SealTask,
    Split,
    TaskKind,
    Trainer,
    TrialResult,
    TrialTask,
    from_json,
    to_json,
)
from modelcycle_training.program import run
from modelcycle_training.reporting import TERMINATION_LOG_ENV, JsonLines

HISTOGRAM = "sklearn.ensemble.HistGradientBoostingClassifier"

_KINDS: dict[type[Any], tuple[TaskKind, type[Any]]] = {
    InspectTask: (TaskKind.INSPECT, InspectResult),
    TrialTask: (TaskKind.TRIAL, TrialResult),
    SealTask: (TaskKind.SEAL, SealResult),
    CollectTask: (TaskKind.COLLECT, TrialResult),
    CompareTask: (TaskKind.COMPARE, CompareResult),
}


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a table and return its URI."""
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)
    return f"file://{path}"


@dataclass(frozen=True)
class Tables:
    """URIs of real tables, target column `y`."""

    cancer: str
    cancer_with_gaps: str
    diabetes: str
    iris: str
    """Text classes."""


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = tmp_path_factory.mktemp("tables")

    def write(name: str, inputs: Any, target: Iterable[object]) -> str:
        header = [f"f{at}" for at in range(inputs.shape[1])] + ["y"]
        rows = ([*map(float, row), label] for row, label in zip(inputs, target, strict=True))
        blank = ([("" if isinstance(cell, float) and math.isnan(cell) else cell) for cell in row] for row in rows)
        return write_csv(folder / f"{name}.csv", header, blank)

    cancer_x, cancer_y = datasets.load_breast_cancer(return_X_y=True)
    gaps = cancer_x.copy()
    gaps[::7, 3] = gaps[::5, 0] = math.nan
    diabetes_x, diabetes_y = datasets.load_diabetes(return_X_y=True)
    iris = datasets.load_iris()
    return Tables(
        cancer=write("cancer", cancer_x, cancer_y),
        cancer_with_gaps=write("gaps", gaps, cancer_y),
        diabetes=write("diabetes", diabetes_x, diabetes_y),
        iris=write("iris", iris.data, iris.target_names[iris.target]),
    )


@dataclass(frozen=True)
class Outcome:
    """What a Job's pod leaves behind."""

    exit_code: int
    result: Any
    log: str
    message: bytes

    @property
    def reason(self) -> str | None:
        return None if self.result.failure is None else str(self.result.failure.reason)

    @property
    def steps(self) -> list[str]:
        return [json.loads(line)["step"] for line in self.log.splitlines() if line.startswith("{")]


@dataclass(frozen=True)
class Lab:
    """One namespace: a store folder, perhaps a signing key, and the programs."""

    folder: Path

    @property
    def output_uri(self) -> str:
        return f"file://{self.folder}/out"

    @property
    def key_dir(self) -> Path:
        return self.folder / "key"

    def make_key(self) -> keys.KeyPair:
        pair = keys.generate()
        self.key_dir.mkdir()
        (self.key_dir / layout.PRIVATE_KEY_FILE).write_bytes(pair.private_pem)
        (self.key_dir / layout.PUBLIC_KEY_FILE).write_text(pair.public_pem)
        return pair

    def run(self, task: Any, env: Mapping[str, str] | None = None) -> Outcome:
        kind, result = _KINDS[type(task)]
        log = io.StringIO()
        message = self.folder / "termination-log"
        message.unlink(missing_ok=True)
        full = {layout.TASK_ENV: to_json(task), TERMINATION_LOG_ENV: str(message), **(env or {})}
        code = run(kind, full, self.key_dir, JsonLines(kind.value, log))
        return Outcome(code, from_json(result, message.read_text()), log.getvalue(), message.read_bytes())

    def trial_task(
        self,
        uri: str,
        estimator: str | Sequence[tuple[str, str]] = HISTOGRAM,
        parameters: Mapping[str, JsonValue] | None = None,
        *,
        target: str = "y",
        objective: str | None = None,
        digest: str | None = None,
        index: int = 0,
        split: Split | None = None,
        task: str | None = None,
        extra: tuple[str, ...] = (),
    ) -> TrialTask:
        steps = [("model", estimator)] if isinstance(estimator, str) else estimator
        return TrialTask(
            experiment="scrap",
            experiment_uid="uid-1",
            index=index,
            seed=11,
            data=DataRef(uri=uri, digest=digest, target=target, task=task, split=split or Split()),
            trainer=Trainer(tuple(PipelineStep(name, path) for name, path in steps), extra),
            parameters=parameters or {},
            objective_metric=objective,
            output_uri=self.output_uri,
        )

    def seal_task(self, trial: TrialTask, result: TrialResult) -> SealTask:
        assert result.candidate_digest is not None
        assert result.data_digest is not None
        return SealTask(
            experiment=trial.experiment,
            experiment_uid=trial.experiment_uid,
            index=trial.index,
            candidate_digest=result.candidate_digest,
            data_digest=result.data_digest,
            data_uri=trial.data.uri,
            output_uri=self.output_uri,
            image_id="registry.example/training@sha256:" + "0" * 64,
            external_parameters={"parameters": dict(trial.parameters)},
        )

    def candidate(self, index: int = 0) -> Path:
        return self.folder / "out" / layout.candidate_prefix("uid-1", index)

    def files(self) -> dict[str, bytes]:
        """Every object of the output store by path."""
        root = self.folder / "out"
        return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.fixture
def make_lab(tmp_path: Path) -> Callable[[str], Lab]:
    def make(name: str) -> Lab:
        (tmp_path / name).mkdir()
        return Lab(tmp_path / name)

    return make
