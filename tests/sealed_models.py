"""Sealed models that rollouts are tried with: made once for one build of the images, by the real trial and the real `seal`.

Owns their making, and the record that says where they are: it lies in the store beside them, so whoever has the store has both, and another
build or another way to make them begins anew. Never used where the making is what a test is about.
"""

import fcntl
import hashlib
import json
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from demo import candidates, store, surgery
from demo.kubectl import Kubectl, describe, is_current, is_stalled
from demo.scene import operator_settings
from modelcycle.cli.keygen import SECRET
from modelcycle_bundle.contract import SealResult, from_json
from modelcycle_bundle.store import NotThere, Store
from plant import KUBECONFIG, SYSTEM_NAMESPACE, Plant, new_plant

SECONDS: Final = 300.0
TREE: Final = "sklearn.tree.DecisionTreeClassifier"


@dataclass(frozen=True, slots=True)
class Model:
    """A sealed model."""

    uri: str
    digest: str

    @property
    def spec(self) -> dict[str, str]:
        """As `spec.model` of a ModelDeployment."""
        return {"uri": self.uri, "digest": self.digest}


@dataclass(frozen=True, slots=True)
class SealedModels:
    """Two that give the same answers under two digests, and one whose graph raises on all but its golden rows."""

    usual: Model
    equal: Model
    broken: Model
    key: Mapping[str, str]
    """Of the Secret that they were signed with: file name -> base64."""

    def trusted_in(self, kubectl: Kubectl) -> None:
        """Give a namespace the key that signed them, and trust in it."""
        kubectl.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}, "data": dict(self.key)})
        kubectl.keygen()


def of_this_build(buckets: tuple[Store, Store], credentials_of_store: Mapping[str, str]) -> SealedModels:
    """The models for the images that the operator runs with; made when the store has none, while others who ask wait."""
    images = operator_settings(Kubectl(KUBECONFIG, SYSTEM_NAMESPACE))
    mark = hashlib.sha256(images["MODELCYCLE_TRAINING_IMAGE"].encode())
    for path in (__file__, candidates.__file__, surgery.__file__):
        mark.update(Path(path).read_bytes())
    build = mark.hexdigest()[:16]
    record = f"sealed-models/{build}.json"
    _, models = buckets
    with _one_at_a_time(build):
        try:
            return _parse(models.get(record))
        except NotThere:
            with new_plant(buckets, credentials_of_store) as plant:
                made = _make(plant, images["MODELCYCLE_TRAINING_IMAGE"])
            models.put_new(record, json.dumps(asdict(made)).encode())
            return made


def published(kubectl: Kubectl, experiment: str) -> Model:
    """The model of an Experiment, as soon as it is sealed."""
    done = kubectl.wait("experiment", experiment, lambda o: is_current(o) or is_stalled(o), SECONDS)
    assert is_current(done), describe(done)
    return Model(done["status"]["model"]["uri"], done["status"]["model"]["digest"])


def _make(plant: Plant, image: str) -> SealedModels:
    plant.kubectl.keygen()
    fixed = {"usual": {"max_depth": 2}, "equal": {"max_depth": 2, "min_samples_split": 3}}
    plant.kubectl.apply(
        *(plant.experiment(name, trainer={"estimator": TREE, "fixed": values}) for name, values in fixed.items())
    )
    usual, equal = (published(plant.kubectl, name) for name in fixed)
    key: dict[str, str] = (plant.kubectl.get("secret", SECRET) or {})["data"]
    return SealedModels(usual, equal, _broken(plant, usual, image), key)


def _broken(plant: Plant, usual: Model, image: str) -> Model:
    experiment: dict[str, Any] = plant.kubectl.get("experiment", "usual") or {}
    good = candidates.sealed_files(plant.models, usual.uri.removeprefix(f"s3://{store.MODEL_BUCKET}/"))
    files = candidates.with_gap(good, candidates.unlike_golden(good))
    task = candidates.seal_task(experiment, str(uuid.uuid4()), files, "a lookup table that is too short")
    candidates.put(plant.models, task, plant.name, files)
    plant.kubectl.apply(candidates.seal_job("seal-broken", experiment, image, task))
    plant.kubectl.wait("job", "seal-broken", lambda o: bool(o.get("status", {}).get("conditions")), SECONDS)
    path = "jsonpath={.items[0].status.containerStatuses[0].state.terminated.message}"
    said = plant.kubectl.run("get", "pods", "-l", "job-name=seal-broken", "-o", path)
    result = from_json(SealResult, said)
    assert result.uri is not None, said
    assert result.digest is not None, said
    return Model(result.uri, result.digest)


def _parse(text: bytes) -> SealedModels:
    found = json.loads(text)
    usual, equal, broken = (Model(**found[name]) for name in ("usual", "equal", "broken"))
    return SealedModels(usual, equal, broken, found["key"])


@contextmanager
def _one_at_a_time(build: str) -> Iterator[None]:
    """Among the processes of this machine: tests that run side by side make them once."""
    with open(Path(tempfile.gettempdir()) / f"modelcycle-sealed-models-{build}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
