"""The only place that reads time or sleeps.

Everything that waits or stamps takes a `Clock` by its constructor, so tests of time take no time.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What a part may ask of time."""

    def now(self) -> float:
        """Seconds since the epoch: comparable between processes and stored in tables."""

    def monotonic(self) -> float:
        """Seconds that never go back: for measuring and for waiting within one process."""

    async def sleep(self, seconds: float) -> None:
        """Suspend the calling task; 0 or less returns after one turn of the loop."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        # Imported here: a worker of `windrow.map` starts in half the time without an event loop.
        import asyncio

        await asyncio.sleep(max(0.0, seconds))


def iso(seconds: float | None) -> str | None:
    """Epoch seconds as an ISO 8601 text in UTC with milliseconds, None as None."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
