"""Stores: create-only writes, whole-segment listing, and every failure told as a reason without a credential."""

import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import obstore
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from modelcycle_bundle import layout, store_clients
from modelcycle_bundle.contract import FailureClass, FailureReason
from modelcycle_bundle.store import (
    NotThere,
    Patience,
    Store,
    StoreError,
    StoreStalled,
    open_object,
    open_store,
)
from unit.bundle.s3_double import Answer, Dropped, serving
from unit.bundle.store_behaviour import StoreBehaviour

IMPATIENT = Patience(retry_seconds=1, connect_seconds=1, silence_seconds=1, transfer_seconds=5)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(f"file://{tmp_path}/bucket", {})


class TestFolder(StoreBehaviour):
    """A folder of a file system."""


@pytest.mark.parametrize("path", ["../x", "a//b", "/a", "a/./b", "a/"])
def test_a_path_cannot_leave_the_root(store: Store, path: str) -> None:
    with pytest.raises(StoreError, match="part"):
        store.get(path)


@pytest.mark.parametrize("missing", [FailureReason.DATA_NOT_FOUND, FailureReason.MODEL_NOT_FOUND])
def test_an_absent_object_has_the_caller_s_reason(tmp_path: Path, missing: FailureReason) -> None:
    with pytest.raises(NotThere) as caught:
        open_store(f"file://{tmp_path}", {}, missing).get("nothing")
    assert caught.value.failure.reason is missing


def test_a_symbolic_link_is_not_followed(tmp_path: Path, store: Store) -> None:
    (tmp_path / "private.pem").write_bytes(b"secret")
    store.put_new("real/x", b"1")
    (tmp_path / "bucket" / "link").symlink_to(tmp_path / "private.pem")
    (tmp_path / "bucket" / "folder").symlink_to(tmp_path, target_is_directory=True)
    for path in ("link", "folder/private.pem"):
        for read in (store.get, store.size, lambda path: list(store.stream(path))):
            with pytest.raises(StoreError, match="symbolic link"):
                read(path)


def test_an_object_s_uri_names_folder_and_object(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_bytes(b"a,b\n")
    store, path = open_object(f"file://{tmp_path}/data.csv", {})
    assert (path, store.get(path)) == ("data.csv", b"a,b\n")


def test_a_claim_is_read_below_its_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "PVC_MOUNT", str(tmp_path))
    (tmp_path / "claim" / "x").mkdir(parents=True)
    (tmp_path / "claim" / "x" / "data.csv").write_bytes(b"1")
    assert open_store("pvc://claim/x", {}).get("data.csv") == b"1"


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "models",
        "/x",
        "s3://",
        "s3:///x",
        "ftp://h/x",
        "http://h/x",
        "file://host/x",
        "s3://b/a/../c",
        "s3://b/x?v=1",
        "s3://[b",
    ],
)
def test_what_is_no_uri_of_a_store_is_refused(uri: str) -> None:
    with pytest.raises(StoreError) as caught:
        open_store(uri, {})
    assert caught.value.failure.reason is FailureReason.DATA_NOT_FOUND


def test_credentials_in_a_uri_are_refused_and_not_repeated() -> None:
    with pytest.raises(StoreError, match="must not hold credentials") as caught:
        open_store("s3://user:hunter2@bucket/x", {})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("uri", ["s3://bucket", "s3://bucket/", "https://host/folder/"])
def test_a_folder_is_no_object(uri: str) -> None:
    with pytest.raises(StoreError, match="not an object"):
        open_object(uri, {})


ADDRESSES = {
    "AWS_ENDPOINT_URL": "s3://bucket/x",
    "GOOGLE_BASE_URL": "gs://bucket/x",
    "AZURE_STORAGE_ENDPOINT": "az://container/x",
    "AZURE_AUTHORITY_HOST": "az://container/x",
}


@pytest.mark.parametrize("name", ADDRESSES)
@pytest.mark.parametrize("address", ["junk", "://", "ftp://host", "http://", "http://host?x"])
def test_an_address_of_a_store_that_is_no_url_is_told(name: str, address: str) -> None:
    with pytest.raises(StoreError, match=f"{name} in the store Secret is not an http:// or https:// URL") as caught:
        open_store(ADDRESSES[name], {"AZURE_STORAGE_ACCOUNT_NAME": "factory", name: address})
    assert caught.value.failure.reason is FailureReason.STORE_UNREACHABLE


@pytest.mark.parametrize(
    ("uri", "secret", "words"),
    [
        (
            "az://container/x",
            {"AZURE_STORAGE_ACCOUNT_KEY": "hidden"},
            "the store Secret has no AZURE_STORAGE_ACCOUNT_NAME",
        ),
        (
            "az://container/x",
            {"AZURE_STORAGE_ACCOUNT_NAME": "factory", "AZURE_STORAGE_ACCOUNT_KEY": "hidden!"},
            "check the store Secret's keys (AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY",
        ),
        (
            "gs://bucket/x",
            {"GOOGLE_SERVICE_ACCOUNT_KEY": "hidden"},
            "check the store Secret's keys (GOOGLE_SERVICE_ACCOUNT_KEY: the JSON text of a key file",
        ),
        ("gs://bucket/x", {"GOOGLE_APPLICATION_CREDENTIALS": "/hidden"}, "GOOGLE_SERVICE_ACCOUNT_KEY"),
    ],
)
def test_a_key_that_cannot_be_used_is_denied_and_the_keys_of_that_cloud_are_named(
    uri: str, secret: dict[str, str], words: str
) -> None:
    with pytest.raises(StoreError) as caught:
        open_store(uri, secret)
    failure = caught.value.failure
    assert failure.reason is FailureReason.STORE_DENIED
    assert words in failure.message
    assert uri in failure.message
    assert "hidden" not in failure.message
    assert "AWS_" not in failure.message


def test_a_key_of_another_program_in_the_secret_is_not_read() -> None:
    others = {"GOOGLE_CLOUD_PROJECT": "p", "GOOGLE_BUCKET": "b", "AZURE_REGION": "r", "AZURE_CONTAINER_NAME": "c"}
    open_store("gs://bucket/x", others)
    open_store("az://container/x", {"AZURE_STORAGE_ACCOUNT_NAME": "factory", **others})


def test_an_identity_of_entra_id_in_the_secret_reaches_the_client() -> None:
    identity = {"AZURE_CLIENT_ID": "id", "AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_SECRET": "secret"}
    client = store_clients.connect("az", "container", {"AZURE_STORAGE_ACCOUNT_NAME": "factory", **identity}, {}, {})
    assert {"client_id": "id", "tenant_id": "tenant", "client_secret": "secret"}.items() <= client.config.items()


def test_a_volume_that_may_not_be_read_is_no_matter_of_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"file://{tmp_path}", {})

    def refused(*_: object) -> None:
        raise PermissionError("no")

    monkeypatch.setattr(obstore, "get", refused)
    with pytest.raises(StoreError, match="check who may read and write the volume") as caught:
        store.get("x")
    assert caught.value.failure.reason is FailureReason.STORE_DENIED
    assert "Secret" not in str(caught.value)


def test_a_server_that_refuses_is_told_that_no_credentials_are_sent() -> None:
    with serving(lambda method, path: Answer(403)) as (env, _):
        host = env["AWS_ENDPOINT_URL"].removeprefix("http://")
        store, path = open_object(f"http://{host}/data.csv", {"AWS_ALLOW_HTTP": "true"}, patience=IMPATIENT)
        with pytest.raises(StoreError, match="must be readable without credentials: none are sent"):
            store.get(path)


@pytest.mark.parametrize(
    ("status", "reason", "failure_class"),
    [
        (401, FailureReason.STORE_DENIED, FailureClass.INFRASTRUCTURE),
        (403, FailureReason.STORE_DENIED, FailureClass.INFRASTRUCTURE),
        (404, FailureReason.DATA_NOT_FOUND, FailureClass.DATA),
        (503, FailureReason.STORE_UNREACHABLE, FailureClass.INFRASTRUCTURE),
    ],
)
def test_a_refusal_is_told_as_its_reason_without_the_secret(
    status: int, reason: FailureReason, failure_class: FailureClass
) -> None:
    with serving(lambda method, path: Answer(status, b"<Error><Code>Nope</Code></Error>")) as (env, _):
        store = open_store("s3://bucket/timed-out-404", env, patience=IMPATIENT)
        for call in (lambda: store.get("x"), lambda: store.list(), lambda: store.put_new("x", b"1")):
            with pytest.raises(StoreError) as caught:
                call()
            assert (caught.value.failure.reason, caught.value.failure.failure_class) == (reason, failure_class)
            assert "hidden-secret" not in str(caught.value)
            assert "s3://bucket/timed-out-404" in str(caught.value)


def test_a_burst_of_errors_is_ridden_out() -> None:
    answers = iter([Answer(503), Answer(500), Answer(200, b"data")])
    with serving(lambda method, path: next(answers)) as (env, recorder):
        assert open_store("s3://bucket", env, patience=Patience(retry_seconds=10)).get("x") == b"data"
    assert recorder.requests == ["GET /bucket/x"] * 3


def test_a_put_whose_answer_was_lost_is_found_there_on_the_next_look() -> None:
    stored: list[bytes] = []

    def lose_the_first_answer(method: str, path: str) -> Answer:
        if method == "PUT":
            stored.append(b"data")
            return Dropped() if len(stored) == 1 else Answer(412)
        if not stored:
            return Answer(404)
        return Answer(200, b"data")

    with serving(lose_the_first_answer) as (env, recorder):
        open_store("s3://bucket", env, patience=IMPATIENT).put_new("x", b"data")
    assert [request.split()[0] for request in recorder.requests] == ["HEAD", "PUT", "PUT", "HEAD", "GET"]


def test_a_server_that_goes_silent_is_a_stall_within_the_limits_experiment_61() -> None:
    release = threading.Event()
    with serving(lambda method, path: Answer(200, b"12345", declared=10, hang=release)) as (env, _):
        store = open_store("s3://bucket", env, patience=IMPATIENT)
        with pytest.raises(StoreStalled) as caught:
            list(store.stream("x"))
        release.set()
    assert caught.value.failure.failure_class is FailureClass.INFRASTRUCTURE


def test_a_closed_port_is_unreachable() -> None:
    store = open_store("s3://bucket", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, patience=IMPATIENT)
    with pytest.raises(StoreError) as caught:
        store.get("x")
    assert caught.value.failure.reason is FailureReason.STORE_UNREACHABLE


def test_plain_http_reads_when_allowed_by_the_environment() -> None:
    with serving(lambda method, path: Answer(200, path.encode())) as (env, _):
        host = env["AWS_ENDPOINT_URL"].removeprefix("http://")
        store, path = open_object(f"http://{host}/folder/data.csv", {"AWS_ALLOW_HTTP": "true"})
        assert store.get(path) == b"/folder/data.csv"


@pytest.fixture
def own_certificate(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Address of a server with a certificate that nobody knows, and the file of the authority that vouches for it."""
    authority = _issued("Factory CA", None)
    server = _issued("localhost", authority)
    for name, one in (("ca.pem", authority), ("server.pem", server)):
        (tmp_path / name).write_bytes(one.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    with serving(lambda method, path: Answer(200, b"1"), context) as (env, _):
        yield env["AWS_ENDPOINT_URL"].replace("http://127.0.0.1", "https://localhost"), tmp_path / "ca.pem"


@dataclass(frozen=True)
class _Issued:
    key: ec.EllipticCurvePrivateKey
    name: x509.Name
    pem: bytes
    """Certificate and key."""


def _issued(name: str, by: _Issued | None) -> _Issued:
    key, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(by.name if by else subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(by.key if by else key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return _Issued(key, subject, certificate.public_bytes(Encoding.PEM) + secret)


def test_a_certificate_that_nobody_vouches_for_is_told_as_that(
    own_certificate: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, authority = own_certificate
    with pytest.raises(StoreError, match="the store's certificate is not trusted: SSL_CERT_FILE") as caught:
        open_store(address, {}, patience=IMPATIENT).get("x")
    assert caught.value.failure.reason is FailureReason.STORE_UNREACHABLE
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    assert open_store(address, {}, patience=IMPATIENT).get("x") == b"1"


@pytest.mark.parametrize("uri", ["https://host/x", "gs://bucket/x", "az://container/x"])
def test_a_container_without_the_certificates_that_the_secret_names_is_told(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    monkeypatch.setenv("SSL_CERT_DIR", "/nowhere")
    with pytest.raises(StoreError, match="no certificate is trusted here: SSL_CERT_FILE and SSL_CERT_DIR") as caught:
        open_store(uri, {"AZURE_STORAGE_ACCOUNT_NAME": "factory", "GOOGLE_BEARER_TOKEN": "t"})
    assert caught.value.failure.reason is FailureReason.STORE_UNREACHABLE
