"""An Experiment with 2,000 recorded trials stays small and is decided from its ledger alone."""

import json

from fakes.experiment_lab import KEY, Lab, search
from modelcycle.api.experiment import TrialState, parse
from modelcycle.experiment import ledger
from modelcycle.experiment.ledger import Entry
from modelcycle.experiment.manifests import ledger_page, owner_of
from modelcycle.experiment.search import assignments
from modelcycle.kube.kinds import CONFIG_MAP

PARAMETERS = [
    {"name": f"p{i}", "parameterType": "double", "feasibleSpace": {"min": "0", "max": "1"}} for i in range(32)
]


def test_two_thousand_trials_experiment_42() -> None:
    lab = Lab()
    lab.apply(search(parameters=PARAMETERS, maxTrialCount=2000))
    spec = parse(lab.experiment)
    digest = "sha256:" + "c" * 64
    entries = [
        Entry(i, 0, spec.search_hash, TrialState.SUCCEEDED, point, (("roc_auc", "0.5"),), "roc_auc", digest)
        for i, point in enumerate(assignments(spec))
    ]
    owner = owner_of(KEY.name, KEY.namespace, lab.experiment["metadata"]["uid"])
    for write in ledger.append((), entries):
        lab.kube.seed(CONFIG_MAP, KEY.namespace, ledger_page(owner, write))
    lab.settle()
    assert lab.status["summary"]["trials"] == "2000/2000"
    assert len(json.dumps(lab.experiment)) < 256 * 1024
    assert [name.rsplit("-", 1)[-1] for name in lab.jobs.started] == ["inspect", "0"]
