"""Candidates that the demo builds itself: a sealed model's files with a gap cut into its graph, put where a trial would put its candidate.

Owns their files and the Job that passes them through the real `seal`. What the demo did is in the signed provenance. Never signs.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from demo import surgery
from demo.surgery import Gap, Unlike
from modelcycle.api import experiment as experiments
from modelcycle.experiment import manifests
from modelcycle_bundle import golden, layout
from modelcycle_bundle.contract import JsonValue, SealTask, TaskKind
from modelcycle_bundle.golden import Golden
from modelcycle_bundle.outputs import Float32
from modelcycle_bundle.store import Store
from modelcycle_training.candidate import manifest_of
from modelcycle_training.inference import OnnxModel

MIN_GOLDEN_ROWS: Final = 4


def unlike_golden(files: Mapping[str, bytes]) -> Unlike:
    """The gap that leaves only the golden rows, and the row of zeros that the server warms up with."""
    rows = golden_rows(files)
    return Unlike(np.concatenate([rows, np.zeros_like(rows[:1])]))


def golden_rows(files: Mapping[str, bytes]) -> Float32:
    """The inputs [N, F] of a bundle's golden answers."""
    return Golden.parse(files[layout.GOLDEN_FILE].decode()).inputs


def with_gap(files: Mapping[str, bytes], gap: Gap) -> Mapping[str, bytes]:
    """The files of `model/` with the gap in the graph and without the golden rows in the gap, which a maker who missed it would not have.

    Card and bill of materials name the new graph by its hash. Raises ValueError when too few golden rows are left.
    """
    model = surgery.with_gap(files[layout.MODEL_FILE], gap)
    before = Golden.parse(files[layout.GOLDEN_FILE].decode())
    inputs = before.inputs[~gap.hits(before.inputs)]
    if len(inputs) < MIN_GOLDEN_ROWS:
        raise ValueError(f"only {len(inputs)} of {before.rows} golden rows lie outside the gap")
    after = golden.make(inputs, OnnxModel(model).answer(inputs))
    old, new = (hashlib.sha256(data).hexdigest().encode() for data in (files[layout.MODEL_FILE], model))
    described = {name: data.replace(old, new) for name, data in files.items()}
    return described | {layout.MODEL_FILE: model, layout.GOLDEN_FILE: after.to_json().encode()}


def sealed_files(models: Store, folder: str) -> Mapping[str, bytes]:
    """The files of `model/` of a sealed bundle at `folder` in the bucket. Raises StoreError."""
    return {name: models.get(f"{folder}/{layout.MODEL_DIR}/{name}") for name in layout.MODEL_FILES}


def put(models: Store, task: SealTask, folder: str, files: Mapping[str, bytes]) -> None:
    """Write the files where `seal` looks for this task's candidate. Raises StoreError."""
    place = f"{folder}/{layout.candidate_prefix(task.experiment_uid, task.index)}/{layout.MODEL_DIR}"
    for name, data in files.items():
        models.put_new(f"{place}/{name}", data)


def seal_task(experiment: Mapping[str, Any], uid: str, files: Mapping[str, bytes], note: str) -> SealTask:
    """The task for a candidate made from this Experiment's model. `uid` names the demo's run, `note` what was done."""
    spec = experiments.parse(experiment)
    told: dict[str, JsonValue] = {
        "builtBy": "make demo",
        "change": note,
        "madeFrom": experiment["status"]["model"]["digest"],
    }
    return SealTask(
        experiment=experiment["metadata"]["name"],
        experiment_uid=uid,
        index=0,
        candidate_digest=manifest_of(files).root,
        data_digest=experiment["status"]["data"]["digest"],
        data_uri=spec.data.uri,
        output_uri=spec.output_uri,
        image_id=None,
        external_parameters=told,
    )


def seal_job(name: str, experiment: Mapping[str, Any], image: str, task: SealTask) -> dict[str, Any]:
    """The very Job that the operator would make to seal it, under another name and without an owner: none of the Experiment's."""
    metadata = experiment["metadata"]
    owner = manifests.owner_of(metadata["name"], metadata["namespace"], metadata["uid"])
    order = manifests.JobOrder(TaskKind.SEAL, task.index, 0, task)
    job = manifests.job(owner, experiments.parse(experiment), image, order)
    labels = {"app.kubernetes.io/name": "modelcycle-demo-seal"}
    job["metadata"] = {"name": name, "labels": labels}
    job["spec"]["template"]["metadata"] = {"labels": labels}
    plain: dict[str, Any] = json.loads(json.dumps(job))
    return plain
