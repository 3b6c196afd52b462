"""From files to ready: what is refused, how it is said, and what an operator of the process sees."""

import json
import shlex
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from modelcycle_bundle import golden, layout
from modelcycle_bundle.contract import Failure, FailureClass, FailureReason, FetchResult, from_json
from modelcycle_serving import model as models
from modelcycle_serving import termination
from unit.serving import rig


@pytest.fixture
def bundle(bundles: dict[str, Path], tmp_path: Path) -> Path:
    shutil.copytree(bundles["classes"], tmp_path / "bundle")
    return tmp_path / "bundle"


def refusal(bundle: Path, digest: str | None = None) -> FailureReason:
    with pytest.raises(models.BundleRefused) as raised:
        models.load(bundle, digest)
    assert rig.no_numbers_of(str(raised.value), rig.TABLE[:8].reshape(-1).tolist())
    return raised.value.failure.reason


def flip_a_bit(model: Path) -> None:
    raw = bytearray((model / layout.MODEL_FILE).read_bytes())
    raw[len(raw) // 2] ^= 4
    (model / layout.MODEL_FILE).write_bytes(raw)


def swap_golden(model: Path) -> None:
    recorded = golden.Golden.parse((model / layout.GOLDEN_FILE).read_text())
    moved = golden.make(-recorded.inputs, recorded.outputs)
    (model / layout.GOLDEN_FILE).write_text(moved.to_json())


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda model: shutil.rmtree(model), FailureReason.MODEL_NOT_FOUND),
        (lambda model: (model / layout.GOLDEN_FILE).unlink(), FailureReason.BUNDLE_MALFORMED),
        (lambda model: (model / layout.PROFILE_FILE).write_bytes(b"\xff"), FailureReason.BUNDLE_MALFORMED),
        (lambda model: (model / layout.PROFILE_FILE).write_text("{}"), FailureReason.BUNDLE_MALFORMED),
        (lambda model: (model / layout.GOLDEN_FILE).write_text("[]"), FailureReason.BUNDLE_MALFORMED),
        (lambda model: (model / layout.CARD_JSON_FILE).write_text("[]"), FailureReason.BUNDLE_MALFORMED),
        (lambda model: (model / layout.CARD_JSON_FILE).unlink(), FailureReason.BUNDLE_MALFORMED),
        (lambda model: (model / layout.MODEL_FILE).write_bytes(b"no graph"), FailureReason.BUNDLE_MALFORMED),
        (lambda model: (model / layout.MODEL_FILE).write_bytes(rig.regressor()), FailureReason.GOLDEN_MISMATCH),
        (lambda model: (model / "link").symlink_to("/etc/passwd"), FailureReason.BUNDLE_MALFORMED),
        (swap_golden, FailureReason.GOLDEN_MISMATCH),
    ],
)
def test_damaged_bundle_is_refused(bundle: Path, damage: Callable[[Path], object], reason: FailureReason) -> None:
    damage(bundle / layout.MODEL_DIR)
    assert refusal(bundle) is reason


def test_flipped_bit_is_refused_by_the_expected_digest(bundle: Path) -> None:
    digest = models.load(bundle, None).digest
    flip_a_bit(bundle / layout.MODEL_DIR)
    assert refusal(bundle, digest) is FailureReason.DIGEST_MISMATCH


def test_refused_bundle_ends_the_process_with_the_reason_in_log_and_termination_message(
    bundle: Path, tmp_path: Path
) -> None:
    swap_golden(bundle / layout.MODEL_DIR)
    message = tmp_path / "termination"
    server = rig.start(bundle, environment={"MODELCYCLE_TERMINATION_LOG": str(message)})
    assert server.end() == 1
    assert server.log[-1]["reason"] == "GoldenMismatch"
    assert "ready" not in [line["message"] for line in server.log]
    failure = from_json(FetchResult, message.read_text()).failure
    assert failure is not None
    assert failure.reason is FailureReason.GOLDEN_MISMATCH


def test_curl_line_of_the_log_works(server: rig.Server) -> None:
    ready = next(line for line in server.log if line["message"] == "ready")
    command = shlex.split(ready["curl"])
    body, url = command[command.index("-d") + 1], command[-1]
    assert url == f"http://127.0.0.1:{server.http_port}/v2/models/model/infer"
    with server.client() as client:
        assert client.infer(body.encode()).json["outputs"][0]["shape"] == [1]


def test_payloads_are_never_logged(bundle: Path) -> None:
    server = rig.start(bundle, "--log-level", "debug", "--drain-settle", "0", "--drain-idle", "0.05")
    server.wait_for("ready")
    with server.client() as client:
        client.infer(rig.matrix([[73519.25, 1, 2]]))
        client.infer(rig.matrix([["73519.25", 1, 2]]))
        client.infer(b'{"inputs": 73519.25')
        client.send(b"73519.25 / HTTP/1.1\r\n\r\n")
        assert client.answer().status == 400
    server.terminate()
    assert server.end() == 0
    assert "73519" not in json.dumps(server.log)


def test_port_in_use_is_said_and_ends_the_process(server: rig.Server, bundle: Path) -> None:
    command = [sys.executable, "-m", "modelcycle_serving", "--bundle", str(bundle), "--host", "127.0.0.1"]
    done = subprocess.run([*command, "--http-port", str(server.http_port)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot listen" in json.loads(done.stdout.splitlines()[-1])["detail"]


def test_help_names_the_flags() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "modelcycle_serving", "--help"], capture_output=True, text=True, check=True
    )
    assert all(flag in done.stdout for flag in ("--bundle", "--drain-idle", "--expect-digest", "fetch"))


def test_termination_message_is_cut_to_its_limit() -> None:
    for text in ("xyz " * 10_000, "\x00é " * 5_000):
        result = FetchResult(failure=Failure(FailureClass.POLICY, FailureReason.GOLDEN_MISMATCH, text))
        written = termination.bounded(result)
        assert len(written.encode()) <= termination.LIMIT
        parsed = from_json(FetchResult, written).failure
        assert parsed is not None
        assert text.startswith(parsed.message)
        assert len(parsed.message) > 60


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_server_and_metrics_answer_on_both_families_unless_told_otherwise(bundles: dict[str, Path], host: str) -> None:
    with rig.serving(bundles["classes"], "--host", "") as server:
        for port, path in ((server.http_port, "/v2/health/ready"), (server.metrics_port, "/metrics")):
            with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=10) as answer:
                assert answer.status == 200
