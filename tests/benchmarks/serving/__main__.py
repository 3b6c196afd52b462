"""`make bench-serving`: the model server beside its peers, one core each for server and load. Prints figures; asserts nothing.

Owns the command line and where the results go: JSON lines below ~/.cache/modelcycle, and, in a full run, the tables in docs/serving.md.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

from benchmarks.serving import cells, load, machine, models, native, pairs, profiling, tables
from benchmarks.serving.environments import ROOT
from environments import CACHE

RECORD: Final = CACHE / "bench-serving.jsonl"
DOCUMENT: Final = ROOT / "docs/serving.md"
_BEGIN: Final = "<!-- written by make bench-serving -->\n"
_END: Final = "<!-- end -->\n"


def main() -> None:
    """Measure, or show what was measured."""
    arguments = _arguments()
    if arguments.profile:
        profiling.show(arguments.profile, sys.stdout.write)
        return
    if not arguments.show:
        measure(arguments)
    report = tables.markdown(tables.Record(cells.read(arguments.record)))
    sys.stdout.write(report)
    if arguments.write:
        write_into(DOCUMENT, report)


def measure(arguments: argparse.Namespace) -> None:
    """Run the plan and write the record."""
    load.require_wrk()
    cores = machine.cores()
    plan = cells.QUICK if arguments.quick else cells.FULL
    every = cells.contenders(cores)
    chosen = [each for each in every if not arguments.only or each.server.value in arguments.only]
    with Path(arguments.record).open("w") as stream:

        def write(line: dict[str, Any]) -> None:
            stream.write(json.dumps(line) + "\n")
            stream.flush()
            sys.stderr.write(_progress(line))

        made = models.made()
        cells.run(plan, chosen, made, cores.load, write)
        if not arguments.only:
            pairs.run(plan.pairs, made, cores, write)
            native.run(made, cores, write)
        if not arguments.only and not arguments.quick:
            profiling.run(made, cores, write)


def write_into(document: Path, report: str) -> None:
    """Put the report between its two marks."""
    before, _, rest = document.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    if not after and not rest:
        raise SystemExit(f"{document} has no line {_BEGIN.strip()}")
    document.write_text(f"{before}{_BEGIN}\n{report}\n{_END}{after}")


def _progress(line: dict[str, Any]) -> str:
    shown = (f"{value:.2f}" if isinstance(value, float) else str(value) for value in line.values())
    return " ".join(shown) + "\n"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="one round of 1 s cells, no cell repeated: about 5 minutes")
    add("--only", action="append", choices=[each.value for each in cells.Server], help="measure these servers only")
    add("--record", type=Path, default=RECORD, help="JSON lines to write, or to show (default %(default)s)")
    add("--show", action="store_true", help="measure nothing: print the tables of the record")
    add("--write", action="store_true", help=f"put the tables into {DOCUMENT.relative_to(ROOT)}")
    add("--profile", metavar="MODEL,ROWS,CONNECTIONS", help="where one cell's Python time goes, for example bc,1,16")
    return parser.parse_args()


if __name__ == "__main__":
    main()
