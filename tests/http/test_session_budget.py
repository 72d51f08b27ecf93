"""What sessions tell the budget: verdicts of the job, walls, headers; and how their pace adapts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from windrow.errors import Blocked, FetchFailed, Parked
from windrow.events import Verdict
from windrow.gate import Gate
from windrow.session import Page

if TYPE_CHECKING:
    from tests.http.conftest import Kit, MemoryBook


def adaptive_gate(kit: Kit, book: MemoryBook) -> Gate:
    return Gate(
        book,
        user_agent="windrow/0.1 (tests)",
        obey_robots=False,
        rate=None,
        limits=kit.limits(wait=0.5),
        clock=kit.clock,
        fetch_robots=kit.transport().send,
        random=kit.random,
        adaptive=True,
        worker="w",
    )


async def page(request: web.Request) -> web.Response:
    return web.Response(text=f"<h1>{request.path}</h1>", content_type="text/html")


def test_the_jobs_verdict_is_asked_after_ours(kit: Kit) -> None:
    asked: list[str] = []

    def verdict(found: Page) -> Verdict | None:
        asked.append(found.url)
        return Verdict.BLOCKED if found.url.endswith("/wall") else None

    async def main() -> None:
        async with kit.site(page) as site:
            session = kit.session(base_url=site.url, judge=verdict)
            assert (await session.get("/open", expect="h1")).text("h1") == "/open"
            with pytest.raises(Blocked, match="the job's verdict is blocked"):
                await session.get("/wall")
            other = kit.session(base_url=site.url, judge=verdict)
            with pytest.raises(Blocked):
                await other.get("/x", expect="table")
            assert [url.rsplit("/", 1)[1] for url in asked] == ["open", "wall"]

    kit.run(main)


def test_a_transient_verdict_is_asked_for_again(kit: Kit) -> None:
    async def main() -> None:
        async with kit.site(page) as site:
            session = kit.session(base_url=site.url, judge=lambda found: Verdict.TRANSIENT)
            with pytest.raises(FetchFailed):
                await session.get("/", retries=1)
            assert len(site.pages) == 2

    kit.run(main)


@pytest.mark.parametrize("own", [False, True])
def test_a_wall_with_200_is_a_throttling_for_the_budget(kit: Kit, own: bool) -> None:
    async def wall(request: web.Request) -> web.Response:
        return web.Response(text="<h1>Please queue</h1>" if own else "Too many requests.")

    async def main() -> None:
        async with kit.site(wall) as site:
            book = kit.book()
            judge = (lambda found: Verdict.THROTTLED) if own else None
            session = kit.session(adaptive_gate(kit, book), site.url, judge=judge)
            with pytest.raises(Parked):
                await session.get("/")
            assert sum(seen.throttled for seen in book.observed) == 1
            assert book.states[site.authority].ceiling > 0

    kit.run(main)


def test_headers_bound_the_budget_and_an_empty_allowance_holds(kit: Kit) -> None:
    left = ["600", "0"]

    async def limited(request: web.Request) -> web.Response:
        return web.Response(headers={"X-RateLimit-Remaining": left.pop(0), "X-RateLimit-Reset": "60"}, text="hay")

    async def main() -> None:
        async with kit.site(limited) as site:
            book = kit.book()
            session = kit.session(adaptive_gate(kit, book), site.url)
            await session.get("/")
            await session.get("/")
            assert book.states[site.authority].bound == pytest.approx(10.0)
            with pytest.raises(Parked, match="asks to wait 60 s"):
                await session.get("/")

    kit.run(main)


def test_the_pace_of_a_session_adapts_and_none_stays_none(kit: Kit) -> None:
    async def main() -> None:
        async with kit.site(page) as site:
            quick = kit.session(base_url=site.url, delay=0.01, least_delay=0.001)
            for _ in range(20):
                await quick.get("/")
            assert quick.delay == pytest.approx(0.0081)
            none = kit.session(base_url=site.url)
            for _ in range(11):
                await none.get("/")
            assert none.delay == 0.0

    kit.run(main)


def test_a_challenge_in_the_sites_stead_retires_the_session(kit: Kit) -> None:
    async def challenge(request: web.Request) -> web.Response:
        page = f"<html><head><meta charset=utf-8><title>Just a moment...</title></head>{'<p>wait</p>' * 900}</html>"
        return web.Response(status=503, text=page, content_type="text/html", headers={"Retry-After": "1"})

    async def main() -> None:
        async with kit.site(challenge) as site:
            session = kit.session(base_url=site.url)
            with pytest.raises(Blocked, match=r"a challenge or a block page, titled 'Just a moment\.\.\.'"):
                await session.get("/")
            assert session.retired
            assert len(site.seen) == 1, "nothing is tried against it"

    kit.run(main)


@pytest.mark.parametrize("status", [403, 429, 503])
def test_a_challenge_that_asks_for_a_rest_gets_it_from_all_sessions(kit: Kit, status: int) -> None:
    async def challenge(request: web.Request) -> web.Response:
        page = "<html><head><title>Access Denied</title></head></html>"
        return web.Response(status=status, text=page, content_type="text/html", headers={"Retry-After": "600"})

    async def main() -> None:
        async with kit.site(challenge) as site:
            gate = kit.gate()
            with pytest.raises(Blocked):
                await kit.session(gate, site.url).get("/")
            with pytest.raises(Parked):
                await kit.session(gate, site.url).get("/")
            assert len(site.seen) == 1

    kit.run(main)
