"""The sites that limit: the models that the tests try the budget against, each with its numbers. Pure.

Each model's `ask(now)` says what it answers to a request that arrives `now` seconds after the first one;
`limited_server` puts it behind a socket.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.sites import (
    Answer,
    Concurrency,
    FixedWindow,
    SiteModel,
    SlidingSecond,
    SlowsDown,
    TokenBucket,
    steps,
)

LATENCY = 0.05
"""Seconds that a good answer takes everywhere but where a site says otherwise."""
WALL = "<html><body><p>Too many requests.</p></body></html>"


def title(page: int) -> str:
    """What a page holds, and a wall does not: the text of its `h1.title`."""
    return f"Page {page}"


@dataclass
class KeptStrictly(SlidingSecond):
    """While a Retry-After runs, everything is refused, with what is left of it in whole seconds."""

    _closed_until: float = -math.inf

    def ask(self, now: float) -> Answer:
        if now < self._closed_until:
            return Answer(429, min(self.latency, 0.01), float(math.ceil(self._closed_until - now)))
        answer = super().ask(now)
        if answer.retry_after is not None:
            self._closed_until = now + answer.retry_after
        return answer


@dataclass(frozen=True)
class Site:
    """One site. `make` takes the seconds of the run; `words` stand above the site's table.

    `lasts`: how many times as long as others it is asked. `names_wait`: whether refusals carry a Retry-After.
    `queues`: whether requests may have to wait there. `returns_at`: the share of the run after which a limit that
    fell is what it was. `pages`: how long the list is where it is to be brought to its end.
    """

    name: str
    heading: str
    words: str
    make: Callable[[float], SiteModel]
    lasts: float = 1.0
    names_wait: bool = True
    queues: bool = False
    returns_at: float | None = None
    pages: int | None = None


_STEPS = (0.2, 0.4)

SITES = (
    Site(
        "token-bucket",
        "Token bucket",
        "20 tokens per second, 40 saved up at most; 429 with `Retry-After: 1`",
        lambda seconds: TokenBucket(20.0, latency=LATENCY, burst=40.0),
    ),
    Site(
        "fixed-window",
        "Fixed window",
        "100 requests in each 5 seconds; 429 whose Retry-After leads to the next window",
        lambda seconds: FixedWindow(20.0, latency=LATENCY, window=5.0),
    ),
    Site(
        "sliding-second",
        "Sliding second",
        "60 requests in any second; 429 with `Retry-After: 1`",
        lambda seconds: SlidingSecond(60.0, latency=LATENCY),
    ),
    Site(
        "concurrency",
        "Cap on concurrency",
        "8 requests at once, 100 ms each; 429 with `Retry-After: 1`",
        lambda seconds: Concurrency(places=8, latency=0.1),
    ),
    Site(
        "slow-down",
        "Slows down before it fails",
        "one queue that works off 50 requests a second; 503 for what would wait there for more than 0.5 s",
        lambda seconds: SlowsDown(50.0, latency=LATENCY, patience=0.5),
        names_wait=False,
        queues=True,
    ),
    Site(
        "silent-walls",
        "Silent walls",
        "10 requests in any second; beyond, a page with status 200 that says “Too many requests.”",
        lambda seconds: SlidingSecond(10.0, latency=LATENCY, walls=True),
        names_wait=False,
    ),
    Site(
        "steps",
        "A limit that falls and comes back",
        "10 requests in any second for a fifth of the run, 3 for another, then 10 again; 429 with `Retry-After: 1`",
        lambda seconds: SlidingSecond(steps(10.0, 3.0, _STEPS[0] * seconds, _STEPS[1] * seconds), latency=LATENCY),
        lasts=2.0,
        returns_at=_STEPS[1],
    ),
    Site(
        "strict",
        "A Retry-After kept strictly",
        "30 requests in any second; 429 with `Retry-After: 5`, and until then everything is refused",
        lambda seconds: KeptStrictly(30.0, latency=LATENCY, retry_after=5.0),
    ),
    Site(
        "whole-list",
        "A whole list",
        "400 pages, to the end of the list or for so many seconds: 20 tokens per second, 40 saved up at most; 429 with "
        "`Retry-After: 1`",
        lambda seconds: TokenBucket(20.0, latency=LATENCY, burst=40.0),
        lasts=1.5,
        pages=400,
    ),
)
