"""The same spec, data and image give the same bytes, whatever the process."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence

from modelcycle_bundle import layout
from modelcycle_bundle.contract import JsonValue, TrialResult, from_json, to_json
from modelcycle_training.reporting import TERMINATION_LOG_ENV
from unit.training.conftest import HISTOGRAM, Lab, Tables

MODELS: tuple[tuple[str | Sequence[tuple[str, str]], dict[str, JsonValue]], ...] = (
    (HISTOGRAM, {"max_iter": 30}),
    # Its converter writes the opset imports in the order of a set.
    ((("scale", "sklearn.preprocessing.StandardScaler"), ("model", "sklearn.svm.SVC")), {"model__probability": True}),
)

TRIALS = """
import json, sys
from modelcycle_training.__main__ import main
import os
for env in json.loads(sys.argv[1]):
    os.environ.update(env)
    assert main(["trial"]) == 0
"""


def start(lab: Lab, tables: Tables, hash_seed: str, threads: str) -> subprocess.Popen[bytes]:
    """All trials in one process of its own, because the imports take longer than the fits."""
    tasks = [
        lab.trial_task(tables.cancer, estimator, parameters, index=at)
        for at, (estimator, parameters) in enumerate(MODELS)
    ]
    envs = [
        {layout.TASK_ENV: to_json(task), TERMINATION_LOG_ENV: str(lab.folder / f"message-{task.index}")}
        for task in tasks
    ]
    env = {**os.environ, "PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": threads, "TZ": "Asia/Tokyo"}
    return subprocess.Popen([sys.executable, "-c", TRIALS, json.dumps(envs)], env=env, stdout=subprocess.DEVNULL)


def test_two_processes_write_the_same_models_experiment_46(make_lab: Callable[[str], Lab], tables: Tables) -> None:
    labs = [make_lab("one"), make_lab("two")]
    processes = [start(labs[0], tables, "1", "1"), start(labs[1], tables, "77", "2")]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    for at in range(len(MODELS)):
        results = [from_json(TrialResult, (lab.folder / f"message-{at}").read_text()) for lab in labs]
        models = [{path.name: path.read_bytes() for path in (lab.candidate(at) / "model").iterdir()} for lab in labs]
        assert models[0] == models[1]
        assert results[0].candidate_digest == results[1].candidate_digest


def test_model_tells_nothing_of_its_run(lab: Lab, tables: Tables) -> None:
    lab.run(lab.trial_task(tables.cancer, parameters={"max_iter": 5}))
    files = b"".join(data for path, data in lab.files().items() if "/model/" in path)
    for told in (b"uid-1", os.uname().nodename.encode(), str(lab.folder).encode(), b"fit_seconds"):
        assert told not in files
