"""Exact counters of what was served, and their text on the metrics port.

Owns the numbers behind modelcycle_bundle.metric_names, but those of the arms. Not thread-safe: one event loop adds and renders, so a scrape
never sees half a request. Holds counts only, no value of any row. Every series exists from construction on, at 0.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from modelcycle_bundle import client_inputs
from modelcycle_bundle import metric_names as names
from modelcycle_bundle.outputs import from_arrays
from modelcycle_bundle.profile import BinCounter
from modelcycle_serving.exposition import described, labelled
from modelcycle_serving.histogram import Histogram
from modelcycle_serving.model import Model
from modelcycle_serving.oip import Outputs, Rows, Signature


class Counters:
    """The counters of one process, from one start on. `started` is Unix seconds, `bounds` those of the latencies in seconds."""

    def __init__(
        self, model: Model, revision: str, pod_uid: str, started: float, bounds: Sequence[float] = names.LATENCY_BOUNDS
    ) -> None:
        self.closing = False
        profile = model.profile
        profile_hash = profile.hash
        self._bins = BinCounter(profile)
        self._requests = {arm: dict.fromkeys(names.CODES, 0) for arm in (names.ARM_STABLE, names.ARM_CANARY)}
        self._rows = 0
        self._durations = Histogram(names.DURATION, bounds)
        about = {
            "digest": model.digest,
            "profile": profile_hash,
            "revision": revision,
            "inputs": inputs_hash(model.signature),
            "outputs": outputs_hash(model.signature),
            "missing": "accepted" if model.signature.accepts_missing else "refused",
        }
        self._constant = [
            *described(names.MODEL_INFO),
            f"{names.MODEL_INFO}{labelled(about)} 1",
            *described(names.MODEL_INPUTS),
            *(f"{names.MODEL_INPUTS}{labelled(labels)} 1" for labels in input_names(model.signature)),
            *described(names.EPOCH),
            f"{names.EPOCH}{labelled({'pod_uid': pod_uid})} {started:.3f}",
        ]
        # Label text never changes: rendering it once keeps a scrape from holding up requests.
        self._request_prefixes = [
            f"{names.REQUESTS}{labelled({'code': code, 'arm': arm, 'revision': revision})} "
            for arm, codes in self._requests.items()
            for code in codes
        ]
        self._feature_prefixes = [
            f"{names.FEATURE}{labelled({'feature': feature, 'bin': bin_name, 'profile': profile_hash})} "
            for feature, bin_name in self._bins.input_series
        ]
        self._unseen_prefixes = [
            f"{names.UNSEEN}{labelled({'feature': feature, 'profile': profile_hash})} "
            for feature in self._bins.unseen_series
        ]
        self._prediction_prefixes = [
            f"{names.PREDICTION}{labelled({'output': output, 'confidence': confidence, 'profile': profile_hash})} "
            for output, confidence in self._bins.output_series
        ]

    def count_request(self, code: int, arm: str = names.ARM_STABLE) -> None:
        """One inference request was answered: `arm` is canary's when another pod handed it on to this one."""
        codes = self._requests[arm]
        name = str(code)
        codes[name if name in codes else names.OTHER] += 1

    def count_rows(self, rows: Rows, outputs: Outputs) -> None:
        """N rows were answered: counts them in every feature's bins and the output's, or nowhere.

        Rows of many requests are best counted together: a call costs about 12 us, a row in it less than one (docs/serving.md). Raises
        ProfileError when the answers are not of the profile's kind or name a class it does not know.
        """
        self._bins.add_outputs(from_arrays(outputs))
        self._bins.add_inputs(rows)
        self._rows += len(rows)

    def observe_duration(self, seconds: float) -> None:
        """The time in this process of one request that ran the model."""
        self._durations.observe(seconds)

    def exposition(self) -> bytes:
        """Prometheus text format 0.0.4."""
        bins = self._bins
        return self._text(
            *described(names.FEATURE),
            *_samples(self._feature_prefixes, bins.input_counts.tolist()),
            *described(names.UNSEEN),
            *_samples(self._unseen_prefixes, bins.unseen_counts.tolist()),
            *described(names.PREDICTION),
            *_samples(self._prediction_prefixes, bins.output_counts.tolist()),
        )

    def exposition_without_bins(self) -> bytes:
        """The same but for names.BINS."""
        return self._text()

    def _text(self, *bins: str) -> bytes:
        requests = [count for codes in self._requests.values() for count in codes.values()]
        lines = [
            *described(names.REQUESTS),
            *_samples(self._request_prefixes, requests),
            *described(names.ROWS),
            f"{names.ROWS} {self._rows}",
            *bins,
            *described(names.DURATION),
            *self._durations.samples(),
            *self._constant,
            *described(names.DRAINING),
            f"{names.DRAINING} {int(self.closing)}",
        ]
        return ("\n".join(lines) + "\n").encode()


def latency_bounds(objective: float | None) -> tuple[float, ...]:
    """The histogram's bounds in seconds, the latency objective among them: then the share above it is counted and not guessed."""
    return tuple(sorted({*names.LATENCY_BOUNDS, *(() if objective is None else (objective,))}))


def inputs_hash(signature: Signature) -> str:
    """What the label `inputs` says: equal for models that take the same requests."""
    return client_inputs.hash_of(signature.inputs)


def input_names(signature: Signature) -> Iterator[dict[str, str]]:
    """The labels of each series of MODEL_INPUTS; one without names where they are too long."""
    takes = client_inputs.to_text(signature.inputs)
    needs = client_inputs.to_text(signature.features) if takes and signature.columns is not None else ""
    cut = zip_longest(client_inputs.parts(takes), client_inputs.parts(needs), fillvalue="")
    return ({"part": f"{at:02d}", "takes": one, "needs": other} for at, (one, other) in enumerate(cut))


def outputs_hash(signature: Signature) -> str:
    """What the label `outputs` says: equal for models whose answers have the same form, as a client reads them.

    Names, datatypes, number of dimensions and what the columns stand for, in their order. A size that an exporter left open is no
    difference: the columns give it.
    """
    forms = [[each.name, each.datatype, len(each.shape), each.columns] for each in signature.outputs]
    text = json.dumps(forms, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _samples(prefixes: Sequence[str], counts: Sequence[int]) -> list[str]:
    return [f"{prefix}{count}" for prefix, count in zip(prefixes, counts, strict=True)]
