"""Settings of the operator: flags and `MODELCYCLE_*` variables as one frozen value. Read once at start, passed down as data."""

from collections.abc import Mapping
from dataclasses import dataclass


class SettingsError(ValueError):
    """A variable is missing or unusable; the text names it and says what to set."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings. Images carry digests outside of development: the operator resolves no tags."""

    training_image: str
    serving_image: str
    operator_namespace: str = "modelcycle-system"
    watch_namespace: str | None = None
    """None watches the whole cluster."""
    extra_estimators: tuple[str, ...] = ()
    http_port: int = 8082
    """`/healthz`, `/readyz`, `/metrics`."""
    workers: int = 4
    resync_seconds: float = 600.0
    lease_name: str | None = None
    """Leader election by this Lease; None: single replica, no election."""
    identity: str = "modelcycle"
    prometheus_url: str | None = None
    """Base URL of the Prometheus that rollouts may be judged by; None: the pods only."""
    scrape_interval: float = 15.0
    """Seconds between two scrapes of a pod by that Prometheus."""
    log_format: str = "json"
    """`json` or `text`."""


def from_environment(env: Mapping[str, str]) -> Settings:
    """Build Settings from `MODELCYCLE_*`. Raises SettingsError."""

    def required(name: str) -> str:
        value = env.get(name, "").strip()
        if not value:
            raise SettingsError(
                f"{name} is not set: give the image with its digest, for example localhost/modelcycle-serving@sha256:..."
            )
        return value

    def number(name: str, default: float) -> float:
        text = env.get(name, "").strip()
        try:
            return float(text) if text else default
        except ValueError as error:
            raise SettingsError(f"{name}={text!r} is not a number") from error

    log_format = env.get("MODELCYCLE_LOG_FORMAT", "json")
    if log_format not in ("json", "text"):
        raise SettingsError(f"MODELCYCLE_LOG_FORMAT={log_format!r} is neither json nor text")
    return Settings(
        training_image=required("MODELCYCLE_TRAINING_IMAGE"),
        serving_image=required("MODELCYCLE_SERVING_IMAGE"),
        operator_namespace=env.get("MODELCYCLE_NAMESPACE", "modelcycle-system"),
        watch_namespace=env.get("MODELCYCLE_WATCH_NAMESPACE") or None,
        extra_estimators=tuple(e.strip() for e in env.get("MODELCYCLE_EXTRA_ESTIMATORS", "").split(",") if e.strip()),
        http_port=int(number("MODELCYCLE_HTTP_PORT", 8082)),
        workers=int(number("MODELCYCLE_WORKERS", 4)),
        resync_seconds=number("MODELCYCLE_RESYNC_SECONDS", 600.0),
        lease_name=env.get("MODELCYCLE_LEASE") or None,
        identity=env.get("MODELCYCLE_IDENTITY", "modelcycle"),
        scrape_interval=number("MODELCYCLE_SCRAPE_INTERVAL", 15.0),
        prometheus_url=env.get("MODELCYCLE_PROMETHEUS_URL") or None,
        log_format=log_format,
    )
