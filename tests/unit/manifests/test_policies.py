"""The committed admission policies are those that the operator knows; any other is none."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelcycle.api.policies import KNOWN, PODS, REQUESTS, STATUS, enforced, fingerprint

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = list(yaml.safe_load_all((ROOT / "manifests" / "base" / "policies.yaml").read_text()))
POLICIES = {d["metadata"]["name"]: d for d in DOCUMENTS if d["kind"] == "ValidatingAdmissionPolicy"}
BINDINGS = {d["metadata"]["name"]: d for d in DOCUMENTS if d["kind"] == "ValidatingAdmissionPolicyBinding"}
Object = dict[str, Any]


def test_the_committed_policies_are_the_known_ones() -> None:
    assert {name: fingerprint(policy["spec"]) for name, policy in POLICIES.items()} == KNOWN
    assert [name for name in KNOWN if enforced(POLICIES[name], BINDINGS[name])] == [PODS, REQUESTS, STATUS]


def test_what_the_api_server_writes_in_alters_nothing() -> None:
    policy, binding = copy.deepcopy(POLICIES[REQUESTS]), copy.deepcopy(BINDINGS[REQUESTS])
    policy["spec"]["matchConstraints"] |= {"matchPolicy": "Equivalent", "namespaceSelector": {}, "objectSelector": {}}
    policy["metadata"] |= {"uid": "0", "generation": 3}
    policy["status"] = {"typeChecking": {}}
    assert enforced(policy, binding)


def without_a_validation(policy: Object, binding: Object) -> None:
    del policy["spec"]["validations"][0]


def always_true(policy: Object, binding: Object) -> None:
    policy["spec"]["validations"][0]["expression"] = "true"


def ignoring_errors(policy: Object, binding: Object) -> None:
    policy["spec"]["failurePolicy"] = "Ignore"


def matching_less(policy: Object, binding: Object) -> None:
    policy["spec"]["matchConstraints"]["objectSelector"] = {"matchLabels": {"strict": "yes"}}


def matching_exactly(policy: Object, binding: Object) -> None:
    policy["spec"]["matchConstraints"]["matchPolicy"] = "Exact"


def sparing_someone(policy: Object, binding: Object) -> None:
    policy["spec"]["matchConditions"] = [{"name": "x", "expression": "request.userInfo.username != 'eve'"}]


def only_warning(policy: Object, binding: Object) -> None:
    binding["spec"]["validationActions"] = ["Warn"]


def bound_to_fewer(policy: Object, binding: Object) -> None:
    binding["spec"]["matchResources"] = {"namespaceSelector": {"matchLabels": {"strict": "yes"}}}


def bound_elsewhere(policy: Object, binding: Object) -> None:
    binding["spec"]["policyName"] = STATUS


def of_another_name(policy: Object, binding: Object) -> None:
    policy["metadata"]["name"] = "modelcycle-other"


@pytest.mark.parametrize(
    "alter",
    [
        without_a_validation,
        always_true,
        ignoring_errors,
        matching_less,
        matching_exactly,
        sparing_someone,
        only_warning,
        bound_to_fewer,
        bound_elsewhere,
        of_another_name,
    ],
)
def test_an_altered_policy_or_binding_counts_as_none(alter: Any) -> None:
    policy, binding = copy.deepcopy(POLICIES[REQUESTS]), copy.deepcopy(BINDINGS[REQUESTS])
    alter(policy, binding)
    assert not enforced(policy, binding)


def test_an_absent_policy_or_binding_counts_as_none() -> None:
    assert not enforced(None, BINDINGS[REQUESTS])
    assert not enforced(POLICIES[REQUESTS], None)


def test_policies_name_the_account_that_the_operator_has() -> None:
    account = yaml.safe_load((ROOT / "manifests" / "base" / "service_account.yaml").read_text())["metadata"]["name"]
    namespace = yaml.safe_load((ROOT / "manifests" / "base" / "kustomization.yaml").read_text())["namespace"]
    user = f"request.userInfo.username == 'system:serviceaccount:{namespace}:{account}'"
    assert POLICIES[PODS]["spec"]["matchConditions"][0]["expression"] == user
    assert POLICIES[STATUS]["spec"]["validations"][0]["expression"] == user
