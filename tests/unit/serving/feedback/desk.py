"""A feedback desk in process, with a clock of its own: tokens out, labels in, counts read by the reference parser."""

import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from modelcycle_bundle.outputs import ClassOutputs, ValueOutputs
from modelcycle_bundle.profile import Profile, build
from modelcycle_bundle.traffic import MARKER, Traffic
from modelcycle_serving.feedback.endpoint import Policy
from modelcycle_serving.feedback.keys import KeyFile
from modelcycle_serving.feedback.service import PARAMETER, Feedback
from modelcycle_serving.messages import Request, Response

KEY = "a key of at least thirty-two bytes"
OTHER_KEY = "another key of at least 32 bytes"
ROLLOUT = "aabbcc-00000001"
NOW = 1_800_000_000.0
DAY = 86_400.0
ROWS = np.zeros((100, 1), np.float32)


def classes(*names: str) -> Profile:
    """A classifier's profile: confidences from 0.5 to 1 in twenty bins."""
    confidence = np.linspace(0.5, 1.0, 100, dtype=np.float32)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    return build(["x"], ROWS, ClassOutputs(np.full(100, names[0], dtype=object), probabilities), names)


def values(sd: float = 2.0) -> Profile:
    """A regression's profile whose predictions have this standard deviation."""
    predictions = np.where(np.arange(100) % 2, sd, -sd).astype(np.float32)
    return build(["x"], ROWS, ValueOutputs(predictions))


class Desk:
    """The feedback of one process."""

    def __init__(
        self,
        profile: Profile,
        key_file: Path,
        *,
        revision: str = "r1",
        max_age: float = 30 * DAY,
        remembered: int = 1000,
    ) -> None:
        self.now = NOW
        self.keys = KeyFile(key_file)
        self.keys.look()
        self.profile = profile
        policy = Policy(max_age, remembered)
        self.feedback = Feedback(profile, revision, self.keys, policy, lambda: self.now, Random(revision))

    def token(self, *labels: Any, confidence: float = 0.9, marker: str | None = None) -> str:
        """The token of a classifier's answer; a confidence below 0.5 is its largest probability all the same."""
        rest = np.full(len(labels), 0, np.float32)
        probabilities = np.stack([np.full(len(labels), confidence, np.float32), rest], axis=1)
        return self._token({"label": np.array(labels, dtype=object), "probabilities": probabilities}, marker)

    def value_token(self, *predictions: float) -> str:
        """The token of a regression's answer."""
        return self._token({"prediction": np.array(predictions, np.float32)[:, None]}, None)

    def _token(self, outputs: Any, marker: str | None) -> str:
        headers = {} if marker is None else {MARKER.encode(): marker.encode()}
        rollout = self.feedback.rollout(Request(headers=headers))
        [parameters] = self.feedback.parameters(outputs, [(len(next(iter(outputs.values()))), rollout)])
        token: str = parameters[PARAMETER]
        return token

    def post_body(self, body: bytes) -> Response:
        return self.feedback.endpoint(Request(method=b"POST", path=b"/v2/feedback", body=body))

    def post(self, *entries: tuple[str, list[Any]]) -> tuple[int, Any]:
        """Post labels: status and JSON."""
        body = {"feedback": [{"token": token, "labels": labels} for token, labels in entries]}
        response = self.post_body(json.dumps(body).encode())
        return response.status, json.loads(response.body)

    def apply(self, rollout: str, share: int = 500) -> None:
        """A traffic annotation arrives."""
        self.feedback.apply(Traffic(rollout=rollout, share=share, target="10.0.0.1:80"))

    def series(self, name: str) -> dict[tuple[str, ...], float]:
        """Counts above 0 by the labels' values in their order."""
        text = self.feedback.endpoint.exposition().decode()
        return {
            tuple(sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and sample.value
        }

    def outcomes(self) -> dict[str, int]:
        """Entries by what became of them."""
        return {labels[0]: int(count) for labels, count in self.series("modelcycle_feedback_total").items()}
