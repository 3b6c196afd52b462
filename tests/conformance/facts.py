"""Facts about the API that the operator relies on, one test each. Run against the fake and against a real API server.

A test module that imports these functions provides three fixtures: `kube` (the port), `others` (somebody else on the same API) and
`namespace` (empty).
"""

import copy

import pytest

from conformance.objects import config_map, deployment, job, probe
from conformance.world import PROBE, Others
from modelcycle.kube.errors import AlreadyExists, Conflict, Invalid, Unavailable
from modelcycle.kube.kinds import CONFIG_MAP, DEPLOYMENT, JOB
from modelcycle.kube.port import Kube, Object


def version(obj: Object) -> str:
    return str(obj["metadata"]["resourceVersion"])


def uid(obj: Object) -> str:
    return str(obj["metadata"]["uid"])


# Reading ----------------------------------------------------------------------------------------------------------


async def test_get_of_a_missing_object_is_none(kube: Kube, namespace: str) -> None:
    assert await kube.get(CONFIG_MAP, namespace, "none") is None


async def test_list_of_an_empty_namespace_is_empty(kube: Kube, namespace: str) -> None:
    assert await kube.list(PROBE, namespace) == []


async def test_list_items_are_whole_objects(kube: Kube, namespace: str) -> None:
    await kube.create(CONFIG_MAP, namespace, config_map("a", labels={"l": "1"}))
    (found,) = await kube.list(CONFIG_MAP, namespace, {"l": "1"})
    assert (found["apiVersion"], found["kind"], found["metadata"]["namespace"]) == ("v1", "ConfigMap", namespace)


async def test_list_selects_by_every_label(kube: Kube, namespace: str) -> None:
    await kube.create(CONFIG_MAP, namespace, config_map("a", labels={"l": "1", "m": "x"}))
    await kube.create(CONFIG_MAP, namespace, config_map("b", labels={"l": "1", "m": "y"}))
    found = await kube.list(CONFIG_MAP, namespace, {"l": "1", "m": "y"})
    assert [o["metadata"]["name"] for o in found] == ["b"]


async def test_list_of_the_whole_cluster_includes_the_namespace(kube: Kube, namespace: str) -> None:
    await kube.create(PROBE, namespace, probe("a"))
    found = await kube.list(PROBE, None)
    assert (namespace, "a") in [(o["metadata"]["namespace"], o["metadata"]["name"]) for o in found]


async def test_managed_fields_never_cross_the_port(kube: Kube, namespace: str) -> None:
    made = await kube.create(CONFIG_MAP, namespace, config_map("a", labels={"l": "1"}))
    got = await kube.get(CONFIG_MAP, namespace, "a")
    (listed,) = await kube.list(CONFIG_MAP, namespace, {"l": "1"})
    assert got is not None
    assert all("managedFields" not in o["metadata"] for o in (made, got, listed))


# Creating ---------------------------------------------------------------------------------------------------------


async def test_create_gives_uid_version_and_time(kube: Kube, namespace: str) -> None:
    made = await kube.create(CONFIG_MAP, namespace, config_map("a"))
    assert uid(made)
    assert version(made)
    assert made["metadata"]["creationTimestamp"].endswith("Z")


async def test_create_of_a_taken_name_is_already_exists(kube: Kube, others: Others, namespace: str) -> None:
    await others.create(CONFIG_MAP, namespace, config_map("a", {"theirs": "1"}))
    with pytest.raises(AlreadyExists):
        await kube.create(CONFIG_MAP, namespace, config_map("a", {"ours": "1"}))
    live = await kube.get(CONFIG_MAP, namespace, "a")
    assert live is not None
    assert live["data"] == {"theirs": "1"}


async def test_create_with_a_resource_version_is_refused_with_500(kube: Kube, namespace: str) -> None:
    body = config_map("a")
    body["metadata"]["resourceVersion"] = "1"
    with pytest.raises(Unavailable):
        await kube.create(CONFIG_MAP, namespace, body)


async def test_create_ignores_the_status_of_kinds_with_that_subresource(kube: Kube, namespace: str) -> None:
    made = await kube.create(PROBE, namespace, {**probe("a"), "status": {"n": 1}})
    assert "status" not in made


async def test_an_object_made_again_has_another_uid(kube: Kube, namespace: str) -> None:
    first = await kube.create(CONFIG_MAP, namespace, config_map("a"))
    await kube.delete(CONFIG_MAP, namespace, "a", uid(first))
    second = await kube.create(CONFIG_MAP, namespace, config_map("a"))
    assert uid(first) != uid(second)


async def test_a_name_with_capitals_is_invalid(kube: Kube, namespace: str) -> None:
    with pytest.raises(Invalid):
        await kube.create(CONFIG_MAP, namespace, config_map("Capital"))


async def test_a_label_value_of_64_characters_is_invalid(kube: Kube, namespace: str) -> None:
    with pytest.raises(Invalid):
        await kube.create(CONFIG_MAP, namespace, config_map("a", labels={"l": "x" * 64}))


async def test_a_job_name_of_64_characters_is_invalid(kube: Kube, namespace: str) -> None:
    with pytest.raises(Invalid):
        await kube.create(JOB, namespace, job("j" * 64))


async def test_a_config_map_over_one_mebibyte_is_invalid(kube: Kube, namespace: str) -> None:
    with pytest.raises(Invalid):
        await kube.create(CONFIG_MAP, namespace, config_map("a", {"a": "x" * (1024 * 1024 + 1)}))


# Generation and resourceVersion -----------------------------------------------------------------------------------


async def test_generation_starts_at_one_and_counts_spec_changes_only(
    kube: Kube, others: Others, namespace: str
) -> None:
    made = await others.create(PROBE, namespace, probe("a"))
    labelled = await others.edit(PROBE, namespace, "a", lambda o: o["metadata"].update(labels={"l": "1"}))
    changed = await others.edit(PROBE, namespace, "a", lambda o: o["spec"].update(n=2))
    done = await kube.apply_status(PROBE, namespace, "a", {"n": 1}, version(changed))
    assert [o["metadata"]["generation"] for o in (made, labelled, changed, done)] == [1, 1, 2, 2]


async def test_every_real_change_moves_the_resource_version(kube: Kube, others: Others, namespace: str) -> None:
    made = await others.create(PROBE, namespace, probe("a"))
    changed = await others.edit(PROBE, namespace, "a", lambda o: o["spec"].update(n=2))
    done = await kube.apply_status(PROBE, namespace, "a", {"n": 1}, version(changed))
    assert len({version(made), version(changed), version(done)}) == 3


async def test_an_edit_that_changes_nothing_keeps_the_resource_version(others: Others, namespace: str) -> None:
    made = await others.create(PROBE, namespace, probe("a"))
    same = await others.edit(PROBE, namespace, "a", lambda o: o["spec"].update(n=1))
    assert version(made) == version(same)


# Applying ---------------------------------------------------------------------------------------------------------


async def test_apply_creates_what_is_missing(kube: Kube, namespace: str) -> None:
    made = await kube.apply(CONFIG_MAP, namespace, config_map("a"))
    assert made["data"] == {"a": "1"}


async def test_the_second_equal_apply_changes_nothing(kube: Kube, namespace: str) -> None:
    await kube.create(CONFIG_MAP, namespace, config_map("a"))
    first = await kube.apply(CONFIG_MAP, namespace, config_map("a"))
    second = await kube.apply(CONFIG_MAP, namespace, config_map("a"))
    assert version(first) == version(second)


async def test_apply_prunes_what_an_earlier_apply_set(kube: Kube, namespace: str) -> None:
    await kube.apply(CONFIG_MAP, namespace, config_map("a", {"a": "1", "b": "2"}, {"l": "1", "m": "2"}))
    after = await kube.apply(CONFIG_MAP, namespace, config_map("a", {"a": "1"}, {"m": "2"}))
    assert (after["data"], after["metadata"]["labels"]) == ({"a": "1"}, {"m": "2"})


async def test_apply_prunes_what_our_create_set(kube: Kube, namespace: str) -> None:
    await kube.create(CONFIG_MAP, namespace, config_map("a", {"a": "1", "b": "2"}, {"l": "1", "m": "2"}))
    after = await kube.apply(CONFIG_MAP, namespace, config_map("a", {"a": "1"}, {"m": "2"}))
    assert (after["data"], after["metadata"]["labels"]) == ({"a": "1"}, {"m": "2"})


async def test_apply_keeps_what_others_added(kube: Kube, others: Others, namespace: str) -> None:
    await kube.create(CONFIG_MAP, namespace, config_map("a", labels={"ours": "1"}))
    await others.edit(CONFIG_MAP, namespace, "a", lambda o: o["metadata"]["labels"].update(theirs="1"))
    after = await kube.apply(CONFIG_MAP, namespace, config_map("a", labels={"ours": "2"}))
    assert after["metadata"]["labels"] == {"ours": "2", "theirs": "1"}


async def test_apply_takes_back_what_others_changed_engineering_24(kube: Kube, others: Others, namespace: str) -> None:
    await kube.create(CONFIG_MAP, namespace, config_map("a"))
    await others.edit(CONFIG_MAP, namespace, "a", lambda o: o["data"].update(a="theirs"))
    after = await kube.apply(CONFIG_MAP, namespace, config_map("a"))
    assert after["data"] == {"a": "1"}


async def test_apply_does_not_prune_what_others_took_over(kube: Kube, others: Others, namespace: str) -> None:
    await kube.apply(CONFIG_MAP, namespace, config_map("a", {"a": "1", "b": "2"}))
    await others.edit(CONFIG_MAP, namespace, "a", lambda o: o["data"].update(b="theirs"))
    after = await kube.apply(CONFIG_MAP, namespace, config_map("a", {"a": "1"}))
    assert after["data"] == {"a": "1", "b": "theirs"}


async def test_apply_merges_environment_variables_by_name(kube: Kube, others: Others, namespace: str) -> None:
    await kube.create(
        DEPLOYMENT, namespace, deployment("d", [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}])
    )

    def add(o: dict[str, object]) -> None:
        env = o["spec"]["template"]["spec"]["containers"][0]["env"]  # type: ignore[index]
        env.append({"name": "THEIRS", "value": "1"})

    await others.edit(DEPLOYMENT, namespace, "d", add)
    after = await kube.apply(DEPLOYMENT, namespace, deployment("d", [{"name": "B", "value": "3"}]))
    env = {e["name"]: e["value"] for e in after["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert env == {"B": "3", "THEIRS": "1"}


async def test_apply_replaces_atomic_lists(kube: Kube, others: Others, namespace: str) -> None:
    await kube.create(PROBE, namespace, probe("a", {"list": [1, 2]}))
    await others.edit(PROBE, namespace, "a", lambda o: o["spec"].update(list=[1, 2, 3]))
    after = await kube.apply(PROBE, namespace, probe("a", {"list": [4]}))
    assert after["spec"] == {"list": [4]}


async def test_apply_never_touches_the_status(kube: Kube, namespace: str) -> None:
    made = await kube.create(PROBE, namespace, probe("a"))
    await kube.apply_status(PROBE, namespace, "a", {"n": 1}, version(made))
    after = await kube.apply(PROBE, namespace, {**probe("a", {"n": 2}), "status": {"n": 2}})
    assert (after["spec"], after["status"]) == ({"n": 2}, {"n": 1})


async def test_apply_with_the_uid_seen_works(kube: Kube, namespace: str) -> None:
    made = await kube.create(CONFIG_MAP, namespace, config_map("a"))
    body = config_map("a", {"a": "2"})
    body["metadata"]["uid"] = uid(made)
    after = await kube.apply(CONFIG_MAP, namespace, body)
    assert after["data"] == {"a": "2"}


async def test_apply_with_another_uid_is_a_conflict(kube: Kube, namespace: str) -> None:
    await kube.create(CONFIG_MAP, namespace, config_map("a"))
    body = config_map("a", {"a": "2"})
    body["metadata"]["uid"] = "11111111-2222-4333-8444-555555555555"
    with pytest.raises(Conflict):
        await kube.apply(CONFIG_MAP, namespace, body)


async def test_apply_with_a_uid_never_resurrects(kube: Kube, namespace: str) -> None:
    made = await kube.create(CONFIG_MAP, namespace, config_map("a"))
    await kube.delete(CONFIG_MAP, namespace, "a", uid(made))
    body = config_map("a")
    body["metadata"]["uid"] = uid(made)
    with pytest.raises(Conflict):
        await kube.apply(CONFIG_MAP, namespace, body)
    assert await kube.get(CONFIG_MAP, namespace, "a") is None


async def test_an_immutable_config_map_refuses_new_data(kube: Kube, namespace: str) -> None:
    await kube.create(CONFIG_MAP, namespace, {**config_map("a"), "immutable": True})
    with pytest.raises(Invalid):
        await kube.apply(CONFIG_MAP, namespace, {**config_map("a", {"a": "2"}), "immutable": True})


async def test_the_pod_template_of_a_job_is_immutable(kube: Kube, namespace: str) -> None:
    await kube.create(JOB, namespace, job("j"))
    changed = copy.deepcopy(job("j"))
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = "localhost/other"
    with pytest.raises(Invalid):
        await kube.apply(JOB, namespace, changed)


async def test_apply_on_the_version_read_works_and_on_a_stale_one_is_a_conflict(
    kube: Kube, others: Others, namespace: str
) -> None:
    made = await kube.create(CONFIG_MAP, namespace, config_map("a"))
    body = config_map("a", {"a": "2"})
    body["metadata"]["resourceVersion"] = version(made)
    await kube.apply(CONFIG_MAP, namespace, body)
    await others.edit(CONFIG_MAP, namespace, "a", lambda o: o["data"].update(b="theirs"))
    with pytest.raises(Conflict):
        await kube.apply(CONFIG_MAP, namespace, body)
