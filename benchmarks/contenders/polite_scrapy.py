"""Scrapy at a site that limits: AutoThrottle and RetryMiddleware as they come.

    python -m benchmarks.contenders.polite_scrapy ADDRESS FIRST STEP END FOUND

Asks for the pages FIRST, FIRST + STEP … before END. In its favour: no log but errors, no DOWNLOAD_DELAY, no robots.txt,
16 requests at once to the one host (8 would be the default). The spider takes what a page says, as the documentation's
do; a page that RetryMiddleware gives up ends in `errback`.
"""
# Scrapy is not installed where this is type-checked.
# mypy: disable-error-code="import-not-found,import-untyped,misc,no-any-unimported,untyped-decorator"

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import scrapy
from scrapy.crawler import CrawlerProcess

from benchmarks.contenders.found_pages import FoundPages

SETTINGS = {
    "AUTOTHROTTLE_ENABLED": True,
    "CONCURRENT_REQUESTS": 16,
    "CONCURRENT_REQUESTS_PER_DOMAIN": 16,
    "DOWNLOAD_DELAY": 0,
    "ROBOTSTXT_OBEY": False,
    "LOG_LEVEL": "CRITICAL",
    "TELNETCONSOLE_ENABLED": False,
}


class PageSpider(scrapy.Spider):
    """Asks for its pages and notes what became of them."""

    name = "pages"

    def __init__(self, address: str, pages: range, found: FoundPages, **options: Any) -> None:
        super().__init__(**options)
        self._address = address
        self._pages = pages
        self._found = found

    async def start(self) -> AsyncIterator[scrapy.Request]:
        """One request for each page."""
        for page in self._pages:
            yield scrapy.Request(f"{self._address}/page/{page}", cb_kwargs={"page": page}, errback=self.give_up)

    def parse(self, response: Any, page: int) -> None:
        """Note a page's title."""
        self._found.found(page, response.css("h1.title::text").get())

    def give_up(self, failure: Any) -> None:
        """Note a page that will not be asked for again."""
        self._found.given_up(failure.request.cb_kwargs["page"])


def main() -> None:
    """Run as the command line says."""
    address, first, step, end, found = sys.argv[1:]
    process = CrawlerProcess(SETTINGS)
    with FoundPages(Path(found)) as pages:
        process.crawl(PageSpider, address=address, pages=range(int(first), int(end), int(step)), found=pages)
        process.start()


if __name__ == "__main__":
    main()
