"""Labels in: `POST /v2/feedback`.

Owns the checks between a posted label and its count, and their words. An entry is counted whole or refused whole; the others of its
body are counted all the same. Never quotes, logs or keeps what a client sent.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from modelcycle_bundle import metric_names as names
from modelcycle_bundle.profile import Profile
from modelcycle_bundle.traffic import Traffic
from modelcycle_serving.exposition import described, labelled
from modelcycle_serving.feedback import labels
from modelcycle_serving.feedback.keys import KeyFile
from modelcycle_serving.feedback.replays import Forgotten, Replays
from modelcycle_serving.feedback.tokens import Forged, Token, opened
from modelcycle_serving.messages import Request, Response, problem

MAX_BODY: Final = 1024 * 1024
"""Bytes. With the two below it bounds how long one body holds up the event loop (docs/serving.md)."""
MAX_ENTRIES: Final = 128
MAX_LABELS: Final = 4096
"""Of one body; those not known yet count too."""
TOLD: Final = 20
"""Refused entries that an answer lists."""
_STATUS: Final = {
    names.FEEDBACK_FORGED: 401,
    names.FEEDBACK_EXPIRED: 401,
    names.FEEDBACK_FORGOTTEN: 409,
    names.FEEDBACK_REPLAYED: 409,
    names.FEEDBACK_BAD_COUNT: 400,
    names.FEEDBACK_BAD_LABEL: 400,
}
_CHALLENGE: Final = ((b"WWW-Authenticate", b'FeedbackToken realm="feedback"'),)
"""A 401 has to say what would do."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is taken: `max_age` in seconds from answer to label, `remembered` in answers."""

    max_age: float
    remembered: int


class Malformed(ValueError):
    """The body is not a list of entries; the text begins with the field."""


class Refused(ValueError):
    """An entry is not counted: `field` of it is at fault, `outcome` says why."""

    def __init__(self, outcome: str, field: str, expected: str) -> None:
        super().__init__(f"{field}: {expected}")
        self.outcome: Final = outcome


@dataclass(frozen=True, slots=True)
class _Entry:
    token: str
    labels: list[Any]


class FeedbackEndpoint:
    """The labels of one process. `clock` gives Unix seconds."""

    def __init__(
        self, profile: Profile, revision: str, keys: KeyFile, policy: Policy, clock: Callable[[], float]
    ) -> None:
        self._keys: Final = keys
        self._policy: Final = policy
        self._clock: Final = clock
        self._replays: Final = Replays(policy.remembered)
        self._labels: Final = labels.of_profile(profile, (revision, ""))
        self._outcomes: Final = dict.fromkeys(names.FEEDBACK_OUTCOMES, 0)
        self._rollouts: list[str] = []

    def apply(self, traffic: Traffic) -> None:
        """Tell the answers of this rollout apart from now on, and keep those of the last few."""
        if traffic.share and traffic.rollout not in self._rollouts[-1:]:
            others = [rollout for rollout in self._rollouts if rollout != traffic.rollout]
            self._rollouts = [*others, traffic.rollout][-names.KEPT_ROLLOUTS :]

    def __call__(self, request: Request) -> Response:
        """Answer one body of labels."""
        if self._keys.signing is None:
            return problem(404, "feedback is off: this server has no key to sign answers with (--feedback-key-file)")
        if len(request.body) > MAX_BODY:
            self._outcomes[names.FEEDBACK_MALFORMED] += 1
            return problem(413, f"body: expected at most {MAX_BODY} bytes; send fewer entries at once")
        try:
            entries = _entries(request.body)
        except Malformed as malformed:
            self._outcomes[names.FEEDBACK_MALFORMED] += 1
            return problem(400, str(malformed))
        return self._count_all(entries)

    def _count_all(self, entries: list[_Entry]) -> Response:
        now = self._clock()
        self._replays.expire(int(now - self._policy.max_age) // 60)
        rows = 0
        refused: list[tuple[int, Refused]] = []
        for at, entry in enumerate(entries):
            try:
                rows += self._count(entry, now)
            except Refused as refusal:
                refused.append((at, refusal))
        self._outcomes[names.FEEDBACK_COUNTED] += len(entries) - len(refused)
        for outcome, count in Counter(refusal.outcome for _, refusal in refused).items():
            self._outcomes[outcome] += count
        return _answer(rows, refused)

    def _count(self, entry: _Entry, now: float) -> int:
        """How many labels of an entry were counted: all that are known. Raises Refused."""
        try:
            token = opened(entry.token, self._keys.accepted)
        except Forged:
            expected = "not signed by a key of this server, or altered; expected parameters.feedback_token of an answer"
            raise Refused(names.FEEDBACK_FORGED, "token", expected) from None
        age = now - token.minute * 60
        if age > self._policy.max_age:
            expected = f"the answer is too old; labels are taken for {self._policy.max_age:g} s"
            raise Refused(names.FEEDBACK_EXPIRED, "token", expected)
        known = {row: label for row, label in enumerate(entry.labels) if label is not None}
        if len(entry.labels) != len(token) or not known:
            expected = (
                f"expected {len(token)}, one for each row of the answer: null for those not known yet, but one known"
            )
            raise Refused(names.FEEDBACK_BAD_COUNT, "labels", expected)
        rows = int("".join("0" if label is None else "1" for label in reversed(entry.labels)), 2)
        self._check_new(token, rows)
        cohort = (token.revision, self._told_apart(token.rollout))
        try:
            self._labels.add(labels.LabelledAnswer(token.answers, token.profile, cohort, age, known), self._pinned)
        except labels.BadLabel as bad:
            raise Refused(names.FEEDBACK_BAD_LABEL, f"labels[{bad.row}]", str(bad)) from None
        self._replays.add(token.minute, token.identity, rows)
        return len(known)

    def _check_new(self, token: Token, rows: int) -> None:
        try:
            counted = self._replays.labelled(token.minute, token.identity)
        except Forgotten:
            expected = "the answer is older than this server remembers, so it may have been counted; post labels sooner"
            raise Refused(names.FEEDBACK_FORGOTTEN, "token", expected) from None
        if counted & rows:
            raise Refused(names.FEEDBACK_REPLAYED, "token", "a label of these rows was counted already")

    @property
    def _pinned(self) -> str:
        return self._rollouts[-1] if self._rollouts else ""

    def _told_apart(self, rollout: str) -> str:
        return rollout if not rollout or rollout in self._rollouts else names.OTHER

    def exposition(self) -> bytes:
        """Prometheus text format 0.0.4."""
        lines = [
            *described(names.FEEDBACK),
            *(f"{names.FEEDBACK}{labelled({'outcome': each})} {count}" for each, count in self._outcomes.items()),
            *self._labels.exposition(),
        ]
        return ("\n".join(lines) + "\n").encode()


def _entries(body: bytes) -> list[_Entry]:
    try:
        plain = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"body: not JSON from character {error.pos} on") from None
    listed = plain.get("feedback") if isinstance(plain, dict) else None
    if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_ENTRIES:
        raise Malformed(f'feedback: expected a list of 1 to {MAX_ENTRIES} objects, each with "token" and "labels"')
    entries: list[_Entry] = []
    for at, item in enumerate(listed):
        token, given = (item.get("token"), item.get("labels")) if isinstance(item, dict) else (None, None)
        if not isinstance(token, str):
            raise Malformed(f"feedback[{at}].token: expected parameters.feedback_token of an answer")
        if not isinstance(given, list):
            raise Malformed(f"feedback[{at}].labels: expected a list, one label for each row of the answer")
        entries.append(_Entry(token, given))
    if sum(len(entry.labels) for entry in entries) > MAX_LABELS:
        raise Malformed(f"feedback: expected at most {MAX_LABELS} labels in one body")
    return entries


def _answer(rows: int, refused: list[tuple[int, Refused]]) -> Response:
    told = [{"entry": at, "reason": each.outcome, "error": f"feedback[{at}].{each}"} for at, each in refused[:TOLD]]
    if not refused:
        return Response(200, orjson.dumps({"counted": rows, "refused": []}))
    status = _STATUS[refused[0][1].outcome]
    body = {"error": told[0]["error"], "counted": rows, "refused": told, "refused_entries": len(refused)}
    return Response(status, orjson.dumps(body), headers=_CHALLENGE if status == 401 else ())
