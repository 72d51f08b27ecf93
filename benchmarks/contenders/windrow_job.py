"""Windrow's side: a job over the pages, each partition a stretch of them.

windrow run benchmarks.contenders.windrow_job:job --set base_url=http://127.0.0.1:PORT --set pages=2000 --set stretch=25
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from pydantic import BaseModel

from benchmarks.contenders.pages import SELECTORS, path
from windrow import Job, LeasedPartition, Pace, Session, values
from windrow.partitions import PartitionSource


class Product(BaseModel):
    """One page's fields."""

    number: int
    title: str
    sku: str
    brand: str
    price: str
    old_price: str
    currency: str
    stock: str
    rating: str
    reviews: str
    category: str
    weight: str
    colour: str
    origin: str
    seller: str
    shipping: str


def stretches(parameters: Mapping[str, Any]) -> PartitionSource:
    """One partition for each `stretch` pages: the number of its first one."""
    return values(range(0, parameters["pages"], parameters["stretch"]))


job = Job(
    "products",
    record=Product,
    key="number",
    base_url="http://127.0.0.1:8900",
    partitions=stretches,
    sessions=16,
    workers=1,
    pace=Pace(delay=0.0),
    parameters={"pages": 2_000, "stretch": 1},
)


@job.scrape
async def scrape(session: Session, partition: LeasedPartition) -> AsyncIterator[Product]:
    """The products of a stretch."""
    first = partition.value
    for number in range(first, min(first + session.parameters["stretch"], session.parameters["pages"])):
        page = await session.get(path(number), expect="h1.product-title")
        yield Product(number=number, **{field: page.text(selector) for field, selector in SELECTORS.items()})
