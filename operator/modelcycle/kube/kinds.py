"""The kinds of objects the operator reads or writes, as data. Owns group, version and plural of each; does no I/O."""

from dataclasses import dataclass
from typing import Final

GROUP: Final = "modelcycle.dev"
VERSION: Final = "v1alpha1"


@dataclass(frozen=True, slots=True)
class Kind:
    """A Kubernetes kind. `group` is empty for core kinds."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """`apiVersion` as written in manifests."""
        return f"{self.group}/{self.version}" if self.group else self.version


EXPERIMENT: Final = Kind(GROUP, VERSION, "experiments", "Experiment")
MODEL_DEPLOYMENT: Final = Kind(GROUP, VERSION, "modeldeployments", "ModelDeployment")
DRIFT_MONITOR: Final = Kind(GROUP, VERSION, "driftmonitors", "DriftMonitor")
OWN_KINDS: Final = (EXPERIMENT, MODEL_DEPLOYMENT, DRIFT_MONITOR)

POD: Final = Kind("", "v1", "pods", "Pod")
CONFIG_MAP: Final = Kind("", "v1", "configmaps", "ConfigMap")
SERVICE: Final = Kind("", "v1", "services", "Service")
NAMESPACE: Final = Kind("", "v1", "namespaces", "Namespace", namespaced=False)
JOB: Final = Kind("batch", "v1", "jobs", "Job")
DEPLOYMENT: Final = Kind("apps", "v1", "deployments", "Deployment")
CONTROLLER_REVISION: Final = Kind("apps", "v1", "controllerrevisions", "ControllerRevision")
EVENT: Final = Kind("events.k8s.io", "v1", "events", "Event")
LEASE: Final = Kind("coordination.k8s.io", "v1", "leases", "Lease")
CUSTOM_RESOURCE_DEFINITION: Final = Kind(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
ADMISSION_POLICY: Final = Kind(
    "admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", namespaced=False
)
ADMISSION_POLICY_BINDING: Final = Kind(
    "admissionregistration.k8s.io",
    "v1",
    "validatingadmissionpolicybindings",
    "ValidatingAdmissionPolicyBinding",
    namespaced=False,
)
