"""A ModelDeployment whose status a newer operator wrote: nothing moves, but for requests taken away from a canary on demand. Pure.

Owns what may be read of such a status: who serves, who is tried and which requests of people were executed. An Abort that is carried out
here stays unrecorded, so that the newer operator, when it runs again, finds it still to be executed, and rejects the canary.
"""

from collections.abc import Mapping

from modelcycle.api.fields import part
from modelcycle.api.rollout import Verb
from modelcycle.deployment.revision import Target
from modelcycle.deployment.status import STATE_VERSION
from modelcycle.deployment.world import PodView, World
from modelcycle.engine import newer
from modelcycle.engine.plan import AnnotatePods, Plan, PodAnnotation
from modelcycle.kube.kinds import MODEL_DEPLOYMENT
from modelcycle_bundle.traffic import ANNOTATION, Traffic, TrafficError, parse, to_text

REMAINS = "; Abort, or the stable digest in spec.model, still takes the canary's requests away"


def hold(world: World) -> Plan:
    """The condition; and share 0 for every pod that forwards requests, when a person asks for it."""
    metadata = {
        "namespace": world.namespace,
        "name": world.name,
        "uid": world.uid,
        "resourceVersion": world.resource_version,
        "generation": world.generation,
    }
    remains = REMAINS if world.raw_status.get("canary") else ""
    told = newer.held(MODEL_DEPLOYMENT, metadata, world.raw_status, STATE_VERSION, world.now, remains)
    silent = _shares_taken_away(world) if _is_rollback_asked(world) else ()
    return Plan((*silent, *told))


def _is_rollback_asked(world: World) -> bool:
    canary, stable = (part(world.raw_status, name) for name in ("canary", "stable"))
    if world.spec is None or not canary:
        return False
    if isinstance(world.target, Target) and world.target.hash == stable.get("revision"):
        return True
    executed = {item.get("id") for item in world.raw_status.get("requests", ()) if isinstance(item, Mapping)}
    return any(
        request.verb is Verb.ABORT and request.id not in executed and request.digest in (None, "", canary.get("digest"))
        for request in world.spec.requests
    )


def _shares_taken_away(world: World) -> tuple[AnnotatePods, ...]:
    texts = ((pod, _text(pod)) for pod in sorted(world.pods, key=lambda pod: pod.name))
    pods = tuple(PodAnnotation(pod.name, pod.uid, text) for pod, text in texts if text is not None)
    return (AnnotatePods(world.namespace, ANNOTATION, pods),) if pods else ()


def _text(pod: PodView) -> str | None:
    """None: the pod forwards nothing."""
    if not pod.traffic:
        return None
    try:
        found = parse(pod.traffic)
    except TrafficError:
        return to_text(Traffic())  # of a form that is not known: the pod may know it
    return to_text(Traffic(rollout=found.rollout, seq=found.seq)) if found.share or found.shadow else None
