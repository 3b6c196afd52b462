"""Exact counters of what was served, and their text on the metrics port.

Owns the numbers behind modelcycle_bundle.metric_names. Not thread-safe: one event loop adds and renders, so a scrape never sees
half a request. Holds counts only, no value of any row. Every series exists from construction on, at 0.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from modelcycle_bundle import metric_names as names
from modelcycle_bundle.outputs import from_arrays
from modelcycle_bundle.profile import BinCounter, Profile
from modelcycle_serving.oip import Outputs, Rows

CODES: Final = (200, 400, 405, 408, 413, 415, 431, 500, 503)
"""Answers an inference request can get; another code would add its series when it first occurs."""


class Counters:
    """The counters of one process, from one start on. `started` is Unix seconds."""

    def __init__(self, profile: Profile, digest: str, revision: str, pod_uid: str, started: float) -> None:
        self.draining = False
        self._bins = BinCounter(profile)
        self._requests = dict.fromkeys(CODES, 0)
        self._rows = 0
        self._durations = [0] * (len(names.LATENCY_BOUNDS) + 1)
        self._duration_sum = 0.0
        about = {"digest": digest, "profile": profile.hash, "revision": revision}
        self._constant = [
            *_header(names.MODEL_INFO, "gauge", "The model that answers."),
            f"{names.MODEL_INFO}{_labels(about)} 1",
            *_header(names.EPOCH, "gauge", "Start of these counters in Unix seconds."),
            f"{names.EPOCH}{_labels({'pod_uid': pod_uid})} {started:.3f}",
        ]
        # Label text never changes: rendering it once keeps a scrape from holding up requests.
        self._feature_prefixes = [
            f"{names.FEATURE}{_labels({'feature': feature, 'bin': bin_name, 'profile': profile.hash})} "
            for feature, bin_name in self._bins.input_series
        ]
        self._prediction_prefixes = [
            f"{names.PREDICTION}{_labels({'output': output, 'confidence': confidence, 'profile': profile.hash})} "
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
        self._durations[bisect_left(names.LATENCY_BOUNDS, seconds)] += 1
        self._duration_sum += seconds

    def exposition(self) -> bytes:
        """Prometheus text format 0.0.4."""
        lines = [
            *_header(names.REQUESTS, "counter", "Inference requests answered."),
            *(f'{names.REQUESTS}{{code="{code}"}} {count}' for code, count in self._requests.items()),
            *_header(names.ROWS, "counter", "Rows predicted."),
            f"{names.ROWS} {self._rows}",
            *_header(names.FEATURE, "counter", "Rows by bin of the feature's value."),
            *_samples(self._feature_prefixes, self._bins.input_counts.tolist()),
            *_header(names.PREDICTION, "counter", "Rows by answer."),
            *_samples(self._prediction_prefixes, self._bins.output_counts.tolist()),
            *_header(names.DURATION, "histogram", "Time in the process of requests that ran the model, in seconds."),
            *self._histogram(),
            *self._constant,
            *_header(names.DRAINING, "gauge", "1 while the process answers with Connection: close."),
            f"{names.DRAINING} {int(self.draining)}",
        ]
        return ("\n".join(lines) + "\n").encode()

    def _histogram(self) -> list[str]:
        lines = []
        total = 0
        for bound, count in zip((*names.LATENCY_BOUNDS, "+Inf"), self._durations, strict=True):
            total += count
            lines.append(f'{names.DURATION}_bucket{{le="{bound}"}} {total}')
        return [*lines, f"{names.DURATION}_sum {self._duration_sum:.9f}", f"{names.DURATION}_count {total}"]


def _header(name: str, kind: str, help_text: str) -> list[str]:
    return [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]


def _samples(prefixes: Sequence[str], counts: Sequence[int]) -> list[str]:
    return [f"{prefix}{count}" for prefix, count in zip(prefixes, counts, strict=True)]


def _labels(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
