"""Settings of the operator: flags and `MODELCYCLE_*` variables as one frozen value. Read once at start, passed down as data."""

from collections.abc import Mapping
from dataclasses import dataclass

from modelcycle.kube.pods import DEFAULT_USER


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
    allowed_server_images: tuple[str, ...] = ("*",)
    """Patterns (`*`, `?`, `[...]`, matched with the whole name, `*` takes `/` too) for `spec.server.image`; `*` allows any."""
    pod_user: int | None = DEFAULT_USER
    """User, group and fsGroup of the pods we make; None leaves them out, for platforms whose admission gives each namespace a range."""
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

    def words(name: str) -> tuple[str, ...]:
        return tuple(word.strip() for word in env.get(name, "").split(",") if word.strip())

    log_format = env.get("MODELCYCLE_LOG_FORMAT", "json")
    if log_format not in ("json", "text"):
        raise SettingsError(f"MODELCYCLE_LOG_FORMAT={log_format!r} is neither json nor text")
    return Settings(
        training_image=required("MODELCYCLE_TRAINING_IMAGE"),
        serving_image=required("MODELCYCLE_SERVING_IMAGE"),
        operator_namespace=env.get("MODELCYCLE_NAMESPACE", "modelcycle-system"),
        watch_namespace=env.get("MODELCYCLE_WATCH_NAMESPACE") or None,
        allowed_server_images=words("MODELCYCLE_ALLOWED_SERVER_IMAGES") or ("*",),
        pod_user=_pod_user(env.get("MODELCYCLE_POD_USER", "").strip()),
        extra_estimators=words("MODELCYCLE_EXTRA_ESTIMATORS"),
        http_port=int(number("MODELCYCLE_HTTP_PORT", 8082)),
        workers=int(number("MODELCYCLE_WORKERS", 4)),
        resync_seconds=number("MODELCYCLE_RESYNC_SECONDS", 600.0),
        lease_name=env.get("MODELCYCLE_LEASE") or None,
        identity=env.get("MODELCYCLE_IDENTITY", "modelcycle"),
        scrape_interval=number("MODELCYCLE_SCRAPE_INTERVAL", 15.0),
        prometheus_url=env.get("MODELCYCLE_PROMETHEUS_URL") or None,
        log_format=log_format,
    )


def _pod_user(text: str) -> int | None:
    if text == "platform":
        return None
    if not text:
        return DEFAULT_USER
    if not text.isdecimal() or int(text) == 0:
        raise SettingsError(
            f"MODELCYCLE_POD_USER={text!r}: give a user id above 0, or `platform` to leave user, group and fsGroup to its admission"
        )
    return int(text)
