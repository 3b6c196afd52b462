"""keygen against a kubectl on the PATH that keeps objects in files: what is made, what is kept, what is said, how it exits."""

import base64
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelcycle_bundle import keys

FAKE = """#!{python}
import json, os, pathlib, sys
root = pathlib.Path({root!r})
args = sys.argv[1:]
with (root / "calls").open("a") as calls:
    calls.write(json.dumps(args) + "\\n")
def fail(text):
    sys.stderr.write(text + "\\n")
    sys.exit(1)
def path(kind, namespace, name):
    return root / (kind.lower() + "." + namespace + "." + name)
def guard(verb, kind, namespace):
    if (root / "deny").exists() and [verb, kind.lower()] in json.loads((root / "deny").read_text()):
        fail("Error from server (Forbidden): " + kind + " is forbidden: User cannot " + verb)
    if namespace == "absent" and verb != "get":
        fail('Error from server (NotFound): namespaces "absent" not found')
if args[0] == "config":
    print("ctx-ns", end="")
elif args[0] == "get":
    kind, name, namespace = args[1], args[2], args[4]
    guard("get", kind, namespace)
    found = path(kind, namespace, name)
    print(found.read_text() if found.exists() else "", end="")
elif args[0] == "patch":
    kind, name, namespace = args[1], args[2], args[4]
    guard("patch", kind, namespace)
    change = json.loads(next(a for a in args if a.startswith("--patch="))[len("--patch="):])
    held = json.loads(path(kind, namespace, name).read_text())
    stale = (root / "stale")
    if stale.exists():
        stale.unlink()
        fail("Error from server (Conflict): the object has been modified; please apply your changes to the latest version")
    assert "--type=merge" in args and change["metadata"]["resourceVersion"] == held["metadata"]["resourceVersion"]
    held["data"] = {{**held["data"], **change["data"]}}
    path(kind, namespace, name).write_text(json.dumps(held))
else:
    body = json.loads(sys.stdin.read())
    kind, meta = body["kind"], body["metadata"]
    guard(args[0], kind, meta["namespace"])
    target = path(kind, meta["namespace"], meta["name"])
    if target.exists():
        fail("Error from server (AlreadyExists): exists")
    if "stringData" in body:
        import base64
        body["data"] = {{k: base64.b64encode(v.encode()).decode() for k, v in body.pop("stringData").items()}}
    body["metadata"]["resourceVersion"] = "7"
    target.write_text(json.dumps(body))
"""


@dataclass
class Plugin:
    """The plugin as a process, beside its fake kubectl."""

    root: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from modelcycle.cli import app; app()", *arguments]
        env = {"PATH": str(self.root), "HOME": str(self.root), "COLUMNS": "200"}
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)

    def read(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        path = self.root / f"{kind}.{namespace}.{name}"
        found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
        return found

    def deny(self, *verbs_and_kinds: tuple[str, str]) -> None:
        (self.root / "deny").write_text(json.dumps(verbs_and_kinds))

    def write(self, kind: str, namespace: str, name: str, body: dict[str, Any]) -> None:
        (self.root / f"{kind}.{namespace}.{name}").write_text(json.dumps(body))

    def trusted(self, namespace: str) -> tuple[str, ...]:
        found = self.read("configmap", "modelcycle-system", "modelcycle-trust")
        return keys.split_pems((found or {"data": {}})["data"].get(namespace, ""))

    def public_key(self, namespace: str, secret: str = "modelcycle-signing-key") -> str:
        found = self.read("secret", namespace, secret)
        assert found is not None
        return base64.b64decode(found["data"]["public.pem"]).decode()


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(FAKE.format(python=sys.executable, root=str(tmp_path)))
    kubectl.chmod(0o755)
    return Plugin(tmp_path)


def test_makes_a_key_and_trusts_it(plugin: Plugin) -> None:
    done = plugin.run("keygen", "-n", "plant-7")
    assert done.returncode == 0, done.stderr
    secret = plugin.read("secret", "plant-7", "modelcycle-signing-key")
    assert secret is not None
    private_pem = base64.b64decode(secret["data"]["private.pem"])
    assert keys.public_of(private_pem) == plugin.public_key("plant-7")
    assert plugin.trusted("plant-7") == keys.split_pems(plugin.public_key("plant-7"))


def test_private_key_never_travels_by_argument_or_output(plugin: Plugin) -> None:
    done = plugin.run("keygen", "-n", "plant-7")
    assert "PRIVATE" not in done.stdout + done.stderr + (plugin.root / "calls").read_text()


def test_second_run_keeps_everything(plugin: Plugin) -> None:
    plugin.run("keygen", "-n", "plant-7")
    before = plugin.public_key("plant-7")
    done = plugin.run("keygen", "-n", "plant-7")
    assert (done.returncode, plugin.public_key("plant-7")) == (0, before)
    assert "kept" in done.stdout
    assert "already trusts" in done.stdout


def test_other_namespaces_and_older_keys_stay_trusted(plugin: Plugin) -> None:
    plugin.run("keygen", "-n", "plant-7")
    plugin.run("keygen", "-n", "plant-8")
    plugin.run("keygen", "-n", "plant-7", "--secret", "next-key")
    assert plugin.trusted("plant-8") == (plugin.public_key("plant-8"),)
    assert plugin.trusted("plant-7") == (plugin.public_key("plant-7"), plugin.public_key("plant-7", "next-key"))


def test_an_entry_is_patched_in_and_nothing_is_applied(plugin: Plugin) -> None:
    plugin.run("keygen", "-n", "plant-7")
    plugin.run("keygen", "-n", "plant-8")
    calls = [json.loads(line) for line in (plugin.root / "calls").read_text().splitlines()]
    assert [call[0] for call in calls if call[0] not in ("get", "config")] == ["create", "create", "create", "patch"]
    (patch,) = [call for call in calls if call[0] == "patch"]
    assert "--field-manager=modelcycle-keygen" in patch


def test_an_entry_that_somebody_writes_meanwhile_is_read_again(plugin: Plugin) -> None:
    plugin.run("keygen", "-n", "plant-7")
    (plugin.root / "stale").touch()
    done = plugin.run("keygen", "-n", "plant-8")
    assert (done.returncode, plugin.trusted("plant-8")) == (0, (plugin.public_key("plant-8"),)), done.stderr


def test_without_the_right_to_trust_prints_the_entry_for_an_admin(plugin: Plugin) -> None:
    plugin.deny(("create", "configmap"), ("patch", "configmap"))
    done = plugin.run("keygen", "-n", "plant-7")
    assert done.returncode == 1
    assert "admin" in done.stderr
    entry = yaml.safe_load(done.stdout.split("\n", 1)[1])
    assert entry["metadata"] == {
        "name": "modelcycle-trust",
        "namespace": "modelcycle-system",
        "labels": {"app.kubernetes.io/name": "modelcycle"},
    }
    assert entry["data"] == {"plant-7": plugin.public_key("plant-7")}


def test_without_an_operator_namespace_says_so(plugin: Plugin) -> None:
    done = plugin.run("keygen", "-n", "plant-7", "--operator-namespace", "absent")
    assert done.returncode == 1
    assert "namespace absent does not exist" in done.stderr


def test_refuses_to_overwrite_a_secret_it_cannot_use(plugin: Plugin) -> None:
    other = {"kind": "Secret", "metadata": {}, "data": {"password": "eA=="}}
    plugin.write("secret", "plant-7", "modelcycle-signing-key", other)
    done = plugin.run("keygen", "-n", "plant-7")
    assert done.returncode == 1
    assert "has no entry private.pem" in done.stderr
    assert plugin.read("secret", "plant-7", "modelcycle-signing-key") == other
    assert plugin.trusted("plant-7") == ()


def test_refuses_a_public_half_that_is_no_key(plugin: Plugin) -> None:
    text = base64.b64encode(b"nonsense").decode()
    other = {"kind": "Secret", "metadata": {}, "data": {"private.pem": text, "public.pem": text}}
    plugin.write("secret", "plant-7", "modelcycle-signing-key", other)
    done = plugin.run("keygen", "-n", "plant-7")
    assert (done.returncode, plugin.trusted("plant-7")) == (1, ())
    assert "no usable P-256 key" in done.stderr


def test_print_gives_both_objects_and_sends_nothing(plugin: Plugin) -> None:
    done = plugin.run("keygen", "-n", "plant-7", "--print")
    assert done.returncode == 0
    secret, trust = yaml.safe_load_all(done.stdout)
    assert keys.public_of(secret["stringData"]["private.pem"].encode()) == trust["data"]["plant-7"]
    assert "encrypt" in done.stderr
    assert not (plugin.root / "calls").exists()


def test_namespace_defaults_to_that_of_the_context(plugin: Plugin) -> None:
    assert plugin.run("keygen").returncode == 0
    assert plugin.read("secret", "ctx-ns", "modelcycle-signing-key") is not None


def test_missing_kubectl_is_said(plugin: Plugin) -> None:
    (plugin.root / "kubectl").unlink()
    done = plugin.run("keygen", "-n", "plant-7")
    assert done.returncode == 1
    assert "kubectl is not on the PATH" in done.stderr


def test_help_and_version_need_no_cluster(plugin: Plugin) -> None:
    assert "keygen" in plugin.run("--help").stdout
    assert "--operator-namespace" in plugin.run("keygen", "--help").stdout
    assert plugin.run("version").stdout.startswith("modelcycle ")
