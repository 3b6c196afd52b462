"""What is known of a run after one more round."""

from fakes.counting_pods import BASE, ROWS, CountingPod, at, take
from modelcycle.metrics.port import Samples
from modelcycle.metrics.runs import fold


def after(pods: list[CountingPod], *rounds: float) -> Samples:
    samples = None
    for seconds in rounds:
        samples = fold(samples, take(pods, seconds))
    assert samples is not None
    return samples


def test_first_round_begins_the_watch() -> None:
    pod = CountingPod("a", BASE)
    samples = after([pod], 3, 5)
    assert (samples.since, samples.taken_at, samples.deployment) == (at(3), at(5), "scrap")


def test_gone_pod_keeps_what_was_last_seen_and_comes_back() -> None:
    pod = CountingPod("a", BASE)
    pod.serve(4)
    seen = after([pod], 0)
    gone = fold(fold(seen, take([], 5)), take([], 9))
    assert gone.runs[pod.run].gone_at == at(5)
    assert gone.runs[pod.run].counts[ROWS] == 4
    assert fold(gone, take([pod], 12)).runs[pod.run].gone_at is None


def test_silent_pod_is_not_gone_and_says_since_when() -> None:
    pod = CountingPod("a", BASE)
    seen = after([pod], 0)
    pod.reachable = False
    silent = fold(fold(seen, take([pod], 5)), take([pod], 9))
    assert silent.runs[pod.run].gone_at is None
    assert silent.runs[pod.run].seen_at == at(0)
    assert [(f.pod, f.since) for f in silent.failing] == [("pod-a", at(5))]


def test_restarted_container_ends_the_older_run() -> None:
    pod = CountingPod("a", BASE)
    seen = after([pod], 0)
    older = pod.run
    pod.restart(4)
    samples = fold(seen, take([pod], 5))
    assert samples.runs[older].gone_at == at(5)
    assert samples.runs[pod.run].gone_at is None


def test_step_back_is_remembered() -> None:
    pod = CountingPod("a", BASE)
    pod.serve(4)
    seen = after([pod], 0)
    pod.counts[ROWS] = 3
    back = fold(fold(seen, take([pod], 5)), take([pod], 9))
    assert back.runs[pod.run].backwards_at == at(5)


def test_gone_runs_are_forgotten_once_their_window_is_over() -> None:
    pod = CountingPod("a", BASE)
    gone = fold(after([pod], 0), take([], 5))
    assert pod.run in fold(gone, take([], 9), keep_gone_after=at(4)).runs
    assert pod.run not in fold(gone, take([], 9), keep_gone_after=at(5)).runs
