"""How much burstier stable's pods fail than independent requests would: the factor that log E is divided by. Pure mathematics.

Owns Pearson's dispersion over pods and looks of the stable arm. Must be read before the look it is used in, never after.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from modelcycle.stats.evidence import Counts

LEAST_FREEDOM: Final = 4
"""Degrees of freedom below which an estimate is noise and 1 is used."""


@dataclass(frozen=True, slots=True)
class Dispersion:
    """Pearson's X2 and its degrees of freedom, summed over looks. The zero value is "nothing seen"; ValueError below 0."""

    x2: float = 0.0
    freedom: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.x2 < math.inf or self.freedom < 0:
            raise ValueError(f"X2 of {self.x2} over {self.freedom} degrees of freedom")

    @property
    def phi(self) -> float:
        """The dispersion, at least 1."""
        return max(1.0, self.x2 / self.freedom) if self.freedom >= LEAST_FREEDOM else 1.0


def accumulate(dispersion: Dispersion, pods: Iterable[Counts]) -> Dispersion:
    """Dispersion after one more look at stable's pods.

    X2 = sum over pods of (k - n p)**2 / (n p (1-p)), p the rate of all of them in this look: what hits every pod alike counts nothing.
    A look without events, or with events only, says nothing; given that there are some, X2 over its freedom has mean n/(n-1).
    """
    answering = [pod for pod in pods if pod.n]
    total = sum(answering, Counts())
    if not 0 < total.events < total.n or len(answering) < 2:
        return dispersion
    rate = total.events / total.n
    x2 = math.fsum((pod.events - pod.n * rate) ** 2 / pod.n for pod in answering) / (rate * (1.0 - rate))
    return Dispersion(dispersion.x2 + x2, dispersion.freedom + len(answering) - 1)
