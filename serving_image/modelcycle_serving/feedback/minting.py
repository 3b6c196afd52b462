"""The tokens of answers: on the way of every request, so made of parts that are ready, and of one run of the model at once.

Owns what of a model's output arrays goes into a token. Draws each token's identity from `random`: it has to differ, not to be secret.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Final

from modelcycle_bundle.bins import ClassBins
from modelcycle_bundle.outputs import LABEL_NAME, PREDICTION_NAME, PROBABILITIES_NAME
from modelcycle_bundle.profile import Profile
from modelcycle_serving.feedback.tokens import (
    MAX_BINS,
    MAX_ROWS,
    Key,
    class_fields,
    class_name,
    named,
    sealed,
    value_fields,
)
from modelcycle_serving.oip import Outputs

Answers = Iterable[tuple[int, str]]
"""Of each answer of a run: its rows, and the rollout it was given in."""


class Mint:
    """Makes the tokens of one model. `clock` gives Unix seconds."""

    def __init__(self, profile: Profile, revision: str, clock: Callable[[], float], random: Random) -> None:
        self._clock: Final = clock
        self._identity: Final = random.getrandbits
        self._profile: Final = bytes.fromhex(profile.hash)
        self._revision: Final = named(revision)
        self._rollouts = {"": named("")}
        output = profile.output
        self._is_classifier: Final = isinstance(output, ClassBins)
        # A bin is one byte: those of a profile with more edges than any of ours share the last one.
        self._edges: Final = list(output.edges[: MAX_BINS - 1])
        self._names: dict[object, bytes] = {}
        """Of the classes met so far, as the model has them."""

    def tokens(self, key: Key, outputs: Outputs, answers: Answers) -> list[str | None]:
        """One for each answer of a run, whose rows lie in `outputs` one answer's after the other's; None for one of more than MAX_ROWS."""
        minute = int(self._clock()) // 60
        fields = self._classes if self._is_classifier else self._values
        return [None if each is None else sealed(each, key) for each in fields(minute, outputs, answers)]

    def _values(self, minute: int, outputs: Outputs, answers: Answers) -> Iterator[bytes | None]:
        values = outputs[PREDICTION_NAME].ravel().tolist()
        start = 0
        for rows, rollout in answers:
            end = start + rows
            about = self._about(rollout)
            fits = rows <= MAX_ROWS
            yield value_fields(minute, self._identity(64), self._profile, about, values[start:end]) if fits else None
            start = end

    def _classes(self, minute: int, outputs: Outputs, answers: Answers) -> Iterator[bytes | None]:
        labels = outputs[LABEL_NAME].tolist()
        confidences = outputs[PROBABILITIES_NAME].max(axis=1).tolist()
        edges = self._edges
        start = 0
        for rows, rollout in answers:
            end = start + rows
            if rows > MAX_ROWS:
                yield None
            else:
                bins = bytes([bisect_left(edges, confidence) for confidence in confidences[start:end]])
                place = {label: at for at, label in enumerate(dict.fromkeys(labels[start:end]))}
                classes = [self._name(label) for label in place]
                places = [place[label] for label in labels[start:end]]
                about = self._about(rollout)
                yield class_fields(minute, self._identity(64), self._profile, about, classes, places, bins)
            start = end

    def _about(self, rollout: str) -> bytes:
        text = self._rollouts.get(rollout)
        if text is None:
            # Only the last one is kept: names of rollouts come and go as long as the process lives.
            text = named(rollout)
            self._rollouts = {"": self._rollouts[""], rollout: text}
        return self._revision + text

    def _name(self, label: object) -> bytes:
        name = self._names.get(label)
        if name is None:
            name = self._names[label] = class_name(str(label))
        return name
