"""Trust entries against real namespaces: one that ends slowly, one that stays, and the operator's own."""

import uuid
from collections.abc import Mapping

from conformance.world import eventually
from modelcycle.deployment.observe import TRUST_CONFIG_MAP
from modelcycle.deployment.trust_keeper import TrustKeeper
from modelcycle.kube import kinds
from modelcycle.kube.client import RestKube

FINALIZER = "example.org/slow"


async def test_the_entry_goes_with_its_namespace_and_not_before(rest_kube: RestKube, namespace: str) -> None:
    keeper = TrustKeeper(rest_kube, namespace, lambda: 0.0, 600)
    going = f"going-{uuid.uuid4().hex[:8]}"
    made = await rest_kube.create(kinds.NAMESPACE, "", body("Namespace", {"name": going}))
    await rest_kube.create(kinds.CONFIG_MAP, going, body("ConfigMap", {"name": "holder", "finalizers": [FINALIZER]}))
    data = {namespace: "a", going: "b", "never-made": "c", "_note": "d"}
    await rest_kube.create(kinds.CONFIG_MAP, namespace, {**body("ConfigMap", {"name": TRUST_CONFIG_MAP}), "data": data})

    async def entries() -> Mapping[str, str]:
        found = await rest_kube.get(kinds.CONFIG_MAP, namespace, TRUST_CONFIG_MAP)
        assert found is not None
        return dict(found["data"])

    await keeper.once()
    await rest_kube.delete(kinds.NAMESPACE, "", going, made["metadata"]["uid"])

    async def terminating() -> bool:
        found = await rest_kube.get(kinds.NAMESPACE, "", going)
        return found is not None and found["status"]["phase"] == "Terminating"

    assert await eventually(terminating)
    await keeper.once()
    assert await entries() == data
    await rest_kube.merge_patch(kinds.CONFIG_MAP, going, "holder", {"metadata": {"finalizers": None}})

    async def gone() -> bool:
        return await rest_kube.get(kinds.NAMESPACE, "", going) is None

    assert await eventually(gone, 60)
    await keeper.once()
    assert await entries() == {key: value for key, value in data.items() if key != going}


def body(kind: str, metadata: Mapping[str, object]) -> Mapping[str, object]:
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata}
