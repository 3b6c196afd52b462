"""What a trained model must show before it is sealed, as frozen data: `spec.acceptance` of an Experiment. Owns parsing; does no I/O.

Numbers are decimals, not floats: what a user reads is what is decided.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any


class AcceptanceVerdict(StrEnum):
    """`status.acceptance.verdict`."""

    ACCEPTED = "Accepted"
    """The trial may be sealed."""
    REFUSED = "Refused"
    """Nothing is sealed."""


class AcceptanceReason(StrEnum):
    """Why a trial was accepted; one that was refused has the condition's reason. docs/experiment.md explains each."""

    WITHIN_BOUNDS = "WithinBounds"
    """Every metric is within its bounds, and there is no comparison."""
    NOT_WORSE = "NotWorse"
    """It was measured beside the deployed model and is not worse."""
    SAME_MODEL = "SameModel"
    """The deployed model has the same digest."""
    NO_DEPLOYED_MODEL = "NoDeployedModel"
    """The ModelDeployment is absent, or serves no model yet."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A metric of the trial and its limits, both included."""

    metric: str
    minimum: Decimal | None = None
    maximum: Decimal | None = None


@dataclass(frozen=True, slots=True)
class NotWorseThan:
    """The ModelDeployment whose stable model is compared with. `tolerance` is in the objective's unit, at least 0."""

    deployment: str
    tolerance: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """All that is demanded; nothing by default."""

    bounds: tuple[Bound, ...] = ()
    not_worse_than: NotWorseThan | None = None

    @property
    def demanded(self) -> bool:
        """Whether there is anything to judge."""
        return bool(self.bounds) or self.not_worse_than is not None


def parse(raw: Sequence[Mapping[str, Any]]) -> Acceptance:
    """The items of `spec.acceptance` as the API server stores them: at most one of them is a comparison."""
    bounds = tuple(
        Bound(item["metric"], _decimal(item.get("minimum")), _decimal(item.get("maximum")))
        for item in raw
        if "metric" in item
    )
    compared = [item["notWorseThan"] for item in raw if "notWorseThan" in item]
    found = [NotWorseThan(one["modelDeployment"], Decimal(one.get("tolerance", "0"))) for one in compared]
    return Acceptance(bounds, found[0] if found else None)


def _decimal(written: str | int | None) -> Decimal | None:
    return None if written is None else Decimal(written)
