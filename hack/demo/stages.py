"""The stages around the rollouts: prepare, train, serve, refuse. Each returns after the cluster has shown that it happened, or raises."""

import json
import time
import urllib.request
from collections.abc import Mapping
from typing import Any

from demo import objects, records, store
from demo.findings import Model
from demo.kubectl import condition, describe, is_current, is_stalled
from demo.objects import Place
from demo.scene import SYSTEM_NAMESPACE, TRIALS_SECONDS, Demo, StageFailed, folder, tell_trials
from modelcycle_bundle import keys, layout, oms
from modelcycle_bundle.store import Store


def prepare(demo: Demo) -> str:
    """Namespace, store credentials, signing key, data."""
    kubectl, story = demo.kubectl, demo.story
    _make_room(demo)
    kubectl.apply(objects.namespace(kubectl.namespace))
    uid = (kubectl.get("namespace", kubectl.namespace) or {})["metadata"]["uid"]
    demo.place = Place(uid[:6])
    kubectl.apply(objects.store_secret(store.environment(kubectl)))
    story.say(f"namespace {kubectl.namespace}, Secret modelcycle-store with the store's credentials")
    for line in kubectl.keygen().splitlines():
        story.say(f"[dim]kubectl modelcycle keygen:[/] {line}")
    table = records.as_csv()
    with demo.store() as (data, _):
        data.put_new(demo.place.data_key(objects.FIRST_DATA), table)
    uri = demo.place.data_uri(objects.FIRST_DATA)
    story.say(f"{uri}: {len(table)} bytes of real records (scikit-learn's breast cancer data)")
    return "key made and trusted, data in the store"


def _make_room(demo: Demo) -> None:
    """What an earlier demo left in its own namespace goes; a namespace of somebody else stays as it is."""
    name = demo.kubectl.namespace
    found = demo.kubectl.get("namespace", name)
    if found is None:
        return
    labels = found["metadata"].get("labels", {})
    if not objects.MADE_BY.items() <= labels.items():
        raise StageFailed(f"namespace {name} is there and not the demo's: choose another with --namespace")
    demo.story.say(f"namespace {name} of an earlier demo: deleting it first")
    demo.kubectl.run("delete", "namespace", name, "--timeout=180s")


def train(demo: Demo, name: str) -> str:
    """Apply an Experiment; print each trial as it ends; check the published bundle's signature ourselves."""
    kubectl, story = demo.kubectl, demo.story
    began = time.monotonic()
    kubectl.apply({objects.PILOT: objects.pilot, objects.SEARCH: objects.search}[name](demo.place))
    story.say(f"kubectl apply: Experiment/{name}")
    done = kubectl.wait(
        "experiment",
        name,
        lambda o: is_current(o) or is_stalled(o),
        TRIALS_SECONDS,
        each=lambda o: tell_trials(story, o),
    )
    if not is_current(done):
        raise StageFailed(f"Experiment/{name}: {describe(done)}")
    model, summary = done["status"]["model"], done["status"]["summary"]
    with demo.store() as (_, models):
        hint, files = check_signature(demo, models, model["uri"], model["digest"])
    story.say(f"model {model['digest'][:23]}...  in {model['uri'].rsplit('/', 1)[0]}/")
    story.say(f"signature verified by hand: {files} files, key {hint[:12]}..., as the namespace's trust entry says")
    seconds = round(time.monotonic() - began, 1)
    demo.findings.models.append(Model(name, model["digest"], summary["trials"], summary["best"], seconds))
    return f"{summary['trials']} trials, {summary['best']}, sealed and signed"


def serve(demo: Demo) -> str:
    """Apply the ModelDeployment and the DriftMonitor; ask the first questions."""
    kubectl, story = demo.kubectl, demo.story
    kubectl.apply(objects.following(objects.PILOT), objects.monitor(demo.place))
    story.say(f"kubectl apply: ModelDeployment/{objects.DEPLOYMENT}, DriftMonitor/{objects.MONITOR}")
    done = demo.settle("modeldeployment", objects.DEPLOYMENT)
    if done["status"]["stable"]["digest"] != demo.digest(objects.PILOT):
        raise StageFailed(f"serves {done['status']['stable']['digest']}, not the pilot's model")
    with kubectl.forward(f"svc/{objects.DEPLOYMENT}", 80) as port:
        for row in json.loads(records.rows(3)):
            story.say(_ask(port, row))
    return f"{done['status']['stable']['readyReplicas']} pods verified, replayed golden answers, and answer"


def refuse(demo: Demo) -> str:
    """Copy the live bundle, flip one bit of model.onnx, ask for it: refused with the reason, nothing served."""
    kubectl, story = demo.kubectl, demo.story
    model = demo.experiment(objects.SEARCH)["status"]["model"]
    source = folder(model["uri"])
    target = f"{demo.place.folder}/tampered/{layout.sealed_prefix(model['digest'])}"
    with demo.store() as (_, models):
        for entry in models.list(source):
            content = models.get(entry.path)
            if entry.path.endswith(layout.MODEL_FILE):
                content = content[:-1] + bytes([content[-1] ^ 1])
            models.put_new(entry.path.replace(source, target), content)
    uri = f"s3://{store.MODEL_BUCKET}/{target}"
    story.say("Somebody changes one bit of a signed model in the store.")
    story.say(f"[dim]copied the bundle to {uri[:44]}... and flipped one bit of {layout.MODEL_FILE}[/]")
    kubectl.apply(objects.tampered_deployment(uri, model["digest"]))
    done = kubectl.wait("modeldeployment", objects.TAMPERED, is_stalled, 120)
    reason = condition(done, "Stalled")["reason"]
    story.say(describe(done))
    if reason != "DigestMismatch":
        raise StageFailed(f"expected DigestMismatch, saw {describe(done)}")
    if done["status"].get("stable", {}).get("readyReplicas", 0):
        raise StageFailed("a pod serves the tampered bundle")
    demo.findings.tampered = reason
    return f"refused: {reason}"


def check_signature(demo: Demo, models: Store, uri: str, digest: str) -> tuple[str, int]:
    """Verify a published bundle as anybody could: (hint of the key that signed, number of files). Raises StageFailed."""
    trust = (demo.outside(SYSTEM_NAMESPACE).get("configmap", "modelcycle-trust") or {})["data"][demo.kubectl.namespace]
    # The namespace may have had another key before; the one that signed is among the trusted ones.
    trusted = keys.split_pems(trust)
    signatures = [entry.path for entry in models.list(f"{folder(uri)}/{layout.SIGNATURES_DIR}")]
    hints = [keys.hint(pem) for pem in trusted]
    mine = next((path for path in signatures if any(hint in path for hint in hints)), None)
    if mine is None:
        raise StageFailed(f"no signature by a trusted key lies beside {uri}")
    verified = oms.verify(models.get(mine), trusted)
    if verified.manifest.root != digest:
        raise StageFailed(f"the signature covers {verified.manifest.root}, status says {digest}")
    return verified.key_hint, len(verified.manifest.files)


def _ask(port: int, row: list[float]) -> str:
    body = json.dumps({"inputs": [{"name": "input", "shape": [1, len(row)], "datatype": "FP32", "data": row}]}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v2/models/model/infer", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        answer: Mapping[str, Any] = json.load(response)
    outputs = {o["name"]: o["data"] for o in answer["outputs"]}
    shown = [round(float(p), 3) for p in outputs["probabilities"]]
    said = f"malignant={outputs['label'][0]}, probabilities {shown}"
    return f"record with mean radius {row[0]}: {said}, by model {answer.get('model_version')}"
