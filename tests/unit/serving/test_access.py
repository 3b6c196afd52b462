"""Tokens and TLS against real server processes: who is answered, what changes while it runs, and what pods ask of each other."""

import contextlib
import datetime
import http.client
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from modelcycle_bundle import oms
from modelcycle_bundle.traffic import MARKER, SHARE_DENOMINATOR
from unit.serving import peers, rig

ROW = rig.matrix([[1.0, 2.0, 3.0]])
TOKEN, OTHER = "a-token-of-the-first-kind", "a-token-of-another-kind"


@contextlib.contextmanager
def serving(bundle: Path, folder: Path, *flags: str) -> Iterator[peers.Stable]:
    file = folder / f"{bundle.name}-traffic.json"
    file.write_text("")
    with rig.serving(bundle, "--traffic-file", str(file), *flags) as server:
        yield peers.Stable(server, file, oms.digest_directory(bundle / "model").root[7:19])


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    file.write_text(f"{TOKEN}\n")
    return file


def asked(server: rig.Server, *headers: str, path: str = "/v2/models/model/infer") -> rig.Answer:
    with server.client() as client:
        client.send(rig.infer_request(ROW, *headers).replace(b"/v2/models/model/infer", path.encode()))
        return client.answer()


def bearer(token: str) -> str:
    return f"Authorization: Bearer {token}"


def test_only_a_token_is_answered_but_health_and_metrics_need_none(bundles: dict[str, Path], token_file: Path) -> None:
    with serving(bundles["classes"], token_file.parent, "--token-file", str(token_file)) as running:
        server = running.server
        refused = [
            asked(server, *headers)
            for headers in ((), (bearer(OTHER),), (f"Authorization: Basic {TOKEN}",), (bearer(""),))
        ]
        assert [answer.status for answer in refused] == [401] * 4
        assert refused[0].headers["www-authenticate"] == 'Bearer realm="modelcycle"'
        assert refused[1].headers["www-authenticate"] == 'Bearer realm="modelcycle", error="invalid_token"'
        assert TOKEN.encode() not in b"".join(answer.body for answer in refused)
        assert [asked(server, header).status for header in (bearer(TOKEN), f"authorization: bearer  {TOKEN} ")] == [
            200,
            200,
        ]
        with server.client() as client:
            assert [client.get(path).status for path in ("/v2/health/live", "/v2/health/ready")] == [200, 200]
            assert [client.get(path).status for path in ("/v2", "/v2/models/model", "/nowhere")] == [401] * 3
        codes = {
            dict(labels)["code"]: value
            for labels, value in server.samples()["modelcycle_requests_total"].items()
            if value
        }
        assert codes == {"200": 2, "401": 4}
        assert not any(TOKEN in str(line) for line in server.log)


def test_marker_is_no_way_round_the_token(bundles: dict[str, Path], token_file: Path) -> None:
    with (
        serving(bundles["classes"], token_file.parent, "--token-file", str(token_file)) as running,
        peers.Peer(peers.say(peers.answer())) as canary,
    ):
        running.hand_on(canary.target, SHARE_DENOMINATOR)
        marker = f"{MARKER}: {running.applied.rollout}"
        without = [asked(running.server, *headers).status for headers in ((marker,), (), (marker, bearer(OTHER)))]
        assert without == [401] * 3
        assert canary.asked == []
        assert asked(running.server, marker, bearer(TOKEN)).json["model_version"] == running.version


def test_pods_that_ask_for_tokens_answer_what_is_handed_on(bundles: dict[str, Path], token_file: Path) -> None:
    flags = ("--token-file", str(token_file))
    folder = token_file.parent
    with serving(bundles["classes"], folder, *flags) as old, serving(bundles["names"], folder, *flags) as new:
        old.hand_on(f"127.0.0.1:{new.server.http_port}", SHARE_DENOMINATOR)
        answer = asked(old.server, bearer(TOKEN))
        assert answer.json["model_version"] == new.version
        assert old.arms() == {"canary ok": 1}


def test_tokens_change_while_the_server_runs(bundles: dict[str, Path], token_file: Path) -> None:
    with (
        serving(bundles["classes"], token_file.parent, "--token-file", str(token_file)) as running,
        running.server.client() as kept,
    ):
        kept.send(rig.infer_request(ROW, bearer(TOKEN)))
        assert kept.answer().status == 200
        peers.swap(token_file, f"{OTHER}\n{TOKEN}\n")
        peers.until(lambda: asked(running.server, bearer(OTHER)).status == 200)
        assert asked(running.server, bearer(TOKEN)).status == 200
        peers.swap(token_file, f"{OTHER}\n")
        peers.until(lambda: asked(running.server, bearer(TOKEN)).status == 401)
        # A connection that was once let in is asked each time.
        kept.send(rig.infer_request(ROW, bearer(TOKEN)))
        assert kept.answer().status == 401
        for bad in ("", "short\n", f"{TOKEN}\n" * 65):
            peers.swap(token_file, bad)
            running.server.wait_for("the token file is not valid; the last tokens stay")
            assert asked(running.server, bearer(OTHER)).status == 200
        token_file.unlink()
        assert asked(running.server, bearer(OTHER)).status == 200
        assert asked(running.server).status == 401


@pytest.mark.parametrize("text", [None, "", "short\n"])
def test_server_without_its_tokens_does_not_start(bundles: dict[str, Path], tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "tokens"
    if text is not None:
        file.write_text(text)
    lines = ended(bundles["classes"], "--token-file", str(file))
    assert lines["message"] == "not serving"
    assert ("No such file" if text is None else "expected 1 to 64 lines") in lines["detail"]


def ended(bundle: Path, *flags: str) -> dict[str, Any]:
    """The last log line of a server that exits by itself, not well."""
    command = [
        sys.executable,
        "-m",
        "modelcycle_serving",
        "--bundle",
        str(bundle),
        "--http-port",
        "0",
        "--metrics-port",
        "0",
    ]
    done = subprocess.run([*command, *flags], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    line: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return line


# TLS.


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    shown, kept = folder / f"{name}.crt", folder / f"{name}.key"
    shown.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    kept.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return shown, kept


def trusting(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    return context


def over_tls(server: rig.Server, certificate: Path, requests: int = 1) -> list[dict[str, Any]]:
    """Bodies of so many answers on one connection to a server that shows this certificate. Raises ssl.SSLError for another."""
    connection = http.client.HTTPSConnection("127.0.0.1", server.http_port, context=trusting(certificate), timeout=10)
    with contextlib.closing(connection):
        bodies = []
        for _ in range(requests):
            connection.request("POST", "/v2/models/model/infer", rig.infer_request(ROW).partition(b"\r\n\r\n")[2])
            with connection.getresponse() as answer:
                assert answer.status == 200
                bodies.append(json.loads(answer.read()))
        return bodies


def tls_flags(files: tuple[Path, Path]) -> tuple[str, ...]:
    return ("--tls-cert", str(files[0]), "--tls-key", str(files[1]))


def test_tls_is_spoken_and_nothing_else_on_that_port(bundles: dict[str, Path], tmp_path: Path) -> None:
    files = certificate(tmp_path, "one")
    with serving(bundles["classes"], tmp_path, *tls_flags(files)) as running:
        assert len(over_tls(running.server, files[0], requests=3)) == 3
        with running.server.client() as plain:
            plain.send(rig.infer_request(ROW))
            assert plain.is_closed()
        with running.server.client() as silent:
            assert len(over_tls(running.server, files[0])) == 1, "a client that does not shake hands holds up nobody"
            silent.send(b"\x16\x03\x01")
        assert running.server.samples()["modelcycle_rows_total"][()] == 4
        assert running.server.log[-1]["infer_url"].startswith("https://")


def test_drain_over_tls_answers_what_arrives_and_closes_orderly(bundles: dict[str, Path], tmp_path: Path) -> None:
    files = certificate(tmp_path, "one")
    flags = ("--drain-idle", "0.4", "--drain-settle", "0.2", "--drain-timeout", "10")
    with serving(bundles["classes"], tmp_path, *tls_flags(files), *flags) as running:
        raw = socket.create_connection(("127.0.0.1", running.server.http_port), timeout=10)
        with trusting(files[0]).wrap_socket(raw) as kept:
            kept.sendall(rig.infer_request(ROW))
            assert kept.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
            running.server.terminate()
            running.server.wait_for("draining")
            kept.sendall(rig.infer_request(ROW))
            answer = b"".join(iter(lambda: kept.recv(4096), b""))
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"Connection: close\r\n" in answer
        assert running.server.end() == 0


def test_certificate_is_renewed_while_the_server_runs(bundles: dict[str, Path], tmp_path: Path) -> None:
    first, second = certificate(tmp_path, "first"), certificate(tmp_path, "second")
    shown, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    peers.swap(shown, first[0].read_text())
    peers.swap(key, first[1].read_text())
    with serving(bundles["classes"], tmp_path, *tls_flags((shown, key))) as running:
        over_tls(running.server, first[0])
        # One of the two files is new: they do not fit, and the last pair stays.
        peers.swap(shown, second[0].read_text())
        running.server.wait_for("the TLS files do not fit together; the last ones stay")
        over_tls(running.server, first[0])
        peers.swap(key, second[1].read_text())
        running.server.wait_for("TLS certificate renewed")
        over_tls(running.server, second[0])
        with pytest.raises(ssl.SSLError):
            over_tls(running.server, first[0])


def test_pods_with_tls_hand_on_over_tls_and_to_nobody_without(bundles: dict[str, Path], tmp_path: Path) -> None:
    ours, stranger = certificate(tmp_path, "ours"), certificate(tmp_path, "stranger")
    with (
        serving(bundles["classes"], tmp_path, *tls_flags(ours)) as old,
        serving(bundles["names"], tmp_path, *tls_flags(ours)) as new,
        serving(bundles["values"], tmp_path, *tls_flags(stranger)) as other,
        peers.Peer(peers.say(peers.answer())) as plain,
    ):
        old.hand_on(f"127.0.0.1:{new.server.http_port}", SHARE_DENOMINATOR)
        assert {answer["model_version"] for answer in over_tls(old.server, ours[0], requests=3)} == {new.version}
        assert old.arms() == {"canary ok": 3}
        for target in (f"127.0.0.1:{other.server.http_port}", plain.target):
            old.hand_on(target, SHARE_DENOMINATOR)
            assert over_tls(old.server, ours[0])[0]["model_version"] == old.version
            assert old.arms() == {"canary unreached": 1}
        assert all(not asked.head for asked in plain.asked)
    # What `--tls-ca` vouches for is trusted in place of one's own.
    both = tmp_path / "both.crt"
    both.write_text(ours[0].read_text() + stranger[0].read_text())
    with (
        serving(bundles["classes"], tmp_path, *tls_flags(ours), "--tls-ca", str(both)) as old,
        serving(bundles["values"], tmp_path, *tls_flags(stranger)) as other,
    ):
        old.hand_on(f"127.0.0.1:{other.server.http_port}", SHARE_DENOMINATOR)
        assert over_tls(old.server, ours[0])[0]["model_version"] == other.version


def test_files_that_do_not_fit_together_are_not_served(bundles: dict[str, Path], tmp_path: Path) -> None:
    one, two = certificate(tmp_path, "one"), certificate(tmp_path, "two")
    assert "the TLS or token files cannot be used" in ended(bundles["classes"], *tls_flags((one[0], two[1])))["detail"]
    assert "No such file" in ended(bundles["classes"], *tls_flags((tmp_path / "none", two[1])))["detail"]
