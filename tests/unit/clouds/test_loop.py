"""From table to served bytes in one cloud: inspect, trials, seal with its removal of losers, and the fetch step as a pod runs it."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from modelcycle_bundle import layout, oms
from modelcycle_bundle.contract import (
    AttemptRange,
    DataRef,
    FailureReason,
    FetchResult,
    FetchTask,
    InspectTask,
    TrialResult,
    from_json,
    to_json,
)
from modelcycle_bundle.store import Store, open_store
from unit.clouds.cloud import Cloud
from unit.training.conftest import Lab, Outcome, Tables

pytestmark = [pytest.mark.oracle, pytest.mark.timeout(900)]
TREE = "sklearn.tree.DecisionTreeClassifier"


@dataclass(frozen=True)
class CloudLab(Lab):
    """A namespace whose data and models lie in a cloud."""

    bucket: str
    secret: Mapping[str, str]

    @property
    def output_uri(self) -> str:
        return f"{self.bucket}/team/models"

    def run(self, task: Any, env: Mapping[str, str] | None = None) -> Outcome:
        return super().run(task, self.secret if env is None else env)

    def upload(self, uri: str) -> str:
        """Put a local table into the bucket."""
        table = Path(urlsplit(uri).path)
        open_store(f"{self.bucket}/data", self.secret).put_new(table.name, table.read_bytes())
        return f"{self.bucket}/data/{table.name}"

    def fetch(self, uri: str, digest: str, trust: str, secret: Mapping[str, str]) -> tuple[int, FetchResult]:
        """The fetch container: the Secret's keys come under their prefix."""
        (self.folder / "trust.pem").write_text(trust)
        message = self.folder / "fetch-message"
        folders = ("--destination", str(self.folder / "mount"), "--trust", str(self.folder / "trust.pem"))
        done = subprocess.run(
            [sys.executable, "-m", "modelcycle_serving", "fetch", *folders],
            env={
                layout.TASK_ENV: to_json(FetchTask(uri=uri, digest=digest, timeout_seconds=20)),
                "MODELCYCLE_TERMINATION_LOG": str(message),
                **{f"{layout.STORE_ENV_PREFIX}{name}": value for name, value in secret.items()},
            },
            stdout=subprocess.PIPE,
            check=False,
        )
        return done.returncode, from_json(FetchResult, message.read_text())


@pytest.fixture
def lab(cloud: Cloud, tmp_path: Path) -> CloudLab:
    return CloudLab(tmp_path, cloud.bucket(), cloud.secret)


def looking(lab: Lab, uri: str) -> InspectTask:
    return InspectTask(DataRef(uri=uri, digest=None, target="y", task=None), lab.output_uri)


def paths(store: Store, folder: str) -> list[str]:
    return [entry.path for entry in store.list(folder)]


def test_a_table_in_a_cloud_becomes_a_sealed_model_that_a_pod_fetches(
    lab: CloudLab, cloud: Cloud, tables: Tables
) -> None:
    key, table = lab.make_key(), lab.upload(tables.cancer)
    inspected = lab.run(looking(lab, table)).result
    assert (inspected.failure, inspected.rows) == (None, 569)

    trials = [lab.trial_task(table, TREE, {"max_depth": depth}, index=at) for at, depth in enumerate((3, 2))]
    results: list[TrialResult] = [lab.run(trial).result for trial in trials]
    assert [result.data_digest for result in results] == [inspected.data_digest] * 2
    store = open_store(lab.output_uri, cloud.secret)
    assert paths(store, "inspections")
    assert paths(store, layout.candidate_prefix("uid-1", 1))

    sealing = replace(lab.seal_task(trials[0], results[0]), remove=(AttemptRange(0, 1, 1),))
    sealed = lab.run(sealing).result
    assert (sealed.failure, sealed.removed, sealed.removal_problem) == (None, 1, None)
    assert paths(store, layout.candidate_prefix("uid-1", 1)) == []
    assert paths(store, layout.candidate_prefix("uid-1", 0))
    # Sealed again, as after a lost answer: nothing is written twice, and nothing is left to remove.
    assert replace(lab.run(sealing).result, removed=1) == sealed

    code, fetched = lab.fetch(sealed.uri, sealed.digest, key.public_pem, cloud.secret)
    assert (code, fetched.failure, fetched.digest) == (0, None, sealed.digest)
    assert oms.digest_directory(lab.folder / "mount" / layout.MODEL_DIR).root == sealed.digest


def test_a_pod_fetches_no_other_bytes_and_says_why(lab: CloudLab, cloud: Cloud, tables: Tables) -> None:
    key, table = lab.make_key(), lab.upload(tables.cancer)
    trial = lab.trial_task(table, TREE, {"max_depth": 2})
    sealed = lab.run(lab.seal_task(trial, lab.run(trial).result)).result
    absent = f"{lab.bucket}/nowhere"
    asked = [
        (sealed.uri, "sha256:" + "0" * 64, cloud.secret, FailureReason.DIGEST_MISMATCH),
        (absent, sealed.digest, cloud.secret, FailureReason.MODEL_NOT_FOUND),
        (sealed.uri, sealed.digest, cloud.foreign, FailureReason.STORE_DENIED),
    ]
    for uri, digest, secret, reason in asked:
        code, fetched = lab.fetch(uri, digest, key.public_pem, secret)
        assert fetched.failure is not None
        assert (code != 0, fetched.failure.reason) == (True, reason), fetched.failure.message
        assert not (lab.folder / "mount" / layout.MODEL_DIR).exists()


def test_a_table_that_is_not_there_or_not_readable_is_told_with_its_address(
    lab: CloudLab, cloud: Cloud, tables: Tables
) -> None:
    lab.make_key()
    absent = f"{lab.bucket}/data/absent.csv"
    table = lab.upload(tables.cancer)
    for uri, secret, reason, words in (
        (absent, cloud.secret, "DataNotFound", absent),
        (table, cloud.foreign, "StoreDenied", cloud.names_in_denial),
    ):
        outcome = lab.run(looking(lab, uri), secret)
        assert outcome.reason == reason
        assert words in outcome.result.failure.message
