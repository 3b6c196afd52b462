"""Times in a status: RFC 3339 texts and moments. Owns the two directions; knows no field."""

from datetime import UTC, datetime

from modelcycle.api.conditions import timestamp


def parse_time(text: str) -> datetime:
    """RFC 3339 as Kubernetes writes it, with or without fractions."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)


def optional_time(text: str | None) -> datetime | None:
    """The same for a field that may be absent."""
    return parse_time(text) if text else None


def times(**moments: datetime | None) -> dict[str, str]:
    """Fields of those moments that are there."""
    return {name: timestamp(moment) for name, moment in moments.items() if moment is not None}
