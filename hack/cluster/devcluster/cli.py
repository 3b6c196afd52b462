"""The command line: parses, picks the engine, calls the steps. Prints answers on standard output, progress on the other."""

import argparse
import json
import os
import sys
from collections.abc import Sequence

from devcluster import emulators, engines
from devcluster.addons import COMPONENTS
from devcluster.commands import ClusterError, locked
from devcluster.paths import DEFAULT_NAME, Paths, cache_root, checked_name
from devcluster.progress import Progress

_COMMANDS = {
    "check": "say where the cluster would run, or what is missing; changes nothing",
    "build": "build the programs from Go modules, and start nothing",
    "up": "start or complete the cluster; quick when it runs",
    "down": "stop it and leave nothing behind but its state on disk (--purge: not even that)",
    "status": "say what runs (--json: paths, addresses, process ids)",
    "images": "build the three images and load them into the cluster",
    "store": "build, load and apply the S3-compatible store for tests and the demo",
    "prometheus": "build, load and apply the Prometheus for tests and the demo",
    "emulators": "build the emulators of GCS and Azure Blob Storage that tests start",
    "kubeconfig": "print the path of the kubeconfig",
}


def parser() -> argparse.ArgumentParser:
    listing = "\n".join(f"  {name:<11} {text}" for name, text in _COMMANDS.items())
    top = argparse.ArgumentParser(
        prog="python3 hack/cluster",
        description="A real Kubernetes for development.\n\ncommands:\n" + listing,
        epilog=(
            "environment:\n"
            "  CLUSTER          node, kind or existing; default: kind where Docker and kind answer, else node\n"
            "  YES=1            do not ask before using the current context (CLUSTER=existing)\n"
            "  IMAGE_PREFIX     registry to push to (CLUSTER=existing), for example registry.example.com/team\n"
            "  MODELCYCLE_CACHE programs, images and cluster state; default ~/.cache/modelcycle"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("command", choices=tuple(_COMMANDS), metavar="command")
    top.add_argument("--name", default=DEFAULT_NAME, help="which cluster (default: %(default)s)")
    top.add_argument("--net", type=int, help="use 10.<net>.0.0 to 10.<net+2>.255.255 (default: the first free one)")
    top.add_argument("--control-plane-only", action="store_true", help="API server on loopback: no node, no root")
    top.add_argument("--json", action="store_true", help="status as JSON")
    top.add_argument("--purge", action="store_true", help="down: remove the cluster's state too")
    return top


def main(words: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(words)
    progress = Progress()
    try:
        paths = Paths(cache_root(os.environ), checked_name(arguments.name))
        choice = engines.Choice(arguments.control_plane_only, arguments.net, os.environ)
        if arguments.command == "status":
            return _status(engines.describe(paths, progress), arguments.json)
        if arguments.command == "kubeconfig":
            print(engines.kubeconfig(paths))
            return 0
        if arguments.command == "emulators":
            emulators.ensure(paths.cache, progress)
            return 0
        with locked(paths.lock):
            _act(arguments, engines.pick(paths, choice, progress))
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command again completes what is missing", file=sys.stderr)
        return 130
    return 0


def _act(arguments: argparse.Namespace, engine: engines.ClusterEngine) -> None:
    match arguments.command:
        case "check":
            engine.check()
        case "build":
            engine.build()
        case "up":
            engine.up()
        case "images":
            engine.images()
        case "store" | "prometheus" as name:
            engine.install(COMPONENTS[name])
        case "down" if arguments.purge:
            engine.down()
            engine.purge()
        case "down":
            engine.down()


def _status(report: engines.Report, as_json: bool) -> int:  # noqa: FBT001
    if as_json:
        print(json.dumps(report, indent=1))
    else:
        for key, value in report.items():
            text = ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else value
            print(f"{key:<12} {text}")
    return 0 if report["running"] else 3
