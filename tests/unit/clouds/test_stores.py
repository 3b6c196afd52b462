"""gs:// and az:// with services that others wrote behind them: every call of a store, and what a person reads when one fails."""

import pytest

from modelcycle_bundle.contract import FailureClass, FailureReason
from modelcycle_bundle.store import Entry, NotThere, Patience, Store, StoreError, open_object, open_store
from unit.bundle.store_behaviour import StoreBehaviour
from unit.clouds import azure
from unit.clouds.cloud import Cloud

pytestmark = [pytest.mark.oracle, pytest.mark.timeout(900)]  # the first run builds and installs the emulators
IMPATIENT = Patience(retry_seconds=1, connect_seconds=1, silence_seconds=5, transfer_seconds=10)


@pytest.fixture
def store(cloud: Cloud) -> Store:
    return open_store(f"{cloud.bucket()}/team/models", cloud.secret)


class TestCloud(StoreBehaviour):
    """A bucket of each cloud."""


def test_an_object_at_the_root_of_a_bucket_is_read(cloud: Cloud) -> None:
    bucket = cloud.bucket()
    open_store(bucket, cloud.secret).put_new("data.csv", b"a,b\n")
    store, path = open_object(f"{bucket}/data.csv", cloud.secret)
    assert store.get(path) == b"a,b\n"


def test_what_is_gone_already_does_not_keep_the_rest_of_a_removal(store: Store) -> None:
    there = [f"candidates/uid/{number}/model.onnx" for number in range(5)]
    for path in (*there, "kept"):
        store.put_new(path, b"1")
    store.remove_candidates([there[0], "candidates/uid/9/gone", *there[1:]])
    assert store.list() == [Entry("kept", 1)]


@pytest.mark.parametrize("missing", [FailureReason.DATA_NOT_FOUND, FailureReason.MODEL_NOT_FOUND])
def test_an_absent_object_or_bucket_has_the_caller_s_reason(cloud: Cloud, missing: FailureReason) -> None:
    for uri in (cloud.bucket(), f"{cloud.scheme}://absent"):
        with pytest.raises(NotThere, match="no such object") as caught:
            open_store(uri, cloud.secret, missing).get("nothing")
        failure = caught.value.failure
        assert (failure.failure_class, failure.reason) == (FailureClass.DATA, missing)
        assert f"{uri}/nothing" in failure.message


def assert_denied(store: Store, names: str) -> None:
    for call in (lambda: store.get("x"), lambda: store.list(), lambda: store.put_new("x", b"1")):
        with pytest.raises(StoreError) as caught:
            call()
        failure = caught.value.failure
        assert (failure.failure_class, failure.reason) == (FailureClass.INFRASTRUCTURE, FailureReason.STORE_DENIED)
        assert names in failure.message
        assert "AWS_" not in failure.message


def test_a_credential_of_another_account_is_denied_and_the_right_keys_are_named(cloud: Cloud) -> None:
    store = open_store(cloud.bucket(), cloud.foreign, patience=IMPATIENT)
    assert_denied(store, cloud.names_in_denial)


def test_keys_of_other_programs_in_the_same_secret_do_no_harm(cloud: Cloud) -> None:
    others = {
        "GOOGLE_CLOUD_PROJECT": "p",
        "AZURE_STORAGE_CONNECTION_STRING": "x",
        "AZURE_REGION": "y",
        "AWS_REGION": "z",
    }
    store = open_store(cloud.bucket(), {**cloud.secret, **others})
    store.put_new("x", b"1")
    assert store.get("x") == b"1"


def test_an_address_with_a_slash_at_its_end_is_the_same_address(cloud: Cloud) -> None:
    store = open_store(cloud.bucket(), {**cloud.secret, cloud.address_key: cloud.secret[cloud.address_key] + "/"})
    store.put_new("x", b"1")
    assert (store.get("x"), store.list()) == (b"1", [Entry("x", 1)])


def test_a_store_that_is_down_is_unreachable_and_its_address_is_asked_for(cloud: Cloud) -> None:
    store = open_store(cloud.bucket(), {**cloud.secret, cloud.address_key: "http://127.0.0.1:1/x"}, patience=IMPATIENT)
    with pytest.raises(StoreError, match=f"is {cloud.address_key} right and the store up") as caught:
        store.get("x")
    assert caught.value.failure.reason is FailureReason.STORE_UNREACHABLE


def with_rights(cloud: Cloud, rights: str) -> dict[str, str]:
    place = {name: value for name, value in cloud.secret.items() if name != "AZURE_STORAGE_ACCOUNT_KEY"}
    return {**place, "AZURE_STORAGE_SAS_TOKEN": azure.shared_access(rights)}


def test_a_shared_access_signature_is_enough(microsoft: Cloud) -> None:
    store = open_store(microsoft.bucket(), with_rights(microsoft, "rlcw"))
    store.put_new("x", b"1")
    assert (store.get("x"), store.list()) == (b"1", [Entry("x", 1)])


def test_a_right_to_read_alone_is_none_to_write(microsoft: Cloud) -> None:
    bucket = microsoft.bucket()
    open_store(bucket, microsoft.secret).put_new("x", b"1")
    store = open_store(bucket, with_rights(microsoft, "rl"), patience=IMPATIENT)
    assert store.get("x") == b"1"
    with pytest.raises(StoreError, match="AZURE_STORAGE_ACCOUNT_NAME") as caught:
        store.put_new("y", b"1")
    assert caught.value.failure.reason is FailureReason.STORE_DENIED
    assert store.list() == [Entry("x", 1)]
