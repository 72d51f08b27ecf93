"""The quotes as they were fetched before: `requests` and BeautifulSoup, in one process or in a pool of them.

    python -m benchmarks.contenders.quote_scripts ADDRESS TICKERS.json TARGET.json PROCESSES

TICKERS.json holds the site's symbols. TARGET.json gets what was found: symbol → label → text. PROCESSES: 1 for a plain
loop, more for `multiprocessing.Pool`. In their favour: the pages are read right (the second `EPS next Y` is kept, a
missing value is null); what such scripts lose by reading them wrong is not what is measured here.
"""
# These are not installed where this is type-checked.
# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import json
import multiprocessing
import sys
from functools import partial
from pathlib import Path

import requests
from bs4 import BeautifulSoup

HEADERS = {"User-Agent": "Mozilla/5.0 (quote script)"}


def quote(address: str, symbol: str) -> dict[str, str | None]:
    """The fundamentals of one symbol."""
    response = requests.get(f"{address}/quote.ashx", params={"t": symbol}, headers=HEADERS, timeout=60)
    response.raise_for_status()
    found: dict[str, str | None] = {}
    for table in BeautifulSoup(response.text, "html.parser").select("table.snapshot-table2"):
        cells = table.find_all("td")
        for label_cell, value_cell in zip(cells[::2], cells[1::2], strict=True):
            label = label_cell.get_text(strip=True)
            text = value_cell.get_text(" ", strip=True).replace("( ", "(").replace(" )", ")")
            found[f"{label} %" if label in found else label] = None if text in ("", "-") else text
    return found


def main() -> None:
    """Run as the command line says."""
    address, tickers, target, processes = sys.argv[1:]
    symbols = json.loads(Path(tickers).read_text())
    fetch = partial(quote, address)
    if processes == "1":
        quotes = [fetch(symbol) for symbol in symbols]
    else:
        with multiprocessing.Pool(int(processes)) as pool:
            quotes = pool.map(fetch, symbols)
    Path(target).write_text(json.dumps(dict(zip(symbols, quotes, strict=True))))


if __name__ == "__main__":
    main()
