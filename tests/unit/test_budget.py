"""The budget of a host and the pace of a session."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.events import Verdict
from windrow.politeness.budget import HostBudget, hold, reserve
from windrow.politeness.pace import SessionPace, adapted, next_start

moments = st.floats(0, 1e6, allow_nan=False)
intervals = st.floats(0.001, 100, allow_nan=False)
asks = st.lists(st.tuples(st.floats(0, 5, allow_nan=False), st.integers(1, 50)), min_size=1, max_size=30)


def test_an_idle_host_grants_at_once_and_spaces_what_follows() -> None:
    budget, times = reserve(HostBudget(), 100.0, 3, 0.25)
    assert times == [100.0, 100.25, 100.5]
    assert reserve(budget, 100.0, 1, 0.25)[1] == [100.75]


def test_a_long_pause_saves_nothing_up() -> None:
    budget, _ = reserve(HostBudget(), 0.0, 1, 1.0)
    assert reserve(budget, 1000.0, 3, 0.5)[1] == [1000.0, 1000.5]


@pytest.mark.parametrize(
    ("slots", "interval", "granted"),
    [(100, 0.1, 10), (100, 0.3, 4), (5, 0.1, 5), (100, 1.0, 1), (100, 30.0, 1), (100, 0.5, 2), (0, 0.5, 1)],
)
def test_at_least_one_slot_and_at_most_a_seconds_worth(slots: int, interval: float, granted: int) -> None:
    assert len(reserve(HostBudget(), 0.0, slots, interval)[1]) == granted


def test_without_an_interval_all_slots_begin_now() -> None:
    assert reserve(HostBudget(), 5.0, 3, 0.0)[1] == [5.0, 5.0, 5.0]


def test_nothing_is_granted_within_a_hold_and_a_shorter_hold_changes_nothing() -> None:
    budget = hold(hold(HostBudget(), 50.0), 20.0)
    assert reserve(budget, 10.0, 2, 0.5)[1] == [50.0, 50.5]


@given(asks, intervals)
def test_slots_of_all_workers_are_never_closer_than_the_interval(
    asked: list[tuple[float, int]], interval: float
) -> None:
    now, budget, granted = 1000.0, HostBudget(), []
    for later, slots in asked:
        now += later
        budget, times = reserve(budget, now, slots, interval)
        assert 1 <= len(times) <= slots
        assert times[0] >= now
        assert times[-1] - times[0] < 1.0 or len(times) == 1
        granted.extend(times)
    assert all(after - before >= interval * (1 - 1e-9) for before, after in pairwise(granted))


@given(asks, intervals, st.lists(moments, max_size=5))
def test_no_slot_begins_before_a_hold_is_over(
    asked: list[tuple[float, int]], interval: float, holds: list[float]
) -> None:
    now, budget, until = 1000.0, HostBudget(), 0.0
    pending = list(holds)
    for later, slots in asked:
        now += later
        if pending:
            until = max(until, moment := pending.pop())
            budget = hold(budget, moment)
        budget, times = reserve(budget, now, slots, interval)
        assert min(times) >= until


def test_a_sessions_first_request_starts_at_once_and_the_next_after_the_delay() -> None:
    assert next_start(None, 5.0) == 0.0
    assert next_start(100.0, 0.5) == 100.5
    assert next_start(100.0, 0.5, factor=2.0) == 101.0
    assert next_start(100.0, 0.5, factor=0.0) == 100.0
    assert next_start(100.0, 0.5, factor=-1.0) == 100.0


# --- the pace of a session adapts ---


def after(pace: SessionPace, *verdicts: Verdict, least: float = 0.2, most: float = 5.0) -> SessionPace:
    for verdict in verdicts:
        pace = adapted(pace, verdict, least, most)
    return pace


def test_ten_clean_answers_make_a_session_a_little_faster_down_to_its_bound() -> None:
    nine = after(SessionPace(1.0), *[Verdict.OK] * 9)
    assert nine.delay == 1.0
    assert after(nine, Verdict.OK) == SessionPace(0.9)
    assert after(SessionPace(1.0), *[Verdict.OK] * 1_000).delay == 0.2
    assert after(SessionPace(1.0), *[Verdict.OK] * 1_000, least=1.0).delay == 1.0


@pytest.mark.parametrize("verdict", [Verdict.THROTTLED, Verdict.BLOCKED])
def test_a_block_or_a_throttling_makes_it_slower_up_to_its_bound(verdict: Verdict) -> None:
    assert after(SessionPace(1.0, clean=9), verdict) == SessionPace(1.5)
    assert after(SessionPace(1.0), *[verdict] * 20).delay == 5.0
    assert after(nine := after(SessionPace(1.0), verdict, *[Verdict.OK] * 9), Verdict.TRANSIENT) == nine


@given(
    st.floats(0, 100),
    st.floats(0, 10),
    st.floats(0, 50),
    st.lists(st.sampled_from(list(Verdict)), max_size=60),
)
def test_a_pace_keeps_to_its_bounds_and_none_stays_none(
    delay: float, least: float, more: float, verdicts: list[Verdict]
) -> None:
    most = least + more
    found = after(SessionPace(delay), *verdicts, least=least, most=most).delay
    assert min(delay, least) <= found <= max(delay, most)
    assert delay > 0 or found == 0
