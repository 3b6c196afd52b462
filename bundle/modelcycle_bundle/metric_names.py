"""The one table of the model server's metric names and labels; operator, dashboards and docs read it from here.

Owns names only. Counters are exported under exactly these names (Prometheus text format, port 8081).
"""

from typing import Final

REQUESTS: Final = "modelcycle_requests_total"
"""Inference requests answered; labels `code` (HTTP status)."""
ROWS: Final = "modelcycle_rows_total"
"""Rows predicted; no labels. Sum of every feature's bins equals it."""
FEATURE: Final = "modelcycle_feature_total"
"""Rows by bin; labels `feature`, `bin`, `profile`. Bins: b00..bNN, below, above, missing."""
PREDICTION: Final = "modelcycle_prediction_total"
"""Rows by answer; labels `output`, `confidence`, `profile`.

Classification: class label and confidence bin c00..cNN. Regression: output bin and `none`.
"""
DURATION: Final = "modelcycle_request_duration_seconds"
"""Histogram of the time in the process that ran the model; bounds LATENCY_BOUNDS."""
MODEL_INFO: Final = "modelcycle_model_info"
"""Gauge 1; labels `digest`, `profile`, `revision`."""
EPOCH: Final = "modelcycle_epoch"
"""Gauge: start of the counters as Unix seconds; label `pod_uid`. (pod uid, start) names one run of the counters."""
DRAINING: Final = "modelcycle_draining"
"""Gauge 0 or 1: the pod answers with Connection: close."""

LATENCY_BOUNDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Seconds (design: Counts)."""

SERVING_PORT: Final = 8080
METRICS_PORT: Final = 8081
