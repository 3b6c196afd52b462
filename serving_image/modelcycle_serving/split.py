"""Which requests are handed on: a share that is exact over every prefix and blind to the rhythm of the traffic.

Owns the sequence, nothing else. Randomness comes in as data, so that a pod's sequence can be repeated.
"""

from random import Random
from typing import Final

from modelcycle_bundle.traffic import SHARE_DENOMINATOR


class Split:
    """Stratified sampling: one request is drawn at random in each stretch of 1/share requests.

    After any n requests, each at a share of its own, |handed on - sum of the shares| <= 1. A fixed stride would be as exact, but of twenty
    machines asked in turn it would always hand on the same one, and the arms would differ by more than the model.
    """

    def __init__(self, random: Random) -> None:
        self._random: Final = random
        self._progress = 0
        """How much of the present stretch has passed, of SHARE_DENOMINATOR."""
        self._drawn = self._draw()
        self._ahead = 0
        """Requests handed on minus stretches passed: 0, or 1 once the present stretch's request was drawn."""

    def take(self, share: int) -> bool:
        """Whether the next request is handed on, at `share` of SHARE_DENOMINATOR."""
        if share >= SHARE_DENOMINATOR:
            return True
        self._progress += share
        if self._progress >= SHARE_DENOMINATOR:
            self._progress -= SHARE_DENOMINATOR
            self._drawn = self._draw()
            self._ahead -= 1
        taken = self._ahead < 0 or (self._ahead == 0 and self._progress >= self._drawn)
        self._ahead += taken
        return taken

    def _draw(self) -> int:
        """Uniform over 1 to SHARE_DENOMINATOR; the last one is due when the stretch has passed."""
        return 1 + self._random.randrange(SHARE_DENOMINATOR)
