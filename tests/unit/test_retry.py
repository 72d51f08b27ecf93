"""Backoff, Retry-After, and the delay before the next attempt."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.politeness.retry import DAY, backoff, before_attempt, default_hold, retry_after

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("0", 0.0),
        ("-30", 0.0),
        ("1e99", DAY),
        ("999999999999", DAY),
        ("nan", None),
        ("inf", None),
        ("1_000", None),
        ("١٢", None),
        ("soon", None),
        ("12 apples", None),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60.0),
        ("Tue, 14 Nov 2023 22:12:20 GMT", 0.0),
        ("Tuesday, 14-Nov-23 22:14:20 GMT", 60.0),
        ("Tue Nov 14 22:14:20 2023", 60.0),
        ("Tue, 14 Nov 2023 23:14:20 +0100", 60.0),
        ("Tue, 14 Nov 2033 22:14:20 GMT", DAY),
        ("Tue, 99 Nov 2023 22:14:20 GMT", None),
        ("Tue, 14 Nov 99999999999 22:14:20 GMT", None),
    ],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOW) == seconds


@given(st.text(max_size=60))
def test_no_retry_after_header_does_harm(header: str) -> None:
    found = retry_after(header, NOW)
    assert found is None or 0 <= found <= DAY


@given(st.integers(1, 10_000), st.integers())
def test_waits_are_bounded_and_never_negative(number: int, seed: int) -> None:
    assert 0 <= backoff(number, Random(seed)) <= 30
    assert 0 <= before_attempt(number, Random(seed)) <= 300
    assert 0.5 <= default_hold(number, Random(seed)) <= 75


def test_backoff_is_full_jitter_over_a_span_that_doubles() -> None:
    for number, span in ((1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0)):
        found = [backoff(number, Random(seed)) for seed in range(300)]
        assert min(found) < 0.05 * span
        assert 0.95 * span < max(found) <= span


def test_the_first_attempt_waits_for_nothing_and_later_ones_longer() -> None:
    assert before_attempt(1, Random(1)) == 0.0
    for attempt, span in ((2, 2.0), (3, 4.0), (4, 8.0)):
        found = [before_attempt(attempt, Random(seed)) for seed in range(100)]
        assert span / 2 <= min(found)
        assert max(found) <= span


def test_holds_of_our_own_grow() -> None:
    for streak, span in ((1, 1.0), (2, 2.0), (3, 4.0)):
        assert 0.75 * span <= default_hold(streak, Random(3)) <= 1.25 * span
