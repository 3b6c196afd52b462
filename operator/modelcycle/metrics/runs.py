"""What is known after one more round: a pure fold of rounds into Samples.

Owns the life of a run: seen, gone, back again, run backwards. Never drops what was last seen of a pod that went away while somebody
may still need it, and never lets a failed reading look like a pod without traffic.
"""

from dataclasses import replace
from datetime import datetime

from modelcycle.metrics.port import Counts, FailingPod, PodCounters, Round, RunId, RunSample, Samples


def fold(previous: Samples | None, taken: Round, keep_gone_after: datetime | None = None) -> Samples:
    """`previous` with `taken` added."""
    before = previous.runs if previous else {}
    runs = {run: _unseen(sample, taken) for run, sample in before.items()}
    answered: set[str] = set()
    for pod in taken.pods:
        runs = _supersede(runs, pod.run, taken.taken_at)
        runs[pod.run] = _seen(before.get(pod.run), pod, taken.taken_at)
        answered.add(pod.run.pod_uid)
    return Samples(
        deployment=taken.deployment,
        since=previous.since if previous else taken.taken_at,
        taken_at=taken.taken_at,
        listed=taken.listed,
        runs={run: sample for run, sample in runs.items() if not _forgotten(sample, keep_gone_after)},
        failing=_failing(previous, taken),
    )


def _unseen(sample: RunSample, taken: Round) -> RunSample:
    if sample.gone_at is not None or sample.run.pod_uid in taken.listed:
        return sample
    return replace(sample, gone_at=taken.taken_at)


def _supersede(runs: dict[RunId, RunSample], current: RunId, at: datetime) -> dict[RunId, RunSample]:
    """Another run of the same pod has ended when a new one answers."""
    return {
        run: replace(s, gone_at=at) if run.pod_uid == current.pod_uid and run != current and s.gone_at is None else s
        for run, s in runs.items()
    }


def _seen(before: RunSample | None, pod: PodCounters, at: datetime) -> RunSample:
    if before is None:
        return RunSample(pod.run, pod.counts, at, model=pod.model)
    fell = ran_backwards(before.counts, pod.counts)
    # A series that is not on the page any more keeps what was last seen of it.
    counts = {**before.counts, **pod.counts}
    return RunSample(pod.run, counts, at, None, at if fell else before.backwards_at, pod.model)


def ran_backwards(before: Counts, after: Counts) -> bool:
    """Whether any counter of one run is lower than it was."""
    return any(after.get(series, value) < value for series, value in before.items())


def _forgotten(sample: RunSample, keep_gone_after: datetime | None) -> bool:
    return sample.gone_at is not None and keep_gone_after is not None and sample.gone_at <= keep_gone_after


def _failing(previous: Samples | None, taken: Round) -> tuple[FailingPod, ...]:
    since = {f.pod_uid: f.since for f in previous.failing} if previous else {}
    failing = [FailingPod(f.pod, f.pod_uid, f.cause, since.get(f.pod_uid, taken.taken_at)) for f in taken.failures]
    return tuple(sorted(failing, key=lambda f: f.pod))
