"""Evidence that a canary fails more often than stable (E), and that it does no harm (P), kept look by look. Pure mathematics.

Owns both e-processes of one metric, their verdict, fail-fast and the form in which evidence survives a restart. Must never read a clock,
draw a random number or rebuild evidence from totals: the ratio of cumulated counts is no supermartingale, the product over looks is.

A *look* compares the answers of both arms since the look before. Given how many answers each arm gave and how many of all failed, the
number that failed in the canary is hypergeometric when the arms share a rate, whatever that rate is during this look.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from modelcycle.stats.special import log_hypergeometric_pgf, log_mean_exp

ODDS_RATIOS: Final[tuple[float, ...]] = (
    1.25,
    1.5760335733969428,
    1.9871054595794693,
    2.505395934542084,
    3.158870485992427,
    3.9827887519494256,
    5.021607031056003,
    6.331377018680324,
    7.982770197819226,
    10.064891072380524,
    12.69008499412389,
    16.0,
)
"""How many times worse the canary may be, each by the same factor above the one before: the alternatives that E bets on, with equal
weights. State holds one number for each, so they are the same doubles everywhere and in all releases."""
ABSOLUTE_FRACTIONS: Final = (1 / 2, 1 / 4, 1 / 8, 1 / 16, 0.0)
"""Rates that the absolute part of P bets on, as fractions of the harm floor."""
FAIL_FAST_ANSWERS: Final = 8
"""So many answers of the canary, all of them bad, are enough: chance 2**-8 for an arm that fails half of its requests."""
FAIL_FAST_GOOD: Final = 0.1
"""Largest part of good answers among more than those."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What one arm did: `events` (failures) among `n` answers. ValueError unless 0 <= events <= n."""

    n: int = 0
    events: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.events <= self.n:
            raise ValueError(f"{self.events} events among {self.n} answers")

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.n + other.n, self.events + other.events)


@dataclass(frozen=True, slots=True)
class Look:
    """Increments of both arms since the look before, summed over pods."""

    canary: Counts
    stable: Counts
    rescued: int = 0
    """Of the canary's events, those that stable's own model then answered well. Only fail-fast looks at it."""
    late: int = 0
    """Of the canary's answers, those that came too late. Only fail-fast looks at it."""


@dataclass(frozen=True, slots=True)
class Design:
    """What is asked of the evidence. Fixed for the whole rollout; ValueError outside the ranges."""

    alpha: float = 0.01
    """Bound on the chance that a canary no worse than stable is ever rolled back; in (0, 1)."""
    beta: float = 0.05
    """Bound on the chance that a harmful canary is ever promoted; in (0, 1)."""
    harm_ratio: float = 2.0
    """Harm begins at this many times stable's odds of an event; above 1 ..."""
    harm_floor: float = 0.01
    """... and at this rate of events; in (0, 1). Harm means both."""

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "harm_floor"):
            value = getattr(self, name)
            if not 0.0 < value < 1.0:
                raise ValueError(f"{name} is {value}: it must lie between 0 and 1")
        if not 1.0 < self.harm_ratio < math.inf:
            raise ValueError(f"harm_ratio is {self.harm_ratio}: it must be above 1")

    @property
    def log_rollback_at(self) -> float:
        """E rolls back from here on: log(1/alpha)."""
        return -math.log(self.alpha)

    @property
    def log_promote_at(self) -> float:
        """P allows promotion from here on: log(1/beta)."""
        return -math.log(self.beta)


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that must survive between two looks of one metric. The zero value is "no look yet"."""

    looks: int = 0
    canary: Counts = Counts()
    """Totals of all looks."""
    stable: Counts = Counts()
    log_e: tuple[float, ...] = (0.0,) * len(ODDS_RATIOS)
    """log E for each of ODDS_RATIOS."""
    log_p_relative: float = 0.0
    """log of the relative part of P. The absolute part follows from the canary's totals alone."""


class Verdict(StrEnum):
    """What one metric says about the canary."""

    PASS = "Pass"
    """P has reached 1/beta: were the canary harmful, this would happen in at most beta of rollouts."""
    FAIL = "Fail"
    """E has reached 1/alpha: were the canary no worse than stable, this would happen in at most alpha of rollouts."""
    CONTINUE = "Continue"
    """Both arms answer; neither bar is reached yet."""
    INSUFFICIENT_DATA = "InsufficientData"
    """The canary has answered but stable has not, so there is nothing to compare with."""
    NO_DATA = "NoData"
    """The canary has answered nothing yet."""
    PROVIDER_ERROR = "ProviderError"
    """The source of counts gave no answer. Never given here: the caller that asked the source says so."""


def observe(evidence: Evidence, look: Look, design: Design, phi: float = 1.0) -> Evidence:
    """Evidence after one more look.

    `phi` >= 1 is the dispersion of stable's pods, known before this look (a bet to the power of 1/phi stays fair: Jensen); it slows E and
    the relative part of P alike, so that failures in bursts neither condemn a canary nor prove it harmless. No look multiplies E by more
    than 1/sqrt(alpha), so one look alone never rolls back; the cap comes before phi, so that a burst in the one pod of a canary counts no
    more than a burst is worth where bursts are known. A look in which one arm gave no answer changes totals only.
    """
    if not 1.0 <= phi < math.inf:
        raise ValueError(f"phi is {phi}: it must be at least 1")
    log_e, log_p = evidence.log_e, evidence.log_p_relative
    events = look.canary.events + look.stable.events
    if look.canary.n and look.stable.n and 0 < events < look.canary.n + look.stable.n:
        cap = design.log_rollback_at / 2
        log_e = tuple(
            before + min(factor, cap) / phi for before, factor in zip(log_e, _log_rollback_factors(look), strict=True)
        )
        log_p += _log_promote_factor(look, design.harm_ratio) / phi
    return Evidence(evidence.looks + 1, evidence.canary + look.canary, evidence.stable + look.stable, log_e, log_p)


def log_rollback(evidence: Evidence) -> float:
    """log E: the mean over ODDS_RATIOS. E has mean at most 1 while the canary is no worse than stable."""
    return log_mean_exp(evidence.log_e)


def log_promote(evidence: Evidence, design: Design) -> float:
    """log P = log(1/2 P_relative + 1/2 P_absolute). P has mean at most 1 while the canary does harm."""
    absolute = log_absolute(evidence.canary.n, evidence.canary.events, design.harm_floor)
    return log_mean_exp((evidence.log_p_relative, absolute))


def log_absolute(answers: float, events: float, floor: float) -> float:
    """log of the mean over q of ((1-q)/(1-floor))**(answers-events) * (q/floor)**events: a bet that the rate lies below `floor`.

    Takes fractional counts too, so that a planner may put in expected ones. -inf is impossible: some q is above 0.
    """
    terms = [
        (answers - events) * (math.log1p(-fraction * floor) - math.log1p(-floor)) + events * math.log(fraction)
        for fraction in ABSOLUTE_FRACTIONS
        if fraction > 0.0
    ]
    terms.append(-answers * math.log1p(-floor) if events == 0 else -math.inf)
    return log_mean_exp(terms)


def verdict(evidence: Evidence, design: Design) -> Verdict:
    """What the evidence says now. Rollback is looked at first."""
    if log_rollback(evidence) >= design.log_rollback_at:
        return Verdict.FAIL
    if log_promote(evidence, design) >= design.log_promote_at:
        return Verdict.PASS
    if not evidence.canary.n:
        return Verdict.NO_DATA
    return Verdict.CONTINUE if evidence.stable.n else Verdict.INSUFFICIENT_DATA


def fail_fast(recent: Sequence[Look]) -> bool:
    """Whether nearly all canary answers of the last look, or the last two together, failed while stable failed under half.

    Nearly all: all of 8, or at most a tenth good where that is as unlikely as 8 of 8 for an arm that fails half of its requests, so that
    two good answers among 9,000 shield nothing. Stable did so by its own requests, or by most of the very requests that the canary failed,
    which is all there is to compare with when the canary gets every request. Outside alpha: it catches a canary that answers nothing right
    before E may, whatever the cap of a look. Where stable answers nothing either it stays silent.

    Late answers come together: all that is under way when a pod stands still for a moment is late at once, so 8 of 8 are one event
    there and may fall into one look. Where most were late, each of two looks in a row must have nearly none that is good.
    """
    failed = any(_nearly_all_failed(recent[-span:]) for span in (1, 2))
    return failed and (not _mostly_late(recent[-2:]) or (len(recent) > 1 and all(map(_nearly_none_good, recent[-2:]))))


def to_json(evidence: Evidence) -> dict[str, object]:
    """Evidence as JSON without floats: logarithms are decimal strings that read back as the same double (at most 24 characters each)."""
    return {
        "looks": evidence.looks,
        "canary": {"n": evidence.canary.n, "events": evidence.canary.events},
        "stable": {"n": evidence.stable.n, "events": evidence.stable.events},
        "logE": [repr(value) for value in evidence.log_e],
        "logP": repr(evidence.log_p_relative),
    }


def from_json(value: object) -> Evidence:
    """What `to_json` wrote. ValueError for anything else, so that damaged evidence holds a rollout instead of deciding it."""
    try:
        return _parsed(value)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not evidence: {error!r}") from error


def _log_rollback_factors(look: Look) -> list[float]:
    """log of psi**k (1 + pi (psi-1))**-e for each odds ratio: at most the exact likelihood ratio psi**k / M(psi) (Hoeffding 1963).

    The bound is the tighter the rarer the event, so above one half it is taken for the answers without event, at odds 1/psi.
    """
    canary, total = look.canary, look.canary.n + look.stable.n
    events = canary.events + look.stable.events
    share = canary.n / total
    wins, losses, ratios = canary.events, events, ODDS_RATIOS
    if 2 * events > total:
        wins, losses, ratios = canary.n - canary.events, total - events, tuple(1.0 / odds for odds in ODDS_RATIOS)
    return [wins * math.log(odds) - losses * math.log1p(share * (odds - 1.0)) for odds in ratios]


def _log_promote_factor(look: Look, odds: float) -> float:
    """log of M(psi) / psi**k: the likelihood ratio of "no difference" over "odds times stable's"."""
    events = look.canary.events + look.stable.events
    pgf = log_hypergeometric_pgf(odds, look.canary.n, look.stable.n, events)
    return pgf - look.canary.events * math.log(odds)


def _nearly_all_failed(looks: Sequence[Look]) -> bool:
    canary = sum((look.canary for look in looks), Counts())
    stable = sum((look.stable for look in looks), Counts())
    rescued = sum(look.rescued for look in looks)
    stable_works = 2 * stable.events < stable.n or 2 * rescued > canary.n
    good = canary.n - canary.events
    return good <= FAIL_FAST_GOOD * canary.n and _fails_beyond_half(canary.n, good) and stable_works


def _mostly_late(looks: Sequence[Look]) -> bool:
    return 2 * sum(look.late for look in looks) > sum(look.canary.events for look in looks)


def _nearly_none_good(look: Look) -> bool:
    return look.canary.n - look.canary.events <= FAIL_FAST_GOOD * look.canary.n and look.canary.n > 0


def _fails_beyond_half(answers: int, good: int) -> bool:
    """Whether so few good answers are at most as likely as none of 8, were half of all answers good.

    The sum is bounded by its last term times the ratio of a geometric series, so that it costs the same for any number of answers.
    """
    last = math.lgamma(answers + 1) - math.lgamma(good + 1) - math.lgamma(answers - good + 1)
    series = math.log1p(good / (answers - 2 * good + 1)) if 2 * good <= answers else math.inf
    return last + series - answers * math.log(2) <= -FAIL_FAST_ANSWERS * math.log(2) + 1e-9


def _parsed(value: object) -> Evidence:
    document = _mapping(value)
    log_e = document["logE"]
    if not isinstance(log_e, list) or len(log_e) != len(ODDS_RATIOS):
        raise ValueError(f"logE needs {len(ODDS_RATIOS)} numbers")
    return Evidence(
        looks=_whole(document["looks"]),
        canary=_counts(document["canary"]),
        stable=_counts(document["stable"]),
        log_e=tuple(_finite(item) for item in log_e),
        log_p_relative=_finite(document["logP"]),
    )


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise ValueError(f"not evidence: an object is expected, not {type(value).__name__}")
    return value


def _counts(value: object) -> Counts:
    document = _mapping(value)
    return Counts(_whole(document["n"]), _whole(document["events"]))


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("a count must be a whole number of at least 0")
    return value


def _finite(value: object) -> float:
    if not isinstance(value, str):
        raise ValueError("a logarithm must be a decimal string")
    number = float(value)
    if not math.isfinite(number):
        raise ValueError("a logarithm must be finite")
    return number
