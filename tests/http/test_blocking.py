"""The blocking twin, from threads of their own."""

from __future__ import annotations

import asyncio
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from windrow.errors import Blocked, FetchFailed
from windrow.session import BlockingSession, Session

if TYPE_CHECKING:
    from tests.http.conftest import Kit

FORM = "<form name=f action=/sent><input name=_x_word></form>"


async def page(request: web.Request) -> web.Response:
    if request.path == "/wall":
        return web.Response(status=403)
    response = web.Response(text=f"{FORM}<p>{request.method} {request.path_qs}</p>", content_type="text/html")
    response.set_cookie("where", request.path.strip("/"))
    return response


def test_a_plain_function_does_all_that_an_async_one_does(kit: Kit) -> None:
    def scrape(session: BlockingSession) -> list[str]:
        home = session.get("/home", expect="form", params={"a": "b"})
        found = [
            home.text("p"),
            session.post("/post", data={"a": "b"}).text("p"),
            session.request("PUT", "/put").text("p"),
            session.submit(home.form("f"), word="hay", pace=0).text("p"),
        ]
        session.state["done"] = True
        session.headers["X"] = "y"
        with pytest.raises(Blocked):
            session.get("/wall")
        assert session.retired
        assert session.cookies == {"where": "sent"}
        assert session.requests == 5
        assert session.local("https://public.example/x") == f"{session.base_url}/x"
        return found

    async def main() -> None:
        async with kit.site(page) as site:
            session = kit.session(base_url=site.url, parameters={"year": 1})
            blocking = session.blocking()
            assert blocking.parameters == {"year": 1}
            with ThreadPoolExecutor(1) as thread:
                found = await asyncio.get_running_loop().run_in_executor(thread, scrape, blocking)
            assert found == ["GET /home?a=b", "POST /post", "PUT /put", "GET /sent?_x_word=hay"]
            assert session.state == {"done": True}
            assert session.headers == {"X": "y"}

    kit.run(main)


def test_many_plain_functions_run_beside_each_other(kit: Kit) -> None:
    together = threading.Barrier(4, timeout=10)

    async def slow(request: web.Request) -> web.Response:
        await asyncio.to_thread(together.wait)
        return web.Response(text=request.path)

    async def main() -> None:
        async with kit.site(slow) as site:
            loop = asyncio.get_running_loop()
            gate = kit.gate()
            sessions = [kit.session(gate, site.url).blocking() for _ in range(4)]
            with ThreadPoolExecutor(4) as threads:
                work = (loop.run_in_executor(threads, one.get, f"/{n}") for n, one in enumerate(sessions))
                assert [found.html for found in await asyncio.gather(*work)] == ["/0", "/1", "/2", "/3"]

    kit.run(main)


def test_cancelling_ends_the_call_in_progress_and_all_later_ones(kit: Kit) -> None:
    async def main() -> None:
        arrived = asyncio.Event()

        async def never(head: bytes, writer: asyncio.StreamWriter) -> None:
            arrived.set()
            await asyncio.Event().wait()

        def scrape(session: BlockingSession) -> int:
            for _ in range(2):
                with pytest.raises(FetchFailed, match="cancelled"):
                    session.get("/")
            return session.requests

        async with kit.raw(never) as site:
            blocking = kit.session(base_url=site.url).blocking()
            with ThreadPoolExecutor(1) as thread:
                work = asyncio.get_running_loop().run_in_executor(thread, scrape, blocking)
                await arrived.wait()
                blocking.cancel()
                assert await work == 1

    kit.run(main)


def test_the_twins_take_the_same_arguments() -> None:
    for name in ("get", "post", "submit", "local"):
        assert inspect.signature(getattr(Session, name)) == inspect.signature(getattr(BlockingSession, name)), name
    for name in ("state", "parameters", "headers", "base_url", "requests", "cookies", "retired"):
        assert hasattr(BlockingSession, name), name
