"""What a site's own log says about who asked it. Pure; moments are seconds from the first request on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

GRACE = 0.1
"""Seconds from a site's first word to wait, within which requests that were on their way do not count."""
CONVERGED, CONVERGED_SECONDS = 0.8, 5

Limit = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Entry:
    """One request. `refused`: by its status or by a wall; `retry_after` in seconds, 0 for none."""

    arrived: float
    answered: float
    status: int
    refused: bool
    retry_after: float


def read(text: str) -> list[Entry]:
    """The entries of a log by arrival, the first at 0. A last line that is cut off is left out."""
    complete = text[: text.rfind("\n") + 1]
    rows = sorted(line.split() for line in complete.splitlines())
    first = min((float(row[0]) for row in rows), default=0.0)
    entries = [
        Entry(float(arrived) - first, float(answered) - first, int(status), refused == "1", float(wait))
        for arrived, answered, status, refused, wait in rows
    ]
    return sorted(entries, key=lambda entry: entry.arrived)


def until(entries: Sequence[Entry], seconds: float) -> list[Entry]:
    """Those that were answered by then."""
    return [entry for entry in entries if entry.answered < seconds]


def goodput(entries: Sequence[Entry], begin: float, end: float) -> float:
    """Good answers per second."""
    good = sum(1 for entry in entries if not entry.refused and begin <= entry.answered < end)
    return good / (end - begin)


def mean_limit(limit: Limit, begin: float, end: float) -> float:
    """The mean of a limit over a time, sampled by tenths of a second."""
    moments = [begin + (tenth + 0.5) / 10 for tenth in range(max(1, round(10 * (end - begin))))]
    return sum(map(limit, moments)) / len(moments)


def use(entries: Sequence[Entry], limit: Limit, begin: float, end: float) -> float:
    """Good answers as a share of what the limit would have allowed."""
    return goodput(entries, begin, end) / mean_limit(limit, begin, end)


def refused_share(entries: Sequence[Entry]) -> float:
    """Refused requests as a share of all."""
    return sum(entry.refused for entry in entries) / len(entries) if entries else 0.0


def added_latency(entries: Sequence[Entry], latency: float) -> float:
    """Mean seconds that good answers took beyond the site's own latency."""
    took = [entry.answered - entry.arrived for entry in entries if not entry.refused]
    return max(0.0, sum(took) / len(took) - latency) if took else 0.0


def converged(entries: Sequence[Entry], limit: Limit, begin: float, end: float) -> float:
    """Seconds from `begin` until, for the first time, most of the limit is used for the next seconds; inf: never."""
    second = math.ceil(begin)
    while second + CONVERGED_SECONDS <= end:
        if use(entries, limit, second, second + CONVERGED_SECONDS) >= CONVERGED:
            return second - begin
        second += 1
    return math.inf


def during_waits(entries: Sequence[Entry]) -> int:
    """Requests that arrived while a Retry-After ran, later than GRACE after its first word."""
    found, ends, heard = 0, -math.inf, 0.0
    for entry in entries:
        found += heard < entry.arrived < ends
        ends_then = entry.answered + entry.retry_after
        if entry.retry_after and ends_then > ends:
            heard = entry.answered + GRACE if entry.arrived >= ends else heard
            ends = ends_then
    return found


def by_second(entries: Sequence[Entry], seconds: float, *, refused: bool) -> list[int]:
    """Answers of one kind in each second."""
    counts = [0] * math.ceil(seconds)
    for entry in entries:
        if entry.refused is refused and 0 <= entry.answered < seconds:
            counts[int(entry.answered)] += 1
    return counts
