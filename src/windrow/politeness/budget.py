"""How fast all sessions together may go on one host: GCRA as a pure function of values.

The generic cell rate algorithm keeps one number, the moment the next request may start. Taking a slot moves it on by
the interval; an idle host saves nothing up, so there is never a burst. The state of a host is one row of the store,
and everybody who wants to send reserves from it.

What the interval is stands in `adaptive.py`, which turns what was seen (throttled, latency, use) into a rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class HostBudget:
    """A host's state, in seconds of the store's clock. A host nobody has asked yet is `HostBudget()`."""

    next_slot: float = 0.0
    """When the next slot that nobody has reserved begins."""
    hold_until: float = 0.0
    """Before this moment nothing may be sent (Retry-After)."""


def reserve(
    budget: HostBudget, now: float, slots: int, interval: float, ahead: float = 1.0
) -> tuple[HostBudget, list[float]]:
    """Take up to `slots` slots, `interval` seconds apart; returns the budget afterwards and when each slot begins.

    At least one slot is granted and none begins before `now`, before the hold is over, or more than `ahead` seconds
    after the first: what one worker holds and loses in a crash is worth at most that much.
    """
    first = max(now, budget.next_slot, budget.hold_until)
    granted = max(1, min(slots, _within(ahead, interval, slots)))
    times = [first + place * interval for place in range(granted)]
    return replace(budget, next_slot=first + granted * interval), times


def hold(budget: HostBudget, until: float) -> HostBudget:
    """Nothing may be sent before `until`; a hold that is already longer stays."""
    return replace(budget, hold_until=max(budget.hold_until, until))


def _within(ahead: float, interval: float, most: int) -> int:
    """How many slots begin within `ahead` seconds of the first; the first itself counts."""
    if interval <= 0:
        return most
    # The tiny addend keeps 10 × 0.1 s from becoming 9 slots by rounding; a slot at exactly `ahead` is beyond it.
    return min(most, math.ceil(ahead / interval - 1e-9))
