"""The metrics page: two formats by Accept, read by the reference parsers; every series as the table says, no more of them than foretold."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as parse_text

from modelcycle.metrics import exposition as operators
from modelcycle.metrics.port import RunId, Series
from modelcycle_bundle import cardinality, metric_names
from modelcycle_bundle import profile as profiles
from modelcycle_bundle.metric_table import TABLE, Kind, documentation
from modelcycle_bundle.outputs import ClassOutputs, ValueOutputs
from modelcycle_bundle.traffic import Traffic
from modelcycle_serving import model as models
from modelcycle_serving.__main__ import main
from modelcycle_serving.arm_counters import ArmCounters
from modelcycle_serving.counters import Counters, latency_bounds
from modelcycle_serving.exposition import OPENMETRICS, TEXT, negotiated
from unit.serving import rig

DOCS = Path(__file__).parents[3] / "docs" / "serving.md"
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_WITH_PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6," + PROMETHEUS
)


@pytest.fixture
def page(server: rig.Server) -> bytes:
    with rig.Client(server.metrics_port) as client:
        return client.get("/metrics").body


def scraped(server: rig.Server, accept: str) -> rig.Answer:
    with rig.Client(server.metrics_port) as client:
        client.send(f"GET /metrics HTTP/1.1\r\nHost: t\r\nAccept: {accept}\r\n\r\n".encode())
        return client.answer()


def test_page_without_bins_is_the_same_page_but_for_its_bins(server: rig.Server) -> None:
    with rig.Client(server.metrics_port) as client:
        whole = client.get("/metrics").body.decode()
        header = f"{metric_names.BINS_HEADER}: {metric_names.BINS_NONE}"
        client.send(f"GET /metrics HTTP/1.1\r\nHost: t\r\n{header}\r\n\r\n".encode())
        short = client.answer().body.decode()
    bins = tuple(f"{start}{name}" for name in metric_names.BINS for start in ("", "# HELP ", "# TYPE "))
    assert short == "".join(line for line in whole.splitlines(keepends=True) if not line.startswith(bins))
    assert metric_names.FEATURE in whole


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        (PROMETHEUS, OPENMETRICS),
        (PROMETHEUS_WITH_PROTOBUF, OPENMETRICS),
        ("application/openmetrics-text", OPENMETRICS),
        ('Application/OpenMetrics-Text; version="1.0.0"', OPENMETRICS),
        ("application/openmetrics-text;version=1.0.0;q=0.5, text/plain;q=0.4", OPENMETRICS),
        ("application/openmetrics-text;version=1.0.0;q=0.5, text/plain;q=0.9", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=high", TEXT),
        ("application/openmetrics-text;version=0.0.1", TEXT),
        ("application/openmetrics-text;version=2.0.0", TEXT),
        ("text/plain;version=0.0.4", TEXT),
        ("*/*", TEXT),
        ("text/html", TEXT),
        (";;,=;q", TEXT),
        ("\xff", TEXT),
        ("", TEXT),
    ],
)
def test_the_reader_gets_the_format_it_asks_for(accept: str, media: bytes) -> None:
    assert negotiated(b"", accept.encode("latin-1"))[1] == media


def test_who_asks_for_nothing_gets_what_everybody_reads() -> None:
    assert negotiated(b"page\n", None) == (b"page\n", TEXT)


def parse_openmetrics(text: str) -> list[Metric]:
    """By the reference parser, which has no types."""
    return list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]


def values(families: Iterable[Metric]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_both_formats_hold_the_same_samples(server: rig.Server) -> None:
    plain, rich = scraped(server, "text/plain"), scraped(server, PROMETHEUS)
    assert (plain.headers["content-type"], rich.headers["content-type"]) == (TEXT.decode(), OPENMETRICS.decode())
    assert rich.body.endswith(b"\n# EOF\n")
    assert b"# EOF" not in plain.body
    in_text, in_rich = (
        values(parse(got.body.decode())) for parse, got in ((parse_text, plain), (parse_openmetrics, rich))
    )
    assert in_text == in_rich
    kinds = {family.name: family.type for family in parse_openmetrics(rich.body.decode())}
    assert kinds["modelcycle_requests"] == "counter"
    assert kinds["modelcycle_request_duration_seconds"] == "histogram"


def in_rollouts(count: int) -> ArmCounters:
    """The counters of a pod after so many rollouts, each with a copy."""
    counters = ArmCounters()
    for number in range(count):
        traffic = Traffic(rollout=f"aabbcc-0000000{number}", share=5, target="10.0.0.1:80", shadow=5)
        counters.apply(traffic)
        counters.shadow.begin(traffic.rollout)
        counters.shadow.observe(traffic.rollout, 0.02)
        counters.drawn(traffic.rollout, metric_names.DRAWN_BY_KEY, metric_names.ARM_CANARY)
    return counters


def test_series_of_rollouts_are_bounded_and_as_many_as_foretold_delivery_80() -> None:
    foretold = cardinality.rollouts()
    found = exported(in_rollouts(7).exposition().decode())
    assert {name: found[name] for name in foretold} == foretold


def test_every_series_is_as_the_table_says(page: bytes) -> None:
    text = page.decode().split(f"# HELP {metric_names.ARM_REQUESTS}")[0] + in_rollouts(2).exposition().decode()
    assert parse_openmetrics(negotiated(text.encode(), PROMETHEUS.encode())[0].decode())
    for name, kind in re.findall(r"(?m)^# TYPE (\S+) (\S+)$", text):
        assert (TABLE[name].kind, f"# HELP {name} {TABLE[name].text}\n" in text) == (kind, True), name
    for family in parse_text(text):
        for sample in family.samples:
            name = sample.name if sample.name in TABLE else re.sub(r"_(bucket|sum|count)$", "", sample.name)
            assert set(sample.labels) - {"le"} == set(TABLE[name].labels), name
    assert set(re.findall(r"(?m)^# HELP (\S+) ", text)) == set(re.findall(r"(?m)^# TYPE (\S+) ", text))


def test_every_name_is_in_the_table() -> None:
    constants = {value for name, value in vars(metric_names).items() if name.isupper() and isinstance(value, str)}
    assert {value for value in constants if value.startswith("modelcycle_")} == set(TABLE)
    assert all(name.endswith("_total") == (metric.kind is Kind.COUNTER) for name, metric in TABLE.items())


def test_the_table_is_in_the_documentation() -> None:
    assert documentation() in DOCS.read_text()


def exported(text: str) -> dict[str, int]:
    """Series by metric; metrics without any are left out."""
    counts: dict[str, int] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name = re.split(r"[{ ]", line)[0]
            name = name if name in TABLE else re.sub(r"_(bucket|sum|count)$", "", name)
            counts[name] = counts.get(name, 0) + 1
    return counts


def without_zeros(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


@pytest.mark.parametrize("name", ["classes", "names", "values"])
def test_the_number_of_series_is_foretold(bundles: dict[str, Path], name: str) -> None:
    model = models.load(bundles[name], None)
    bounds = latency_bounds(0.075)
    counters = Counters(model, "r", "p", 1.0, bounds)
    foretold = without_zeros(cardinality.served(model.profile, bounds))
    at_first = exported(counters.exposition().decode())
    assert at_first.items() <= foretold.items()
    counters.count_rows(rig.TABLE[:50], model.run(rig.TABLE[:50]))
    for code in (200, 400, 418, 503, 599):
        counters.count_request(code, metric_names.ARM_CANARY)
    counters.observe_duration(0.2)
    assert exported(counters.exposition().decode()) == at_first, "no series comes later"


def test_a_whole_page_has_as_many_series_as_foretold(server: rig.Server, page: bytes, bundles: dict[str, Path]) -> None:
    profile = models.load(bundles["classes"], None).profile
    assert exported(page.decode()) == without_zeros(cardinality.served(profile))
    assert cardinality.total(cardinality.served(profile)) == sum(exported(page.decode()).values())


@pytest.mark.parametrize(("features", "said"), [(30, "two classes 491 in all"), (200, "200 features 2,702")])
def test_the_documentation_says_how_many_series_a_profile_makes(features: int, said: str) -> None:
    random = np.random.default_rng(1)
    table = random.normal(size=(2000, features)).astype(np.float32)
    probabilities = random.dirichlet([1, 1], size=2000).astype(np.float32)
    outputs = ClassOutputs(probabilities.argmax(axis=1), probabilities)
    profile = profiles.build([str(at) for at in range(features)], table, outputs, ["0", "1"])
    assert f"{cardinality.total(cardinality.served(profile)):,}" in said
    assert said in " ".join(DOCS.read_text().split())


def test_the_operator_reads_the_page_as_before(bundles: dict[str, Path]) -> None:
    """Labels that it does not know add up; what it knows is there."""
    counters = Counters(models.load(bundles["classes"], None), "r1", "pod-1", 1.5)
    for arm in (metric_names.ARM_STABLE, metric_names.ARM_CANARY, metric_names.ARM_CANARY):
        counters.count_request(200, arm)
    for page in (counters.exposition(), negotiated(counters.exposition(), PROMETHEUS.encode())[0]):
        read = operators.parse(page.decode())
        assert read.run == RunId("pod-1", 1.5)
        assert read.counts[Series(metric_names.REQUESTS, ("200",))] == 3
        assert read.model is not None
        assert read.model.revision == "r1"


def test_a_status_without_a_series_of_its_own_is_counted_as_other(bundles: dict[str, Path]) -> None:
    counters = Counters(models.load(bundles["classes"], None), "r", "p", 1.0)
    counters.count_request(418)
    counters.count_request(418, metric_names.ARM_CANARY)
    text = counters.exposition().decode()
    for arm in ("stable", "canary"):
        assert f'modelcycle_requests_total{{code="other",arm="{arm}",revision="r"}} 1\n' in text


@pytest.mark.parametrize(
    ("objective", "bound"), [(0.075, "0.075"), (0.05, "0.05"), (4.0, "4.0"), (0.00025, "0.00025"), (None, "2.5")]
)
def test_the_latency_objective_is_a_bound(bundles: dict[str, Path], objective: float | None, bound: str) -> None:
    counters = Counters(models.load(bundles["values"], None), "", "p", 1.0, latency_bounds(objective))
    at = float(bound)
    for seconds in (at * 0.99, at, at * 1.01):
        counters.observe_duration(seconds)
    text = counters.exposition().decode()
    assert f'modelcycle_request_duration_seconds_bucket{{le="{bound}"}} 2\n' in text
    bounds = re.findall(r'_bucket{le="([^"]+)"', text)
    assert bounds == sorted(bounds, key=float)
    assert set(metric_names.LATENCY_BOUNDS) <= {float(each) for each in bounds}


@pytest.mark.parametrize("objective", ["0", "-1", "nan", "inf", "fast"])
def test_an_objective_that_is_no_time_is_refused(objective: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, environment in ((["--latency-slo", objective], {}), ([], {"MODELCYCLE_LATENCY_SLO": objective})):
        with pytest.raises(SystemExit):
            main(arguments, environment)
        assert "argument --latency-slo" in capsys.readouterr().err


def test_unseen_codes_are_counted_in_the_page_monitoring_7(bundles: dict[str, Path]) -> None:
    """Two features of codes: one row each of a known code, an unknown one, none."""
    model = models.load(bundles["values"], None)
    codes = np.repeat(np.arange(4, dtype=np.float32), 5)
    table = np.stack([codes, codes, np.linspace(0, 0.9, 20, dtype=np.float32)], axis=1)
    coded = replace(model, profile=profiles.build(rig.FEATURES, table, ValueOutputs(table[:, 0])))
    counters = Counters(coded, "", "p", 1.0)
    rows = np.array([[1, 1, 0.5], [9, 0.5, 0.5], [np.nan, np.inf, 0.5]], np.float32)
    counters.count_rows(rows, {"prediction": np.zeros((3, 1), np.float32)})
    unseen = {line for line in counters.exposition().decode().splitlines() if line.startswith(metric_names.UNSEEN)}
    name = coded.profile.hash
    assert unseen == {
        f'modelcycle_unseen_total{{feature="width",profile="{name}"}} 1',
        f'modelcycle_unseen_total{{feature="height",profile="{name}"}} 2',
    }
