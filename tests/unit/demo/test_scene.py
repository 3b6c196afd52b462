"""What the demo tells while it waits: each thing once."""

import io
from typing import Any

from rich.console import Console

from demo.scene import tell_trials
from demo.story import Story


def experiment(name: str) -> dict[str, Any]:
    trials = [{"index": at, "attempt": 0, "state": "Succeeded", "objective": "accuracy=0.97"} for at in range(2)]
    return {"metadata": {"name": name}, "status": {"recentTrials": trials}}


def test_trials_are_told_once_each_also_where_those_of_another_experiment_came_to_the_same() -> None:
    said = io.StringIO()
    story = Story(Console(file=said))
    for name in ("tuned", "tuned", "tuned-2", "tuned-2"):
        tell_trials(story, experiment(name))
    assert [line.strip() for line in said.getvalue().splitlines()] == [
        "trial 0: Succeeded  accuracy=0.97",
        "trial 1: Succeeded  accuracy=0.97",
    ] * 2
