"""What the politeness benchmark reckons from a site's log."""

from __future__ import annotations

import math

import pytest

from benchmarks import site_log
from benchmarks.site_log import Entry


def good(at: float) -> Entry:
    return Entry(at, at + 0.05, 200, False, 0.0)


def refused(at: float, wait: float = 0.0) -> Entry:
    return Entry(at, at, 429, True, wait)


def test_a_log_is_read_by_arrival_from_its_first_request_on_and_without_a_cut_line() -> None:
    text = "12.5 12.625 429 1 2\n12.0 12.75 200 0 0\n13.0 13.125 200 1 0\n13.5 13."
    assert site_log.read(text) == [
        Entry(0.0, 0.75, 200, False, 0.0),
        Entry(0.5, 0.625, 429, True, 2.0),
        Entry(1.0, 1.125, 200, True, 0.0),
    ]
    assert site_log.read("") == []


def test_the_use_of_a_limit_that_changes_is_a_share_of_what_it_allowed() -> None:
    entries = [good(at / 10) for at in range(100)]
    assert site_log.use(entries, lambda at: 20.0 if at < 5 else 5.0, 0.0, 10.0) == pytest.approx(0.8, rel=0.02)
    assert site_log.refused_share([*entries, *(refused(1.0) for _ in range(25))]) == 0.2


def test_it_has_converged_when_five_seconds_use_most_of_the_limit() -> None:
    slow = [good(at / 2) for at in range(12)]
    fast = [good(6 + at / 10) for at in range(140)]
    assert site_log.converged([*slow, *fast], lambda at: 10.0, 0.0, 20.0) == 5.0
    assert site_log.converged([*slow, *fast], lambda at: 10.0, 4.0, 20.0) == 1.0
    assert math.isinf(site_log.converged(slow, lambda at: 10.0, 0.0, 20.0))


def test_what_is_sent_while_a_retry_after_runs_is_counted_after_its_grace() -> None:
    first = refused(1.0, wait=2.0)
    assert site_log.during_waits([good(0.5), first, refused(1.05, wait=2.0), good(3.06)]) == 0
    assert site_log.during_waits([first, good(1.2), good(2.9), good(3.01)]) == 2
    # A further refusal during the wait makes it longer, and its own request is one too many; no new grace begins.
    assert site_log.during_waits([first, refused(2.5, wait=2.0), good(2.55), good(4.4), good(4.6)]) == 3


def test_added_latency_is_of_good_answers_and_never_negative() -> None:
    entries = [Entry(0.0, 0.25, 200, False, 0.0), Entry(0.0, 0.05, 200, False, 0.0), refused(0.0)]
    assert site_log.added_latency(entries, 0.05) == pytest.approx(0.1)
    assert site_log.added_latency([good(0.0)], 0.1) == 0.0


def test_answers_by_second() -> None:
    entries = [good(0.5), good(0.97), refused(1.2), good(9.0)]
    assert site_log.by_second(entries, 3.0, refused=False) == [1, 1, 0]
    assert site_log.by_second(entries, 3.0, refused=True) == [0, 1, 0]
