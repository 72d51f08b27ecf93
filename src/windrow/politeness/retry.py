"""When to try again: after a fault, after a throttling, and when a partition gets its next attempt."""

from __future__ import annotations

import math
from datetime import UTC
from email.utils import parsedate_to_datetime
from random import Random

DAY = 86_400.0


def backoff(retry: int, random: Random, *, base: float = 0.5, most: float = 30.0) -> float:
    """Seconds before the retry numbered `retry` (1 is the first): full jitter over a span that doubles up to `most`.

    Full jitter, because what failed for one session has usually failed for all, and they should not come back at once.
    """
    span = min(most, base * 2.0 ** min(retry - 1, 60))
    return random.uniform(0.0, span)


def before_attempt(attempt: int, random: Random, *, base: float = 2.0, most: float = 300.0) -> float:
    """Seconds before a partition's attempt numbered `attempt` (2 is the first that waits).

    Half of the span is kept as a floor: whatever ended the attempt (a block, a lost session) should have some time.
    """
    if attempt <= 1:
        return 0.0
    span = min(most, base * 2.0 ** min(attempt - 2, 60))
    return span / 2 + random.uniform(0.0, span / 2)


def default_hold(streak: int, random: Random, *, base: float = 1.0, most: float = 60.0) -> float:
    """Seconds to keep off a host that throttles without a usable Retry-After, `streak` times in a row (from 1)."""
    span = min(most, base * 2.0 ** min(streak - 1, 60))
    return span * random.uniform(0.75, 1.25)


def rest(times: int, *, first: float, most: float) -> float:
    """Seconds that an identity rests for the `times`-th time in a row (from 1): doubled each time, up to `most`."""
    return min(most, first * 2.0 ** min(times - 1, 60))


def retry_after(header: str | None, now: float) -> float | None:
    """Seconds from `now` (epoch) that a Retry-After header asks to wait; None where it is missing or says nothing.

    A number of seconds or an HTTP date. What lies in the past is 0, and nothing counts for more than a day.
    """
    if header is None:
        return None
    text = header.strip()
    seconds = _number(text)
    if seconds is None:
        seconds = _date(text, now)
    return None if seconds is None else min(max(seconds, 0.0), DAY)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and text.isascii() and "_" not in text else None


def _date(text: str, now: float) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
