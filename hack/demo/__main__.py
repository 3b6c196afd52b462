"""`make demo`: the whole loop, told step by step. Exit code 0 only if each stage truly happened."""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from demo import objects, report, rollouts, shift, stages
from demo.kubectl import Kubectl, KubectlError, WaitExpired
from demo.scene import Demo, StageFailed
from demo.story import Story

STAGES: tuple[tuple[str, Callable[[Demo], str]], ...] = (
    ("Prepare: a namespace, a key, data", stages.prepare),
    ("Train a first small model", lambda demo: stages.train(demo, objects.PILOT)),
    ("Serve it", stages.serve),
    ("Search for a better one", lambda demo: stages.train(demo, objects.SEARCH)),
    ("The better model takes over, by evidence", rollouts.better),
    ("A model that fails", rollouts.failing),
    ("A model that is subtly worse", rollouts.worse),
    ("The world changes", shift.notice),
    ("A new model from the new data", shift.retrain),
    ("Every request accounted for", shift.close_line),
    ("Refuse a tampered bundle", stages.refuse),
)


def main() -> int:
    """Run every stage; stop at the first that did not happen."""
    options = _arguments()
    story = Story()
    demo = Demo(Kubectl(options.kubeconfig, options.namespace), story)
    for title, stage in STAGES:
        story.headline(title)
        began = story.elapsed()
        try:
            story.close(title, began, stage(demo))
        except (StageFailed, WaitExpired, KubectlError) as error:
            story.say(f"[bold red]failed:[/] {error}")
            demo.silence()
            story.table()
            return 1
    _look(demo)
    story.table()
    if options.summary:
        chapters = [asdict(chapter) for chapter in story.chapters]
        options.summary.write_text(
            json.dumps({"chapters": chapters, "findings": asdict(demo.findings)}, indent=1) + "\n"
        )
    options.report.parent.mkdir(parents=True, exist_ok=True)
    options.report.write_text(report.render(demo.findings, story.chapters, demo.kubectl.namespace))
    _farewell(demo, options.kubeconfig, options.report)
    return 0


def _look(demo: Demo) -> None:
    demo.story.headline("What kubectl shows")
    for kind in ("experiments", "modeldeployments", "driftmonitors"):
        demo.story.console.print(f"kubectl -n {demo.kubectl.namespace} get {kind}", style="dim")
        demo.story.console.print(demo.kubectl.run("get", kind), markup=False)


def _farewell(demo: Demo, kubeconfig: Path, written: Path) -> None:
    namespace = demo.kubectl.namespace
    demo.story.console.print("\nThe pilot report, one page:", style="bold")
    demo.story.console.print(f"  {written}", markup=False)
    demo.story.console.print("\nLook around:", style="bold")
    for line in (
        f"export KUBECONFIG={kubeconfig}",
        f"kubectl -n {namespace} get experiments,modeldeployments,driftmonitors,pods",
        f"kubectl -n {namespace} describe modeldeployment {objects.DEPLOYMENT}",
        f"kubectl -n {namespace} get events --sort-by=.lastTimestamp",
        "kubectl -n modelcycle-system logs deploy/modelcycle-operator",
        "make cluster-down      # when you have seen enough",
    ):
        demo.story.console.print(f"  {line}", markup=False)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, default=Path(".cluster/kubeconfig"), help="default: %(default)s")
    parser.add_argument("--namespace", default="plant-7", help="made anew each time; default: %(default)s")
    parser.add_argument("--summary", type=Path, help="also write what happened as JSON to this file")
    parser.add_argument(
        "--report", type=Path, default=Path(".cluster/pilot-report.html"), help="the pilot report; default: %(default)s"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
