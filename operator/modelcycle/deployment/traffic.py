"""What each pod is told about requests it hands on, and whether it has heard. Pure.

Owns the annotation of each pod. A pod that was never told anything hands nothing on, so it is left alone until it has something to hear.
Must never decide a share: `progress` does, and a rollback sets it to 0.
"""

from collections.abc import Iterable, Mapping

from modelcycle.api.modeldeployment import Spec
from modelcycle.deployment.intent import TrafficIntent
from modelcycle.deployment.world import PodView, World
from modelcycle.engine.plan import AnnotatePods, PodAnnotation
from modelcycle.metrics.port import Series
from modelcycle_bundle import metric_names
from modelcycle_bundle.traffic import ANNOTATION, Traffic, TrafficError, parse, to_text


def instructions(world: World, spec: Spec, intent: TrafficIntent, revisions: Iterable[str]) -> list[AnnotatePods]:
    """The annotations that pods of `revisions` lack; none when every pod carries its own."""
    wanted = set(revisions)
    pods = tuple(
        PodAnnotation(pod.name, pod.uid, text)
        for pod in sorted(world.pods, key=lambda p: p.name)
        if pod.revision in wanted and (text := _text(world, spec, intent, pod)) is not None and text != pod.traffic
    )
    return [AnnotatePods(world.namespace, ANNOTATION, pods)] if pods else []


def _text(world: World, spec: Spec, intent: TrafficIntent, pod: PodView) -> str | None:
    """None: there is nothing to tell."""
    if pod.revision != intent.sender or not intent.sends:
        return None if _hands_on_nothing(pod) else to_text(Traffic(rollout=intent.rollout, seq=intent.seq))
    target = world.address(intent.receiver)
    if target is None or not pod.ready:
        return None
    return to_text(
        Traffic(
            rollout=intent.rollout,
            seq=intent.seq,
            share=intent.share,
            target=target,
            timeout=spec.canary_timeout.total_seconds(),
            close=intent.close,
            shadow=intent.shadow,
            sticky=spec.sticky_header,
            test_header=spec.test_header,
        )
    )


def _hands_on_nothing(pod: PodView) -> bool:
    try:
        told = parse(pod.traffic or "")
    except TrafficError:
        return False  # written by somebody else: whatever the pod makes of it, it is told anew
    return not (told.share or told.shadow or told.close)


def is_told(world: World, revision: str) -> bool:
    """Whether a pod, even one that is ending, still hands requests to `revision`: then its door stays."""
    target = world.address(revision)
    return target is not None and any(_target(pod) == target for pod in (*world.pods, *world.ending))


def _target(pod: PodView) -> str:
    try:
        return parse(pod.traffic or "").target
    except TrafficError:
        return ""


def is_applied(world: World, intent: TrafficIntent) -> bool:
    """Whether every Ready pod of the sender said, when it was read last, that it applies the intent."""
    pods = world.answering(intent.sender)
    if not intent.sends:
        return all(_hands_on_nothing(pod) for pod in pods)
    seen = _applied_seqs(world, intent.rollout)
    return bool(pods) and all(seen.get(pod.uid, -1) >= intent.seq for pod in pods)


def _applied_seqs(world: World, rollout: str) -> Mapping[str, int]:
    if world.samples is None:
        return {}
    series = Series(metric_names.TRAFFIC_SEQ, (rollout,))
    living = (sample for sample in world.samples.runs.values() if sample.gone_at is None)
    return {sample.run.pod_uid: sample.counts[series] for sample in living if series in sample.counts}
