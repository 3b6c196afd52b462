"""A page is read whole or refused whole."""

import pytest

from modelcycle.metrics.exposition import UnusablePage, parse
from modelcycle.metrics.port import DRIFT_SERIES, ROLLOUT_SERIES, RunId, Series, SeriesSet
from modelcycle_bundle import metric_names
from modelcycle_serving.exposition import labelled

PAGE = """\
# HELP modelcycle_requests_total Inference requests answered.
# TYPE modelcycle_requests_total counter
modelcycle_requests_total{code="200"} 12
modelcycle_requests_total{code="400"} 1.0
# TYPE modelcycle_rows_total counter
modelcycle_rows_total 40
# TYPE modelcycle_feature_total counter
modelcycle_feature_total{feature="mean \\"radius\\"",bin="b00",profile="abc"} 30
modelcycle_feature_total{feature="mean \\"radius\\"",bin="missing",profile="abc"} 10
# TYPE modelcycle_prediction_total counter
modelcycle_prediction_total{output="1",confidence="c09",profile="abc"} 4e1
# TYPE modelcycle_request_duration_seconds histogram
modelcycle_request_duration_seconds_bucket{le="0.001"} 3
modelcycle_request_duration_seconds_bucket{le="+Inf"} 12
modelcycle_request_duration_seconds_sum 0.25
modelcycle_request_duration_seconds_count 12
# TYPE modelcycle_epoch gauge
modelcycle_epoch{pod_uid="u-1"} 1795416200.25
# TYPE process_open_fds gauge
process_open_fds 7
"""


def test_reads_the_counters_and_their_run() -> None:
    page = parse(PAGE)
    assert page.run == RunId("u-1", 1795416200.25)
    assert page.counts == {
        Series(metric_names.REQUESTS, ("200",)): 12,
        Series(metric_names.REQUESTS, ("400",)): 1,
        Series(metric_names.ROWS): 40,
        Series(metric_names.FEATURE, ("abc", 'mean "radius"', "b00")): 30,
        Series(metric_names.FEATURE, ("abc", 'mean "radius"', "missing")): 10,
        Series(metric_names.PREDICTION, ("abc", "1", "c09")): 40,
    }


def test_labels_of_a_newer_server_add_up() -> None:
    page = parse(PAGE + 'modelcycle_requests_total{code="200",protocol="grpc"} 5\n')
    assert page.counts[Series(metric_names.REQUESTS, ("200",))] == 17


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("modelcycle_rows_total 40", "modelcycle_rows_total NaN", "modelcycle_rows_total: a count must be"),
        ("modelcycle_rows_total 40", "modelcycle_rows_total +Inf", "a whole number"),
        ("modelcycle_rows_total 40", "modelcycle_rows_total -1", "a whole number"),
        ("modelcycle_rows_total 40", "modelcycle_rows_total 0.5", "a whole number"),
        ("modelcycle_rows_total 40\n", "", "modelcycle_rows_total is missing"),
        ('modelcycle_epoch{pod_uid="u-1"} 1795416200.25', "", "expected one series, found 0"),
        ('{pod_uid="u-1"} 1795416200.25', '{pod_uid="u-1"} 1\nmodelcycle_epoch{pod_uid="u-2"} 1', "found 2"),
        ('{pod_uid="u-1"} 1795416200.25', " 3", "needs the label pod_uid"),
        ('{pod_uid="u-1"} 1795416200.25', '{pod_uid="u-1"} NaN', "a time above 0"),
        (',profile="abc"} 30', "} 30", "label profile is missing"),
        ("modelcycle_rows_total 40", "modelcycle_rows_total forty", "not a page"),
        ("# HELP modelcycle_requests_total Inference requests answered.", "<html>{</html>", "not a page"),
    ],
)
def test_refuses_a_page_that_is_not_exact_engineering_51(old: str, new: str, said: str) -> None:
    assert old in PAGE
    with pytest.raises(UnusablePage, match=said.replace("+", r"\+")):
        parse(PAGE.replace(old, new))


NAMES = ["Temp\r\n(degC)", "a\x85b", "a\u2028b", "a\x0bb\x0cc\x1dd", '\\"n\\n{}=,', "a } 7\n# b", " ", ""]


@pytest.mark.parametrize("series", [DRIFT_SERIES, ROLLOUT_SERIES], ids=["drift", "rollout"])
def test_line_break_in_the_name_of_a_column_stops_no_reader(series: SeriesSet) -> None:
    lines = [
        f"{metric_names.FEATURE}{labelled({'feature': name, 'bin': 'b00', 'profile': 'abc'})} {at}"
        for at, name in enumerate(NAMES)
    ]
    own = parse(PAGE + "".join(f"{line}\n" for line in lines), series)
    wide = {labels.labels[1]: n for labels, n in own.counts.items() if labels.metric == metric_names.FEATURE}
    assert {name: wide.get(name) for name in NAMES} == (
        {name: at for at, name in enumerate(NAMES)} if series is DRIFT_SERIES else dict.fromkeys(NAMES)
    )
