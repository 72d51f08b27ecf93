"""The gate: robots.txt, holds and the budget. Where no server is needed, time is virtual and takes none."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from tests.support.clock import VirtualClock
from windrow.errors import FetchFailed, Parked, Refused
from windrow.events import Event
from windrow.fetch.transport import Answer, Failure, Request
from windrow.gate import CATCH_UP, Gate
from windrow.job import Limits

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from tests.http.conftest import Handler, Kit, MemoryBook

HOST = "example.org"
URL = f"https://{HOST}/x"


async def unreached(request: Request) -> Answer | Failure:
    raise AssertionError(f"nothing should be fetched, but was: {request.url}")


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def book(kit: Kit, clock: VirtualClock) -> MemoryBook:
    kit.clock = clock
    return kit.book()


def gate(book: MemoryBook, clock: VirtualClock, rate: float | None = None, **limits: float) -> Gate:
    return Gate(
        book,
        user_agent="windrow/0.1",
        obey_robots=False,
        rate=rate,
        limits=Limits(**{"wait": 15.0, **limits}),  # type: ignore[arg-type]
        clock=clock,
        fetch_robots=unreached,
        random=Random(1),
    )


async def entering(one: Gate, clock: VirtualClock, times: int = 1, busy: float = 0.0) -> list[float]:
    """When a session that asks `times` times was let through, seconds from the beginning of time."""
    found = []
    for _ in range(times):
        await one.enter(URL)
        found.append(clock.monotonic() - 1_000.0)
        if busy:
            await clock.sleep(busy)
    return found


async def all_of(*work: Awaitable[list[float]]) -> list[float]:
    return sorted(moment for moments in await asyncio.gather(*work) for moment in moments)


def test_without_a_rate_nobody_waits_and_nothing_is_reserved(kit: Kit, book: MemoryBook, clock: VirtualClock) -> None:
    async def main() -> None:
        one = gate(book, clock)
        assert await all_of(*(entering(one, clock, 3) for _ in range(5))) == [0.0] * 15
        assert book.reserved == []

    kit.run(main)


@pytest.mark.parametrize(("rate", "sessions", "workers"), [(10.0, 5, 1), (10.0, 4, 3), (0.5, 3, 2), (300.0, 20, 2)])
def test_the_rate_holds_over_all_sessions_and_workers(
    kit: Kit, book: MemoryBook, clock: VirtualClock, rate: float, sessions: int, workers: int
) -> None:
    async def main() -> None:
        gates = [gate(book, clock, rate) for _ in range(workers)]
        times = await all_of(*(entering(one, clock, 6, busy=0.01) for one in gates for _ in range(sessions)))
        assert len(times) == 6 * sessions * workers
        for one, moment in enumerate(times):
            for later, other in enumerate(times[one:]):
                assert later <= rate * (other - moment + CATCH_UP) + 1e-6
        # It is used as well: close to as many as the rate allows.
        assert times[-1] <= 1.25 * len(times) / rate + 1.0

    kit.run(main)


def test_a_worker_reserves_for_those_who_wait_and_at_most_a_second(
    kit: Kit, book: MemoryBook, clock: VirtualClock
) -> None:
    async def main() -> None:
        one = gate(book, clock, 4.0)
        await all_of(*(entering(one, clock) for _ in range(30)))
        assert max(slots for _, slots in book.reserved) == 4
        book.reserved.clear()
        await entering(one, clock, 3)
        assert [slots for _, slots in book.reserved] == [1, 1, 1]

    kit.run(main)


def test_turns_are_taken_in_order_and_waiting_for_one_never_parks(
    kit: Kit, book: MemoryBook, clock: VirtualClock
) -> None:
    async def main() -> None:
        one = gate(book, clock, 1.0, wait=2.0)
        order: list[int] = []

        async def session(number: int) -> list[float]:
            found = await entering(one, clock)
            order.append(number)
            return found

        times = await all_of(*(session(number) for number in range(50)))
        assert order == list(range(50))
        assert times[-1] == pytest.approx(49.0, abs=0.3)

    kit.run(main)


def test_a_slow_rate_never_parks(kit: Kit, book: MemoryBook, clock: VirtualClock) -> None:
    async def main() -> None:
        assert await entering(gate(book, clock, 1 / 60, wait=15.0), clock, 3) == pytest.approx([0.0, 60.0, 120.0])

    kit.run(main)


def test_a_turn_that_takes_long_is_counted_while_it_lasts_and_a_hold_apart(
    kit: Kit, book: MemoryBook, clock: VirtualClock
) -> None:
    async def main() -> None:
        one = gate(book, clock, 0.01)
        sessions = [asyncio.create_task(one.enter(URL)) for _ in range(3)]
        await clock.sleep(10.0)
        assert one.waited == pytest.approx(20.0)
        await clock.sleep(10.0)
        assert (one.waited, one.held_back) == pytest.approx((40.0, 0.0))
        one.held(HOST, 5.0)
        await clock.sleep(10.0)
        assert (one.waited, one.held_back) == pytest.approx((50.0, 10.0))
        for session in sessions:
            session.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)
        await clock.sleep(10.0)
        assert (one.waited, one.held_back) == pytest.approx((50.0, 10.0))

    kit.run(main)


@pytest.mark.parametrize("rate", [None, 5.0])
def test_nothing_passes_within_a_hold(kit: Kit, book: MemoryBook, clock: VirtualClock, rate: float | None) -> None:
    async def main() -> None:
        one, other = gate(book, clock, rate), gate(book, clock, rate)
        await one.throttled(URL, 10.0)
        times = await all_of(*(entering(each, clock, 2) for each in (one, one, other)))
        assert min(times) >= 10.0
        # Afterwards the rate holds as before: those who waited do not come back in one burst.
        assert rate is None or all(b - a >= 1 / rate - CATCH_UP - 1e-9 for a, b in pairwise(times))

    kit.run(main)


@pytest.mark.parametrize("rate", [None, 0.2])
def test_a_hold_that_comes_while_one_waits_is_kept(
    kit: Kit, book: MemoryBook, clock: VirtualClock, rate: float | None
) -> None:
    async def main() -> None:
        one = gate(book, clock, rate)
        one.held(HOST, 4.0)
        waiting = [asyncio.create_task(entering(one, clock)) for _ in range(3)]
        await clock.sleep(3.0)
        await one.throttled(URL, 9.0)
        assert min(await all_of(*waiting)) >= 12.0

    kit.run(main)


def test_a_slot_that_a_hold_overtook_is_not_used(kit: Kit, book: MemoryBook, clock: VirtualClock) -> None:
    async def main() -> None:
        one = gate(book, clock, 0.1)
        assert await entering(one, clock) == [0.0]
        waiting = asyncio.create_task(entering(one, clock))
        await clock.sleep(5.0)
        await one.throttled(URL, 8.0)
        assert (await waiting)[0] >= 13.0

    kit.run(main)


@pytest.mark.parametrize("rate", [None, 5.0])
def test_a_long_hold_parks_and_says_for_how_long(
    kit: Kit, book: MemoryBook, clock: VirtualClock, rate: float | None
) -> None:
    async def main() -> None:
        one, other = gate(book, clock, rate, wait=5.0), gate(book, clock, rate, wait=5.0)
        await entering(other, clock)
        await one.throttled(URL, 60.0)
        with pytest.raises(Parked, match=r"example.org asks to wait 60 s") as parked:
            await one.enter(URL)
        assert parked.value.seconds == pytest.approx(60.0, abs=0.5)
        if rate is not None:
            # The other worker was not told, and learns of it as it reserves.
            with pytest.raises(Parked):
                await other.enter(URL)
        await one.enter("https://elsewhere.org/")

    kit.run(main)


def test_a_worker_that_begins_learns_of_a_hold_that_runs(kit: Kit, book: MemoryBook, clock: VirtualClock) -> None:
    async def main() -> None:
        await book.hold(HOST, 7.0)
        fresh = gate(book, clock)
        assert min(await all_of(*(entering(fresh, clock) for _ in range(3)))) >= 7.0

    kit.run(main)


def test_holds_of_our_own_grow_once_each_and_recover(kit: Kit, book: MemoryBook, clock: VirtualClock) -> None:
    async def main() -> None:
        one = gate(book, clock)
        lengths = []
        for _ in range(3):
            before = clock.monotonic()
            for _ in range(8):
                await one.throttled(URL, None)
            lengths.append(book.budgets[HOST].hold_until - before)
            await one.enter(URL)
        assert 0.7 < lengths[0] < 1.3 < lengths[1] < 2.6 < lengths[2] < 5.1
        await clock.sleep(100.0)
        before = clock.monotonic()
        await one.throttled(URL, 0.0)
        assert book.budgets[HOST].hold_until - before < 1.3

    kit.run(main)


def test_a_cancelled_session_lets_the_next_one_through(kit: Kit, book: MemoryBook, clock: VirtualClock) -> None:
    async def main() -> None:
        one = gate(book, clock, 1.0)
        tasks = [asyncio.create_task(entering(one, clock)) for _ in range(6)]
        await clock.sleep(1.5)
        for task in tasks[1:4]:
            task.cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert found[0] == [0.0]
        last = [times[0] for times in found[4:] if isinstance(times, list)]
        assert len(last) == 2
        assert last[1] - last[0] >= 1.0 - CATCH_UP
        assert last[1] <= 5.0

    kit.run(main)


def test_http_and_https_of_a_host_share_its_budget_and_ports_do_not(
    kit: Kit, book: MemoryBook, clock: VirtualClock
) -> None:
    async def main() -> None:
        one = gate(book, clock, 1.0)
        for url in (URL, f"http://{HOST}/", f"http://{HOST}:8080/"):
            await one.enter(url)
        assert [host for host, _ in book.reserved] == [HOST, HOST, f"{HOST}:8080"]

    kit.run(main)


# --- robots.txt, with servers ---


async def page(request: web.Request) -> web.Response:
    return web.Response(text="hay")


def robots_txt(text: str, status: int = 200) -> Handler:
    async def robots(request: web.Request) -> web.Response:
        return web.Response(status=status, text=text)

    return robots


def test_a_forbidden_address_is_refused_and_robots_is_fetched_once_for_all_workers(kit: Kit) -> None:
    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(0.05)
        return web.Response(text="User-agent: windrow\nDisallow: /private\n")

    async def main() -> None:
        async with kit.site(page, slow) as site:
            book = kit.book()
            gates = [kit.gate(book, robots=True) for _ in range(3)]
            await asyncio.gather(*(one.enter(f"{site.url}/open/{n}") for one in gates for n in range(10)))
            for one in gates:
                with pytest.raises(Refused, match=r"/robots.txt does not allow .*/private/x .*--ignore-robots"):
                    await one.enter(f"{site.url}/private/x")
            await kit.gate(book, robots=True).enter(f"{site.url}/open")
            assert len(site.seen) == 1
            assert site.seen[0].headers["User-Agent"] == "windrow/0.1 (tests)"

    kit.run(main)


@pytest.mark.parametrize("status", [404, 403, 401, 410])
def test_a_missing_robots_txt_allows_everything(kit: Kit, status: int) -> None:
    async def main() -> None:
        async with kit.site(page, robots_txt("User-agent: *\nDisallow: /", status)) as site:
            await kit.gate(robots=True).enter(f"{site.url}/x")

    kit.run(main)


def test_robots_txt_can_be_ignored(kit: Kit) -> None:
    async def main() -> None:
        async with kit.site(page, robots_txt("User-agent: *\nDisallow: /")) as site:
            await kit.gate(robots=False).enter(f"{site.url}/x")
            assert site.seen == []

    kit.run(main)


def test_a_failing_robots_txt_forbids_everything_until_it_recovers(kit: Kit) -> None:
    answers = [500, 500, 500, 200]

    async def robots(request: web.Request) -> web.Response:
        return web.Response(status=answers.pop(0), text="User-agent: *\nDisallow: /private")

    async def main() -> None:
        async with kit.site(page, robots) as site:
            kit.random = Random(2)
            book = kit.book()
            one = kit.gate(book, robots=True)
            for _ in range(3):
                with pytest.raises(FetchFailed, match=r"robots.txt answered 500: nothing may be fetched"):
                    await one.enter(f"{site.url}/x")
            assert len(site.seen) == 3
            # Another worker does not take over the failure: it asks again, in its turn.
            book.budgets.clear()
            await kit.gate(book, robots=True).enter(f"{site.url}/x")

    kit.run(main)


def test_an_unreachable_host_forbids_everything(kit: Kit) -> None:
    async def main() -> None:
        async with kit.site(page) as site:
            pass
        with pytest.raises(FetchFailed, match=r"robots.txt could not be reached: nothing may"):
            await kit.gate(robots=True).enter(f"{site.url}/x")

    kit.run(main)


def test_a_throttled_robots_txt_parks_and_is_not_asked_again(kit: Kit) -> None:
    async def robots(request: web.Request) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": "600"})

    async def main() -> None:
        async with kit.site(page, robots) as site:
            one = kit.gate(robots=True)
            for _ in range(3):
                with pytest.raises(Parked) as parked:
                    await one.enter(f"{site.url}/x")
                assert parked.value.seconds > 590
            assert len(site.seen) == 1

    kit.run(main)


def test_robots_redirects_are_followed_to_other_hosts_and_five_times(kit: Kit) -> None:
    async def main() -> None:
        async with kit.site(robots_txt("User-agent: *\nDisallow: /private")) as other:

            async def elsewhere(request: web.Request) -> web.Response:
                raise web.HTTPFound(f"{other.url}/rules")

            async with kit.site(page, elsewhere) as site:
                one = kit.gate(robots=True)
                await one.enter(f"{site.url}/open")
                with pytest.raises(Refused):
                    await one.enter(f"{site.url}/private")

    kit.run(main)


def test_an_endless_chain_of_robots_redirects_counts_as_missing(kit: Kit) -> None:
    async def onwards(request: web.Request) -> web.Response:
        raise web.HTTPFound(f"{request.path}x")

    async def main() -> None:
        async with kit.site(onwards, onwards) as site:
            await kit.gate(robots=True).enter(f"{site.url}/open")
            assert len(site.seen) == 6

    kit.run(main)


def test_a_crawl_delay_is_a_floor_over_all_sessions_and_beats_a_faster_rate(kit: Kit) -> None:
    async def main() -> None:
        async with kit.site(page, robots_txt("User-agent: *\nCrawl-delay: 0.1")) as site:
            gate = kit.gate(robots=True, rate=1000.0)

            async def session() -> None:
                for _ in range(2):
                    await kit.session(gate, site.url).get("/x")

            await asyncio.gather(*(session() for _ in range(3)))
            assert len(site.pages) == 6
            times = [seen.at for seen in site.pages]
            assert times[-1] - times[0] >= 0.5 - CATCH_UP - 0.02

    kit.run(main)


def test_a_slower_rate_beats_a_crawl_delay(kit: Kit) -> None:
    async def main() -> None:
        async with kit.site(page, robots_txt("User-agent: *\nCrawl-delay: 0.01")) as site:
            session = kit.session(kit.gate(robots=True, rate=10.0), site.url)
            for _ in range(4):
                await session.get("/x")
            # Robots.txt itself paid for its slot too.
            assert site.seen[-1].at - site.seen[0].at >= 0.4 - CATCH_UP - 0.02

    kit.run(main)


def test_the_rate_of_five_sessions_in_the_servers_own_log(kit: Kit) -> None:
    rate = 60.0

    async def main() -> None:
        async with kit.site(page) as site:
            gate = kit.gate(rate=rate)

            async def scrape() -> None:
                session = kit.session(gate, site.url)
                for _ in range(10):
                    await session.get("/x")

            await asyncio.gather(*(scrape() for _ in range(5)))
            times = [seen.at for seen in site.pages]
            assert len(times) == 50
            for one, moment in enumerate(times):
                for later, other in enumerate(times[one:]):
                    # The server's stamps are late by what the one loop had to do meanwhile.
                    assert later <= rate * (other - moment + 0.03) + 1e-6

    kit.run(main)


def test_two_sessions_keep_one_retry_after(kit: Kit) -> None:
    throttled: list[float] = []
    told = asyncio.Event()

    def hear(event: Event) -> None:
        # The session tells its listener before the gate, in one go: whoever waits for this comes after both.
        told.set()

    async def once(request: web.Request) -> web.Response:
        if request.path == "/first" and not throttled:
            throttled.append(time.monotonic())
            return web.Response(status=429, headers={"Retry-After": "1"})
        return web.Response(text="hay")

    async def main() -> None:
        async with kit.site(once) as site:
            gate = kit.gate()
            one, two = kit.session(gate, site.url, listener=hear), kit.session(gate, site.url)
            first = asyncio.create_task(one.get("/first"))
            await told.wait()
            await asyncio.gather(first, two.get("/second"))
            assert [seen.target for seen in site.pages].count("/first") == 2
            assert all(seen.at >= throttled[0] + 1.0 for seen in site.pages[1:])

    kit.run(main)
