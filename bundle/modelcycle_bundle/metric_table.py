"""What each series of the model server is: kind, labels with their values, meaning. docs/serving.md shows this table.

Owns no name and no number: the names are modelcycle_bundle.metric_names, how many series a profile makes is modelcycle_bundle.cardinality.
Whatever the server exports has its row here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from modelcycle_bundle import metric_names as names


class Kind(StrEnum):
    """How a metric's values move."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `labels` says of each label what it can be; `le` of histograms goes without saying."""

    name: str
    kind: Kind
    text: str
    """What is counted or shown: HELP on the page."""
    labels: Mapping[str, str] = field(default_factory=dict)


_COUNTER, _GAUGE, _HISTOGRAM = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
_PROFILE: Final = {"profile": "hash of the profile"}
_ROLLOUT: Final = {"rollout": "name of a rollout: the last three"}
_COHORT: Final = {
    "revision": "that answered: this pod's, the last few, `other`",
    "rollout": "during the answer: empty, one that this pod applied, `other`",
}
_AGE: Final = {"age": "`1h`, `1d`, `7d`, `older`: from answer to label, up to"}
_LABEL_OUTCOME: Final = {"outcome": "`correct`, `wrong`"}

TABLE: Final[Mapping[str, Metric]] = {
    metric.name: metric
    for metric in (
        Metric(
            names.REQUESTS,
            _COUNTER,
            "Inference requests answered by this process.",
            {
                "code": "HTTP status, `other`",
                "arm": "`canary`: handed on to this pod; else `stable`",
                "revision": "of this pod",
            },
        ),
        Metric(names.ROWS, _COUNTER, "Rows predicted."),
        Metric(
            names.FEATURE,
            _COUNTER,
            "Rows by bin of the feature's value.",
            {"feature": "its name", "bin": "`below`, `b00`.., `above`, `missing`", **_PROFILE},
        ),
        Metric(
            names.UNSEEN,
            _COUNTER,
            "Rows whose code the reference never held; in their bins as well.",
            {"feature": "columns of codes alone", **_PROFILE},
        ),
        Metric(
            names.PREDICTION,
            _COUNTER,
            "Rows by answer.",
            {
                "output": "class; bin of the prediction",
                "confidence": "`c00`.., `missing`; `none` for a prediction",
                **_PROFILE,
            },
        ),
        Metric(names.DURATION, _HISTOGRAM, "Time in the process of requests that ran the model, in seconds."),
        Metric(
            names.MODEL_INFO,
            _GAUGE,
            "The model that answers.",
            {
                "digest": "of the model",
                **_PROFILE,
                "revision": "of this pod",
                "inputs": "hash of the input names",
                "outputs": "hash of the form of the answers",
                "missing": "`accepted`, `refused`",
            },
        ),
        Metric(
            names.MODEL_INPUTS,
            _GAUGE,
            "Names of the inputs, as JSON in parts of 1,000 characters; empty above 16 KiB.",
            {
                "part": "`00`, `01`.., to be joined",
                "takes": "those that clients send, in order",
                "needs": "those that the model reads; empty: all, in order",
            },
        ),
        Metric(names.EPOCH, _GAUGE, "Start of these counters in Unix seconds.", {"pod_uid": "of this pod"}),
        Metric(names.DRAINING, _GAUGE, "1 while the process answers with Connection: close."),
        Metric(
            names.EXPLANATIONS,
            _COUNTER,
            "Requests for explanations, which are counted nowhere else.",
            {"code": "`200`, `400`, `500`, `503`"},
        ),
        Metric(
            names.FEEDBACK,
            _COUNTER,
            "Entries of feedback by what became of them.",
            {"outcome": ", ".join(f"`{outcome}`" for outcome in names.FEEDBACK_OUTCOMES)},
        ),
        Metric(
            names.LABELS,
            _COUNTER,
            "Labelled rows of a classifier by answer and truth.",
            {
                **_COHORT,
                "predicted": "class, `other`",
                "actual": "class, `other`",
                **_LABEL_OUTCOME,
                **_AGE,
            },
        ),
        Metric(
            names.LABEL_CONFIDENCE,
            _COUNTER,
            "Labelled rows of models with this profile, by answer and confidence.",
            {"output": "class", "confidence": "`c00`..", **_LABEL_OUTCOME, **_PROFILE},
        ),
        Metric(
            names.LABEL_ERRORS,
            _COUNTER,
            "Labelled rows of a regression by absolute error in standard deviations.",
            {**_COHORT, "error": "`0.1`, `0.25`, `0.5`, `1`, `2`, `above`: up to", **_AGE, **_PROFILE},
        ),
        Metric(
            names.ARM_REQUESTS,
            _COUNTER,
            "Inference requests by the arm that was to answer them.",
            {**_ROLLOUT, "arm": "`stable`, `canary`", "outcome": "see The split"},
        ),
        Metric(names.ARM_RESCUED, _COUNTER, "Bad answers of the canary that this pod's model made good.", _ROLLOUT),
        Metric(
            names.ARM_DRAWN,
            _COUNTER,
            "Inference requests by how their arm was found.",
            {**_ROLLOUT, "by": "`key`, `share`", "arm": "`stable`, `canary`"},
        ),
        Metric(
            names.ARM_EXEMPT,
            _COUNTER,
            "Inference requests kept out of the split for their clients' deadline.",
            _ROLLOUT,
        ),
        Metric(names.TRAFFIC_SEQ, _GAUGE, "Number of the traffic annotation that is applied.", _ROLLOUT),
        Metric(names.TRAFFIC_SHARE, _GAUGE, "Share of requests handed on.", _ROLLOUT),
        Metric(
            names.TRAFFIC_REALISED,
            _GAUGE,
            "Share of requests drawn for the canary since the share last changed.",
            _ROLLOUT,
        ),
        Metric(
            names.SHADOW_REQUESTS,
            _COUNTER,
            "Requests to be copied to the other revision, by what came of it.",
            {**_ROLLOUT, "outcome": ", ".join(f"`{outcome}`" for outcome in names.SHADOW_OUTCOMES)},
        ),
        Metric(names.SHADOW_DIFFERENCE, _HISTOGRAM, "Largest difference between two answers to one request.", _ROLLOUT),
        Metric(names.FORWARD_DURATION, _HISTOGRAM, "Seconds from handing a request on to what came of it."),
    )
}


def documentation() -> str:
    """The table as docs/serving.md has it."""
    rows = ["| series | kind | labels | what |", "|---|---|---|---|"]
    for metric in TABLE.values():
        labels = "; ".join(f"`{name}` ({values})" for name, values in metric.labels.items())
        rows.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.text} |")
    return "\n".join(rows)
