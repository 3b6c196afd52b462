"""A rollout's evidence as a ModelDeployment's status tells it, and as lines for people. Pure; computes no evidence of its own.

E is the sign of harm, P the proof of no harm. Both are ratios, so their bars are drawn on a logarithmic scale: empty at 1, full at the bar.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

BAR: Final = 10
"""Characters."""


@dataclass(frozen=True, slots=True)
class Arm:
    """Answers of one model in the rollout, and the bad ones among them."""

    answers: int
    bad: int


@dataclass(frozen=True, slots=True)
class Look:
    """What the last look came to: time as ISO 8601, totals so far, E and P."""

    at: str
    canary: Arm
    stable: Arm
    harm: float
    no_harm: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """What status says of one rollout now. `needed` in canary requests; None when status promises nothing."""

    rollout: str
    digest: str
    looks: int
    share: str
    """Percent, as pods have applied it."""
    canary: Arm
    stable: Arm
    harm: float
    harm_at: float
    no_harm: float
    no_harm_at: float
    needed: int | None
    eta: str
    verdict: str
    look: Look | None


def read(obj: Mapping[str, Any]) -> Evidence | None:
    """The evidence of the rollout under way; None before its first look."""
    status = obj.get("status", {})
    analysis, canary = status.get("analysis") or {}, status.get("canary") or {}
    metric = next((m for m in analysis.get("metrics", ()) if m["name"] == "errors"), None)
    if metric is None or "evidence" not in metric:
        return None
    weight, bars = canary.get("weight") or {}, metric["evidence"]
    return Evidence(
        rollout=str(analysis.get("rollout", "")),
        digest=str(canary.get("digest", "")),
        looks=int(analysis.get("looks", 0)),
        share=str(weight.get("applied", weight.get("desired", "0"))),
        canary=_arm(metric["canary"]),
        stable=_arm(metric["stable"]),
        harm=float(bars["rollback"]),
        harm_at=float(bars.get("rollbackAt", 100)),
        no_harm=float(bars["promote"]),
        no_harm_at=float(bars.get("promoteAt", 20)),
        needed=int(metric["needed"]) if "needed" in metric else None,
        eta=str(metric.get("eta", "")),
        verdict=str(metric.get("verdict", "")),
        look=_look(str(analysis.get("lastLookAt", "")), metric),
    )


def line(seen: Evidence) -> str:
    """One look as one line: share, both arms, both bars, and the good answers that are still needed with the time they take."""
    arms = f"new {_arm_text(seen.canary, 4)}  old {_arm_text(seen.stable, 5)}"
    harm = f"harm {bar(seen.harm, seen.harm_at)} {short(seen.harm)}/{short(seen.harm_at)}"
    fine = f"no harm {bar(seen.no_harm, seen.no_harm_at)} {short(seen.no_harm)}/{short(seen.no_harm_at)}"
    rest = f"  {seen.needed} more{f', {seen.eta}' if seen.eta else ''}" if _is_on_its_way(seen) else ""
    return f"{seen.share:>3} %  {arms}  {harm:<{BAR + 15}}  {fine:<{BAR + 17}}{rest}".rstrip()


def _arm_text(arm: Arm, width: int) -> str:
    return f"{arm.answers:>{width}}, {arm.bad} bad"


def _is_on_its_way(seen: Evidence) -> bool:
    """Whether promotion is what the counts so far lead to."""
    return bool(seen.needed) and seen.harm <= 1.0


def bar(value: float, full: float) -> str:
    """`value` on a logarithmic scale from 1 to `full`."""
    part = math.log(value) / math.log(full) if value > 1 and full > 1 else 0.0
    filled = min(BAR, math.floor(part * BAR))
    return f"|{'#' * filled}{'.' * (BAR - filled)}|"


def short(value: float) -> str:
    """A ratio in at most six characters."""
    if value >= 1e5:
        return f"{value:.0e}"
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _arm(raw: Mapping[str, Any]) -> Arm:
    return Arm(int(raw["n"]), int(raw["events"]))


def _look(at: str, metric: Mapping[str, Any]) -> Look | None:
    scores = (float(metric["evidence"][name]) for name in ("rollback", "promote"))
    return Look(at, _arm(metric["canary"]), _arm(metric["stable"]), *scores) if at else None
