"""A real server that bears so many requests in any second, in a thread of its own, and logs what arrives."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from tests.support.serving import Served


class LimitedSite(Served):
    """Answers after `latency` seconds; beyond `limit(seconds since the first request)` requests in any second with a
    429 and a Retry-After of `retry_after`. `log` holds (moment of arrival, status, moment of the answer).
    """

    def __init__(
        self, limit: float | Callable[[float], float], *, latency: float = 0.003, retry_after: float = 1.0
    ) -> None:
        super().__init__()
        self.log: list[tuple[float, int, float]] = []
        self._limit = limit
        self._latency = latency
        self._retry_after = retry_after
        self._let_in: deque[float] = deque()
        self._first: float | None = None

    def limit(self, seconds: float) -> float:
        return self._limit(seconds) if callable(self._limit) else self._limit

    @property
    def arrivals(self) -> list[float]:
        """Moments from the first request on."""
        return [at - self.log[0][0] for at, _, _ in self.log]

    @property
    def refused(self) -> list[float]:
        return [at - self.log[0][0] for at, status, _ in self.log if status == 429]

    def goodput(self, begin: float, end: float) -> float:
        first = self.log[0][0]
        return sum(1 for at, status, _ in self.log if status == 200 and begin <= at - first < end) / (end - begin)

    def during_holds(self, grace: float) -> int:
        """Requests that came while a Retry-After ran; `grace` seconds are what a word needs to reach everybody."""
        found, until, heard = 0, -1.0, 0.0
        for at, status, answered in self.log:
            found += heard < at < until
            if status == 429 and answered + self._retry_after > until:
                heard = answered + grace if at >= until else heard
                until = answered + self._retry_after
        return found

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        application = web.Application()
        application.router.add_get("/{tail:.*}", self._answer)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield
        await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        now = time.monotonic()
        if request.path == "/robots.txt":
            return web.Response(status=404)
        if self._first is None:
            self._first = now
        while self._let_in and self._let_in[0] <= now - 1.0:
            self._let_in.popleft()
        if len(self._let_in) >= self.limit(now - self._first):
            self.log.append((now, 429, now))
            return web.Response(status=429, headers={"Retry-After": f"{self._retry_after:g}"})
        self._let_in.append(now)
        await asyncio.sleep(self._latency)
        self.log.append((now, 200, time.monotonic()))
        self.log.sort()
        return web.Response(text=f"<p>{request.path}</p>", content_type="text/html")
