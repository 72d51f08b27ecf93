"""How many sessions a worker keeps where nobody said."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.engines.burden import weigh
from windrow.politeness.staffing import Load, staffed

EASY = Load(sessions=8, busy=8, waiting=0.0, cpu=0.2, memory=0.3)
shares = st.floats(0, 1)


@given(
    st.builds(Load, st.integers(1, 500), st.integers(0, 500), shares, st.floats(0, 1.5), shares), st.integers(1, 500)
)
def test_there_is_always_one_and_never_more_than_the_most(load: Load, most: int) -> None:
    assert 1 <= staffed(load, most) <= max(most, load.sessions)
    assert staffed(replace(load, sessions=min(load.sessions, most)), most) <= most


@pytest.mark.parametrize(
    ("change", "sessions"),
    [
        ({}, 12),
        ({"busy": 5}, 8),  # there is no more work
        ({"waiting": 0.3}, 8),
        ({"waiting": 0.6}, 5),
        ({"waiting": 1.0}, 4),
        ({"held": 1.0}, 8),  # nobody can do anything: no word about how many there should be
        ({"cpu": 0.85}, 8),
        ({"cpu": 0.97}, 7),
        ({"memory": 0.9}, 8),
        ({"memory": 0.95}, 5),
    ],
)
def test_what_is_short_decides(change: dict[str, Any], sessions: int) -> None:
    assert staffed(replace(EASY, **change), 64) == sessions


@pytest.mark.parametrize("start", [1, 3, 40, 200])
@pytest.mark.parametrize("needed", [1.0, 5.0, 30.0])
def test_it_settles_near_what_the_budget_needs(start: int, needed: float) -> None:
    sessions = start
    for _ in range(30):
        waiting = max(0.0, 1.0 - needed / sessions)
        sessions = staffed(Load(sessions, sessions, waiting, 0.1, 0.1), 300)
    assert needed <= sessions <= 2 * needed + 1


def test_what_plain_scrape_functions_compute_in_their_threads_counts() -> None:
    def compute() -> None:
        while time.thread_time() < 0.2:
            sum(range(1_000))

    before = weigh().cpu
    thread = threading.Thread(target=compute)
    thread.start()
    thread.join()
    assert weigh().cpu - before >= 0.2
