"""The pilot report renders from findings, stands alone, and tells the figures it was given."""

import json
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser

from demo import plots, report
from demo.evidence import Arm
from demo.findings import (
    Clients,
    Compared,
    Drift,
    Findings,
    Moved,
    Outcome,
    Point,
    Retrain,
    Rollback,
    Rollout,
)
from demo.story import Chapter

VOID = {"meta", "br"}


def sample() -> Findings:
    rising = tuple(Point(100.0 + 2 * at, 0.9**at, 1.35**at) for at in range(12))
    better = Rollout(
        "A better model", "screening", "sha256:" + "ab" * 32, Outcome.PROMOTED, "Evidence", 90.0, 35.2,
        Arm(431, 0), Arm(1724, 0), 100.0, 20.0, rising, 5210, 0,
    )  # fmt: skip
    failing = replace(
        better,
        title="A model that fails <b>",
        outcome=Outcome.TAKEN_BACK,
        reason="CanaryFailFast",
        canary=Arm(57, 57),
        rescued=98,
        points=tuple(Point(100.0 + 2 * at, 10.0**at, 0.5**at) for at in range(3)),
    )
    worse = replace(failing, title="A model that is subtly worse", known_failures=31, canary=Arm(300, 16), rescued=13)
    compared = Compared(114, 0.81, 0.966)
    return Findings(
        better=better,
        failing=failing,
        failing_rollback=Rollback(2.1, 2.4),
        worse=worse,
        drift=Drift(
            200.0, 24.0, 0, "P2", ("worst_texture", "radius_error"), "P2: worst_texture above 41: 3 % -> 55 %",
            (Moved("worst_texture", (0.0, 0.5, 0.5, 0.0), (0.0, 0.1, 0.4, 0.5)),) * 2,
        ),
        retrain=Retrain("screening-search-x", "s3://x/2026-12.csv", "sha256:1", "sha256:2", compared, 96.0),
        retrained=replace(better, title="The retrained model"),
        clients=Clients(31234, 0, 0.051, {"a": 1}),
        tampered="DigestMismatch",
    )  # fmt: skip


class Balanced(HTMLParser):
    """Fails on a tag that is not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def rendered(findings: Findings) -> tuple[str, str]:
    page = report.render(
        findings, [Chapter("Prepare", 0.0, 1.5, "done"), Chapter("Serve it", 1.5, 300.0, "x")], "plant-7"
    )
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    return page, " ".join(parser.text)


def test_the_page_is_well_formed_needs_nothing_from_outside_and_tells_the_figures() -> None:
    page, text = rendered(sample())
    assert re.findall(r"""(?:src|href)=|@import|url\(|<script""", page) == []
    assert set(re.findall(r"https?://[^\"' ]+", page)) <= {"http://www.w3.org/2000/svg"}
    for figure in (
        "31,234",
        "111",
        "0 failed",
        "2.4 s",
        "96 s",
        "81%",
        "97%",
        "57 / 57",
        "16 / 300",
        "DigestMismatch",
        "24 s",
    ):
        assert figure in text, figure
    assert page.count("<svg") == 4 + 2 + 1 + 1


def test_words_from_elsewhere_are_escaped() -> None:
    page, text = rendered(sample())
    assert "fails <b>" in text
    assert "fails <b>" not in page


def test_a_demo_that_stopped_early_still_renders() -> None:
    _, text = rendered(Findings())
    assert "0 new models" in text


def test_findings_are_json() -> None:
    assert json.loads(json.dumps(asdict(sample())))["failing"]["canary"] == {"answers": 57, "bad": 57}


def test_ticks_are_round_few_and_begin_at_zero() -> None:
    for most in (4.0, 7.0, 10.0, 23.0, 90.0, 300.0, 1234.0):
        found = plots.ticks(most)
        assert found[0] == 0.0
        assert 3 <= len(found) <= 8
        assert [f"{at:.0f}" for at in found] == sorted({f"{at:.0f}" for at in found}, key=float)
        assert found[-1] <= most
