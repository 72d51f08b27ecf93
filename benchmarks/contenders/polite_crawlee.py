"""Crawlee at a site that limits: a ParselCrawler with its own autoscaling and retries.

    python -m benchmarks.contenders.polite_crawlee ADDRESS END FOUND plain|throttling

`throttling` adds the ThrottlingRequestManager that its log recommends after a first 429. In its favour: queue and
statistics are in memory and not in files, no log but errors, no robots.txt (which is its default).
"""
# Crawlee is not installed where this is type-checked.
# mypy: disable-error-code="import-not-found,import-untyped,misc,no-any-unimported,untyped-decorator"

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

from crawlee import Request, service_locator
from crawlee.crawlers import BasicCrawlingContext, ParselCrawler, ParselCrawlingContext
from crawlee.request_loaders import ThrottlingRequestManager
from crawlee.storage_clients import MemoryStorageClient
from crawlee.storages import RequestQueue

from benchmarks.contenders.found_pages import FoundPages


async def crawl(address: str, end: int, found: FoundPages, throttling: bool) -> None:
    """Ask for all pages and note what became of them."""
    service_locator.set_storage_client(MemoryStorageClient())
    options: dict[str, Any] = {"request_manager": await _throttling_manager()} if throttling else {}
    crawler = ParselCrawler(configure_logging=False, **options)

    @crawler.router.default_handler
    async def handle(context: ParselCrawlingContext) -> None:
        found.found(int(context.request.user_data["page"]), context.selector.css("h1.title::text").get())

    @crawler.failed_request_handler
    async def give_up(context: BasicCrawlingContext, error: Exception) -> None:
        found.given_up(int(context.request.user_data["page"]))

    await crawler.run([Request.from_url(f"{address}/page/{page}", user_data={"page": page}) for page in range(end)])


async def _throttling_manager() -> ThrottlingRequestManager:
    return ThrottlingRequestManager(
        inner=await RequestQueue.open(), domains=["127.0.0.1"], request_manager_opener=RequestQueue.open
    )


def main() -> None:
    """Run as the command line says."""
    address, end, found, manager = sys.argv[1:]
    logging.disable(logging.ERROR)
    with FoundPages(Path(found)) as pages:
        asyncio.run(crawl(address, int(end), pages, manager == "throttling"))


if __name__ == "__main__":
    main()
