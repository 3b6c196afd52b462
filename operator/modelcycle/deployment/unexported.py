"""What the pods that serve say nothing of, so that neither arm is judged by it: serving pods keep their image for months. Pure.

Owns the words for it, with the image to blame. Decides nothing: `analysis` leaves out the counts, `counting.fit` the form.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from modelcycle.deployment.analysis import counts_late_of_both
from modelcycle.deployment.status import State
from modelcycle.deployment.world import SERVER_CONTAINER, World
from modelcycle.metrics.port import RunSample
from modelcycle_bundle import metric_names as names


class Unexported(StrEnum):
    """What an earlier image does not export."""

    LATE = "late answers of their own"
    """Only the canary's are counted: being late is no evidence, but fail-fast counts it."""
    FORM = "the form of their answers"
    """Nothing to compare the form of the canary's answers with."""


UNKNOWN_IMAGE: Final = "an earlier image"


def said(world: World, state: State) -> str:
    """The end of a rollout's message: `; stable's pods, of IMAGE, do not export ...`; "" where they export all that is judged."""
    found = list(unexported(world, state))
    if not found or state.stable is None:
        return ""
    what = " and ".join(found)
    return f"; stable's pods, of {image_of(world, state.stable.revision)}, do not export {what}: no evidence in this rollout"


def unexported(world: World, state: State) -> Iterator[Unexported]:
    """What living pods of stable, read since they know of this rollout, do not say."""
    if state.canary is None or state.stable is None:
        return
    rollout, runs = state.canary.rollout, _runs(world, state.stable.revision)
    if any(_counts_arms(run, rollout) and not counts_late_of_both(run, rollout) for run in runs):
        yield Unexported.LATE
    if any(run.model is not None and not run.model.outputs for run in runs):
        yield Unexported.FORM


def image_of(world: World, revision: str) -> str:
    """`image NAME` of a revision's server, by its stored template."""
    stored = world.revisions.get(revision)
    containers = (stored.template.get("spec") or {}).get("containers") or () if stored else ()
    image = next((one.get("image") for one in containers if one.get("name") == SERVER_CONTAINER), None)
    return f"image {image}" if image else UNKNOWN_IMAGE


def _runs(world: World, revision: str) -> list[RunSample]:
    uids = {pod.uid for pod in world.answering(revision)}
    samples = world.samples.runs.values() if world.samples else ()
    return [run for run in samples if run.gone_at is None and run.run.pod_uid in uids]


def _counts_arms(run: RunSample, rollout: str) -> bool:
    return any(series.metric == names.ARM_REQUESTS and series.labels[0] == rollout for series in run.counts)
