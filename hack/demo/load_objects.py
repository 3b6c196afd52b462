"""The load generator as Kubernetes objects: a ConfigMap with programs and rows, and a Job that runs them once. Owns their shape."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

LOAD: Final = "load"
"""The container that asks."""
WATCH: Final = "watch"
"""The container that looks on."""
CONTROL_FILE: Final = "/control/phase.json"
_LABELS: Final = {"app.kubernetes.io/name": "modelcycle-demo-load"}


def steady(name: str, host: str, image: str, rows: str, seconds: int, rate: int) -> list[dict[str, Any]]:
    """One rate for a fixed time, nobody looking on. `rows`: JSON."""
    environment = {"LOAD_SECONDS": str(seconds), "LOAD_RATE": str(rate)}
    return _objects(name, image, {"rows": rows}, {LOAD: {"LOAD_HOST": host, **environment}}, seconds)


def in_phases(name: str, host: str, image: str, row_sets: Mapping[str, str], seconds: int) -> list[dict[str, Any]]:
    """Phases as the control file says, `seconds` at the most, with an eyewitness. `row_sets`: JSON rows by name."""
    control = {"LOAD_CONTROL": CONTROL_FILE}
    load = {"LOAD_HOST": host, "LOAD_SECONDS": str(seconds), "LOAD_RATE": "0", **control}
    return _objects(name, image, row_sets, {LOAD: load, WATCH: control}, seconds)


def _objects(
    name: str, image: str, row_sets: Mapping[str, str], programs: Mapping[str, Mapping[str, str]], seconds: int
) -> list[dict[str, Any]]:
    files = {f"{program}.py": (Path(__file__).parent / f"{program}.py").read_text() for program in programs}
    files |= {f"{rows}.json": text for rows, text in row_sets.items()}
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 5,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(program, image, environment) for program, environment in programs.items()],
        "volumes": [
            {"name": "load", "configMap": {"name": name}},
            {"name": "control", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        ],
    }
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": _LABELS}, "data": files},
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name, "labels": _LABELS},
            "spec": {
                "backoffLimit": 0,
                "activeDeadlineSeconds": seconds + 120,
                "template": {"metadata": {"labels": _LABELS}, "spec": pod},
            },
        },
    ]


def _container(program: str, image: str, environment: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": program,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/app/venv/bin/python", f"/load/{program}.py"],
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "volumeMounts": [
            {"name": "load", "mountPath": "/load", "readOnly": True},
            {"name": "control", "mountPath": str(Path(CONTROL_FILE).parent)},
        ],
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    }
