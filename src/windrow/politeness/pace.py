"""How fast one session goes: from the end of its last answer to its next request, and how that adapts."""

from __future__ import annotations

from dataclasses import dataclass

from windrow.events import Verdict


def next_start(last_end: float | None, delay: float, factor: float = 1.0) -> float:
    """When the next request may start, on the clock of `last_end`; a session's first request may start at once.

    `factor` is what the scrape function asks of this one request: 0 for no delay, 2 for twice the usual.
    """
    if last_end is None:
        return 0.0
    return last_end + max(0.0, delay * factor)


CLEAN_ANSWERS = 10
FASTER, SLOWER = 0.9, 1.5


@dataclass(frozen=True, slots=True)
class SessionPace:
    """The delay of one session now, and how many clean answers it had since the delay last changed."""

    delay: float
    clean: int = 0


def adapted(pace: SessionPace, verdict: Verdict, least: float, most: float) -> SessionPace:
    """The pace after an answer. A delay of 0 stays 0, and one outside of the bounds is never pushed further out."""
    if pace.delay <= 0:
        return pace
    if verdict in (Verdict.THROTTLED, Verdict.BLOCKED):
        return SessionPace(max(pace.delay, min(most, pace.delay * SLOWER)))
    if verdict is not Verdict.OK:
        return pace
    if pace.clean + 1 < CLEAN_ANSWERS:
        return SessionPace(pace.delay, pace.clean + 1)
    return SessionPace(min(pace.delay, max(least, pace.delay * FASTER)))
