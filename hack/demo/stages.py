"""The stages of the demo, in order. Each one returns only after the cluster has shown that it truly happened, else it raises."""

import json
import time
import urllib.request
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from demo import objects, records, store
from demo.kubectl import Kubectl, condition, describe, is_current, is_stalled
from demo.story import Story
from modelcycle_bundle import keys, layout, oms
from modelcycle_bundle.store import Store

SYSTEM_NAMESPACE: Final = "modelcycle-system"
TRIALS_SECONDS: Final = 300.0
ROLLOUT_SECONDS: Final = 240.0
LOAD_SECONDS: Final = 45
LOAD_RATE: Final = 100


class StageFailed(RuntimeError):
    """What a stage promised did not happen; the text says what was seen instead."""


@dataclass(frozen=True)
class Demo:
    """What the stages work with."""

    kubectl: Kubectl
    story: Story

    def outside(self, namespace: str) -> Kubectl:
        """The same cluster, another namespace."""
        return replace(self.kubectl, namespace=namespace)

    def store(self) -> AbstractContextManager[tuple[Store, Store]]:
        """Data bucket and model bucket, through a forwarded port."""
        return store.opened(self.kubectl, store.environment(self.kubectl))


def prepare(demo: Demo) -> str:
    """Namespace, store credentials, signing key, data."""
    kubectl, story = demo.kubectl, demo.story
    kubectl.apply(objects.namespace(kubectl.namespace))
    kubectl.apply(objects.store_secret(store.environment(kubectl)))
    story.say(f"namespace {kubectl.namespace}, Secret modelcycle-store with the store's credentials")
    for line in kubectl.keygen().splitlines():
        story.say(f"[dim]kubectl modelcycle keygen:[/] {line}")
    table = records.as_csv()
    with demo.store() as (data, _):
        data.put_new(objects.DATA_KEY, table)
    story.say(f"{objects.DATA_URI}: {len(table)} bytes of real records (scikit-learn's breast cancer data)")
    return "key made and trusted, data in the store"


def train(demo: Demo, experiment: Mapping[str, Any]) -> str:
    """Apply an Experiment; print each trial as it ends; check the published bundle's signature ourselves."""
    kubectl, story = demo.kubectl, demo.story
    name = experiment["metadata"]["name"]
    began = time.monotonic()
    kubectl.apply(experiment)
    story.say(f"kubectl apply: Experiment/{name}")
    done = kubectl.wait(
        "experiment",
        name,
        lambda o: is_current(o) or is_stalled(o),
        TRIALS_SECONDS,
        each=lambda o: _tell_trials(story, o),
    )
    if not is_current(done):
        raise StageFailed(f"Experiment/{name}: {describe(done)}")
    model = done["status"]["model"]
    with demo.store() as (_, models):
        hint, files = _check_signature(demo, models, model["uri"], model["digest"])
    story.say(f"model {model['digest'][:23]}...  in {model['uri'].rsplit('/', 1)[0]}/")
    story.say(f"signature verified by hand: {files} files, key {hint[:12]}..., as the namespace's trust entry says")
    story.facts[name] = {
        "digest": model["digest"],
        "best": done["status"]["summary"]["best"],
        "seconds": round(time.monotonic() - began, 1),
    }
    return f"{done['status']['summary']['trials']} trials, {done['status']['summary']['best']}, sealed and signed"


def serve(demo: Demo) -> str:
    """Apply the ModelDeployment and the DriftMonitor; ask the first questions."""
    kubectl, story = demo.kubectl, demo.story
    kubectl.apply(objects.deployment(objects.PILOT), objects.monitor())
    story.say(f"kubectl apply: ModelDeployment/{objects.DEPLOYMENT}, DriftMonitor/{objects.MONITOR}")
    done = _settle(demo, "modeldeployment", objects.DEPLOYMENT)
    if done["status"]["stable"]["digest"] != _digest(demo, objects.PILOT):
        raise StageFailed(f"serves {done['status']['stable']['digest']}, not the pilot's model")
    with kubectl.forward(f"svc/{objects.DEPLOYMENT}", 80) as port:
        for row in json.loads(records.rows(3)):
            story.say(_ask(port, row))
    return f"{done['status']['stable']['readyReplicas']} pods verified, replayed golden answers, and answer"


def replace_under_load(demo: Demo) -> str:
    """Point the deployment at the better Experiment while clients are asking; not one request may fail."""
    kubectl, story = demo.kubectl, demo.story
    image = kubectl.run(
        "get",
        "pods",
        "-l",
        f"modelcycle.dev/deployment={objects.DEPLOYMENT}",
        "-o",
        "jsonpath={.items[0].spec.containers[0].image}",
    )
    script = (Path(__file__).parent / "load.py").read_text()
    kubectl.run("delete", "job", "load", "--ignore-not-found")
    kubectl.apply(*objects.load("load", image.strip(), script, records.rows(64), LOAD_SECONDS, LOAD_RATE))
    story.say(
        f"load from inside the cluster: {LOAD_RATE} requests/s for {LOAD_SECONDS} s on 8 keep-alive connections, no retries"
    )
    kubectl.wait("job", "load", lambda o: o.get("status", {}).get("ready", 0) == 1, 60)
    time.sleep(5)  # some answers by the old model first
    kubectl.apply(objects.deployment(objects.SEARCH))
    story.say(f"kubectl apply: ModelDeployment/{objects.DEPLOYMENT} now follows Experiment/{objects.SEARCH}")
    wanted = _digest(demo, objects.SEARCH)
    done = _settle(demo, "modeldeployment", objects.DEPLOYMENT)
    if done["status"]["stable"]["digest"] != wanted:
        raise StageFailed(f"serves {done['status']['stable']['digest']}, not {wanted}")
    summary = _load_summary(demo)
    story.say(f"answers by model: {summary['versions']}; slowest {summary['slowestSeconds']} s")
    story.facts["load"] = summary
    if summary["failed"] or len(summary["versions"]) != 2:
        raise StageFailed(
            f"{summary['failed']} failed requests, models seen {summary['versions']}: {summary['failures']}"
        )
    return f"{summary['requests']} requests, {summary['failed']} failed, both models seen"


def count(demo: Demo) -> str:
    """The DriftMonitor has reported windows with the volume that the load sent."""
    story = demo.story
    story.facts["windows"] = []
    done = demo.kubectl.wait("driftmonitor", objects.MONITOR, _has_counted, 60, each=lambda o: _tell_window(story, o))
    window = done["status"]["lastWindow"]
    return f"last window {window['requests']} requests, {len(window.get('features', []))} features counted, complete {window['complete']}"


def refuse(demo: Demo) -> str:
    """Copy the live bundle, flip one bit of model.onnx, ask for it: refused with the reason, nothing served."""
    kubectl, story = demo.kubectl, demo.story
    model = (kubectl.get("experiment", objects.SEARCH) or {})["status"]["model"]
    source = model["uri"].removeprefix(f"s3://{store.MODEL_BUCKET}/")
    target = f"tampered/{layout.sealed_prefix(model['digest'])}"
    with demo.store() as (_, models):
        for entry in models.list(source):
            content = models.get(entry.path)
            if entry.path.endswith(layout.MODEL_FILE):
                content = content[:-1] + bytes([content[-1] ^ 1])
            models.put_new(entry.path.replace(source, target), content)
    uri = f"s3://{store.MODEL_BUCKET}/{target}"
    story.say(f"copied the bundle to {uri[:40]}... and flipped one bit of {layout.MODEL_FILE}")
    kubectl.apply(objects.tampered_deployment(uri, model["digest"]))
    done = kubectl.wait("modeldeployment", objects.TAMPERED, is_stalled, 120)
    reason = condition(done, "Stalled")["reason"]
    story.say(describe(done))
    if reason != "DigestMismatch":
        raise StageFailed(f"expected DigestMismatch, saw {describe(done)}")
    if done["status"].get("stable", {}).get("readyReplicas", 0):
        raise StageFailed("a pod serves the tampered bundle")
    story.facts["tampered"] = {"reason": reason}
    return f"refused: {reason}"


def _has_counted(obj: Mapping[str, Any]) -> bool:
    return int(obj.get("status", {}).get("lastWindow", {}).get("requests", 0)) > 0


def _tell_window(story: Story, obj: Mapping[str, Any]) -> None:
    window = obj.get("status", {}).get("lastWindow")
    if window:
        story.once(
            f"window {window['start'][11:19]}-{window['end'][11:19]}: {window['requests']} requests, complete {window['complete']}"
        )


def _tell_trials(story: Story, obj: Mapping[str, Any]) -> None:
    for trial in obj.get("status", {}).get("recentTrials", []):
        chosen = ", ".join(f"{p['name']}={p['value']}" for p in trial.get("parameterAssignments", []))
        outcome = trial.get("objective") or trial.get("reason", "")
        story.once(f"trial {trial['index']}: {trial['state']}  {outcome}{'  with ' + chosen if chosen else ''}")


def _settle(demo: Demo, kind: str, name: str) -> dict[str, Any]:
    done = demo.kubectl.wait(
        kind,
        name,
        lambda o: is_current(o) or is_stalled(o),
        ROLLOUT_SECONDS,
        each=lambda o: demo.story.once(f"[dim]{describe(o)}[/]"),
    )
    if not is_current(done):
        raise StageFailed(f"{kind}/{name}: {describe(done)}")
    return done


def _digest(demo: Demo, experiment: str) -> str:
    return str((demo.kubectl.get("experiment", experiment) or {})["status"]["model"]["digest"])


def _check_signature(demo: Demo, models: Store, uri: str, digest: str) -> tuple[str, int]:
    trust = (demo.outside(SYSTEM_NAMESPACE).get("configmap", "modelcycle-trust") or {})["data"][demo.kubectl.namespace]
    prefix = uri.removeprefix(f"s3://{store.MODEL_BUCKET}/")
    trusted = keys.split_pems(trust)
    signature = models.get(f"{prefix}/{layout.SIGNATURES_DIR}/{keys.hint(trusted[0])}.sig")
    verified = oms.verify(signature, trusted)
    if verified.manifest.root != digest:
        raise StageFailed(f"the signature covers {verified.manifest.root}, status says {digest}")
    return verified.key_hint, len(verified.manifest.files)


def _ask(port: int, row: list[float]) -> str:
    body = json.dumps({"inputs": [{"name": "input", "shape": [1, len(row)], "datatype": "FP32", "data": row}]}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v2/models/model/infer", data=body, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        answer = json.load(response)
    outputs = {o["name"]: o["data"] for o in answer["outputs"]}
    shown = [round(float(p), 3) for p in outputs["probabilities"]]
    said = f"malignant={outputs['label'][0]}, probabilities {shown}"
    return f"record with mean radius {row[0]}: {said}, by model {answer.get('model_version')}"


def _load_summary(demo: Demo) -> dict[str, Any]:
    demo.kubectl.wait(
        "job",
        "load",
        lambda o: bool(o.get("status", {}).get("completionTime") or o.get("status", {}).get("failed")),
        LOAD_SECONDS + 120,
    )
    template = "jsonpath={.items[0].status.containerStatuses[0].state.terminated.message}"
    summary: dict[str, Any] = json.loads(demo.kubectl.run("get", "pods", "-l", "job-name=load", "-o", template))
    return summary
