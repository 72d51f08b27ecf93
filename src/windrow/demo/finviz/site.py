"""The replica of the quote site: a server that behaves like it, its options, its truth and its statistics.

    python -m windrow.demo.finviz.site --port 8900 --layout 2026 --rate 5

As a process of one's own: `with QuoteSite(QuoteSiteOptions(tickers=12)) as site: site.url`. In a running event loop:
`async with running(QuoteSiteOptions()) as site: site.url`. Both also give `truth()`, `stats()` and `reset()`.

The companies are those of the embedded list, the figures are made up from the seed. `GET /quote.ashx?t=BRK-B` is a
quote, or since 2026 a 301 to `/quote?t=BRK-B`; a symbol that is not listed (also `BRK.B`) is a 404.

**Order of refusals.** robots.txt and inspection paths pass all of this by. Then, each before any latency: user agent
(403), rate (the wall: status 200 and `Too many requests.`; real 429s once there were `walls` of those), challenge. The
rate counts every request that is let in, redirects and 404s too; those walled off do not count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import quote

from aiohttp import web

from windrow.demo.finviz import pages
from windrow.demo.finviz.figures import Cell, quote_cells
from windrow.demo.finviz.layouts import LAYOUTS
from windrow.demo.finviz.tickers import Row, embedded_tickers, site_symbol
from windrow.demo.serving import Listener, ServedProcess, command_line, serve_forever

ALLOW_ALL = "User-agent: *\nDisallow:\n"


@dataclass(frozen=True, slots=True)
class QuoteSiteOptions:
    """How the site is made and how it behaves.

    layout: the year of its pages: 2021 (72 fundamentals), 2025 (78) or 2026 (84 in six tables, and the redirect).
    tickers: how many of the embedded list it knows, from the first on; 0 for all 503.
    seed: what the figures are made from.
    page_size: bytes of a page, about; gzip where the client accepts it.
    rate: requests it takes in any second; beyond: the wall. 0 for no limit.
    walls: after so many walls, those that follow are real 429s (without Retry-After); 0 for never.
    user_agent: `named` refuses who sends none, `browser` also who does not begin with `Mozilla/`; `any` takes all.
    halved: so many quotes, the first ones asked for, are served with half of their fundamentals.
    challenges, challenge_status: so many requests, the first ones, get a challenge page with that status, 403 or 200.
    latency, jitter: seconds slept before every page; jitter adds up to so many, evenly spread.
    robots: text of robots.txt, or None for a site without (404).

    Raises ValueError for an unknown layout or a negative number.
    """

    layout: int = 2026
    tickers: int = 0
    seed: int = 1
    page_size: int = 150_000
    rate: int = 5
    walls: int = 0
    user_agent: Literal["any", "named", "browser"] = "named"
    halved: int = 0
    challenges: int = 0
    challenge_status: Literal[200, 403] = 403
    latency: float = 0.0
    jitter: float = 0.0
    robots: str | None = ALLOW_ALL

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout is {self.layout}; there are {', '.join(map(str, LAYOUTS))}")
        for name in ("tickers", "page_size", "rate", "walls", "halved", "challenges", "latency", "jitter"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")


@dataclass(slots=True)
class Statistics:
    """What the site was asked since its start or the last reset; robots.txt and inspection paths are not counted.

    most_in_a_second: the most requests that came within any second, refused ones too. quotes: symbol → how often its
    whole page was sent.
    """

    requests: int = 0
    redirects: int = 0
    unknown: int = 0
    walls: int = 0
    too_many: int = 0
    no_user_agent: int = 0
    challenges: int = 0
    halved: int = 0
    most_in_a_second: int = 0
    in_flight_max: int = 0
    quotes: Counter[str] = field(default_factory=Counter)

    def report(self) -> dict[str, Any]:
        """As JSON; `pages` is how many whole quotes were sent."""
        counts = {each.name: getattr(self, each.name) for each in fields(self)}
        return {**counts, "pages": self.quotes.total()}


class Site:
    """The quote server: answers requests (`handle`), tells the truth, keeps statistics. One event loop only."""

    def __init__(self, options: QuoteSiteOptions) -> None:
        self.options = options
        self.statistics = Statistics()
        self._url = ""
        self._rows = embedded_tickers()[: options.tickers or None]
        self._companies = {site_symbol(_text(row, "ticker")): row for row in self._rows}
        self._cells = {symbol: self._figures(symbol) for symbol in self._companies}
        self._maker = pages.PageMaker(LAYOUTS[options.layout], options.page_size)
        self._bodies = {symbol: self._quote(symbol) for symbol in self._companies}
        self._let_in, self._came = _SlidingSecond(), _SlidingSecond()
        self._in_flight = 0
        self._jitter = random.Random(f"jitter {options.seed}")

    # -- outside the site: for checking only

    @property
    def url(self) -> str:
        """`http://HOST:PORT`, without trailing slash; RuntimeError when it is not listening."""
        if not self._url:
            raise RuntimeError("the site is not listening: use running() or QuoteSite")
        return self._url

    def listener(self, port: int = 0) -> Listener:
        """This site on a port of 127.0.0.1; 0 takes a free one."""
        return Listener(self.handle, port=port)

    def truth(self) -> dict[str, Any]:
        """`{"quotes": {ticker: {column: value}}}`: what the job's table holds, Windrow's own columns apart."""
        return {"quotes": {_text(row, "ticker"): self._true_row(row) for row in self._rows}}

    def stats(self) -> dict[str, Any]:
        """The statistics as JSON, and `tickers`: how many the site knows."""
        return {**self.statistics.report(), "tickers": len(self._rows)}

    def reset(self) -> None:
        """Empty the statistics; halved pages, challenges and walls begin to count anew."""
        self.statistics = Statistics()

    def _true_row(self, row: Row) -> dict[str, str | None]:
        cells = self._cells[site_symbol(_text(row, "ticker"))]
        return {**row, **{label: cell.text for label, cell in cells.items()}}

    def _figures(self, symbol: str) -> dict[str, Cell]:
        return quote_cells(LAYOUTS[self.options.layout], symbol, self.options.seed)

    def _quote(self, symbol: str, *, halved: bool = False) -> pages.Body:
        company = _text(self._companies[symbol], "company")
        return self._maker.quote(symbol, company, self._cells[symbol], halved=halved)

    # -- a request

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if request.path.startswith("/__"):
            return self._inspect(request)
        if request.path == "/robots.txt":
            robots = self.options.robots
            return web.Response(status=HTTPStatus.NOT_FOUND) if robots is None else web.Response(text=robots)
        self._count(asyncio.get_running_loop().time())
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        self._in_flight += 1
        self.statistics.in_flight_max = max(self.statistics.in_flight_max, self._in_flight)
        try:
            await self._latency()
            return self._page(request)
        finally:
            self._in_flight -= 1

    def _count(self, now: float) -> None:
        self.statistics.requests += 1
        self._came.take(now)
        self.statistics.most_in_a_second = max(self.statistics.most_in_a_second, self._came.count(now))

    def _refusal(self, request: web.BaseRequest) -> web.Response | None:
        statistics, options = self.statistics, self.options
        if not self._takes(request.headers.get("User-Agent", "")):
            statistics.no_user_agent += 1
            return _page(b"<html><body><h1>403 Forbidden</h1></body></html>", HTTPStatus.FORBIDDEN)
        now = asyncio.get_running_loop().time()
        if options.rate and self._let_in.count(now) >= options.rate:
            return self._wall()
        self._let_in.take(now)
        if statistics.challenges < options.challenges:
            statistics.challenges += 1
            return _page(pages.CHALLENGE, options.challenge_status)
        return None

    def _takes(self, user_agent: str) -> bool:
        policy = self.options.user_agent
        return policy == "any" or (user_agent.startswith("Mozilla/") if policy == "browser" else bool(user_agent))

    def _wall(self) -> web.Response:
        if self.options.walls and self.statistics.walls >= self.options.walls:
            self.statistics.too_many += 1
            return _page(pages.WALL, HTTPStatus.TOO_MANY_REQUESTS)
        self.statistics.walls += 1
        return _page(pages.WALL)

    async def _latency(self) -> None:
        seconds = self.options.latency + self.options.jitter * self._jitter.random()
        if seconds:
            await asyncio.sleep(seconds)

    def _page(self, request: web.BaseRequest) -> web.Response:
        symbol = request.query.get("t", "")
        is_redirecting = self.options.layout >= 2026
        if request.path == "/quote.ashx" and is_redirecting:
            self.statistics.redirects += 1
            location = f"/quote?t={quote(symbol)}"
            return web.Response(status=HTTPStatus.MOVED_PERMANENTLY, headers={"Location": location})
        body = self._bodies.get(symbol.upper())
        if body is None or request.path != ("/quote" if is_redirecting else "/quote.ashx"):
            self.statistics.unknown += 1
            return _page(pages.UNKNOWN_TICKER, HTTPStatus.NOT_FOUND)
        return self._sent(symbol.upper(), body, "gzip" in request.headers.get("Accept-Encoding", ""))

    def _sent(self, symbol: str, body: pages.Body, accepts_gzip: bool) -> web.Response:
        if self.statistics.halved < self.options.halved:
            self.statistics.halved += 1
            body = self._quote(symbol, halved=True)
        else:
            self.statistics.quotes[symbol] += 1
        return _page(body.compressed, gzip=True) if accepts_gzip else _page(body.plain)

    def _inspect(self, request: web.BaseRequest) -> web.Response:
        if request.path == "/__truth__":
            return _json(self.truth())
        if request.path == "/__stats__":
            return _json(self.stats())
        if request.path == "/__reset__" and request.method == "POST":
            self.reset()
            return _json({})
        return web.Response(status=HTTPStatus.NOT_FOUND)


class _SlidingSecond:
    """Counts what was taken within the last second."""

    def __init__(self) -> None:
        self._taken: deque[float] = deque()

    def take(self, now: float) -> None:
        self._taken.append(now)

    def count(self, now: float) -> int:
        while self._taken and self._taken[0] <= now - 1:
            self._taken.popleft()
        return len(self._taken)


def _text(row: Row, column: str) -> str:
    return row[column] or ""


def _page(body: bytes, status: int = HTTPStatus.OK, *, gzip: bool = False) -> web.Response:
    headers = {"Content-Type": "text/html; charset=UTF-8", "Cache-Control": "private"}
    if gzip:
        headers["Content-Encoding"], headers["Vary"] = "gzip", "Accept-Encoding"
    return web.Response(status=status, headers=headers, body=body)


def _json(content: Mapping[str, Any]) -> web.Response:
    return web.Response(text=json.dumps(content, ensure_ascii=False), content_type="application/json")


# -- starting it


@asynccontextmanager
async def running(options: QuoteSiteOptions) -> AsyncIterator[Site]:
    """The site in this event loop, on a free port of 127.0.0.1, for the time of the context."""
    site = Site(options)
    async with site.listener() as listening:
        site._url = listening.url
        yield site


class QuoteSite(ServedProcess):
    """The site as a child process: `with QuoteSite(QuoteSiteOptions(tickers=12)) as site: site.url`; see
    `ServedProcess`."""

    def __init__(self, options: QuoteSiteOptions | None = None) -> None:
        settings = asdict(options or QuoteSiteOptions())
        settings["robots"] = "none" if settings["robots"] is None else settings["robots"]
        super().__init__("windrow.demo.finviz.site", command_line(settings))


def main(arguments: list[str] | None = None) -> None:
    """Run the site as the command line says; prints its URL, serves until it is told to stop."""
    settings = vars(_parser().parse_args(arguments))
    port, with_parent = settings.pop("port"), settings.pop("with_parent")
    site = Site(QuoteSiteOptions(**settings))
    serve_forever(lambda: site.listener(port), with_parent=with_parent)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("finviz", description="A replica of a site of stock quotes, with made-up figures.")
    usual = QuoteSiteOptions()
    add = partial(parser.add_argument, metavar="N", type=int)
    add("--port", default=0, help="port on 127.0.0.1; 0 takes a free one")
    add("--tickers", default=usual.tickers, help="how many of the embedded list; 0: all")
    add("--seed", default=usual.seed, help="what the figures are made from")
    add("--page-size", metavar="BYTES", default=usual.page_size, help="of a page, about (default: %(default)s)")
    add("--rate", default=usual.rate, help="requests a second, beyond: the wall; 0: any (default: %(default)s)")
    add("--walls", default=usual.walls, help="after so many walls real 429s; 0: never")
    add("--halved", default=usual.halved, help="so many quotes, the first ones, lack half of their fundamentals")
    add("--challenges", default=usual.challenges, help="so many requests, the first ones, get a challenge")
    add = partial(parser.add_argument, metavar="SECONDS", type=float)
    add("--latency", default=usual.latency, help="time of every page")
    add("--jitter", default=usual.jitter, help="up to so much more")
    parser.add_argument("--layout", type=int, choices=tuple(LAYOUTS), default=usual.layout, help="year of the pages")
    parser.add_argument(
        "--challenge-status", type=int, choices=(200, 403), default=usual.challenge_status, help="of a challenge"
    )
    parser.add_argument(
        "--user-agent", choices=("any", "named", "browser"), default=usual.user_agent, help="who is not refused"
    )
    parser.add_argument(
        "--robots", type=_robots_text, metavar="TEXT|none", default=usual.robots, help=r"\n is a new line"
    )
    parser.add_argument("--with-parent", action="store_true", help="end when standard input ends")
    return parser


def _robots_text(text: str) -> str | None:
    return None if text == "none" else text.replace(r"\n", "\n")


if __name__ == "__main__":
    main()
