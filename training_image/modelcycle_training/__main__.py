"""Entry point: `python -m modelcycle_training {inspect,trial,seal,collect,compare,bundle}`. Flags and signals only."""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from modelcycle_bundle import credentials, layout
from modelcycle_bundle.contract import EXIT_RETRY, TaskKind
from modelcycle_training.importing import flags
from modelcycle_training.program import run
from modelcycle_training.reporting import TERMINATION_LOG_ENV, JsonLines

_HELP = {
    TaskKind.INSPECT: "report the signing key's public half and the facts of the data",
    TaskKind.TRIAL: "fit one assignment and write an unsigned candidate",
    TaskKind.SEAL: "check, sign and publish a candidate",
    TaskKind.COLLECT: "read a trial's result back from the store",
    TaskKind.COMPARE: "measure a candidate and a deployed model on the same hold-out rows",
}


def main(arguments: Sequence[str]) -> int:
    """Run one program and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m modelcycle_training",
        description="Programs of the training image. Data in, signed model out.",
        epilog=f"All but `bundle` are run by Jobs: the task is JSON in the environment variable {layout.TASK_ENV}; the result goes to"
        f" {layout.TERMINATION_MESSAGE_PATH} ({TERMINATION_LOG_ENV} names another file). Exit codes: 0 result,"
        f" {EXIT_RETRY} try again, 1 failed for good.",
    )
    programs = parser.add_subparsers(dest="program", required=True, metavar="PROGRAM")
    for kind in TaskKind:
        programs.add_parser(kind.value, help=_HELP[kind], description=_HELP[kind])
    flags.add_parser(programs)
    parsed = parser.parse_args(arguments)
    if parsed.program == "bundle":
        from modelcycle_training.importing import command

        return command.run(parsed)
    kind = TaskKind(parsed.program)
    os.environ.update(credentials.of_store(os.environ))  # the client library of stores reads some by itself
    _leave_on_sigterm()
    return run(kind, os.environ, Path(layout.KEY_DIR), JsonLines(kind.value))


def _leave_on_sigterm() -> None:
    """Leave at once, and as something to retry: a pod is only told to stop from outside.

    A thread waits for the signal, because a handler would run only when a fit returns to Python, and process 1 of a
    container has no default action.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait() -> None:
        signal.sigwait({signal.SIGTERM})
        os._exit(EXIT_RETRY)

    threading.Thread(target=wait, name="sigterm", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
