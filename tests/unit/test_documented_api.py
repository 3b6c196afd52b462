"""Reasons and condition types are API: docs/ and code name the same ones, both ways."""

import re
from enum import StrEnum
from pathlib import Path

import pytest

from modelcycle.api.acceptance import AcceptanceReason
from modelcycle.api.driftmonitor import MonitorCondition, MonitorReason
from modelcycle.api.experiment import ExperimentCondition, ExperimentReason
from modelcycle.api.modeldeployment import DeploymentCondition, DeploymentReason
from modelcycle.drift.retrain import RetrainReason
from modelcycle.jobs.facts import FactsReason

DOCS = Path(__file__).parents[2] / "docs"
PAGES: list[tuple[str, str, type[StrEnum]]] = [
    ("experiment.md", "Reasons", ExperimentReason),
    ("experiment.md", "Conditions", ExperimentCondition),
    ("experiment.md", "Acceptance", AcceptanceReason),
    ("experiment.md", "Facts", FactsReason),
    ("modeldeployment.md", "Reasons", DeploymentReason),
    ("modeldeployment.md", "Conditions", DeploymentCondition),
    ("driftmonitor.md", "Reasons", MonitorReason),
    ("driftmonitor.md", "Conditions", MonitorCondition),
    ("driftmonitor.md", "Retrain reasons", RetrainReason),
]


def documented(page: str, section: str) -> set[str]:
    text = (DOCS / page).read_text()
    found = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no section {section}"
    return {
        name
        for row in re.findall(r"^\| (`[^|]*) \|", found.group(1), re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }


@pytest.mark.parametrize(("page", "section", "names"), PAGES)
def test_docs_and_code_name_the_same(page: str, section: str, names: type[StrEnum]) -> None:
    assert documented(page, section) == {member.value for member in names}
