"""Windrow at a site that limits: no rate, no delay, its politeness as it comes.

windrow run benchmarks.contenders.polite_windrow:job --set base_url=http://127.0.0.1:PORT --set pages=2000
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from windrow import Job, LeasedPartition, Pace, Session, values
from windrow.partitions import PartitionSource

STRETCH = 25
"""Pages of a partition."""


def stretches(parameters: Mapping[str, Any]) -> PartitionSource:
    """One partition for each STRETCH pages: the number of its first one."""
    return values(range(0, parameters["pages"], STRETCH))


job = Job(
    "pages",
    key="number",
    base_url="http://127.0.0.1:8900",
    partitions=stretches,
    sessions=16,
    workers=2,
    pace=Pace(delay=0.0),
    parameters={"pages": 2_000},
)


@job.scrape
async def scrape(session: Session, partition: LeasedPartition) -> AsyncIterator[dict[str, Any]]:
    """The pages of a stretch."""
    first = partition.value
    for number in range(first, min(first + STRETCH, session.parameters["pages"])):
        page = await session.get(f"/page/{number}", expect="h1.title")
        yield {"number": number, "title": page.text("h1.title")}
