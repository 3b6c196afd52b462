"""Exact counters of what was served, and their text on the metrics port.

Owns the numbers behind modelcycle_bundle.metric_names, but those of the arms. Not thread-safe: one event loop adds and renders, so a scrape
never sees half a request. Holds counts only, no value of any row. Every series exists from construction on, at 0.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Final

from modelcycle_bundle import metric_names as names
from modelcycle_bundle.outputs import from_arrays
from modelcycle_bundle.profile import BinCounter
from modelcycle_serving.exposition import header, labelled
from modelcycle_serving.histogram import Histogram
from modelcycle_serving.model import Model
from modelcycle_serving.oip import Outputs, Rows, Signature

CODES: Final = (200, 400, 405, 408, 413, 415, 431, 500, 503)
"""Answers an inference request can get; another code would add its series when it first occurs."""


class Counters:
    """The counters of one process, from one start on. `started` is Unix seconds."""

    def __init__(self, model: Model, revision: str, pod_uid: str, started: float) -> None:
        self.closing = False
        profile = model.profile
        profile_hash = profile.hash
        self._bins = BinCounter(profile)
        self._requests = dict.fromkeys(CODES, 0)
        self._rows = 0
        self._durations = Histogram(names.DURATION)
        about = {
            "digest": model.digest,
            "profile": profile_hash,
            "revision": revision,
            "inputs": inputs_hash(model.signature),
            "missing": "accepted" if model.signature.accepts_missing else "refused",
        }
        self._constant = [
            *header(names.MODEL_INFO, "gauge", "The model that answers."),
            f"{names.MODEL_INFO}{labelled(about)} 1",
            *header(names.EPOCH, "gauge", "Start of these counters in Unix seconds."),
            f"{names.EPOCH}{labelled({'pod_uid': pod_uid})} {started:.3f}",
        ]
        # Label text never changes: rendering it once keeps a scrape from holding up requests.
        self._feature_prefixes = [
            f"{names.FEATURE}{labelled({'feature': feature, 'bin': bin_name, 'profile': profile_hash})} "
            for feature, bin_name in self._bins.input_series
        ]
        self._prediction_prefixes = [
            f"{names.PREDICTION}{labelled({'output': output, 'confidence': confidence, 'profile': profile_hash})} "
            for output, confidence in self._bins.output_series
        ]

    def count_request(self, code: int) -> None:
        """One inference request was answered."""
        self._requests[code] = self._requests.get(code, 0) + 1

    def count_rows(self, rows: Rows, outputs: Outputs) -> None:
        """N rows were answered: counts them in every feature's bins and the output's, or nowhere.

        Raises ProfileError when the answers are not of the profile's kind or name a class it does not know.
        """
        self._bins.add_outputs(from_arrays(outputs))
        self._bins.add_inputs(rows)
        self._rows += len(rows)

    def observe_duration(self, seconds: float) -> None:
        """The time in this process of one request that ran the model."""
        self._durations.observe(seconds)

    def exposition(self) -> bytes:
        """Prometheus text format 0.0.4."""
        lines = [
            *header(names.REQUESTS, "counter", "Inference requests answered by this process."),
            *(f'{names.REQUESTS}{{code="{code}"}} {count}' for code, count in self._requests.items()),
            *header(names.ROWS, "counter", "Rows predicted."),
            f"{names.ROWS} {self._rows}",
            *header(names.FEATURE, "counter", "Rows by bin of the feature's value."),
            *_samples(self._feature_prefixes, self._bins.input_counts.tolist()),
            *header(names.PREDICTION, "counter", "Rows by answer."),
            *_samples(self._prediction_prefixes, self._bins.output_counts.tolist()),
            *header(names.DURATION, "histogram", "Time in the process of requests that ran the model, in seconds."),
            *self._durations.samples(),
            *self._constant,
            *header(names.DRAINING, "gauge", "1 while the process answers with Connection: close."),
            f"{names.DRAINING} {int(self.closing)}",
        ]
        return ("\n".join(lines) + "\n").encode()


def inputs_hash(signature: Signature) -> str:
    """First 12 hex of the SHA-256 of the input names in their order, as canonical JSON."""
    plain = json.dumps(list(signature.features), separators=(",", ":"))
    return hashlib.sha256(plain.encode()).hexdigest()[:12]


def _samples(prefixes: Sequence[str], counts: Sequence[int]) -> list[str]:
    return [f"{prefix}{count}" for prefix, count in zip(prefixes, counts, strict=True)]
