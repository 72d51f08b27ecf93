"""Real servers on loopback, and everything a session needs around it, put together from real parts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from aiohttp import web

from windrow.clock import Clock, SystemClock
from windrow.events import Event, RequestDone, Verdict
from windrow.fetch.http import HttpTransport
from windrow.fetch.transport import Answer, Failure, Request
from windrow.gate import Gate
from windrow.identity import Proxy
from windrow.job import Limits
from windrow.politeness import adaptive
from windrow.politeness.adaptive import Observation
from windrow.politeness.budget import HostBudget, hold, reserve
from windrow.session import Session, SessionSettings
from windrow.store.hosts import ROBOTS_LIFETIME
from windrow.store.messages import HostNotes, Slots

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
RawHandler = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class MemoryBook:
    """A small real HostBook: one budget for each host, kept in memory, on the clock it is given."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.budgets: dict[str, HostBudget] = {}
        self.robots: dict[str, tuple[int, str, float]] = {}
        self.reserved: list[tuple[str, int]] = []
        self.states: dict[str, adaptive.Adaptive] = {}
        self.takers: dict[str, float] = {}
        self.observed: list[Observation] = []

    async def reserve(self, host: str, slots: int, interval: float) -> list[float]:
        now = self._clock.monotonic()
        self.reserved.append((host, slots))
        self.budgets[host], times = reserve(self._budget(host), now, slots, interval)
        await asyncio.sleep(0)
        return [time - now for time in times]

    async def take(self, host: str, worker: str, slots: int, interval: float, seen: Observation) -> Slots:
        await self.observe(host, seen)
        now = self._clock.monotonic()
        self.reserved.append((host, slots))
        self.budgets[host], self.takers, grant = adaptive.take(
            self.states[host], self._budget(host), self.takers, worker, slots, interval, now
        )
        await asyncio.sleep(0)
        return Slots([time - now for time in grant.times], grant.interval)

    async def observe(self, host: str, seen: Observation) -> None:
        self.observed.append(seen)
        state = self.states.get(host, adaptive.Adaptive())
        self.states[host] = adaptive.observe(state, seen, self._clock.monotonic())

    async def hold(self, host: str, seconds: float, seen: Observation | None = None) -> None:
        if seen is not None:
            await self.observe(host, seen)
        self.budgets[host] = hold(self._budget(host), self._clock.monotonic() + seconds)

    async def notes(self, host: str) -> HostNotes:
        now = self._clock.monotonic()
        status, text, at = self.robots.get(host, (None, "", now))
        hold = max(0.0, self._budget(host).hold_until - now)
        return HostNotes(status, text, hold, now - at) if now - at < ROBOTS_LIFETIME else HostNotes(None, "", hold)

    async def keep_robots(self, host: str, status: int, text: str) -> None:
        self.robots[host] = (status, text, self._clock.monotonic())

    def _budget(self, host: str) -> HostBudget:
        return self.budgets.get(host, HostBudget(-1e9, -1e9))


@dataclass(frozen=True)
class Seen:
    """A request as a server saw it. `at` is the monotonic clock's."""

    at: float
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Site:
    """A server that is running: where it is and what it was asked."""

    url: str
    seen: list[Seen] = field(default_factory=list)

    @property
    def pages(self) -> list[Seen]:
        """What it was asked, robots.txt left out."""
        return [each for each in self.seen if each.target != "/robots.txt"]

    @property
    def authority(self) -> str:
        return self.url.removeprefix("http://")


@asynccontextmanager
async def running_site(handler: Handler, robots: Handler | None = None) -> AsyncIterator[Site]:
    """A site that answers everything with `handler`, and /robots.txt with `robots` (default: 404)."""
    site = Site("")

    async def answer(request: web.Request) -> web.StreamResponse:
        at = time.monotonic()
        site.seen.append(Seen(at, request.method, request.path_qs, request.headers.copy(), await request.read()))
        if request.path == "/robots.txt":
            return await robots(request) if robots else web.Response(status=404)
        return await handler(request)

    application = web.Application(client_max_size=10_000_000)
    application.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        tcp = web.TCPSite(runner, "127.0.0.1", 0)
        await tcp.start()
        site.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield site
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running_raw(respond: RawHandler) -> AsyncIterator[Site]:
    """A server that reads one request's head and leaves the bytes of the answer, and its end, to `respond`."""
    site = Site("")
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            tasks.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.decode("latin-1").split(" ", 2)
            site.seen.append(Seen(time.monotonic(), method, target, {}, head))
            await respond(head, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    site.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield site
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@dataclass
class Kit:
    """Builds gates, transports and sessions, keeps their events, and closes all of it at the end of a test's loop."""

    clock: Clock = field(default_factory=SystemClock)
    random: Random = field(default_factory=lambda: Random(7))
    events: list[RequestDone] = field(default_factory=list)
    _open: list[Session | HttpTransport] = field(default_factory=list)

    site = staticmethod(running_site)
    raw = staticmethod(running_raw)

    def book(self) -> MemoryBook:
        return MemoryBook(self.clock)

    def limits(self, **changed: Any) -> Limits:
        """The defaults, but with little patience: a test that waits is a test that failed."""
        return Limits(**{"connect": 5.0, "silence": 5.0, "request": 10.0, "wait": 5.0, **changed})

    def transport(self, proxy: Proxy | None = None, **limits: Any) -> HttpTransport:
        transport = HttpTransport(self.limits(**limits), self.clock, proxy)
        self._open.append(transport)
        return transport

    def gate(
        self,
        book: MemoryBook | None = None,
        *,
        robots: bool = False,
        rate: float | None = None,
        user_agent: str = "windrow/0.1 (tests)",
        limits: Limits | None = None,
    ) -> Gate:
        return Gate(
            book or self.book(),
            user_agent=user_agent,
            obey_robots=robots,
            rate=rate,
            limits=limits or self.limits(),
            clock=self.clock,
            fetch_robots=self.transport().send,
            random=self.random,
        )

    def session(self, gate: Gate | None = None, base_url: str | None = None, **settings: Any) -> Session:
        limits = settings.pop("limits", None) or self.limits()
        listener = settings.pop("listener", self._listen)
        chosen = SessionSettings("p", base_url, limits=limits, **settings)
        transport = HttpTransport(limits, self.clock, chosen.identity.way if chosen.identity else None)
        session = Session(chosen, gate or self.gate(limits=limits), transport, self.clock, listener, self.random)
        self._open.append(session)
        return session

    async def fetch(self, url: str, **limits: Any) -> Answer | Failure:
        """One GET through a transport of its own."""
        return await self.transport(**limits).send(Request("GET", url))

    async def close(self) -> None:
        for each in self._open:
            await each.close()
        self._open.clear()

    def run(self, test: Callable[[], Awaitable[None]]) -> None:
        """Run a test in a loop of its own; nothing that was opened outlives it."""

        async def whole() -> None:
            try:
                await test()
            finally:
                await self.close()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"tasks left behind: {left}"

        asyncio.run(whole())

    @property
    def verdicts(self) -> list[Verdict]:
        return [event.verdict for event in self.events]

    def _listen(self, event: Event) -> None:
        assert isinstance(event, RequestDone)
        self.events.append(event)


@pytest.fixture
def kit() -> Kit:
    return Kit()


@pytest.fixture
def annuaire() -> Path:
    """The folder of captured pages; the test is skipped where it is absent."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "fixtures" / "annuaire"
    if not folder.is_dir():
        pytest.skip(f"no captured pages at {folder}")
    return folder
