"""The built-in job `finviz`: the fundamentals of listed companies, one row for each ticker of a list.

    windrow run finviz [--set tickers=FILE.csv] [--set numbers=true] [--set base_url=http://127.0.0.1:8900]

Table `quotes`, key `ticker` (as the list writes it, `BRK.B`), then `company` (from the list) and one column for each
fundamental: the site's label as it stands, its text as it stands, null where missing; see `windrow.demo.finviz.quotes`.
The parameters:

- `tickers`: a CSV file with a column `Symbol` and one of `Security`, `Company` and `Name`; without it the embedded S&P
  500.
- `numbers`: parsed columns beside the texts (`P/E #`, `52W High #1`); what they hold is told in `quotes`.
- `pairs`: how many label/value pairs a page must have at least; 0 for as many as its layout is known to have. It is
  for the day when the site drops a fundamental and every page is one short.

**What ends how.** A page without the snapshot table or with fewer pairs than its layout has is *blocked*: it is asked
for again with a fresh session, and half a row is never saved. A ticker that the site does not know (404) fails its
partition at once and for good; the others go on and the run ends as incomplete (exit code 3). It is not a partition
without a record: the list says that the company exists, so its row is missing, and a run that passed over that would
hide every renamed and misspelt ticker.

**Why the record has no type.** Which columns there are is the site's to say, and a type with the labels of all years
would give every table columns that its layout does not have.

The site accepts about five requests a second from one address; the job sends four. Its terms of use and its robots.txt
are the user's to respect.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from windrow import Blocked, Gone, Job, LeasedPartition, Page, Session, rows
from windrow.demo.finviz.quotes import SNAPSHOT, parsed, read_snapshot
from windrow.demo.finviz.tickers import embedded_tickers, read_tickers, site_symbol
from windrow.partitions import PartitionSource


def listed_tickers(parameters: Mapping[str, Any]) -> PartitionSource:
    """One partition for each ticker of the list that the parameters name; its cells are `ticker` and `company`."""
    name = parameters["tickers"]
    return rows(read_tickers(Path(name)) if name else embedded_tickers(), key="ticker")


job = Job(
    "quotes",
    key="ticker",
    base_url="https://finviz.com",
    partitions=listed_tickers,
    sessions=4,
    rate=4.0,
    parameters={"tickers": "", "numbers": False, "pairs": 0},
)


@job.scrape
async def scrape(session: Session, listed: LeasedPartition) -> dict[str, Any]:
    """The quote of one ticker."""
    texts = whole_quote(await quote_page(session, listed.key), session.parameters["pairs"])
    quote: dict[str, Any] = {"ticker": listed.key, "company": listed["company"]}
    for label, text in texts.items():
        quote[label] = text
        if session.parameters["numbers"]:
            quote.update(parsed(label, text))
    return quote


async def quote_page(session: Session, ticker: str) -> Page:
    """The site's page of a ticker. Raises Gone for one that it does not know, and whatever `session.get` raises."""
    symbol = site_symbol(ticker)
    try:
        return await session.get("/quote.ashx", params={"t": symbol}, expect=SNAPSHOT)
    except Gone as error:
        raise Gone(f"the site knows no ticker {symbol!r} ({error})", error.status) from error


def whole_quote(page: Page, least: int = 0) -> dict[str, str | None]:
    """The fundamentals of a page, label → text. Raises Blocked for a page with fewer pairs than it must have.

    `least`: how many that are; 0 for as many as a page of its layout has.
    """
    snapshot = read_snapshot(page)
    expected = least or snapshot.expected
    if snapshot.pairs < expected:
        raise Blocked(
            f"{page.url}: holds {snapshot.pairs} of the {expected} fundamentals of its layout; half a row is not saved "
            "(if the site has dropped some for good, --set pairs=NUMBER)"
        )
    return snapshot.texts
