"""A model server that would take any bytes for verified: an editor of a ModelDeployment names it, and nothing unverified is served by it.

The image is the serving image with another entry point, put straight into the node's containerd: its `fetch` copies whatever lies at the
address and says that all is well, and before it serves it tries to write over the bundle.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from canary_ground import Ground
from cluster.test_deployment_faults import SECONDS, copied, flipped
from demo.kubectl import condition, describe, is_current, is_stalled
from devcluster import engines
from devcluster.buildah import MANIFEST, Built
from devcluster.containerd_images import ContainerdImages
from devcluster.image_specs import Image
from devcluster.paths import Paths, cache_root
from devcluster.progress import Progress
from modelcycle_bundle import layout
from modelcycle_bundle.contract import FetchTask, to_environment
from plant import Plant

PROGRAM = """
import os, pathlib, runpy, sys
from modelcycle_bundle import contract, credentials, layout, store
bundle = pathlib.Path(layout.BUNDLE_MOUNT)
if sys.argv[1] == "fetch":
    task = contract.from_json(contract.FetchTask, os.environ[layout.TASK_ENV])
    found = store.open_store(task.uri, {**os.environ, **credentials.of_store(os.environ)})
    for entry in found.list(""):
        path = bundle / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(found.get(entry.path))
    sys.exit(0)
try:
    (bundle / layout.MODEL_DIR / layout.MODEL_FILE).write_bytes(b"mine")
    print("WRITTEN OVER", flush=True)
except OSError as error:
    print("NOT WRITTEN:", error.strerror, flush=True)
os.environ.pop("MODELCYCLE_DIGEST", None)
sys.argv[0] = "modelcycle_serving"
runpy.run_module("modelcycle_serving", run_name="__main__", alter_sys=True)
"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image's name in the cluster."""
    progress, paths = Progress(), Paths(cache_root(os.environ))
    report = engines.describe(paths, progress)
    if "ctr" not in report:
        pytest.skip("the image is put into the containerd of hack/cluster's own node; this cluster is another one")
    folder = tmp_path_factory.mktemp("hostile")
    digest = _with_entry_point(paths.cache / "images" / "built" / "serving", folder)
    image = Image("hostile", "none")
    return ContainerdImages(report["ctr"].split(), progress).ensure(Built(image, folder, digest))


def _with_entry_point(serving: Path, folder: Path) -> str:
    """The serving image's layers under another configuration; the digest of its manifest."""
    manifest = json.loads((serving / MANIFEST).read_text())
    config = json.loads((serving / manifest["config"]["digest"].partition(":")[2]).read_text())
    config["config"]["Entrypoint"] = ["/app/venv/bin/python", "-c", PROGRAM]
    body = json.dumps(config).encode()
    name = hashlib.sha256(body).hexdigest()
    (folder / name).write_bytes(body)
    for layer in manifest["layers"]:
        blob = layer["digest"].partition(":")[2]
        os.link(serving / blob, folder / blob)
    manifest["config"] |= {"digest": f"sha256:{name}", "size": len(body)}
    text = json.dumps(manifest).encode()
    (folder / MANIFEST).write_bytes(text)
    return "sha256:" + hashlib.sha256(text).hexdigest()


@pytest.fixture(scope="module")
def site(shared_ground: Ground) -> Plant:
    """The namespace."""
    return shared_ground.plant


@pytest.fixture(scope="module")
def tampered(site: Plant, shared_ground: Ground) -> dict[str, str]:
    """A model whose bytes are not those that were sealed."""
    sealed = shared_ground.usual.spec
    uri = copied(site, sealed["uri"], "tampered", {layout.MODEL_FILE: flipped(site, sealed["uri"])})
    return {**sealed, "uri": uri}


def test_the_image_would_take_the_tampered_model_for_verified(
    site: Plant, hostile: str, tampered: dict[str, str]
) -> None:
    task = to_environment(FetchTask(tampered["uri"], tampered["digest"]))
    container: dict[str, Any] = {
        "name": "fetch",
        "image": hostile,
        "imagePullPolicy": "IfNotPresent",
        "args": ["fetch"],
        "env": [{"name": layout.TASK_ENV, "value": task}],
        "envFrom": [{"prefix": layout.STORE_ENV_PREFIX, "secretRef": {"name": "modelcycle-store"}}],
        "volumeMounts": [{"name": "bundle", "mountPath": layout.BUNDLE_MOUNT}],
    }
    spec = {"restartPolicy": "Never", "containers": [container], "volumes": [{"name": "bundle", "emptyDir": {}}]}
    site.kubectl.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "alone"}, "spec": spec})
    ended = site.kubectl.wait("pod", "alone", lambda o: o["status"].get("phase") in ("Succeeded", "Failed"), SECONDS)
    assert ended["status"]["phase"] == "Succeeded", site.kubectl.run("logs", "alone")


def test_tampered_model_is_refused_whatever_the_servers_image_accepts(
    site: Plant, hostile: str, tampered: dict[str, str]
) -> None:
    site.kubectl.apply(site.deployment("evil", model=tampered, server={"image": hostile}))
    seen = site.kubectl.wait("modeldeployment", "evil", lambda o: is_current(o) or is_stalled(o), SECONDS)
    assert is_stalled(seen), describe(seen)
    assert condition(seen, "Stalled")["reason"] == "DigestMismatch", describe(seen)
    assert condition(seen, "Available")["status"] == "False"


def test_server_of_such_an_image_cannot_write_over_what_was_verified(
    site: Plant, hostile: str, shared_ground: Ground
) -> None:
    site.kubectl.apply(site.deployment("sly", model=shared_ground.usual.spec, server={"image": hostile}))
    seen = site.kubectl.wait("modeldeployment", "sly", lambda o: is_current(o) or is_stalled(o), SECONDS)
    assert is_current(seen), describe(seen)
    said = site.kubectl.run("logs", "-l", "modelcycle.dev/deployment=sly", "-c", "server", "--tail=-1")
    assert "NOT WRITTEN: Read-only file system" in said
    assert "WRITTEN OVER" not in said
