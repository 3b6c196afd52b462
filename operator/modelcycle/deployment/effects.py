"""What the cluster should hold for a written state: ordered actions on children, none when it already does. Pure.

Owns the safety rules: the Service never moves to a revision without a Ready pod while the one it points to has some; a revision that the
Service was seen pointing to is neither scaled down nor deleted; a revision's door stays while a pod hands requests on through it. Existing
objects of others are never touched.
"""

from collections.abc import Container, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from modelcycle.api.modeldeployment import Spec
from modelcycle.deployment import manifests
from modelcycle.deployment.compare import holds
from modelcycle.deployment.repairs import Altered, marked, put_back, undone
from modelcycle.deployment.resize import is_resize, resized
from modelcycle.deployment.retention import by_worth, is_outgrown
from modelcycle.deployment.revision import Target
from modelcycle.deployment.routing import router
from modelcycle.deployment.status import RevisionRef, State
from modelcycle.deployment.telling import inputs_to_tell
from modelcycle.deployment.transition import capacity
from modelcycle.deployment.verification import is_by_server_image
from modelcycle.deployment.world import Child, World
from modelcycle.engine.plan import Action, AnnotatePods, Apply, Create, Delete, Repair
from modelcycle.kube.kinds import CONFIG_MAP, CONTROLLER_REVISION, DEPLOYMENT, SERVICE, Kind

DOOR_LINGER: Final = timedelta(seconds=120)
"""The kubelet looks at every pod once in about 90 s, should it have missed a change of an annotation."""


def effects(world: World, spec: Spec, state: State) -> list[Action]:
    """Service and shares first (what users feel), then what goes down, then what comes up, then history."""
    actions = [
        *_service(world, state),
        *shares(world, spec, state),
        *_scale_down(world, state),
        *_doors(world, spec, state),
        *_trust(world),
        *(action for ref in state.referenced() for action in _revision(world, spec, state, ref)),
        *_prune(world, spec, state),
    ]
    return actions + _stored_anew(world, {action.uid for action in actions if isinstance(action, Delete)})


def altered(world: World, spec: Spec, state: State) -> list[Altered]:
    """Children that stay other than asked for, since putting them back comes to nothing."""
    wanted: list[tuple[Kind, Child | None, Mapping[str, Any]]] = [(SERVICE, world.service, _service_body(world, state))]
    for ref in state.referenced():
        live, stored = world.deployments.get(ref.revision), world.revisions.get(ref.revision)
        if live and stored:
            wanted.append((DEPLOYMENT, live.child, _deployment_body(world, spec, state, ref, stored.template)))
    looks = [put_back(kind, live.body, body, world.now) for kind, live, body in wanted if live]
    return [look for look in looks if isinstance(look, Altered)]


def _service(world: World, state: State) -> Iterable[Action]:
    return _upsert(world, SERVICE, world.service, _service_body(world, state))


def _service_body(world: World, state: State) -> Mapping[str, Any]:
    selected = world.selected
    wanted = state.stable.revision if state.stable else manifests.NO_REVISION
    # Readiness, not the record, decides when users are moved: the new pods may have died since it was written.
    if selected is not None and world.ready.get(wanted, 0) == 0 and world.ready.get(selected, 0) > 0:
        wanted = selected
    return manifests.service(world.namespace, world.name, world.uid, wanted)


def shares(world: World, spec: Spec, state: State) -> list[AnnotatePods]:
    """What pods have to be told about requests they hand on."""
    return router(spec).instructions(world, spec, state.traffic, (ref.revision for ref in state.referenced()))


def _doors(world: World, spec: Spec, state: State) -> Iterable[Action]:
    wanted = {state.canary.ref.revision} if state.canary and state.stable else set()
    if state.traffic.share and state.retiring:
        wanted.add(state.traffic.receiver)
    for revision in sorted(wanted):
        body = manifests.door(world.namespace, world.name, world.uid, revision)
        yield from _upsert(world, SERVICE, world.doors.get(revision), body)
    for revision, door in sorted(world.doors.items()):
        is_used = revision in wanted or router(spec).is_told(world, revision)
        if not is_used and lingers(world, state) <= timedelta(0):
            yield _delete(world, SERVICE, door)


def lingers(world: World, state: State) -> timedelta:
    """How long doors still stay behind the last change: a pod that has not heard of it is refused at once, or answered."""
    return DOOR_LINGER - (world.now - state.traffic.at) if state.traffic.at else timedelta(0)


def _trust(world: World) -> Iterable[Action]:
    if not world.trust.pem and world.trust_map is None:
        return ()
    body = manifests.trust_map(world.namespace, world.name, world.uid, world.trust.pem)
    return _upsert(world, CONFIG_MAP, world.trust_map, body)


def _revision(world: World, spec: Spec, state: State, ref: RevisionRef) -> Iterable[Action]:
    """Template first, Deployment second: a Deployment is only ever applied from a stored template."""
    live, stored, fresh = world.deployments.get(ref.revision), world.revisions.get(ref.revision), _render(world, ref)
    has_pods = live is not None and live.replicas > 0
    if stored and fresh and not has_pods and is_by_server_image(stored, world.defaults.image):
        # Nothing runs from it: what starts now is verified by the operator's own image.
        yield _delete(world, CONTROLLER_REVISION, stored.child)
        stored = None
    if stored:
        template: Mapping[str, Any] | None = stored.template
    else:
        template = live.template if live and (has_pods or not fresh) else fresh
    if template is None:
        return
    told = _told(world, state, ref, template)
    if stored and told != template:
        # Its data is immutable. After a crash in between the Deployment still has the template, and it is told again.
        yield _delete(world, CONTROLLER_REVISION, stored.child)
        stored = None
    template = told
    if stored is None:
        body = manifests.controller_revision(world.namespace, world.name, world.uid, ref, template)
        yield from _upsert(world, CONTROLLER_REVISION, None, body)
    wanted = _deployment_body(world, spec, state, ref, template)
    yield from _upsert(world, DEPLOYMENT, live.child if live else None, wanted)


def _told(world: World, state: State, ref: RevisionRef, template: Mapping[str, Any]) -> Mapping[str, Any]:
    """With what clients send, for a canary that needs less of it or has it in another order."""
    if state.canary is None or ref.revision != state.canary.ref.revision:
        return template
    inputs = inputs_to_tell(world, state)
    return manifests.telling(template, inputs) if inputs else template


def _deployment_body(
    world: World, spec: Spec, state: State, ref: RevisionRef, template: Mapping[str, Any]
) -> Mapping[str, Any]:
    replicas = capacity(spec, state, ref.revision)
    return manifests.deployment(world.namespace, world.name, world.uid, ref.revision, template, replicas)


def _render(world: World, ref: RevisionRef) -> Mapping[str, Any] | None:
    target = world.target
    if not isinstance(target, Target) or target.hash != ref.revision:
        return None
    stable = world.state.stable
    stored = world.revisions.get(stable.revision) if stable else None
    if stored and is_resize(world, stable, target) and not is_by_server_image(stored, world.defaults.image):
        return resized(stored, target)
    return manifests.pod_template(world.name, world.uid, ref.revision, target, world.defaults)


def _scale_down(world: World, state: State) -> Iterable[Action]:
    kept = {ref.revision for ref in state.referenced()} | {world.selected}
    for revision, live in sorted(world.deployments.items()):
        if revision in kept or live.replicas == 0:
            continue
        stored = world.revisions.get(revision)
        template = stored.template if stored else live.template
        body = manifests.deployment(world.namespace, world.name, world.uid, revision, template, 0)
        yield from _upsert(world, DEPLOYMENT, live.child, body)


def _prune(world: World, spec: Spec, state: State) -> Iterable[Action]:
    """Delete idle revisions beyond the history limit, those of least worth first, the Deployment before its template."""
    kept = {ref.revision for ref in state.referenced()} | {world.selected}
    if isinstance(world.target, Target):
        kept.add(world.target.hash)
    busy = {revision for revision, live in world.deployments.items() if live.replicas > 0}
    busy |= {pod.revision for pod in (*world.pods, *world.ending)}
    idle = (set(world.deployments) | set(world.revisions)) - kept - busy
    outgrown = {revision for revision in idle if is_outgrown(world, state, revision)}
    beyond = by_worth(world, state, idle - outgrown)[spec.history_limit :]
    for revision in (*beyond, *sorted(outgrown)):
        if revision in world.deployments:
            yield _delete(world, DEPLOYMENT, world.deployments[revision].child)
        if revision in world.revisions:
            yield _delete(world, CONTROLLER_REVISION, world.revisions[revision].child)


def _stored_anew(world: World, deleted: Container[str]) -> list[Action]:
    """Templates of an earlier stored form are stored once more, then deleted: in that order, so that a crash loses none."""
    actions: list[Action] = []
    for view in world.revisions.values():
        if view.form < manifests.STORED_FORM and view.child.uid not in deleted:
            ref = RevisionRef(view.child.revision, view.number, view.digest, view.uri)
            body = manifests.controller_revision(world.namespace, world.name, world.uid, ref, view.template)
            actions += [Create(CONTROLLER_REVISION, body), _delete(world, CONTROLLER_REVISION, view.child)]
    return actions + [_delete(world, CONTROLLER_REVISION, child) for child in world.superseded]


def _delete(world: World, kind: Kind, child: Child) -> Delete:
    return Delete(kind, world.namespace, child.name, child.uid)


def _upsert(world: World, kind: Kind, live: Child | None, body: Mapping[str, Any]) -> Iterable[Action]:
    name = body["metadata"]["name"]
    if any(item.kind == kind.kind and item.name == name for item in world.foreign):
        return
    if live is None:
        yield Create(kind, body if kind is CONTROLLER_REVISION else marked(body, world.now))
    elif kind in (DEPLOYMENT, SERVICE):
        action = put_back(kind, live.body, body, world.now)
        if isinstance(action, Apply | Repair):
            yield action
    elif not holds(live.body, body):
        yield Apply(kind, marked(body, world.now), live.uid, undone(live.body, body))
