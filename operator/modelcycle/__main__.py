"""`python -m modelcycle`: flags, environment, logs, signals and the exit code. Holds no logic of the operator."""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from modelcycle import logs
from modelcycle.kube.client import RestKube
from modelcycle.kube.transport import LoginError, Transport, login
from modelcycle.process import Operator
from modelcycle.settings import Settings, SettingsError, from_environment
from modelcycle.telemetry import Telemetry

FLAGS: Final[Mapping[str, tuple[str, str]]] = {
    "--training-image": (
        "MODELCYCLE_TRAINING_IMAGE",
        "image of the trial, inspect, seal and collect Jobs, with digest",
    ),
    "--serving-image": ("MODELCYCLE_SERVING_IMAGE", "default image of the model server, with digest"),
    "--namespace": ("MODELCYCLE_NAMESPACE", "namespace of the operator, its Lease and its trust roots"),
    "--watch-namespace": ("MODELCYCLE_WATCH_NAMESPACE", "the only namespace to work in; default: all"),
    "--allowed-server-images": (
        "MODELCYCLE_ALLOWED_SERVER_IMAGES",
        "comma-separated patterns that spec.server.image has to match one of; default: *",
    ),
    "--pod-user": (
        "MODELCYCLE_POD_USER",
        "user, group and fsGroup of the pods we make, or `platform` to leave them to its admission; default: 65532",
    ),
    "--extra-estimators": ("MODELCYCLE_EXTRA_ESTIMATORS", "comma-separated estimators allowed beside scikit-learn's"),
    "--http-port": ("MODELCYCLE_HTTP_PORT", "port of /healthz, /readyz and /metrics"),
    "--workers": ("MODELCYCLE_WORKERS", "reconciliations at a time"),
    "--resync-seconds": ("MODELCYCLE_RESYNC_SECONDS", "how often everything is listed and looked at again"),
    "--lease": ("MODELCYCLE_LEASE", "name of the Lease for leader election; default: none"),
    "--identity": ("MODELCYCLE_IDENTITY", "name of this replica in Events and the Lease"),
    "--prometheus-url": (
        "MODELCYCLE_PROMETHEUS_URL",
        "Prometheus for rollouts with analysis.source: Prometheus; default: none",
    ),
    "--scrape-interval": ("MODELCYCLE_SCRAPE_INTERVAL", "seconds between two scrapes by that Prometheus; default: 15"),
    "--log-format": ("MODELCYCLE_LOG_FORMAT", "json or text"),
}

_log = logging.getLogger("modelcycle")


def parse(arguments: Sequence[str], env: Mapping[str, str]) -> Settings:
    """Settings from flags, else from the environment. Raises SettingsError; exits on --help and on unknown flags."""
    parser = argparse.ArgumentParser(
        prog="python -m modelcycle",
        description="Runs Experiments, ModelDeployments and DriftMonitors. The cluster: KUBECONFIG, else the pod's service account.",
    )
    for flag, (variable, text) in FLAGS.items():
        parser.add_argument(flag, dest=variable, metavar="VALUE", help=f"{text} ({variable})")
    given = {variable: value for variable, value in vars(parser.parse_args(arguments)).items() if value is not None}
    return from_environment({**env, **given})


async def serve(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; the exit code."""
    telemetry = Telemetry()
    transport = Transport(await login(), telemetry.requested)
    operator = Operator(RestKube(transport), settings, telemetry)
    try:
        return await operator.run()
    finally:
        await transport.close()


def main(arguments: Sequence[str]) -> int:
    """The whole program."""
    try:
        settings = parse(arguments, os.environ)
    except SettingsError as error:
        print(f"modelcycle: {error}", file=sys.stderr)
        return 2
    logs.configure(settings.log_format)
    # Not asyncio.run: it waits for leftover tasks, and a watcher of kopf may swallow its cancellation.
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(serve(settings))
    except (LoginError, OSError) as error:
        _log.error("cannot start: %s", error)
        return 2


if __name__ == "__main__":
    code = main(sys.argv[1:])
    logging.shutdown()
    os._exit(code)
