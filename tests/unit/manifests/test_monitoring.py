"""Dashboard, discovery and alert rules: well-formed, about series that exist, and the same in each form that is shipped."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from demo import dashboard
from modelcycle.deployment.manifests import pod_labels
from modelcycle.kube import names
from modelcycle.telemetry import Telemetry
from modelcycle_bundle import metric_names

ROOT = Path(__file__).resolve().parents[3]
INTEGRATIONS = ROOT / "manifests" / "integrations" / "prometheus"
COMPONENT = ROOT / "manifests" / "components" / "prometheus"
WIDTH = 24


@pytest.fixture(scope="module")
def board() -> dict[str, Any]:
    return dashboard.load()


def known_metrics() -> set[str]:
    """Every family that pods and operator export, with the names that a histogram or counter adds."""
    pods = {value for name, value in vars(metric_names).items() if name.isupper() and isinstance(value, str)}
    text = Telemetry().exposition().decode()
    operator = {family.name for family in text_string_to_metric_families(text)}
    families = {name for name in pods if name.startswith("modelcycle_")} | operator
    return {name + end for name in families for end in ("", "_total", "_bucket", "_sum", "_count")}


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:modelcycle|process)_[a-z_]+", expression))


def test_json_is_strict(tmp_path: Path) -> None:
    for text in ('{"a": 1, "a": 2}', '{"a": NaN}', '{"a": 1,}'):
        (tmp_path / "d.json").write_text(text)
        with pytest.raises(ValueError):
            dashboard.load(tmp_path / "d.json")


def test_dashboard_is_of_grafanas_present_form(board: dict[str, Any]) -> None:
    assert board["schemaVersion"] >= 41
    assert re.fullmatch(r"[a-z0-9-]{1,40}", board["uid"])
    assert "id" not in board, "an id of another Grafana would overwrite a dashboard there"
    assert [v["name"] for v in board["templating"]["list"]] == ["datasource", "namespace", "deployment"]


def test_panels_have_their_own_ids_and_places(board: dict[str, Any]) -> None:
    panels = list(dashboard.panels(board))
    assert len({p["id"] for p in panels}) == len(panels)
    assert len({p["title"] for p in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= WIDTH, panel["title"]
        cells = set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells


def test_every_panel_asks_the_chosen_data_source(board: dict[str, Any]) -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in dashboard.panels(board):
        if panel["type"] == "row":
            continue
        assert panel["datasource"] == chosen
        assert panel["targets"], panel["title"]
        assert all(target["datasource"] == chosen for target in panel["targets"])
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_queries_are_about_series_that_exist_and_about_the_chosen_deployment(board: dict[str, Any]) -> None:
    known = known_metrics()
    for query in dashboard.queries(board):
        found = metrics_in(query.expression)
        assert found, query
        assert found <= known, query
        assert "$" not in dashboard.filled(query.expression, "plant-7", "scrap")
        of_pods = {name for name in found if not name.startswith(("modelcycle_operator_", "process_"))}
        assert not of_pods or 'namespace="$namespace",deployment="$deployment"' in query.expression, query


def test_a_variable_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown variable"):
        dashboard.filled('up{pod="$pod"}', "plant-7", "scrap")


def test_rules_are_about_series_that_exist() -> None:
    rules = yaml.safe_load((INTEGRATIONS / "modelcycle.rules.yaml").read_text())["groups"][0]["rules"]
    known = known_metrics()
    for rule in rules:
        assert metrics_in(rule["expr"]) <= known, rule["alert"]
        assert {"summary", "description"} == set(rule["annotations"])
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
    documented = (ROOT / "docs" / "prometheus.md").read_text()
    assert all(f"`{rule['alert']}`" in documented for rule in rules)


def test_prometheus_operator_gets_the_same_rules_and_the_same_labels() -> None:
    objects = list(yaml.safe_load_all((INTEGRATIONS / "operator.yaml").read_text()))
    pods, operator, rule = objects
    assert rule["spec"] == yaml.safe_load((INTEGRATIONS / "modelcycle.rules.yaml").read_text())
    config = yaml.safe_load((COMPONENT / "prometheus.yml").read_text())
    ours = {
        r["target_label"]: r["source_labels"]
        for r in config["scrape_configs"][0]["relabel_configs"]
        if "action" not in r
    }
    theirs = {r["targetLabel"]: r["sourceLabels"] for r in pods["spec"]["podMetricsEndpoints"][0]["relabelings"]}
    # prometheus-operator sets namespace and pod by itself.
    assert theirs == {name: source for name, source in ours.items() if name not in ("namespace", "pod")}
    assert set(ours) == {"namespace", "pod", "pod_uid", "deployment", "revision"}
    assert operator["spec"]["podMetricsEndpoints"][0]["honorLabels"] is True
    assert config["scrape_configs"][1]["honor_labels"] is True


def test_discovery_is_by_the_labels_that_pods_have() -> None:
    labels = pod_labels("scrap", "abc")
    pods = next(iter(yaml.safe_load_all((INTEGRATIONS / "operator.yaml").read_text())))
    assert pods["spec"]["selector"]["matchLabels"].items() <= labels.items()
    config = (COMPONENT / "prometheus.yml").read_text()
    assert f"{names.MANAGED_BY}={labels[names.MANAGED_BY]}" in config
    for label in (names.LABEL_DEPLOYMENT, names.LABEL_REVISION):
        assert f"__meta_kubernetes_pod_label_{re.sub('[^a-z]', '_', label)}" in config


def test_the_component_is_restricted_and_may_only_look_at_pods() -> None:
    objects = list(yaml.safe_load_all((COMPONENT / "prometheus.yaml").read_text()))
    by_kind = {o["kind"]: o for o in objects}
    assert by_kind["ClusterRole"]["rules"] == [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}
    ]
    assert by_kind["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    (container,) = by_kind["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_dashboard_file_is_written_as_json_dumps_writes_it() -> None:
    """So that a change in Grafana and one by hand give a small difference."""
    text = dashboard.DASHBOARD.read_text()
    assert text == json.dumps(json.loads(text), indent=1, ensure_ascii=False) + "\n"


def test_nobody_is_promised_an_alarm_that_no_monitor_raises() -> None:
    """P1 stays in the API for what comes with labels and objectives; drift alone is no harm."""
    shipped = [*INTEGRATIONS.glob("*.yaml"), *INTEGRATIONS.parent.joinpath("grafana").glob("*.json")]
    assert len(shipped) >= 3
    assert [path.name for path in shipped if "P1" in path.read_text()] == []
