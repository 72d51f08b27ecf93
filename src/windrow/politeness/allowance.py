"""What a host says in headers about how much it bears: from headers to an upper bound. Pure.

Read are, in this order, the structured fields of the current IETF draft (`RateLimit: "default";r=50;t=30`,
`RateLimit-Policy: "default";q=100;w=60`), its older forms (`RateLimit: limit=100, remaining=50, reset=5` and the three
fields `RateLimit-Limit`, `-Remaining`, `-Reset`), and the triplet `X-RateLimit-*`, whose reset may be seconds or an
epoch. What cannot be read says nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

LONGEST = 3_600.0
"""Seconds for which such a word is believed at most."""
_EPOCH = 1e9
_PARAMETER = re.compile(r"([a-z*][a-z0-9_*.-]*)\s*=\s*(-?[0-9]{1,15}(?:\.[0-9]{1,6})?)", re.IGNORECASE)


class Allowance(NamedTuple):
    """At most `rate` requests per second for `seconds`. With `rate` 0 nothing is left until then."""

    rate: float
    seconds: float


def allowance(headers: Mapping[str, str], now: float) -> Allowance | None:
    """What `headers` (names are found without case) allow; None where they say nothing. `now`: epoch seconds."""
    found = headers.get("RateLimit")
    policy = headers.get("RateLimit-Policy")
    if found is not None or policy is not None:
        bounds = [*_current(found or ""), *_older(found or ""), *_policies(policy or "")]
        if bounds:
            # What is left is a better word than how much there is in general, and of several the strictest counts.
            return min(bounds)
    for prefix in ("RateLimit-", "X-RateLimit-", "X-Rate-Limit-"):
        remaining = _number(headers.get(prefix + "Remaining"))
        reset = _number(headers.get(prefix + "Reset"))
        if remaining is not None and reset is not None:
            return _left(remaining, _seconds(reset, now))
    return None


def _current(text: str) -> Iterator[Allowance]:
    for each in _items(text):
        bound = _left(each.get("r"), each.get("t"))
        if bound is not None:
            yield bound


def _older(text: str) -> Iterator[Allowance]:
    merged = {name: value for each in _items(text) for name, value in each.items()}
    bound = _left(merged.get("remaining"), merged.get("reset"))
    if bound is not None:
        yield bound


def _policies(text: str) -> Iterator[Allowance]:
    for each in _items(text):
        quota, window = each.get("q"), each.get("w")
        if quota and window and quota > 0 and window > 0:
            yield Allowance(quota / window, min(window, LONGEST))


def _items(text: str) -> Iterable[dict[str, float]]:
    """The members of a list, each with its numeric parameters. Names in quotes may hold anything."""
    for item in re.sub(r'"(?:[^"\\]|\\.)*"', "name", text[:2_000]).split(","):
        yield {name.lower(): float(value) for name, value in _PARAMETER.findall(item)}


def _left(remaining: float | None, seconds: float | None) -> Allowance | None:
    if remaining is None or seconds is None or remaining < 0 or not 0 < seconds <= 10 * 86_400:
        return None
    return Allowance(remaining / seconds, min(seconds, LONGEST))


def _seconds(reset: float, now: float) -> float:
    """A reset as seconds from now: it is that already, or an epoch in seconds or milliseconds."""
    if reset > _EPOCH * 1_000:
        return reset / 1_000 - now
    return reset - now if reset > _EPOCH else reset


def _number(text: str | None) -> float | None:
    """The number a field begins with: `100, 100;w=60` is 100."""
    if text is None or not text.isascii():
        return None
    found = re.match(r"\s*([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*(?:[,;].*)?$", text)
    number = float(found.group(1)) if found else None
    return number if number is not None and math.isfinite(number) else None
