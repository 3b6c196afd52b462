"""Feedback of one process: what minting tokens and taking labels share.

Owns the keys of both, and the rollout that an answer is given in.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

from modelcycle_bundle.profile import Profile
from modelcycle_bundle.traffic import Traffic, rollout_of
from modelcycle_serving.feedback.endpoint import FeedbackEndpoint, Policy
from modelcycle_serving.feedback.keys import KeyFile
from modelcycle_serving.feedback.minting import Mint
from modelcycle_serving.forwarding import marker
from modelcycle_serving.messages import Request
from modelcycle_serving.oip import Outputs

PARAMETER: Final = "feedback_token"
"""In an answer's `parameters`."""


class Feedback:
    """Tokens and labels of one process. `clock` gives Unix seconds."""

    def __init__(
        self, profile: Profile, revision: str, keys: KeyFile, policy: Policy, clock: Callable[[], float], random: Random
    ) -> None:
        self.endpoint: Final = FeedbackEndpoint(profile, revision, keys, policy, clock)
        self._keys: Final = keys
        self._mint: Final = Mint(profile, revision, clock, random)
        self._rollout = ""

    def apply(self, traffic: Traffic) -> None:
        """Answers are given in this rollout from now on, while its share is above 0."""
        self._rollout = traffic.rollout if traffic.share else ""
        self.endpoint.apply(traffic)

    def rollout(self, request: Request) -> str:
        """The rollout in which a request is answered; "" for none. Of one that was handed on, that of whoever handed it on."""
        text = marker(request)
        return self._rollout if text is None else rollout_of(text)

    def parameters(self, outputs: Outputs, answers: Sequence[tuple[int, str]]) -> Sequence[dict[str, Any]]:
        """What each answer of a run says besides its tensors; `answers` has the rows and the rollout of each.

        Empty while there is no key.
        """
        key = self._keys.signing
        if key is None:
            return ()
        tokens = self._mint.tokens(key, outputs, answers)
        return [{} if token is None else {PARAMETER: token} for token in tokens]
