"""Watching one rollout from `kubectl apply` to its end, look by look. Owns the polling; the decision is the operator's alone."""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from demo import evidence, objects
from demo.evidence import Arm, Evidence, Look
from demo.findings import Outcome, Point
from demo.kubectl import KubectlError, WaitExpired, condition, describe
from demo.scene import Demo, StageFailed
from demo.story import Story

POLL_SECONDS: Final = 1.0
BY_EVIDENCE: Final = ("Evidence",)
"""The reason of a promotion that waited for its proof."""
END_SECONDS: Final = 400.0
"""For a rollout from start to end, evidence included."""


@dataclass
class Followed:
    """What was seen. `began` in Unix seconds."""

    deployment: str
    digest: str
    began: float
    rollout: str = ""
    looks: dict[str, Look] = field(default_factory=dict)
    last: Evidence | None = None
    proven_after: int | None = None
    """Canary answers at the first look that was seen with the proof of no harm."""
    outcome: Outcome | None = None
    reason: str = ""
    decided_at: float = 0.0
    """Unix seconds of the decision, as status says; whole seconds."""
    seconds: float = 0.0

    @property
    def canary(self) -> Arm:
        """Answers of the new model."""
        return self.last.canary if self.last else Arm(0, 0)

    @property
    def stable(self) -> Arm:
        """Answers of the old model."""
        return self.last.stable if self.last else Arm(0, 0)

    def points(self, zero: float) -> tuple[Point, ...]:
        """The evidence over time; `zero` in Unix seconds."""
        looks = sorted(self.looks.values(), key=lambda look: look.at)
        return tuple(Point(unix(look.at) - zero, look.harm, look.no_harm) for look in looks)


def follow(demo: Demo, name: str, digest: str, began: float) -> Followed:
    """Look until the digest serves alone or is rejected; tell the evidence on the way. Raises StageFailed, WaitExpired."""
    seen = Followed(name, digest, began)
    deadline = time.monotonic() + END_SECONDS
    obj: dict[str, Any] = {}
    while time.monotonic() < deadline:
        with contextlib.suppress(KubectlError):
            obj = demo.deployment(name)
            note(demo.story, seen, obj)
            if seen.outcome is not None:
                seen.seconds = time.time() - began
                return seen
        time.sleep(POLL_SECONDS)
    raise WaitExpired(
        f"modeldeployment/{name}: no end of the rollout in {END_SECONDS:.0f} s; last seen: {describe(obj)}"
    )


def note(story: Story, seen: Followed, obj: Mapping[str, Any]) -> None:
    """Take in one state of the ModelDeployment, and tell what is new in it."""
    status = obj.get("status", {})
    canary = status.get("canary") or {}
    if canary.get("digest") == seen.digest:
        seen.rollout = canary.get("rollout", seen.rollout)
    now = evidence.read(obj)
    if now is not None and now.rollout and now.rollout == seen.rollout:
        if now.look:
            seen.looks[now.look.at] = now.look
        if seen.last is None or now.looks > seen.last.looks:
            story.say(evidence.line(now))
        seen.last = now
        if seen.proven_after is None and now.no_harm >= now.no_harm_at:
            seen.proven_after = now.canary.answers
    reason = condition(obj, "Ready").get("reason", "")
    if reason and reason != "CanaryInProgress":
        story.once(f"[dim]{describe(obj)}[/]")
    rejected = [r for r in status.get("rejected", ()) if r["digest"] == seen.digest and unix(r["at"]) >= seen.began - 1]
    if rejected:
        seen.outcome, seen.reason = Outcome.TAKEN_BACK, str(rejected[-1]["reason"])
        seen.decided_at = unix(rejected[-1]["at"])
    elif status.get("stable", {}).get("digest") == seen.digest and not canary and not status.get("retiring"):
        promotion = status["history"][-1]
        seen.outcome, seen.reason = Outcome.PROMOTED, str(promotion.get("reason", ""))
        seen.decided_at = unix(promotion["at"])


def require(seen: Followed, outcome: Outcome, reasons: tuple[str, ...] = ()) -> None:
    """Raises StageFailed unless it ended like this, for one of these reasons, and by evidence that was seen."""
    if seen.outcome is not outcome or (reasons and seen.reason not in reasons):
        wanted = f"{outcome} ({' or '.join(reasons)})" if reasons else outcome
        raise StageFailed(f"{seen.digest[:15]}... was {seen.outcome} ({seen.reason}), not {wanted}")
    if not seen.canary.answers:
        raise StageFailed(f"{seen.digest[:15]}... was {seen.outcome}, but nobody saw it answer a request")


def unix(at: str) -> float:
    """Of an ISO 8601 time."""
    return datetime.fromisoformat(at).timestamp()


def explain_bars(demo: Demo) -> None:
    """What the lines mean, once."""
    share = round(100 * objects.SHARE)
    demo.story.once(f"The new model answers {share} of 100 requests. Every answer of both models is counted.")
    demo.story.once("'harm' fills while the new one fails more often than the old one; full: it is taken back.")
    demo.story.once("'no harm' fills with every good answer; full: the proof is there, and it takes over.")
    demo.story.once("At the end of a line: the good answers that are still needed, and how long they take.")
