"""A clock for tests of time."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count


class ManualClock:
    """A clock that stands still until it is told to go on; sleeping moves it."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self._now = now

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    def forward(self, seconds: float) -> None:
        self._now += seconds

    async def sleep(self, seconds: float) -> None:
        self._now += max(0.0, seconds)
        await asyncio.sleep(0)


class VirtualClock:
    """Time that jumps to the next sleeper's moment as soon as nothing else is left to do."""

    def __init__(self) -> None:
        self._now = 1_000.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = count()
        self._quiet_turns = 0
        self._watching = False

    def now(self) -> float:
        return 1_700_000_000.0 + self._now

    def monotonic(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        waker: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + max(0.0, seconds), next(self._order), waker))
        self._quiet_turns = 0
        if not self._watching:
            self._watching = True
            self._watch()
        await waker

    def _watch(self) -> None:
        """Wake one sleeper after so many turns of the loop that whoever was woken before must have come to rest."""
        self._quiet_turns += 1
        if self._quiet_turns > 50:
            self._quiet_turns = 0
            moment, _, waker = heapq.heappop(self._sleepers)
            self._now = max(self._now, moment)
            if not waker.done():
                waker.set_result(None)
        if self._sleepers:
            asyncio.get_running_loop().call_soon(self._watch)
        else:
            self._watching = False
