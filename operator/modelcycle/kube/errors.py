"""What a call to the API server can fail with, as classes that say how to go on. Owns the taxonomy; does no I/O."""


class ApiError(Exception):
    """Base of all. `status` is the HTTP code, 0 when no answer came."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Conflict(ApiError):
    """409 on a write: the object changed since it was read. Observe again at once."""


class AlreadyExists(ApiError):
    """409 on a create: an object of that name is there. Observe again at once; it may be ours."""


class NotFound(ApiError):
    """404. For a child: observe again at once. For a namespace or a kind: it is going or not installed."""


class Invalid(ApiError):
    """400, 413, 422: the API server refused the object itself. Stalled, retried slowly."""


class Forbidden(ApiError):
    """403: RBAC, quota, admission policy or a terminating namespace. Stalled, retried slowly."""


class Throttled(ApiError):
    """429. `retry_after` in seconds when the server said so."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message, status=429)
        self.retry_after = retry_after


class Unavailable(ApiError):
    """5xx, time-out or no connection: the write may or may not have landed. Back off, keep the last conditions."""
