"""How fast one session goes: from the end of its last answer to its next request."""

from __future__ import annotations


def next_start(last_end: float | None, delay: float, factor: float = 1.0) -> float:
    """When the next request may start, on the clock of `last_end`; a session's first request may start at once.

    `factor` is what the scrape function asks of this one request: 0 for no delay, 2 for twice the usual.
    """
    if last_end is None:
        return 0.0
    return last_end + max(0.0, delay * factor)
