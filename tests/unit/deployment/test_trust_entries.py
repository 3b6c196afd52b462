"""Trust entries of deleted namespaces are removed, and no other entry ever is."""

import asyncio
import contextlib
from collections.abc import Callable

import aiohttp
import pytest

from fakes.faults import RaiseAt, Read, Write, conflict, lost_response
from fakes.memory_kube import MemoryKube
from modelcycle.deployment.observe import TRUST_CONFIG_MAP
from modelcycle.deployment.trust_entries import UNSEEN_SECONDS, Sightings, judge
from modelcycle.deployment.trust_keeper import TrustKeeper
from modelcycle.kube import kinds
from modelcycle.kube.errors import ApiError, Conflict, Forbidden, Unavailable
from modelcycle.process import build
from modelcycle.settings import Settings
from modelcycle.telemetry import Telemetry

SYSTEM = "modelcycle-system"
PEM = "-----BEGIN PUBLIC KEY-----\n"


class Site:
    """A cluster with these namespaces and trust entries, and one operator that looks."""

    def __init__(self, *entries: str, namespaces: tuple[str, ...] = ()) -> None:
        self.kube = MemoryKube()
        self.now = 1000.0
        for name in (SYSTEM, *namespaces):
            self.make(name)
        data = {"metadata": {"name": TRUST_CONFIG_MAP}, "data": dict.fromkeys(entries, PEM)}
        self.kube.seed(kinds.CONFIG_MAP, SYSTEM, data)
        self.restart()

    def restart(self, period: float = 600) -> None:
        self.keeper = TrustKeeper(self.kube, SYSTEM, lambda: self.now, period)

    def make(self, namespace: str, *finalizers: str) -> None:
        self.kube.seed(kinds.NAMESPACE, "", {"metadata": {"name": namespace, "finalizers": list(finalizers)}})

    def remove(self, namespace: str) -> None:
        self.kube.remove(kinds.NAMESPACE, "", namespace)

    def write(self, entry: str) -> None:
        self.kube.edit(
            kinds.CONFIG_MAP, SYSTEM, TRUST_CONFIG_MAP, lambda o: o.setdefault("data", {}).update({entry: PEM})
        )

    async def look(self, after: float = 600) -> list[str]:
        """The entries that are left after one look, `after` seconds later."""
        self.now += after
        await self.keeper.once()
        return self.entries()

    def entries(self) -> list[str]:
        found = self.kube.read(kinds.CONFIG_MAP, SYSTEM, TRUST_CONFIG_MAP)
        return sorted((found or {}).get("data") or {})


async def test_the_entry_of_a_deleted_namespace_is_removed_and_the_others_stay() -> None:
    site = Site("scrap", "forge", namespaces=("scrap", "forge"))
    assert await site.look() == ["forge", "scrap"]
    site.remove("scrap")
    assert await site.look() == ["forge"]
    site.remove("forge")
    assert await site.look() == []


async def test_nothing_is_written_while_every_entry_has_its_namespace() -> None:
    site = Site("scrap", "gone", namespaces=("scrap", "gone"))
    await site.look()
    site.remove("gone")
    for _ in range(5):
        await site.look()
    assert len(site.kube.writes) == 1


async def test_the_entry_of_a_terminating_namespace_stays_until_it_is_gone() -> None:
    site = Site("scrap")
    site.make("scrap", "example.org/slow")
    site.remove("scrap")
    assert [await site.look(), await site.look(UNSEEN_SECONDS)] == [["scrap"]] * 2
    site.kube.edit(kinds.NAMESPACE, "", "scrap", lambda o: o["metadata"].update(finalizers=[]))
    assert await site.look() == []


async def test_an_entry_written_before_its_namespace_waits_a_day_for_it() -> None:
    site = Site("early", "never")
    await site.look()
    assert await site.look(UNSEEN_SECONDS - 1) == ["early", "never"]
    site.make("early")
    assert await site.look(1) == ["early"]


async def test_a_restart_begins_the_day_again() -> None:
    site = Site("deleted-while-down")
    await site.look()
    await site.look(UNSEEN_SECONDS - 1)
    site.restart()
    assert await site.look(1) == ["deleted-while-down"]
    assert await site.look(UNSEEN_SECONDS) == []


async def test_an_entry_that_git_brings_back_is_not_removed_at_every_look() -> None:
    site = Site("scrap", namespaces=("scrap",))
    await site.look()
    site.remove("scrap")
    assert await site.look() == []
    site.write("scrap")
    assert [await site.look(), await site.look(UNSEEN_SECONDS - 1)] == [["scrap"]] * 2
    assert await site.look(1) == []


async def test_a_namespace_that_was_made_again_between_two_looks_keeps_its_entry() -> None:
    site = Site("scrap", namespaces=("scrap",))
    await site.look()
    site.remove("scrap")
    site.make("scrap")
    assert await site.look() == ["scrap"]


@pytest.mark.parametrize("key", ["_example", "README.md", "Scrap", "-scrap", "scrap-", "s" * 64])
async def test_a_key_that_can_name_no_namespace_is_left_alone(key: str) -> None:
    site = Site(key)
    await site.look()
    assert await site.look(2 * UNSEEN_SECONDS) == [key]


@pytest.mark.parametrize("error", [lost_response, lambda: Forbidden("namespaces is forbidden", status=403)])
async def test_nothing_is_removed_when_the_namespaces_cannot_be_read(error: Callable[[], BaseException]) -> None:
    site = Site("scrap", namespaces=("scrap",))
    await site.look()
    site.remove("scrap")

    def refused(read: Read) -> None:
        if read.kind == kinds.NAMESPACE:
            raise error()

    site.kube.before_read = refused
    with pytest.raises((Unavailable, Forbidden)):
        await site.look(2 * UNSEEN_SECONDS)
    assert site.entries() == ["scrap"]


def test_nothing_is_removed_by_a_list_without_the_operators_own_namespace() -> None:
    before = Sightings(frozenset({SYSTEM, "scrap", "forge"}))
    assert judge({"scrap"}, {"forge"}, SYSTEM, before, 0) == judge({"scrap"}, set(), SYSTEM, before, 0)
    assert judge({"scrap"}, {"forge"}, SYSTEM, before, 0).removed == ()
    assert judge({"scrap"}, {"forge", SYSTEM}, SYSTEM, before, 0).removed == ("scrap",)


async def test_an_entry_written_after_the_reading_is_not_lost() -> None:
    site = Site("scrap", namespaces=("scrap",))
    await site.look()
    site.remove("scrap")

    def keygen(write: Write) -> None:
        site.kube.before_write = lambda later: None
        site.make("scrap")
        site.write("scrap-b")
        site.make("scrap-b")

    site.kube.before_write = keygen
    with pytest.raises(Conflict):
        await site.look()
    assert await site.look() == ["scrap", "scrap-b"]


@pytest.mark.parametrize("landed", [True, False])
async def test_a_write_that_failed_or_went_unheard_is_made_good_by_the_next_look(landed: bool) -> None:
    site = Site("scrap", namespaces=("scrap",))
    await site.look()
    site.remove("scrap")
    if landed:
        site.kube.after_write = RaiseAt(0, lost_response)
    else:
        site.kube.before_write = RaiseAt(0, conflict)
    with pytest.raises(ApiError):
        await site.look()
    assert await site.look() == []
    assert len(site.kube.writes) == 1


@pytest.mark.parametrize("data", [None, {}])
async def test_without_entries_the_namespaces_are_not_even_listed(data: dict[str, str] | None) -> None:
    site, reads = Site(), list[Read]()
    site.kube.remove(kinds.CONFIG_MAP, SYSTEM, TRUST_CONFIG_MAP)
    if data is not None:
        site.kube.seed(kinds.CONFIG_MAP, SYSTEM, {"metadata": {"name": TRUST_CONFIG_MAP}, "data": data})
    site.kube.before_read = reads.append
    assert await site.look() == []
    assert [read.kind for read in reads] == [kinds.CONFIG_MAP]


async def test_a_failed_look_is_said_and_the_next_one_comes(caplog: pytest.LogCaptureFixture) -> None:
    site = Site("scrap", namespaces=("scrap",))
    site.restart(period=0)
    await site.look()
    site.remove("scrap")
    site.kube.before_read = RaiseAt(0, lost_response)
    task = asyncio.create_task(site.keeper.run())
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert site.entries() == []
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == 1
    assert said[0].startswith("cannot tidy ConfigMap modelcycle-system/modelcycle-trust: ")


@pytest.mark.parametrize(("watched", "works"), [(None, True), ("scrap", False)])
async def test_an_operator_of_one_namespace_removes_none(watched: str | None, works: bool) -> None:
    settings = Settings("t", "s", watch_namespace=watched)
    async with aiohttp.ClientSession() as session:
        parts = build(MemoryKube(), settings, Telemetry(), session, "op")
    assert (parts.trust_keeper is not None) is works
