"""The replica of the quote site behaves as its description says: asked over HTTP, read with a parser of its own."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from selectolax.lexbor import LexborHTMLParser

from windrow.demo.finviz.layouts import LAYOUTS
from windrow.demo.finviz.site import QuoteSite, QuoteSiteOptions, Site, running

SMALL = QuoteSiteOptions(tickers=80, rate=0, page_size=0)
"""Enough companies for `BRK.B` and every trap; pages of no more than they must hold."""

AGENT = {"User-Agent": "tests"}
GLUED = {"52W High", "52W Low", "Volatility", "EPS past 3/5Y", "Sales past 3/5Y", "Dividend Gr. 3/5Y"}


class Visitor:
    """One client; follows no redirect unless told to."""

    def __init__(self, client: aiohttp.ClientSession, site: Site) -> None:
        self.client, self.site = client, site

    async def get(self, path: str, **settings: Any) -> tuple[int, str]:
        """Status and text."""
        async with self.client.get(self.site.url + path, **{"allow_redirects": False, **settings}) as answer:
            return answer.status, await answer.text()

    async def quote(self, symbol: str) -> tuple[int, str]:
        return await self.get(f"/quote.ashx?t={symbol}", allow_redirects=True)


def visit(options: QuoteSiteOptions, test: Callable[[Visitor], Awaitable[None]], **client: Any) -> None:
    async def whole() -> None:
        async with running(options) as site, aiohttp.ClientSession(**{"headers": AGENT, **client}) as session:
            await test(Visitor(session, site))

    asyncio.run(whole())


def cells(markup: str) -> list[tuple[str, str, str]]:
    """(label, tooltip, value's text without any separator), read by other means than the job's."""
    found = []
    for row in LexborHTMLParser(markup).css("table.snapshot-table2 tr"):
        columns = row.css("td")
        for label, value in zip(columns[::2], columns[1::2], strict=True):
            tooltip = next(label.attributes[name] for name in TOOLTIPS if name in label.attributes) or ""
            found.append((" ".join(label.text().split()), tooltip, " ".join(value.text().split())))
    return found


TOOLTIPS = [layout.tooltip_attribute for layout in LAYOUTS.values()]


def unspaced(text: str | None) -> str:
    return re.sub(r"\s", "", text or "")


# --- pages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("year", LAYOUTS)
def test_a_page_holds_the_truth_in_the_markup_of_its_year(year: int) -> None:
    async def test(visitor: Visitor) -> None:
        for ticker, row in visitor.site.truth()["quotes"].items():
            status, markup = await visitor.quote(ticker.replace(".", "-"))
            assert status == 200
            shown = cells(markup)
            values = list(row.items())[2:]
            assert len(shown) == len(values) == LAYOUTS[year].pairs
            for (label, tooltip, text), (column, value) in zip(shown, values, strict=True):
                assert label == column.replace("EPS next Y %", "EPS next Y")
                assert ("growth next year" in tooltip) == (column == "EPS next Y %")
                assert unspaced(text).replace("-", "") == unspaced(value).replace("-", "")
                assert (value is None) == (text in ("-", ""))

    visit(replace(SMALL, layout=year), test)


def test_the_tables_of_2026_are_six_of_fourteen() -> None:
    async def test(visitor: Visitor) -> None:
        _, markup = await visitor.quote("MMM")
        tables = LexborHTMLParser(markup).css("table.snapshot-table2")
        assert [len(table.css("tr")) for table in tables] == [14] * 6
        assert all(len(table.css("div.snapshot-td-label")) == 14 for table in tables)

    visit(SMALL, test)


def test_every_trap_is_there() -> None:
    async def test(visitor: Visitor) -> None:
        truth = visitor.site.truth()["quotes"]
        assert truth["BRK.B"]["company"] == "Berkshire Hathaway"
        values = {label: [row[label] for row in truth.values() if row[label]] for label in LAYOUTS[2026].labels}
        assert any(re.fullmatch(r"- -?\d+\.\d\d%", text) for text in values["EPS/Sales Surpr."])
        assert all(re.fullmatch(r"\d+\.\d\d -?\d+\.\d\d%", text) for text in values["52W High"])
        assert all(re.fullmatch(r"\d+\.\d\d \(\d+\.\d\d%\)", text) for text in values["Dividend TTM"])
        assert all(len(values[label]) < len(truth) for label in ("P/E", "EPS next Y", "EPS next Y %", "Index"))
        assert values["Trades"] == []
        _, markup = await visitor.quote("MMM")
        shown = {label: text for label, _, text in cells(markup)}
        glued = {label for label in GLUED if truth["MMM"][label] and " " not in shown[label]}
        assert {"52W High", "52W Low", "Volatility"} <= glued

    visit(SMALL, test)


def test_a_page_is_as_large_as_asked_and_the_same_with_gzip() -> None:
    async def test(visitor: Visitor) -> None:
        address = f"{visitor.site.url}/quote?t=AOS"
        async with visitor.client.get(address, headers={"Accept-Encoding": "gzip"}) as answer:
            assert answer.headers["Content-Encoding"] == "gzip"
            compressed = await answer.read()
        async with visitor.client.get(address, headers={"Accept-Encoding": "identity"}) as answer:
            assert "Content-Encoding" not in answer.headers
            plain = await answer.read()
        assert gzip.decompress(compressed) == plain
        assert 115_000 < len(plain) < 125_000
        assert len(compressed) < 60_000

    visit(replace(SMALL, page_size=120_000), test, auto_decompress=False)


def test_figures_come_from_the_seed() -> None:
    def truth(seed: int) -> dict[str, Any]:
        return Site(replace(SMALL, seed=seed, tickers=3)).truth()

    assert truth(1) == truth(1)
    assert truth(1) != truth(2)


# --- addresses -----------------------------------------------------------------------------------------------------


def test_since_2026_the_old_address_redirects() -> None:
    async def test(visitor: Visitor) -> None:
        async with visitor.client.get(f"{visitor.site.url}/quote.ashx?t=BRK-B", allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (301, "/quote?t=BRK-B")
        assert visitor.site.stats()["redirects"] == 1

    visit(SMALL, test)


def test_before_it_did_not() -> None:
    async def test(visitor: Visitor) -> None:
        assert (await visitor.get("/quote.ashx?t=AOS"))[0] == 200
        assert (await visitor.get("/quote?t=AOS"))[0] == 404

    visit(replace(SMALL, layout=2025), test)


@pytest.mark.parametrize("symbol", ["BRK.B", "NOPE", "", "a%20b%26c"])
def test_an_unknown_symbol_is_not_found(symbol: str) -> None:
    async def test(visitor: Visitor) -> None:
        status, markup = await visitor.quote(symbol)
        assert (status, cells(markup)) == (404, [])
        assert "INVALID Stock Quote" in markup

    visit(SMALL, test)


# --- refusals ------------------------------------------------------------------------------------------------------


def test_past_its_rate_the_wall_stands_with_status_200_for_a_sliding_second() -> None:
    async def test(visitor: Visitor) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        answers = [await visitor.get("/quote?t=MMM") for _ in range(5)]
        assert [status for status, text in answers] == [200] * 3 + [200] * 2
        assert [text == "Too many requests." for _, text in answers] == [False] * 3 + [True] * 2
        while (await visitor.get("/quote?t=MMM"))[1] == "Too many requests.":  # noqa: ASYNC110 - nobody tells when it opens
            await asyncio.sleep(0.02)
        assert clock() - began > 0.98
        stats = visitor.site.stats()
        assert stats["quotes"] == {"MMM": 4}
        assert stats["walls"] + stats["pages"] == stats["requests"]

    visit(replace(SMALL, rate=3), test)


def test_after_a_number_of_walls_come_real_429s() -> None:
    async def test(visitor: Visitor) -> None:
        statuses = [(await visitor.get("/quote?t=MMM"))[0] for _ in range(5)]
        assert statuses == [200, 200, 200, 429, 429]
        assert (visitor.site.stats()["walls"], visitor.site.stats()["too_many"]) == (2, 2)

    visit(replace(SMALL, rate=1, walls=2), test)


@pytest.mark.parametrize(
    ("policy", "agent", "status"),
    [
        ("named", "", 403),
        ("named", "windrow/0.1", 200),
        ("browser", "windrow/0.1", 403),
        ("browser", "Mozilla/5.0", 200),
        ("any", "", 200),
    ],
)
def test_who_says_not_who_he_is_is_refused(policy: Any, agent: str, status: int) -> None:
    async def test(visitor: Visitor) -> None:
        assert (await visitor.get("/quote?t=MMM", headers={"User-Agent": agent}))[0] == status
        assert visitor.site.stats()["no_user_agent"] == (status == 403)

    visit(replace(SMALL, user_agent=policy), test)


@pytest.mark.parametrize("challenge_status", [200, 403])
def test_the_first_requests_are_challenged_and_the_first_quotes_halved(challenge_status: Any) -> None:
    async def test(visitor: Visitor) -> None:
        status, text = await visitor.get("/quote?t=MMM")
        assert status == challenge_status
        assert "challenge-error-text" in text
        pairs = [len(cells((await visitor.get("/quote?t=MMM"))[1])) for _ in range(3)]
        assert pairs == [42, 42, 84]
        stats = visitor.site.stats()
        assert (stats["challenges"], stats["halved"], stats["quotes"]) == (1, 2, {"MMM": 1})

    visit(replace(SMALL, challenges=1, challenge_status=challenge_status, halved=2), test)


def test_robots_and_inspection_pass_all_refusals_by() -> None:
    async def test(visitor: Visitor) -> None:
        for _ in range(3):
            assert await visitor.get("/robots.txt") == (200, "User-agent: *\nDisallow: /map\n")
            assert (await visitor.get("/__stats__"))[0] == 200
        assert visitor.site.stats()["requests"] == 0

    visit(replace(SMALL, rate=1, challenges=9, robots="User-agent: *\nDisallow: /map\n"), test)


def test_a_site_without_robots() -> None:
    async def test(visitor: Visitor) -> None:
        assert (await visitor.get("/robots.txt"))[0] == 404

    visit(replace(SMALL, robots=None), test)


# --- inspection, process, command line -----------------------------------------------------------------------------


def test_statistics_and_their_reset() -> None:
    async def test(visitor: Visitor) -> None:
        await asyncio.gather(*(visitor.get("/quote?t=MMM") for _ in range(4)), visitor.quote("NOPE"))
        stats = visitor.site.stats()
        assert (stats["requests"], stats["redirects"], stats["unknown"], stats["pages"]) == (6, 1, 1, 4)
        assert stats["in_flight_max"] > 1
        assert stats["most_in_a_second"] == 6
        assert (await visitor.client.post(f"{visitor.site.url}/__reset__")).status == 200
        assert visitor.site.stats()["requests"] == 0

    visit(replace(SMALL, latency=0.05), test)


def test_the_site_as_a_process() -> None:
    options = replace(SMALL, layout=2021, seed=7, tickers=3, robots=None)
    with QuoteSite(options) as site:
        assert site.truth() == Site(options).truth()
        site.reset()
        assert site.stats()["tickers"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--layout", "2019"], "invalid choice"), (["--rate", "many"], "invalid int"), (["--rate=-1"], "not be negative")],
)
def test_a_wrong_command_line_is_refused(arguments: list[str], message: str) -> None:
    command = [sys.executable, "-m", "windrow.demo.finviz.site", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert message in ended.stderr


def test_the_truth_is_json_over_http() -> None:
    async def test(visitor: Visitor) -> None:
        status, text = await visitor.get("/__truth__")
        assert status == 200
        assert json.loads(text) == visitor.site.truth()

    visit(replace(SMALL, tickers=2), test)
