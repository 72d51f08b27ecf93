"""robots.txt over real connections: what a server may answer, and what the gate makes of it (RFC 9309, 2.3 to 2.5).

Waiting takes no time: the gate's clock is virtual, and only the servers are real.
"""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from tests.support.clock import VirtualClock
from windrow.errors import FetchFailed, Refused
from windrow.gate import ROBOTS_AGAIN, ROBOTS_RETRIES
from windrow.politeness.robots import LONGEST

if TYPE_CHECKING:
    from tests.http.conftest import Handler, Kit
    from windrow.gate import Gate

RULES = "User-agent: windrow\nDisallow: /private\n"
DAY = 24 * 3600.0


@pytest.fixture
def clock(kit: Kit) -> VirtualClock:
    kit.clock = clock = VirtualClock()
    return clock


async def page(request: web.Request) -> web.Response:
    return web.Response(text="hay")


def robots_txt(text: str) -> Handler:
    return octets(text.encode())


def octets(body: bytes, **headers: str) -> Handler:
    async def robots(request: web.Request) -> web.Response:
        return web.Response(body=body, headers=headers)

    return robots


async def opinion(one: Gate, url: str) -> str:
    """What the gate says of an address."""
    try:
        await one.enter(url)
    except Refused:
        return "refused"
    except FetchFailed:
        return "unreachable"
    return "open"


async def opinions(kit: Kit, robots: Handler) -> tuple[str, str]:
    """Of /open and of /private, where robots.txt is answered like that."""
    async with kit.site(page, robots) as site:
        one = kit.gate(robots=True)
        return await opinion(one, f"{site.url}/open"), await opinion(one, f"{site.url}/private/x")


# --- 2.3.1.4: unreachable ---


@pytest.mark.parametrize("status", [429, 500, 501, 502, 503, 504, 599])
def test_an_unreachable_robots_txt_forbids_and_is_asked_for_again(kit: Kit, clock: VirtualClock, status: int) -> None:
    well = False

    async def robots(request: web.Request) -> web.Response:
        return web.Response(status=200 if well else status, text=RULES)

    async def main() -> None:
        nonlocal well
        async with kit.site(page, robots) as site:
            one = kit.gate(robots=True)
            assert await opinion(one, f"{site.url}/open") == "unreachable"
            asked = len(site.seen)
            assert asked == ROBOTS_RETRIES + 1
            assert await opinion(one, f"{site.url}/open") == "unreachable"
            assert len(site.seen) == asked, "it is believed for a while"
            well = True
            await clock.sleep(ROBOTS_AGAIN + 1.0)
            assert await opinion(one, f"{site.url}/open") == "open"
            assert await opinion(one, f"{site.url}/private") == "refused"
            assert [seen.target for seen in site.pages] == []

    kit.run(main)


@pytest.mark.parametrize("end", [b"Content-Length: 500\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n2c\r\n"])
def test_half_a_robots_txt_is_none(kit: Kit, clock: VirtualClock, end: bytes) -> None:
    # Google: incomplete data is an error of the server. What forbids the page may be in the other half.
    async def respond(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + end + RULES.encode())
        await writer.drain()

    async def main() -> None:
        async with kit.raw(respond) as site:
            assert await opinion(kit.gate(robots=True), f"{site.url}/open") == "unreachable"
            assert len(site.seen) == ROBOTS_RETRIES + 1

    kit.run(main)


# --- 2.3.1.1 and 2.3.1.5: a body, and what can be read of it ---


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        (RULES.encode(), {"Content-Type": "application/octet-stream"}, ("open", "refused")),
        (b"\xef\xbb\xbf" + RULES.encode(), {}, ("open", "refused")),
        (RULES.encode("utf-16"), {"Content-Type": "text/plain; charset=utf-16"}, ("open", "refused")),
        (RULES.replace("\n", "\r").encode(), {}, ("open", "refused")),
        (gzip.compress(RULES.encode()), {"Content-Encoding": "gzip"}, ("open", "refused")),
        (gzip.compress(RULES.encode())[:-12], {"Content-Encoding": "gzip"}, ("unreachable", "unreachable")),
        (b"not packed", {"Content-Encoding": "gzip"}, ("unreachable", "unreachable")),
        (gzip.compress(RULES.encode()), {}, ("open", "open")),
        (bytes(range(256)) * 16, {}, ("open", "open")),
        (b"<!doctype html><p>Not found.\nDisallow: /", {"Content-Type": "text/html"}, ("open", "open")),
        (b"", {}, ("open", "open")),
    ],
    ids=["any type", "mark", "utf-16", "cr", "gzip", "half gzip", "no gzip", "unsaid gzip", "octets", "html", "empty"],
)
def test_what_a_body_says(
    kit: Kit, clock: VirtualClock, body: bytes, headers: dict[str, str], said: tuple[str, str]
) -> None:
    async def main() -> None:
        assert await opinions(kit, octets(body, **headers)) == said

    kit.run(main)


@pytest.mark.parametrize("packed", [False, True])
def test_of_a_long_robots_txt_500_kib_count(kit: Kit, clock: VirtualClock, packed: bool) -> None:
    begin = b"User-agent: *\nDisallow: /early\n#"
    body = begin + b"x" * (LONGEST - len(begin) - 16) + b"\nDisallow: /abcde\nDisallow: /late\n"
    handler = octets(gzip.compress(body), **{"Content-Encoding": "gzip"}) if packed else octets(body)

    async def main() -> None:
        async with kit.site(page, handler) as site:
            one = kit.gate(robots=True)
            assert await opinion(one, f"{site.url}/early") == "refused"
            # The limit cuts this rule down to `/abc`.
            for path in ("/abcde", "/abcx", "/late"):
                assert await opinion(one, site.url + path) == "open"

    kit.run(main)


def test_a_rule_that_is_no_utf8_forbids_its_octets(kit: Kit, clock: VirtualClock) -> None:
    async def main() -> None:
        async with kit.site(page, octets(b"User-agent: *\nDisallow: /caf\xe9\nDisallow: /th\xc3\xa9")) as site:
            book = kit.book()
            # The second one has it from the store.
            for one in (kit.gate(book, robots=True), kit.gate(book, robots=True)):
                assert await opinion(one, f"{site.url}/caf%E9") == "refused"
                assert await opinion(one, f"{site.url}/th%C3%A9") == "refused"
                assert await opinion(one, f"{site.url}/caf%E8") == "open"

    kit.run(main)


@pytest.mark.parametrize(
    ("user_agent", "said"),
    [
        ("windrow/0.1 (a scraper that keeps to robots.txt)", ["refused", "open", "open"]),
        ("my-bot/1.0 (+https://example.org/bot)", ["open", "refused", "open"]),
        ("Mozilla/5.0 (compatible; windrow/0.1)", ["open", "open", "refused"]),
    ],
)
def test_the_group_is_found_by_our_product_token(
    kit: Kit, clock: VirtualClock, user_agent: str, said: list[str]
) -> None:
    text = "User-agent: windrow\nDisallow: /a\nUser-agent: My-Bot\nDisallow: /b\nUser-agent: *\nDisallow: /c"

    async def main() -> None:
        async with kit.site(page, robots_txt(text)) as site:
            one = kit.gate(robots=True, user_agent=user_agent)
            assert [await opinion(one, site.url + path) for path in ("/a", "/b", "/c")] == said
            assert site.seen[0].headers["User-Agent"] == user_agent

    kit.run(main)


# --- 2.3.1.2: redirects ---


@pytest.mark.parametrize(("hops", "said"), [(1, "refused"), (5, "refused"), (6, "open")])
def test_five_redirects_are_followed_over_hosts_and_the_sixth_counts_as_404(
    kit: Kit, clock: VirtualClock, hops: int, said: str
) -> None:
    statuses = [301, 302, 303, 307, 308, 301]
    urls: list[str] = []

    async def onwards(request: web.Request) -> web.Response:
        number = int(request.query.get("n", "0"))
        if number == hops:
            return web.Response(text=RULES)
        # To the other of two ports, relative once.
        there = "" if number == 3 else urls[number % 2]
        return web.Response(status=statuses[number], headers={"Location": f"{there}/rules?n={number + 1}"})

    async def main() -> None:
        async with kit.site(onwards, onwards) as site, kit.site(onwards) as other:
            urls.extend([other.url, site.url])
            assert await opinion(kit.gate(robots=True), f"{site.url}/private") == said
            assert len(site.seen) + len(other.seen) == min(hops, 5) + 1

    kit.run(main)


def test_rules_found_elsewhere_are_those_of_who_sent_there(kit: Kit, clock: VirtualClock) -> None:
    async def main() -> None:
        async with kit.site(robots_txt(RULES)) as other:

            async def elsewhere(request: web.Request) -> web.Response:
                raise web.HTTPFound(f"{other.url}/rules")

            async with kit.site(page, elsewhere) as site:
                one = kit.gate(robots=True)
                assert await opinion(one, f"{site.url}/private") == "refused"
                assert await opinion(one, f"{other.url}/private") == "open", "its own robots.txt is missing"

    kit.run(main)


@pytest.mark.parametrize(
    "location", ["ftp://example.org/robots.txt", "about:blank", "https://", "http://[", "/robots.txt"]
)
def test_a_redirect_to_where_nobody_can_go_counts_as_404(kit: Kit, clock: VirtualClock, location: str) -> None:
    async def nowhere(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": location}, text=RULES)

    async def main() -> None:
        async with kit.site(page, nowhere) as site:
            assert await opinion(kit.gate(robots=True), f"{site.url}/private") == "open"
            assert len(site.seen) == 1

    kit.run(main)


@pytest.mark.parametrize("status", [500, None])
def test_a_redirect_to_what_cannot_be_reached_forbids(kit: Kit, clock: VirtualClock, status: int | None) -> None:
    async def failing(request: web.Request) -> web.Response:
        return web.Response(status=status or 200, text=RULES)

    async def main() -> None:
        async with kit.site(failing) as other:
            # Without a status: https at a port that speaks http.
            there = f"{other.url}/rules" if status else other.url.replace("http:", "https:")

            async def elsewhere(request: web.Request) -> web.Response:
                raise web.HTTPMovedPermanently(there)

            async with kit.site(page, elsewhere) as site:
                assert await opinion(kit.gate(robots=True), f"{site.url}/open") == "unreachable"

    kit.run(main)


# --- 2.4: a day at most ---


def test_a_robots_txt_is_kept_for_a_day_whoever_fetched_it(kit: Kit, clock: VirtualClock) -> None:
    text = "User-agent: *\nDisallow: /old\nCrawl-delay: 20"

    async def robots(request: web.Request) -> web.Response:
        return web.Response(text=text)

    async def main() -> None:
        nonlocal text
        async with kit.site(page, robots) as site:
            book = kit.book()
            first = kit.gate(book, robots=True)
            assert await opinion(first, f"{site.url}/old") == "refused"
            text = "User-agent: *\nDisallow: /new\nCrawl-delay: 10"
            await clock.sleep(DAY - 600.0)
            late = kit.gate(book, robots=True)
            for one in (first, late):
                assert [await opinion(one, site.url + path) for path in ("/old", "/new")] == ["refused", "open"]
            assert len(site.seen) == 1
            await clock.sleep(700.0)
            for one in (late, first):
                assert [await opinion(one, site.url + path) for path in ("/old", "/new")] == ["open", "refused"]
            assert len(site.seen) == 2
            # The new Crawl-delay holds, and the old one no more.
            begin = clock.monotonic()
            for _ in range(3):
                await first.enter(f"{site.url}/x")
            assert 20.0 <= clock.monotonic() - begin <= 32.0

    kit.run(main)


# --- Crawl-delay, which is no rule of the RFC's ---


@pytest.mark.parametrize("delay", [0.75, 30.0, 300.0])
def test_a_crawl_delay_is_a_floor_over_all_workers(kit: Kit, clock: VirtualClock, delay: float) -> None:
    async def main() -> None:
        async with kit.site(page, robots_txt(f"User-agent: *\nCrawl-delay: {delay}")) as site:
            book = kit.book()
            gates = [kit.gate(book, robots=True, rate=rate) for rate in (None, 50.0)]
            times: list[float] = []

            async def session(one: Gate) -> None:
                for _ in range(3):
                    await one.enter(f"{site.url}/x")
                    times.append(clock.monotonic())

            await asyncio.gather(*(session(one) for one in gates for _ in range(2)))
            assert len(times) == 12
            # A little closer than the delay now and then, to make up for a late timer, but never in the sum.
            assert times[-1] - times[0] >= 11 * delay - 0.01

    kit.run(main)


def test_our_own_crawl_delay_counts_before_everybodys(kit: Kit, clock: VirtualClock) -> None:
    text = "User-agent: *\nCrawl-delay: 50\nDisallow:\nUser-agent: windrow\nCrawl-delay: 2\n"

    async def main() -> None:
        async with kit.site(page, robots_txt(text)) as site:
            mine, theirs = kit.gate(robots=True), kit.gate(robots=True, user_agent="other/1.0")
            for one, delay in ((mine, 2.0), (theirs, 50.0)):
                await one.enter(f"{site.url}/x")
                begin = clock.monotonic()
                await one.enter(f"{site.url}/x")
                assert clock.monotonic() - begin == pytest.approx(delay, abs=0.01)

    kit.run(main)


@pytest.mark.parametrize("value", ["abc", "-5", "", "nan", "0"])
def test_a_crawl_delay_that_is_none_costs_nothing(kit: Kit, clock: VirtualClock, value: str) -> None:
    async def main() -> None:
        async with kit.site(page, robots_txt(f"User-agent: *\nCrawl-delay: {value}")) as site:
            one = kit.gate(robots=True)
            await one.enter(f"{site.url}/x")
            begin = clock.monotonic()
            for _ in range(5):
                await one.enter(f"{site.url}/x")
            assert clock.monotonic() == begin

    kit.run(main)


@pytest.mark.parametrize("value", ["301", "86400", "9" * 400])
def test_an_absurd_crawl_delay_is_an_error_that_says_so_and_no_wait(kit: Kit, clock: VirtualClock, value: str) -> None:
    async def main() -> None:
        async with kit.site(page, robots_txt(f"User-agent: *\nCrawl-delay: {value}\nDisallow: /private")) as site:
            one = kit.gate(robots=True)
            begin = clock.monotonic()
            for _ in range(2):
                with pytest.raises(Refused, match=r"robots.txt asks for \S+ s between .* Limits.crawl_delay is 300 s"):
                    await one.enter(f"{site.url}/x")
            with pytest.raises(Refused, match="does not allow"):
                await one.enter(f"{site.url}/private")
            assert clock.monotonic() == begin
            # Who has the patience says so.
            if value == "301":
                await kit.gate(robots=True, limits=kit.limits(crawl_delay=301.0)).enter(f"{site.url}/x")

    kit.run(main)
