"""Crawlee's side, as its documentation has it: a ParselCrawler with a handler, `selector.css`, rows into SQLite.

    python -m benchmarks.contenders.crawlee_crawler ADDRESS PAGES CONCURRENCY STORE PAGES_PER_COMMIT

In its favour: its queue and statistics are in memory and not in files, as its default is, so that after a kill it
begins anew; no log but warnings; no robots.txt; concurrency is fixed and does not adapt.
"""
# Crawlee is not installed where this is type-checked.
# mypy: disable-error-code="import-not-found,import-untyped,misc,no-any-unimported,untyped-decorator"

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

from crawlee import ConcurrencySettings, Request
from crawlee.crawlers import ParselCrawler, ParselCrawlingContext
from crawlee.storage_clients import MemoryStorageClient

from benchmarks.contenders.pages import SELECTORS, path
from benchmarks.contenders.sqlite_table import ProductTable


async def crawl(address: str, pages: int, concurrency: int, table: ProductTable) -> None:
    """Fetch all pages, so many at a time."""
    crawler = ParselCrawler(
        storage_client=MemoryStorageClient(),
        concurrency_settings=ConcurrencySettings(
            min_concurrency=concurrency, max_concurrency=concurrency, desired_concurrency=concurrency
        ),
        configure_logging=False,
    )

    @crawler.router.default_handler
    async def handle(context: ParselCrawlingContext) -> None:
        selector = context.selector
        fields = {field: selector.css(f"{each}::text").get() for field, each in SELECTORS.items()}
        table.add(int(context.request.user_data["number"]), fields)

    await crawler.run(
        [Request.from_url(f"{address}{path(number)}", user_data={"number": number}) for number in range(pages)]
    )


def main() -> None:
    """Run as the command line says."""
    address, pages, concurrency, store, per_commit = sys.argv[1:]
    logging.disable(logging.INFO)
    with ProductTable(Path(store), int(per_commit)) as table:
        asyncio.run(crawl(address, int(pages), int(concurrency), table))


if __name__ == "__main__":
    main()
