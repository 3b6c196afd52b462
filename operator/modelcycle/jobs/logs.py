"""Reads the facts of ended Jobs from their pods' logs, live. Decides nothing but how many logs are read at once."""

import asyncio
from collections.abc import Sequence
from typing import Final

from modelcycle.jobs.facts import FactsReason, Told
from modelcycle.jobs.results import last_ended
from modelcycle.jobs.views import CONTAINER, JobView
from modelcycle.kube.errors import ApiError, Forbidden
from modelcycle.kube.port import Kube
from modelcycle_bundle import factlines

AT_ONCE: Final = 8


async def read(kube: Kube, namespace: str, jobs: Sequence[JobView]) -> tuple[Told, ...]:
    """What the last pods of these Jobs told. What cannot be read is said, never raised: the termination message stands."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(job: JobView) -> Told:
        pod = last_ended(job)
        assert pod is not None
        async with gate:
            try:
                log = await kube.log(namespace, pod.name, CONTAINER, factlines.TAIL_LINES, factlines.LOG_BYTES)
            except Forbidden as error:
                return Told(job.name, problem=FactsReason.LOGS_FORBIDDEN, detail=str(error))
            except ApiError as error:
                return Told(job.name, problem=FactsReason.FACTS_LOST, detail=str(error))
        document = factlines.read(log)
        if document is None:
            return Told(
                job.name, problem=FactsReason.FACTS_LOST, detail=f"the log of pod {pod.name} holds no whole facts"
            )
        return Told(job.name, document)

    return tuple(await asyncio.gather(*(one(job) for job in jobs)))
