"""The bare loop: the parts that Windrow is made of, and nothing else.

    python -m benchmarks.contenders.bare_loop ADDRESS PAGES CONCURRENCY STORE PAGES_PER_COMMIT

aiohttp (one client session), uvloop, selectolax (lexbor), sqlite3. What it does without: isolated sessions, leases,
retries, verdicts, robots.txt, limits, a ledger, a way to go on after a kill. As durable as Windrow (WAL, FULL).
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
from selectolax.lexbor import LexborHTMLParser

from benchmarks.contenders.pages import SELECTORS, path
from benchmarks.contenders.sqlite_table import ProductTable


async def work(address: str, pages: int, concurrency: int, table: ProductTable) -> None:
    """Fetch all pages, so many at a time."""
    numbers = iter(range(pages))
    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(address, connector=connector) as session, asyncio.TaskGroup() as tasks:
        for _ in range(concurrency):
            tasks.create_task(_take(session, numbers, table))


async def _take(session: aiohttp.ClientSession, numbers: Iterator[int], table: ProductTable) -> None:
    for number in numbers:
        async with session.get(path(number)) as response:
            body = await response.read()
        tree = LexborHTMLParser(body)
        table.add(number, {field: _text(tree, selector) for field, selector in SELECTORS.items()})


def _text(tree: LexborHTMLParser, selector: str) -> str | None:
    found = tree.css_first(selector)
    return None if found is None else found.text(strip=True)


def main() -> None:
    """Run as the command line says."""
    address, pages, concurrency, store, per_commit = sys.argv[1:]
    from uvloop import new_event_loop

    with ProductTable(Path(store), int(per_commit)) as table, asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(work(address, int(pages), int(concurrency), table))


if __name__ == "__main__":
    main()
