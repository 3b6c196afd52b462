"""Command line of the serving image: the model server, and `fetch` for its init container.

Owns flags and environment; nothing here decides about models or connections.
"""

import argparse
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import uvloop

from modelcycle_bundle import client_inputs, credentials, layout
from modelcycle_bundle.listening import EVERYWHERE
from modelcycle_bundle.metric_names import METRICS_PORT, SERVING_PORT
from modelcycle_bundle.traffic import VOLUME_DIR, VOLUME_FILE
from modelcycle_serving import logs
from modelcycle_serving.connections import DrainPolicy, Limits

EPILOG = """\
Environment: POD_UID and MODELCYCLE_REVISION become metric labels; MODELCYCLE_MODEL_NAME, MODELCYCLE_DIGEST,
MODELCYCLE_INPUTS, MODELCYCLE_LATENCY_SLO, MODELCYCLE_FEEDBACK_KEY_FILE and MODELCYCLE_LOG_LEVEL are defaults of the flags;
MODELCYCLE_TERMINATION_LOG is where the reason goes when a model is refused.

Try it: start the server on a folder that holds model/ (python -m modelcycle_training bundle import makes one of an ONNX
file), wait for "ready", and run the curl command that it prints. GET /openapi.json says what else there is.
"""


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Parse and run. Returns the exit code."""
    parser = _parser(environment)
    parsed = parser.parse_args(arguments)
    logs.to_stdout(parsed.log_level.upper(), parsed.log_format)
    if parsed.command == "fetch":
        from modelcycle_serving import fetching

        given = credentials.of_store(environment)
        os.environ.update(given)  # the client library of stores reads some by itself
        return fetching.run(parsed.trust, parsed.destination, {**environment, **given})
    if (parsed.tls_cert is None) != (parsed.tls_key is None):
        parser.error("--tls-cert and --tls-key go together")
    from modelcycle_serving.server import Config, serve
    from modelcycle_serving.tls import TlsFiles

    config = Config(
        bundle=parsed.bundle,
        host=parsed.host,
        http_port=parsed.http_port,
        metrics_port=parsed.metrics_port,
        model_name=parsed.model_name,
        traffic_file=parsed.traffic_file,
        expected_digest=parsed.expect_digest,
        limits=Limits(
            max_body=parsed.max_body,
            max_connections=parsed.max_connections,
            head_timeout=parsed.head_timeout,
            body_timeout=parsed.body_timeout,
            keep_alive=parsed.keep_alive,
        ),
        tls=None if parsed.tls_cert is None else TlsFiles(parsed.tls_cert, parsed.tls_key, parsed.tls_ca),
        token_file=parsed.token_file,
        latency_objective=parsed.latency_slo,
        feedback_key_file=parsed.feedback_key_file,
        feedback_max_age=parsed.feedback_max_age,
        feedback_remembered=parsed.feedback_remembered,
        drain=DrainPolicy(idle=parsed.drain_idle, settle=parsed.drain_settle, timeout=parsed.drain_timeout),
        client_inputs=parsed.inputs,
        environment=environment,
    )
    return uvloop.run(serve(config))


def _parser(environment: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m modelcycle_serving",
        description="Serve one verified model by the Open Inference Protocol v2 over HTTP, with JSON and binary tensors.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_serving_flags(parser, environment)
    parser.add_argument(
        "--log-level",
        default=environment.get("MODELCYCLE_LOG_LEVEL", "info"),
        choices=("debug", "info", "warning", "error"),
        help="default %(default)s",
    )
    parser.add_argument(
        "--log-format",
        default=logs.AUTO,
        choices=(logs.AUTO, *logs.FORMATS),
        help="auto: text on a terminal, else JSON lines (default %(default)s)",
    )
    commands = parser.add_subparsers(dest="command", metavar="{fetch}")
    fetch = commands.add_parser("fetch", help=f"fetch and verify the bundle that ${layout.TASK_ENV} names, then exit")
    fetch.add_argument(
        "--trust",
        type=Path,
        default=Path(layout.TRUST_DIR, layout.TRUST_FILE),
        help="PEM public keys (default %(default)s)",
    )
    fetch.add_argument(
        "--destination",
        type=Path,
        default=Path(layout.BUNDLE_MOUNT),
        help="folder that gets model/ (default %(default)s)",
    )
    return parser


def _add_serving_flags(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    defaults, drain = Limits(), DrainPolicy()
    add = parser.add_argument
    add("--bundle", type=Path, default=Path(layout.BUNDLE_MOUNT), help="folder that holds model/ (default %(default)s)")
    add("--host", default=EVERYWHERE, help="address to listen on (default: all, IPv4 and IPv6)")
    add("--http-port", type=int, default=SERVING_PORT, help="inference and health; 0 picks one (default %(default)s)")
    add(
        "--metrics-port",
        type=int,
        default=METRICS_PORT,
        help="GET /metrics and /profile; 0 picks one (default %(default)s)",
    )
    add(
        "--model-name",
        default=environment.get("MODELCYCLE_MODEL_NAME", "model"),
        help="name in /v2/models/{name}/infer (default %(default)s)",
    )
    add(
        "--traffic-file",
        type=Path,
        default=Path(VOLUME_DIR, VOLUME_FILE),
        help="share of requests to hand on, as in the pod's annotation; none: answer all (default %(default)s)",
    )
    add(
        "--expect-digest",
        default=environment.get("MODELCYCLE_DIGEST") or None,
        help="sha256:<hex>; another digest is refused",
    )
    add(
        "--inputs",
        type=_names,
        default=environment.get(client_inputs.ENVIRONMENT) or (),
        help="JSON list of the names that clients send, in their order; the model takes those that it needs (default: its own)",
    )
    _add_counting_flags(parser, environment)
    _add_access_flags(parser)
    add("--max-body", type=int, default=defaults.max_body, help="bytes of a request body (default %(default)s)")
    add("--max-connections", type=int, default=defaults.max_connections, help="default %(default)s")
    add(
        "--head-timeout",
        type=float,
        default=defaults.head_timeout,
        help="seconds for a request's head (default %(default)s)",
    )
    add(
        "--body-timeout",
        type=float,
        default=defaults.body_timeout,
        help="seconds for a request's body (default %(default)s)",
    )
    add(
        "--keep-alive",
        type=float,
        default=defaults.keep_alive,
        help="seconds an idle connection is kept (default %(default)s)",
    )
    add(
        "--drain-idle",
        type=float,
        default=drain.idle,
        help="after SIGTERM, seconds of silence before a connection is closed (default %(default)s)",
    )
    add("--drain-settle", type=float, default=drain.settle, help="shortest drain in seconds (default %(default)s)")
    add("--drain-timeout", type=float, default=drain.timeout, help="longest drain in seconds (default %(default)s)")


def _add_counting_flags(parser: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    add = parser.add_argument
    add(
        "--latency-slo",
        type=_seconds,
        default=environment.get("MODELCYCLE_LATENCY_SLO") or None,
        help="latency objective in seconds: one more bound of the latency histogram",
    )
    key_file = environment.get("MODELCYCLE_FEEDBACK_KEY_FILE")
    add(
        "--feedback-key-file",
        type=Path,
        default=Path(key_file) if key_file else None,
        help="keys to sign answers with, one a line: labels are then taken at /v2/feedback (default: none, feedback off)",
    )
    add(
        "--feedback-max-age",
        type=_seconds,
        default=30 * 86_400.0,
        help="seconds after an answer in which its labels are taken (default %(default)s)",
    )
    add(
        "--feedback-remembered",
        type=int,
        default=100_000,
        help="labelled answers remembered, so that none is counted twice (default %(default)s)",
    )


def _add_access_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--tls-cert", type=Path, help="PEM chain: the serving port speaks TLS, and so do requests that are handed on")
    add("--tls-key", type=Path, help="PEM key of --tls-cert")
    add("--tls-ca", type=Path, help="PEM certificates to trust when handing on (default: --tls-cert itself)")
    add("--token-file", type=Path, help="bearer tokens, one a line: asked for on the serving port, but for health")


def _names(text: str) -> tuple[str, ...]:
    try:
        return client_inputs.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError("expected a JSON list of different names") from error


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError("expected seconds above 0")
    return seconds


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
