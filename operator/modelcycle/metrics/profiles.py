"""Reference profiles from the pods that serve them: fetched after a round of counts, once per profile, so that no reconciliation waits.

Owns the check that a profile is the one its counts name. Keeps parsed profiles in bounded memory and asks again only after a pause; a
profile that cannot be had never fails the round that needed it.
"""

import asyncio
import hashlib
import logging
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Final

from modelcycle.kube import kinds, names
from modelcycle.kube.errors import ApiError
from modelcycle.kube.pods import has_ended
from modelcycle.kube.port import Kube
from modelcycle.metrics.pods import PageError, Pages, host_of
from modelcycle.metrics.port import Counts, CountSource, Round, Target
from modelcycle_bundle import metric_names
from modelcycle_bundle.profile import Profile, ProfileError

PROFILE_LIMIT: Final = 2 * 1024 * 1024
"""Characters of one profile: about 3,000 features."""
MEMORY: Final = 16 * 1024 * 1024
"""Characters of all profiles that are kept; parsed they take about four times as much."""
FETCH_TIMEOUT: Final = 5.0
"""Seconds for all profiles that one round lacks."""
ASKED_PODS: Final = 3
"""Pods asked for one profile before the pause."""
PAUSE: Final = timedelta(seconds=30)

_log = logging.getLogger(__name__)


class ProfileMemory:
    """Profiles by hash, the least used ones dropped first, and why one is not there."""

    def __init__(self, limit: int = MEMORY) -> None:
        self._limit = limit
        self._kept: OrderedDict[str, tuple[Profile, int]] = OrderedDict()
        self._problems: OrderedDict[str, str] = OrderedDict()

    def get(self, name: str) -> Profile | None:
        """The profile with this hash, or None."""
        if name not in self._kept:
            return None
        self._kept.move_to_end(name)
        return self._kept[name][0]

    def problem(self, name: str) -> str:
        """Why it is not known, in words that stay the same while the cause does."""
        return self._problems.get(name, "no pod was asked for it yet")

    def keep(self, name: str, profile: Profile, size: int) -> None:
        """Remember `profile`; `size` in characters."""
        self._kept[name] = (profile, size)
        self._problems.pop(name, None)
        while sum(each for _, each in self._kept.values()) > self._limit and len(self._kept) > 1:
            self._kept.popitem(last=False)

    def miss(self, name: str, problem: str) -> None:
        """Remember why it could not be had."""
        self._problems[name] = problem
        self._problems.move_to_end(name)
        while len(self._problems) > 1024:
            self._problems.popitem(last=False)


class ProfiledSource:
    """A CountSource around another one: after each round it fetches the profiles that its counts name and memory lacks."""

    def __init__(
        self,
        source: CountSource,
        kube: Kube,
        pages: Pages,
        memory: ProfileMemory,
        *,
        port: int = metric_names.METRICS_PORT,
    ) -> None:
        self._source = source
        self._kube = kube
        self._pages = pages
        self._memory = memory
        self._port = port
        self._again_at: OrderedDict[str, datetime] = OrderedDict()

    async def read(self, target: Target, now: datetime) -> Round:
        """The round of the inner source. Raises what that raises."""
        taken = await self._source.read(target, now)
        lacking = {name: uids for name, uids in _wanted(taken).items() if self._is_due(name, now)}
        if lacking:
            try:
                async with asyncio.timeout(FETCH_TIMEOUT):
                    await self._fetch(target, lacking)
            except TimeoutError:
                self._miss(lacking, f"not read within {FETCH_TIMEOUT:g} s")
            except ApiError as error:
                self._miss(lacking, f"pods could not be listed: {type(error).__name__}")
        return taken

    def _is_due(self, name: str, now: datetime) -> bool:
        if self._memory.get(name) is not None or now < self._again_at.get(name, now):
            return False
        self._again_at[name] = now + PAUSE
        while len(self._again_at) > 1024:
            self._again_at.popitem(last=False)
        return True

    def _miss(self, lacking: dict[str, list[str]], problem: str) -> None:
        for name in lacking:
            if self._memory.get(name) is None:
                self._memory.miss(name, problem)

    async def _fetch(self, target: Target, lacking: dict[str, list[str]]) -> None:
        labels = {names.LABEL_DEPLOYMENT: target.deployment, names.MANAGED_BY: names.MANAGER}
        pods = await self._kube.list(kinds.POD, target.namespace, labels)
        places = {
            pod["metadata"]["uid"]: (str(pod["metadata"]["name"]), str(pod["status"]["podIP"]))
            for pod in pods
            if (pod.get("status") or {}).get("podIP") and not has_ended(pod)
        }
        for name, uids in lacking.items():
            self._memory.miss(name, "no pod that counts by it has an address")
            for uid in [uid for uid in uids if uid in places][:ASKED_PODS]:
                pod, address = places[uid]
                try:
                    text = await self._pages.get(f"http://{host_of(address)}:{self._port}{metric_names.PROFILE_PATH}")
                    profile = verified(text, name)
                except (PageError, ProfileError) as error:
                    self._memory.miss(name, f"{pod}: {error}")
                    continue
                self._memory.keep(name, profile, len(text))
                _log.info("reference profile read", extra={"profile": name, "pod": pod})
                break


def verified(text: str, name: str) -> Profile:
    """The profile in `text`, which must have the hash `name`. Raises ProfileError."""
    if len(text) > PROFILE_LIMIT:
        raise ProfileError(f"profile is larger than {PROFILE_LIMIT} characters")
    if hashlib.sha256(text.encode()).hexdigest()[: len(name)] != name or len(name) < 12:
        raise ProfileError("its profile is not the one that its counts name")
    return Profile.parse(text)


def named(counts: Counts) -> str | None:
    """Hash of the profile that a pod counts by; each pod counts by one."""
    return next((series.labels[0] for series in counts if series.metric == metric_names.FEATURE), None)


def _wanted(taken: Round) -> dict[str, list[str]]:
    """Pods by the profile they count by."""
    wanted: dict[str, list[str]] = {}
    for pod in taken.pods:
        name = named(pod.counts)
        if name is not None:
            wanted.setdefault(name, []).append(pod.run.pod_uid)
    return wanted
