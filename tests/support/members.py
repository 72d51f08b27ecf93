"""A real login site in a thread of its own: it notices when two sessions of one member are alive at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiohttp import web

from tests.support.serving import Served

LOGIN = "<form class=login action=/login></form>"


class Seen(NamedTuple):
    at: float
    user: str
    path: str
    status: int


class MembersSite(Served):
    """`POST /login` with user and password begins a session, which ends the member's session before; a session dies
    after `lives` pages, which then are login forms.

    `log` is what was asked by whom. `violations`: pages asked for by a session though its member has a newer one, which
    is what a site sees when two workers share a login. `refusing`: members who get a 403 for everything, and how often.
    While `open_gate` is not set, pages wait. Pages below `slow` take 20 times the `latency`.
    """

    def __init__(
        self, passwords: dict[str, str], *, lives: int = 1_000, latency: float = 0.002, slow: tuple[str, ...] = ()
    ) -> None:
        super().__init__()
        self.log: list[Seen] = []
        self.violations: list[Seen] = []
        self.refusing: dict[str, int] = {}
        self.open_gate = threading.Event()
        self.open_gate.set()
        self._passwords = passwords
        self._lives = lives
        self._latency = latency
        self._slow = slow
        self._newest: dict[str, str] = {}
        self._left: dict[str, int] = {}

    @property
    def pages(self) -> list[Seen]:
        return [seen for seen in self.log if seen.path != "/login" and seen.status == 200]

    def of(self, user: str) -> list[Seen]:
        return [seen for seen in self.log if seen.user == user]

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        application = web.Application()
        application.router.add_post("/login", self._log_in)
        application.router.add_get("/{tail:.*}", self._page)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield
        finally:
            self.open_gate.set()
            await runner.cleanup()

    async def _log_in(self, request: web.Request) -> web.Response:
        given = await request.post()
        user = str(given.get("user"))
        if self._refuses(user):
            return self._answer(user, request, LOGIN, 403)
        if self._passwords.get(user) != given.get("password"):
            return self._answer(user, request, LOGIN)
        token = f"{user}.{len(self.log)}"
        self._newest[user], self._left[token] = token, self._lives
        response = self._answer(user, request, f"<h1>{user}</h1>")
        response.set_cookie("member", token)
        return response

    async def _page(self, request: web.Request) -> web.Response:
        if request.path == "/robots.txt":
            return web.Response(status=404)
        token = request.cookies.get("member", "")
        user = token.partition(".")[0]
        if token and self._newest.get(user) != token:
            self.violations.append(Seen(time.monotonic(), user, request.path, 200))
        await asyncio.sleep(self._latency * (20 if request.path.startswith(self._slow) else 1))
        await asyncio.to_thread(self.open_gate.wait)
        if self._refuses(user):
            return self._answer(user, request, "no", 403)
        if self._left.get(token, 0) <= 0:
            return self._answer(user, request, LOGIN)
        self._left[token] -= 1
        return self._answer(user, request, f"<h1>{request.path}</h1>")

    def _refuses(self, user: str) -> bool:
        left = self.refusing.get(user, 0)
        self.refusing[user] = left - 1
        return left > 0

    def _answer(self, user: str, request: web.Request, text: str, status: int = 200) -> web.Response:
        self.log.append(Seen(time.monotonic(), user, request.path, status))
        return web.Response(text=text, status=status, content_type="text/html")
