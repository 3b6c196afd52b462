"""Reads a model server's /metrics page into frozen counters: its text (Prometheus text format), or the samples of one scrape of it.

Owns what is a usable page. Refuses a page as a whole rather than guessing a part: a count that is not a whole number, or a page without
an epoch, gives no counts. Does no I/O.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from modelcycle.metrics.port import DRIFT_SERIES, PodCounters, RunId, Series, SeriesSet, ServedModel
from modelcycle_bundle import client_inputs, metric_names

REMEMBERED_PAGES: Final = 64
REMEMBERED_SIZE: Final = 128 * 1024
"""Characters. With REMEMBERED_PAGES it bounds the memory to 8 MiB."""


class UnusablePage(ValueError):
    """The page cannot be used; the text names the metric and what is wrong with it, never a value of a label."""


def parse(text: str, series: SeriesSet = DRIFT_SERIES) -> PodCounters:
    """The counters of `series`, the run they belong to and the model that is served. Raises UnusablePage."""
    wanted = tuple(series.items())
    return _remembered(text, wanted) if len(text) <= REMEMBERED_SIZE else _parse(text, wanted)


_Wanted = tuple[tuple[str, tuple[str, ...]], ...]


@lru_cache(maxsize=REMEMBERED_PAGES)
def _remembered(text: str, wanted: _Wanted) -> PodCounters:
    # A pod without traffic shows the same page each time: reading it again must cost next to nothing.
    return _parse(text, wanted)


def _parse(text: str, wanted: _Wanted) -> PodCounters:
    series = dict(wanted)
    try:
        return counters(_samples(_without_bins(text, series)), series)
    except UnusablePage:
        raise
    except (ValueError, KeyError, IndexError) as error:
        raise UnusablePage("not a page in Prometheus text format") from error


Sample = tuple[str, Mapping[str, str], float]
"""Name, labels and value."""


def _samples(text: str) -> Iterator[Sample]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value


def counters(samples: Iterable[Sample], series: SeriesSet) -> PodCounters:
    """The counters of `series` among the samples of one page. Raises UnusablePage."""
    counts: dict[Series, int] = {}
    runs: set[RunId] = set()
    model: ServedModel | None = None
    parts: dict[str, tuple[str, str]] = {}
    for name, labels, value in samples:
        if name == metric_names.EPOCH:
            runs.add(_run(labels, value))
        elif name == metric_names.MODEL_INFO:
            model = _model(labels)
        elif name == metric_names.MODEL_INPUTS:
            parts[labels.get("part", "")] = (labels.get("takes", ""), labels.get("needs", ""))
        elif name in series:
            kept = Series(name, _labels(name, labels, series[name]))
            # Labels that are not kept (a newer server's) add up to the series we know.
            counts[kept] = counts.get(kept, 0) + _whole(name, value)
    if len(runs) != 1:
        raise UnusablePage(f"{metric_names.EPOCH}: expected one series, found {len(runs)}")
    if metric_names.ROWS in series and Series(metric_names.ROWS) not in counts:
        raise UnusablePage(f"{metric_names.ROWS} is missing")
    takes, needs = (_names("".join(parts[part][at] for part in sorted(parts))) for at in range(2))
    if model and client_inputs.hash_of(takes) == model.inputs:  # else a part is missing
        model = replace(model, takes=takes, needs=needs or takes)
    return PodCounters(runs.pop(), counts, model)


def _without_bins(text: str, labels: Mapping[str, tuple[str, ...]]) -> str:
    """Bins are nine tenths of a page and of the time to read it: whoever does not want them does not pay for them."""
    unwanted = tuple(name for name in metric_names.BINS if name not in labels)
    if not unwanted:
        return text
    # A line ends with \n and nothing else: the name of a column may hold every other separator that str.splitlines knows.
    return "\n".join(line for line in text.split("\n") if not line.startswith(unwanted)) + "\n"


def _model(labels: Mapping[str, str]) -> ServedModel:
    return ServedModel(
        revision=labels.get("revision", ""),
        inputs=labels.get("inputs", ""),
        accepts_missing=labels.get("missing") == "accepted",
        outputs=labels.get("outputs", ""),
    )


@lru_cache(maxsize=REMEMBERED_PAGES)
def _names(text: str) -> tuple[str, ...]:
    """One tuple for all pods that say the same. What cannot be read is not said: no other count of the page depends on it."""
    try:
        return client_inputs.parse(text) if len(text) <= client_inputs.MAX_BYTES else ()
    except ValueError:
        return ()


def _run(labels: Mapping[str, str], value: float) -> RunId:
    uid = labels.get("pod_uid", "")
    if not uid or not math.isfinite(value) or value <= 0:
        raise UnusablePage(f"{metric_names.EPOCH}: needs the label pod_uid and a time above 0")
    return RunId(uid, value)


def _labels(metric: str, labels: Mapping[str, str], wanted: tuple[str, ...]) -> tuple[str, ...]:
    missing = [name for name in wanted if name not in labels]
    if missing:
        raise UnusablePage(f"{metric}: label {missing[0]} is missing")
    return tuple(labels[name] for name in wanted)


def _whole(metric: str, value: float) -> int:
    if not math.isfinite(value) or value < 0 or value != int(value):
        raise UnusablePage(f"{metric}: a count must be a whole number of at least 0")
    return int(value)
