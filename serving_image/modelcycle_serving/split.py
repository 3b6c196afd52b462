"""Which requests are handed on: a share exact over every prefix and blind to the traffic's rhythm, or one that sticks to a key.

Owns the sequence and the place of a key, nothing else. Randomness comes in as data, so that a pod's sequence can be repeated; a
key's place is the same in every pod, process and version. Never keeps a key.
"""

from hashlib import sha256
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


def place(salt: bytes, key: bytes) -> int:
    """Where a key falls, from 0 to SHARE_DENOMINATOR - 1; it is handed on while that is below the share.

    The first 8 bytes of SHA-256 over salt, a zero byte and key, as a big-endian number h: h * SHARE_DENOMINATOR / 2^64, rounded
    down. So who is handed on at one share is so at every larger one, and another salt places the same key independently.
    """
    return int.from_bytes(sha256(b"%s\0%s" % (salt, key)).digest()[:8]) * SHARE_DENOMINATOR >> 64
