"""Scrapy's side, as its documentation has it: a spider, `response.css`, an item pipeline into SQLite.

    python -m benchmarks.contenders.scrapy_spider ADDRESS PAGES CONCURRENCY STORE PAGES_PER_COMMIT

In its favour: no log but warnings, no delay, no robots.txt, as many requests at once to the one host as the others
have. Its queue is in memory (no JOBDIR): after a kill it begins anew.
"""
# Scrapy is not installed where this is type-checked.
# mypy: disable-error-code="import-not-found,import-untyped,misc,no-any-unimported,untyped-decorator"

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import scrapy
from scrapy.crawler import CrawlerProcess

from benchmarks.contenders.pages import SELECTORS, path
from benchmarks.contenders.sqlite_table import ProductTable


class ProductSpider(scrapy.Spider):
    """Asks for all pages and yields their fields."""

    name = "products"

    def __init__(self, address: str, pages: int, **options: Any) -> None:
        super().__init__(**options)
        self._address = address
        self._pages = pages

    async def start(self) -> AsyncIterator[scrapy.Request]:
        """One request for each page."""
        for number in range(self._pages):
            yield scrapy.Request(f"{self._address}{path(number)}", cb_kwargs={"number": number}, dont_filter=True)

    def parse(self, response: Any, number: int) -> Iterator[dict[str, Any]]:
        """One item for each page."""
        fields = {field: response.css(f"{selector}::text").get() for field, selector in SELECTORS.items()}
        yield {"number": number, **fields}


class TablePipeline:
    """Stores the items."""

    def __init__(self, store: Path, per_commit: int) -> None:
        self._table = ProductTable(store, per_commit)

    @classmethod
    def from_crawler(cls, crawler: Any) -> TablePipeline:
        """As the settings say."""
        return cls(Path(crawler.settings["PRODUCT_STORE"]), crawler.settings.getint("PRODUCT_COMMIT"))

    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        """Store one item."""
        self._table.add(item["number"], item)
        return item

    def close_spider(self) -> None:
        """Commit what is open."""
        self._table.close()


def main() -> None:
    """Run as the command line says."""
    address, pages, concurrency, store, per_commit = sys.argv[1:]
    settings = {
        "CONCURRENT_REQUESTS": int(concurrency),
        "CONCURRENT_REQUESTS_PER_DOMAIN": int(concurrency),
        "DOWNLOAD_DELAY": 0,
        "ROBOTSTXT_OBEY": False,
        "LOG_LEVEL": "WARNING",
        "TELNETCONSOLE_ENABLED": False,
        "ITEM_PIPELINES": {TablePipeline: 300},
        "PRODUCT_STORE": store,
        "PRODUCT_COMMIT": int(per_commit),
    }
    process = CrawlerProcess(settings)
    process.crawl(ProductSpider, address=address, pages=int(pages))
    process.start()


if __name__ == "__main__":
    main()
