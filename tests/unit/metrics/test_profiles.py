"""Profiles from pods: only the one that the counts name, bounded, asked for once and not in a hurry."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import pytest

from fakes.counting_pods import CountingPod, at, take
from fakes.judged_pods import Factory
from fakes.memory_kube import MemoryKube
from modelcycle.kube import kinds
from modelcycle.metrics import profiles
from modelcycle.metrics.pods import PageError
from modelcycle.metrics.port import Round, SourceUnavailable, Target
from modelcycle.metrics.profiles import ProfiledSource, ProfileMemory, verified
from modelcycle_bundle.profile import ProfileError

TARGET = Target("plant-7", "scrap", 2.0)
FACTORY = Factory(0)
TEXT, NAME = FACTORY.profile.to_json(), FACTORY.profile.hash


@dataclass
class Cluster:
    """Pods in the API and behind their addresses."""

    answers: dict[str, str | Exception]
    """Address -> page of /profile."""
    asked: list[str] = field(default_factory=list)
    outage: bool = False

    def __post_init__(self) -> None:
        self.kube = MemoryKube()
        self.memory = ProfileMemory()
        self.pods: list[CountingPod] = []
        for number, address in enumerate(self.answers):
            labels = {"modelcycle.dev/deployment": "scrap", "app.kubernetes.io/managed-by": "modelcycle"}
            seeded = self.kube.seed(kinds.POD, "plant-7", {"metadata": {"name": f"pod-{number}", "labels": labels}})
            self.kube.set_status(kinds.POD, "plant-7", f"pod-{number}", {"phase": "Running", "podIP": address})
            self.pods.append(FACTORY.pod(seeded["metadata"]["uid"], 1.0))
        self.source = ProfiledSource(self, self.kube, self, self.memory)

    async def read(self, target: Target, now: datetime) -> Round:
        if self.outage:
            raise SourceUnavailable("away")
        return take(self.pods, now.timestamp() - at(0).timestamp())

    async def get(self, url: str) -> str:
        self.asked.append(url)
        answer = self.answers[url.removeprefix("http://").split(":8081")[0]]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def round(self, seconds: float = 0.0) -> Round:
        return await self.source.read(TARGET, at(seconds))


async def test_profile_is_read_once_and_kept() -> None:
    cluster = Cluster({"10.0.0.1": TEXT, "10.0.0.2": TEXT})
    taken = await cluster.round()
    assert len(taken.pods) == 2
    assert cluster.memory.get(NAME) == FACTORY.profile
    await cluster.round(2)
    assert cluster.asked == ["http://10.0.0.1:8081/profile"]


async def test_another_pod_is_asked_when_one_fails() -> None:
    cluster = Cluster({"10.0.0.1": PageError("answered HTTP 404"), "10.0.0.2": TEXT})
    await cluster.round()
    assert cluster.memory.get(NAME) == FACTORY.profile
    assert len(cluster.asked) == 2


OTHER = Factory(1).profile.to_json()
REFUSED: Mapping[str, tuple[str | Exception, str]] = {
    "missing": (PageError("answered HTTP 404"), "pod-0: answered HTTP 404"),
    "another profile": (OTHER, "pod-0: its profile is not the one that its counts name"),
    "empty": ("", "pod-0: its profile is not the one that its counts name"),
    "changed": (TEXT.replace('"rows":20000', '"rows":20001'), "pod-0: its profile is not the one that its counts name"),
    "huge": ("x" * (profiles.PROFILE_LIMIT + 1), "pod-0: profile is larger than 2097152 characters"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_not_the_profile_of_the_counts_is_refused_and_said(case: str) -> None:
    answer, problem = REFUSED[case]
    cluster = Cluster({"10.0.0.1": answer})
    taken = await cluster.round()
    assert len(taken.pods) == 1, "the counts are as good as before"
    assert cluster.memory.get(NAME) is None
    assert cluster.memory.problem(NAME) == problem


async def test_a_failed_profile_is_asked_for_again_after_a_pause_only() -> None:
    cluster = Cluster({"10.0.0.1": PageError("connection failed")})
    for second in range(0, 29, 2):
        await cluster.round(second)
    assert len(cluster.asked) == 1
    cluster.answers["10.0.0.1"] = TEXT
    await cluster.round(30)
    assert cluster.memory.get(NAME) == FACTORY.profile


async def test_no_more_than_three_pods_are_asked_at_a_time() -> None:
    cluster = Cluster({f"10.0.0.{n}": PageError("connection failed") for n in range(8)})
    await cluster.round()
    assert len(cluster.asked) == profiles.ASKED_PODS


async def test_pods_without_an_address_are_said() -> None:
    cluster = Cluster({"10.0.0.1": TEXT})
    cluster.kube.set_status(kinds.POD, "plant-7", "pod-0", {"phase": "Running"})
    await cluster.round()
    assert cluster.memory.problem(NAME) == "no pod that counts by it has an address"


async def test_failed_round_is_the_inner_sources_matter() -> None:
    cluster = Cluster({"10.0.0.1": TEXT})
    cluster.outage = True
    with pytest.raises(SourceUnavailable, match="away"):
        await cluster.round()
    assert cluster.asked == []


async def test_ipv6_addresses_are_bracketed() -> None:
    cluster = Cluster({"[fd00::1]": TEXT})
    cluster.kube.set_status(kinds.POD, "plant-7", "pod-0", {"phase": "Running", "podIP": "fd00::1"})
    await cluster.round()
    assert cluster.asked == ["http://[fd00::1]:8081/profile"]


def test_a_label_too_short_to_be_a_hash_verifies_nothing() -> None:
    with pytest.raises(ProfileError):
        verified(TEXT, NAME[:6])
    assert verified(TEXT, NAME) == FACTORY.profile


def test_a_profile_of_a_wrong_form_is_refused() -> None:
    text = '{"version":1}'
    with pytest.raises(ProfileError, match="not a profile"):
        verified(text, hashlib.sha256(text.encode()).hexdigest()[:12])


def test_memory_is_bounded_and_keeps_what_is_used() -> None:
    memory = ProfileMemory(limit=300)
    for name in ("a", "b", "c"):
        memory.keep(name, FACTORY.profile, 100)
    assert memory.get("a") is not None
    memory.keep("d", FACTORY.profile, 100)
    assert [memory.get(name) is not None for name in "abcd"] == [True, False, True, True]
    memory.keep("huge", FACTORY.profile, 1000)
    assert [memory.get(name) is not None for name in ("a", "huge")] == [False, True]


async def test_address_of_a_pod_that_has_ended_is_not_asked_for_a_profile() -> None:
    cluster = Cluster({"10.0.0.1": TEXT})
    cluster.kube.set_status(kinds.POD, "plant-7", "pod-0", {"phase": "Failed", "podIP": "10.0.0.1"})
    await cluster.round()
    assert cluster.asked == []
