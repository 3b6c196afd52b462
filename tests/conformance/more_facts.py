"""More facts about the API: status, Leases, pods, deletion and garbage collection. See `conformance.facts`."""

import pytest

from conformance.facts import uid, version
from conformance.objects import condition, config_map, lease, pod, probe
from conformance.world import PROBE, Others, eventually
from modelcycle.kube.errors import Conflict, NotFound
from modelcycle.kube.kinds import CONFIG_MAP, LEASE, POD
from modelcycle.kube.port import Kube

# Status -----------------------------------------------------------------------------------------------------------


async def test_status_on_a_stale_version_is_a_conflict_engineering_23(
    kube: Kube, others: Others, namespace: str
) -> None:
    made = await kube.create(PROBE, namespace, probe("a"))
    await others.edit(PROBE, namespace, "a", lambda o: o["spec"].update(n=2))
    with pytest.raises(Conflict):
        await kube.apply_status(PROBE, namespace, "a", {"n": 1}, version(made))


async def test_status_of_a_missing_object_is_not_found(kube: Kube, namespace: str) -> None:
    with pytest.raises((NotFound, Conflict)):
        await kube.apply_status(PROBE, namespace, "none", {"n": 1}, "1")
    assert await kube.get(PROBE, namespace, "none") is None


async def test_status_writes_nothing_else(kube: Kube, namespace: str) -> None:
    made = await kube.create(PROBE, namespace, probe("a"))
    after = await kube.apply_status(PROBE, namespace, "a", {"n": 1}, version(made))
    assert (after["spec"], after["status"]) == ({"n": 1}, {"n": 1})


async def test_an_equal_status_changes_nothing(kube: Kube, namespace: str) -> None:
    made = await kube.create(PROBE, namespace, probe("a"))
    first = await kube.apply_status(PROBE, namespace, "a", {"n": 1}, version(made))
    second = await kube.apply_status(PROBE, namespace, "a", {"n": 1}, version(first))
    assert version(first) == version(second)


async def test_status_fields_left_out_are_pruned(kube: Kube, namespace: str) -> None:
    made = await kube.create(PROBE, namespace, probe("a"))
    full = {"n": 1, "deep": {"x": 1, "y": 2}, "conditions": [condition("Ready"), condition("Stalled")]}
    first = await kube.apply_status(PROBE, namespace, "a", full, version(made))
    less = {"deep": {"y": 2}, "conditions": [condition("Ready", "False")]}
    second = await kube.apply_status(PROBE, namespace, "a", less, version(first))
    assert second["status"] == less


async def test_conditions_of_others_stay(kube: Kube, others: Others, namespace: str) -> None:
    made = await kube.create(PROBE, namespace, probe("a"))
    await kube.apply_status(PROBE, namespace, "a", {"conditions": [condition("Ready")]}, version(made))
    theirs = await others.edit_status(
        PROBE, namespace, "a", lambda o: o["status"]["conditions"].append(condition("Theirs"))
    )
    after = await kube.apply_status(PROBE, namespace, "a", {"conditions": [condition("Mine")]}, version(theirs))
    assert {c["type"] for c in after["status"]["conditions"]} == {"Mine", "Theirs"}


# Replacing and pods -----------------------------------------------------------------------------------------------


async def test_replace_needs_the_version_read(kube: Kube, namespace: str) -> None:
    made = await kube.create(LEASE, namespace, lease("l", "a"))
    body = lease("l", "b")
    body["metadata"]["resourceVersion"] = version(made)
    after = await kube.replace(LEASE, namespace, body)
    assert after["spec"]["holderIdentity"] == "b"
    with pytest.raises(Conflict):
        await kube.replace(LEASE, namespace, body)


async def test_the_log_of_a_missing_pod_is_not_found(kube: Kube, namespace: str) -> None:
    with pytest.raises(NotFound):
        await kube.log(namespace, "none", "main", 10, 1000)


async def test_a_pod_without_a_node_has_no_log(kube: Kube, others: Others, namespace: str) -> None:
    await others.create(POD, namespace, pod("p"))
    assert await kube.log(namespace, "p", "main", 10, 1000) == ""


async def test_a_pod_annotation_is_patched_alone(kube: Kube, others: Others, namespace: str) -> None:
    made = await others.create(POD, namespace, pod("p"))
    after = await kube.patch_pod_annotation(namespace, "p", uid(made), "modelcycle.dev/traffic", "1")
    again = await kube.patch_pod_annotation(namespace, "p", uid(made), "modelcycle.dev/traffic", "1")
    assert after["metadata"]["annotations"]["modelcycle.dev/traffic"] == "1"
    assert version(after) == version(again)


async def test_a_pod_of_another_uid_is_not_patched(kube: Kube, others: Others, namespace: str) -> None:
    await others.create(POD, namespace, pod("p"))
    with pytest.raises(Conflict):
        await kube.patch_pod_annotation(namespace, "p", "11111111-2222-4333-8444-555555555555", "a", "1")


async def test_a_missing_pod_is_not_found(kube: Kube, namespace: str) -> None:
    with pytest.raises(NotFound):
        await kube.patch_pod_annotation(namespace, "none", "11111111-2222-4333-8444-555555555555", "a", "1")


# Deleting ---------------------------------------------------------------------------------------------------------


async def test_delete_of_a_missing_object_is_success(kube: Kube, namespace: str) -> None:
    await kube.delete(CONFIG_MAP, namespace, "none", "11111111-2222-4333-8444-555555555555")
    assert await kube.get(CONFIG_MAP, namespace, "none") is None


async def test_delete_of_another_uid_is_a_conflict(kube: Kube, namespace: str) -> None:
    await kube.create(CONFIG_MAP, namespace, config_map("a"))
    with pytest.raises(Conflict):
        await kube.delete(CONFIG_MAP, namespace, "a", "11111111-2222-4333-8444-555555555555")
    assert await kube.get(CONFIG_MAP, namespace, "a") is not None


async def test_a_finalizer_holds_a_deleted_object_until_it_is_removed(
    kube: Kube, others: Others, namespace: str
) -> None:
    body = config_map("a")
    body["metadata"]["finalizers"] = ["conformance.modelcycle.dev/hold"]
    made = await others.create(CONFIG_MAP, namespace, body)
    await kube.delete(CONFIG_MAP, namespace, "a", uid(made))
    held = await kube.get(CONFIG_MAP, namespace, "a")
    assert held is not None
    assert held["metadata"]["deletionTimestamp"]
    await others.edit(CONFIG_MAP, namespace, "a", lambda o: o["metadata"].update(finalizers=[]))
    assert await kube.get(CONFIG_MAP, namespace, "a") is None


async def test_children_go_with_their_owner(kube: Kube, others: Others, namespace: str) -> None:
    owner = await others.create(PROBE, namespace, probe("o"))
    await kube.create(CONFIG_MAP, namespace, config_map("child", owner=owner))
    await others.remove(PROBE, namespace, "o")

    async def gone() -> bool:
        return await kube.get(CONFIG_MAP, namespace, "child") is None

    assert await eventually(gone)


async def test_a_child_of_a_predecessor_goes_too(kube: Kube, others: Others, namespace: str) -> None:
    first = await others.create(PROBE, namespace, probe("o"))
    await kube.create(CONFIG_MAP, namespace, config_map("child", owner=first))
    await others.remove(PROBE, namespace, "o")
    await others.create(PROBE, namespace, probe("o"))

    async def gone() -> bool:
        return await kube.get(CONFIG_MAP, namespace, "child") is None

    assert await eventually(gone)


# Merge patches ----------------------------------------------------------------------------------------------------


async def test_a_merge_patch_removes_what_others_own_and_replaces_lists(
    kube: Kube, others: Others, namespace: str
) -> None:
    body = probe("a")
    made = await kube.apply(PROBE, namespace, {**body, "spec": {"n": 1, "list": [{"name": "x"}]}})
    await others.edit(PROBE, namespace, "a", lambda o: o["spec"].update(theirs=2, list=[{"name": "y"}, {"name": "x"}]))
    patch = {"metadata": {"uid": uid(made)}, "spec": {"theirs": None, "list": [{"name": "x"}]}}
    after = await kube.merge_patch(PROBE, namespace, "a", patch)
    assert after["spec"] == {"n": 1, "list": [{"name": "x"}]}
    assert "managedFields" not in after["metadata"]


async def test_a_merge_patch_on_another_uid_or_a_stale_version_is_a_conflict(
    kube: Kube, others: Others, namespace: str
) -> None:
    made = await kube.create(PROBE, namespace, probe("a"))
    await others.edit(PROBE, namespace, "a", lambda o: o["spec"].update(n=2))
    for seen in ({"uid": "00000000-0000-4000-8000-00000000ffff"}, {"resourceVersion": version(made)}):
        with pytest.raises(Conflict):
            await kube.merge_patch(PROBE, namespace, "a", {"metadata": seen, "spec": {"n": 3}})
    with pytest.raises(NotFound):
        await kube.merge_patch(PROBE, namespace, "none", {"spec": {"n": 3}})


async def test_what_a_merge_patch_set_is_pruned_by_a_later_apply(kube: Kube, namespace: str) -> None:
    await kube.apply(PROBE, namespace, probe("a"))
    await kube.merge_patch(PROBE, namespace, "a", {"metadata": {"annotations": {"x": "y"}}})
    await kube.apply(PROBE, namespace, {**probe("a"), "spec": {"n": 2}})
    after = await kube.apply(PROBE, namespace, {**probe("a"), "spec": {"n": 3}})
    assert "annotations" not in after["metadata"]
