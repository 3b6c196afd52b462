"""The same spec, data and image give the same bytes, whatever the process."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from modelcycle_bundle import layout
from modelcycle_bundle.contract import TrialResult, from_json, to_json
from modelcycle_training.reporting import TERMINATION_LOG_ENV
from unit.training.conftest import HISTOGRAM, Lab, Tables

SVM = (("scale", "sklearn.preprocessing.StandardScaler"), ("model", "sklearn.svm.SVC"))


@pytest.mark.parametrize(
    ("estimator", "parameters"),
    [(HISTOGRAM, {"max_iter": 30}), (SVM, {"model__probability": True})],
)
def test_two_processes_write_the_same_model_experiment_46(
    make_lab: Callable[[str], Lab], tables: Tables, estimator: str, parameters: dict[str, int]
) -> None:
    processes = []
    labs = [make_lab("one"), make_lab("two")]
    for lab, hash_seed, threads in zip(labs, ("1", "77"), ("1", "2"), strict=True):
        task = lab.trial_task(tables.cancer, estimator, parameters)
        env = {
            **os.environ,
            layout.TASK_ENV: to_json(task),
            TERMINATION_LOG_ENV: str(lab.folder / "message"),
            "PYTHONHASHSEED": hash_seed,
            "OMP_NUM_THREADS": threads,
            "TZ": "Asia/Tokyo",
        }
        command = [sys.executable, "-m", "modelcycle_training", "trial"]
        processes.append(subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL))
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    results = [from_json(TrialResult, (lab.folder / "message").read_text()) for lab in labs]
    models = [{path.name: path.read_bytes() for path in (lab.candidate() / "model").iterdir()} for lab in labs]
    assert models[0] == models[1]
    assert results[0].candidate_digest == results[1].candidate_digest


def test_model_tells_nothing_of_its_run(lab: Lab, tables: Tables) -> None:
    lab.run(lab.trial_task(tables.cancer, parameters={"max_iter": 5}))
    files = b"".join(data for path, data in lab.files().items() if "/model/" in path)
    for told in (b"uid-1", os.uname().nodename.encode(), str(lab.folder).encode(), b"fit_seconds"):
        assert told not in files
