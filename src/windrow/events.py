"""What happens during a run, as frozen values that listeners observe.

A listener is any callable of one event. Terminal output, counters and logs are siblings that listen; none of them
can change what happens, and one that raises is reported, never obeyed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """What a response means."""

    OK = "ok"
    THROTTLED = "throttled"
    """The site asks for less: 429, 503 with Retry-After, a known wall with status 200."""
    BLOCKED = "blocked"
    """The site does not serve this session: 401, 403, a page without what it was expected to hold."""
    TRANSIENT = "transient"
    """A fault that is likely to pass: 5xx, a reset, a time-out, a truncated or undecodable body."""
    GONE = "gone"
    """The page does not exist: 404, 410."""
    REFUSED = "refused"
    """We do not ask: robots.txt, a scheme other than http(s), a limit of size or redirects."""


@dataclass(frozen=True, slots=True)
class RequestDone:
    """One request and what its answer means. `seconds` is the time from sending to the end of the body."""

    partition: str
    method: str
    url: str
    status: int | None
    verdict: Verdict
    seconds: float
    size: int
    reason: str | None = None
    retry: int = 0
    """How often this same request was sent before."""


@dataclass(frozen=True, slots=True)
class PartitionStarted:
    partition: str
    attempt: int
    identity: str | None = None
    """The name of the identity that the attempt has, for jobs that declare some."""


@dataclass(frozen=True, slots=True)
class PartitionEnded:
    """`state` is the state the partition was left in: done, split, incomplete, failed or pending (to be retried)."""

    partition: str
    state: str
    saved: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class RecordMade:
    """A valid record left the scrape function; `row` maps column to value."""

    partition: str
    row: dict[str, Any]


@dataclass(frozen=True, slots=True)
class RecordInvalid:
    partition: str
    error: str
    raw: str


Event = RequestDone | PartitionStarted | PartitionEnded | RecordMade | RecordInvalid
Listener = Callable[[Event], None]


def nobody(event: Event) -> None:
    """The listener for those who do not listen."""
