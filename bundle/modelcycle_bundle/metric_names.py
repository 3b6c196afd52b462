"""The model server's metric names and the values of their labels; operator, dashboards and docs read them from here.

Owns names only: modelcycle_bundle.metric_table says of each what it is. Counters are exported under exactly these names (port 8081).
"""

import math
from typing import Final

REQUESTS: Final = "modelcycle_requests_total"
"""Inference requests answered by the process that exports it; labels `code` (CODES), `arm` and `revision`.

A request that was handed on and answered is counted by the pod that answered it; one that came back unanswered, by the pod that then did.
"""
ROWS: Final = "modelcycle_rows_total"
"""Rows predicted; no labels. Sum of every feature's bins equals it."""
FEATURE: Final = "modelcycle_feature_total"
"""Rows by bin; labels `feature`, `bin`, `profile`. Bins: b00..bNN, below, above, missing."""
PREDICTION: Final = "modelcycle_prediction_total"
"""Rows by answer; labels `output`, `confidence`, `profile`.

Classification: class label and confidence bin c00..cNN. Regression: output bin and `none`.
"""
UNSEEN: Final = "modelcycle_unseen_total"
"""Rows whose number is none that the reference held; labels `feature` (columns of codes alone) and `profile`.

They are counted in FEATURE too, in the bin where they lie.
"""
DURATION: Final = "modelcycle_request_duration_seconds"
"""Histogram of the time in the process that ran the model; bounds LATENCY_BOUNDS and the latency objective."""
MODEL_INFO: Final = "modelcycle_model_info"
"""Gauge 1; labels `digest`, `profile`, `revision`, `inputs` (hash of the input names in order), `outputs` (hash of names, datatypes and
classes of the answers) and `missing` (`accepted`, `refused`)."""
MODEL_INPUTS: Final = "modelcycle_model_inputs"
"""Gauge 1; labels `takes` (names that clients send, in order) and `needs` (those that the model reads, "" where it reads them as they
come), as client_inputs.to_text writes them, in series by `part` that are to be joined. Pods of an earlier image have none: they read single
tensors in the model's own order."""
EPOCH: Final = "modelcycle_epoch"
"""Gauge: start of the counters as Unix seconds; label `pod_uid`. (pod uid, start) names one run of the counters."""
DRAINING: Final = "modelcycle_draining"
"""Gauge 0 or 1: the pod answers with Connection: close."""
ARM_REQUESTS: Final = "modelcycle_arm_requests_total"
"""Inference requests by the arm that was to answer them, counted where they arrived; labels `rollout`, `arm`, `outcome`.

Series of the rollout that is applied now, all at 0 when it is first applied, and of the few before it; counted only while its share is
above 0.
"""
ARM_RESCUED: Final = "modelcycle_arm_rescued_total"
"""Bad answers of the canary to requests that this pod's own model then answered well and in time; label `rollout`, like ARM_REQUESTS.

With all requests handed on there is no stable arm to compare with: this is the comparison that is left.
"""
TRAFFIC_SEQ: Final = "modelcycle_traffic_seq"
"""Gauge: `seq` of the traffic annotation that is applied; label `rollout`. 0 with an empty label before the first one."""
TRAFFIC_SHARE: Final = "modelcycle_traffic_share"
"""Gauge from 0 to 1: the share that is applied; label `rollout`."""
ARM_DRAWN: Final = "modelcycle_arm_drawn_total"
"""Requests by how their arm was found; labels `rollout`, `by` (DRAWN_BY) and `arm`; counted like ARM_REQUESTS, those of a test not."""
DRAWN_BY_KEY: Final = "key"
"""The place of the request's key."""
DRAWN_BY_SHARE: Final = "share"
"""The exact sequence: the request has no key, or the rollout none."""
DRAWN_BY: Final = (DRAWN_BY_KEY, DRAWN_BY_SHARE)
ARM_EXEMPT: Final = "modelcycle_arm_exempt_total"
"""Requests kept out of the split, and counted for no arm, since their client waits no longer than the hop may take; label `rollout`."""
TRAFFIC_REALISED: Final = "modelcycle_traffic_realised_share"
"""Gauge from 0 to 1: those for the canary of the requests drawn since the share last changed; label `rollout`. None before the first."""
SHADOW_REQUESTS: Final = "modelcycle_shadow_requests_total"
"""Requests to be copied to the other revision, by what came of it; labels `rollout` and `outcome` (SHADOW_OUTCOMES)."""
SHADOW_DIFFERENCE: Final = "modelcycle_shadow_difference"
"""Histogram over SHADOW_BOUNDS of the largest difference between two answers; label `rollout`.

Classification: of a probability, absolute. Regression: of a prediction, relative to the larger one.
"""
FORWARD_DURATION: Final = "modelcycle_forward_duration_seconds"
"""Histogram of the hop: from handing a request on to its answer, a failure or being late; bounds LATENCY_BOUNDS."""
EXPLANATIONS: Final = "modelcycle_explanations_total"
"""Requests for explanations; label `code` (EXPLANATION_CODES). They are in no other count: an explanation is no prediction."""
FEEDBACK: Final = "modelcycle_feedback_total"
"""Entries of feedback by what became of them; label `outcome` (FEEDBACK_OUTCOMES)."""
LABELS: Final = "modelcycle_labels_total"
"""Classification: labelled rows; labels `revision` and `rollout` of the answer, `predicted`, `actual`, `outcome`, `age`.

`actual` names the class of a wrong answer where there are at most ACTUAL_CLASSES of them, else OTHER. Series of a revision and rollout
come with its first label; those of the last few stay, the sum of the others is under OTHER.
"""
LABEL_CONFIDENCE: Final = "modelcycle_label_confidence_total"
"""Classification: labelled rows of this profile; labels `output` and `confidence` like PREDICTION, `outcome`, `profile`."""
LABEL_ERRORS: Final = "modelcycle_label_errors_total"
"""Regression: labelled rows; labels `revision` and `rollout` like LABELS, `error` (ERROR_BINS), `age`, `profile` (whose unit it is)."""

ARM_STABLE: Final = "stable"
ARM_CANARY: Final = "canary"
OUTCOME_OK: Final = "ok"
"""Answered 200, the only success of the protocol."""
OUTCOME_CLIENT: Final = "client"
"""Answered 4xx by every arm that was asked: the client's mistake, no evidence against an arm."""
OUTCOME_FAILED: Final = "failed"
"""Any other status, or a broken answer."""
OUTCOME_LATE: Final = "late"
"""No whole answer within the timeout; stable's is delivered all the same. Pods of an earlier image count the canary's alone."""
OUTCOME_CROWDED: Final = "crowded"
"""Canary only: held up in the pod that asked, for room or for time, so that nothing is known about the canary: shown, not judged."""
OUTCOME_UNREACHED: Final = "unreached"
"""Canary only: no connection to any of its pods. Says something about the cluster and nothing about the model: shown, not judged."""
OUTCOME_REFUSED: Final = "refused"
"""Canary only: answered 4xx to a request that stable then accepted."""
ARM_OUTCOMES: Final = {
    ARM_STABLE: (OUTCOME_OK, OUTCOME_CLIENT, OUTCOME_FAILED, OUTCOME_LATE),
    ARM_CANARY: (
        OUTCOME_OK,
        OUTCOME_CLIENT,
        OUTCOME_FAILED,
        OUTCOME_LATE,
        OUTCOME_REFUSED,
        OUTCOME_UNREACHED,
        OUTCOME_CROWDED,
    ),
}
"""The series of ARM_REQUESTS. An arm's requests are the sum of its outcomes but UNJUDGED, its events all of these but ok and client."""
UNJUDGED: Final = frozenset({OUTCOME_UNREACHED, OUTCOME_CROWDED})
"""Outcomes that say nothing of the model."""
SHADOW_AGREE: Final = "agree"
"""Every row has the same label; a predicted number differs by 1 % at most."""
SHADOW_DIFFER: Final = "differ"
"""Any row does not."""
SHADOW_DROPPED: Final = "dropped"
"""Not copied, or given up, for the bounds on connections and memory."""
SHADOW_OUTCOMES: Final = (
    SHADOW_AGREE,
    SHADOW_DIFFER,
    OUTCOME_REFUSED,
    OUTCOME_FAILED,
    OUTCOME_LATE,
    OUTCOME_UNREACHED,
    SHADOW_DROPPED,
)
SHADOW_BOUNDS: Final = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
PROFILE_PATH: Final = "/profile"
"""On the metrics port: the model's profile.json, byte for byte; its hash is the label `profile`."""

BINS: Final = (FEATURE, UNSEEN, PREDICTION)
"""Nine tenths of a page, and all of it that grows with the table."""
BINS_HEADER: Final = "x-modelcycle-bins"
"""With BINS_NONE, in a request for the page: leave BINS out. Pods of an earlier image do not know it and send all."""
BINS_NONE: Final = "none"
MONITORED_COLUMNS: Final = 3000
"""About as many columns as the page and the profile that a DriftMonitor reads have room for; the bytes of their names count too."""

KEPT_ROLLOUTS: Final = 3
"""Rollouts that a pod tells apart: the last ones it applied."""
OTHER: Final = "other"
"""Whatever has no label value of its own."""
CODES: Final = ("200", "400", "401", "408", "413", "415", "431", "500", "503", OTHER)
"""HTTP statuses that an inference request can be answered with."""
EXPLANATION_CODES: Final = ("200", "400", "500", "503")
LABEL_CORRECT: Final = "correct"
LABEL_WRONG: Final = "wrong"
LABEL_OUTCOMES: Final = (LABEL_CORRECT, LABEL_WRONG)
ACTUAL_CLASSES: Final = 10
"""Most classes whose confusions are counted one by one: the square of it is many series."""
AGES: Final = {"1h": 3600.0, "1d": 86_400.0, "7d": 604_800.0, "older": math.inf}
"""Label `age`: time from answer to label, up to so many seconds."""
ERROR_BINS: Final = {"0.1": 0.1, "0.25": 0.25, "0.5": 0.5, "1": 1.0, "2": 2.0, "above": math.inf}
"""Label `error`: absolute error in standard deviations of the reference's predictions, up to so many."""
FEEDBACK_COUNTED: Final = "counted"
FEEDBACK_MALFORMED: Final = "malformed"
"""Not an entry with a token and labels."""
FEEDBACK_FORGED: Final = "forged"
"""Signed by none of the keys, altered, or no token at all."""
FEEDBACK_EXPIRED: Final = "expired"
"""The answer is older than labels are taken for."""
FEEDBACK_FORGOTTEN: Final = "forgotten"
"""Older than what this pod remembers: it cannot tell whether it was counted before."""
FEEDBACK_REPLAYED: Final = "replayed"
"""A row that this pod has counted already."""
FEEDBACK_BAD_COUNT: Final = "count"
"""Another number of labels than the answer had rows."""
FEEDBACK_BAD_LABEL: Final = "label"
"""No class of the model; or no number."""
FEEDBACK_OUTCOMES: Final = (
    FEEDBACK_COUNTED,
    FEEDBACK_MALFORMED,
    FEEDBACK_FORGED,
    FEEDBACK_EXPIRED,
    FEEDBACK_FORGOTTEN,
    FEEDBACK_REPLAYED,
    FEEDBACK_BAD_COUNT,
    FEEDBACK_BAD_LABEL,
)

LATENCY_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds (design: Counts)."""

SERVING_PORT: Final = 8080
METRICS_PORT: Final = 8081
