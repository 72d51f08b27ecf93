"""The adaptive budget: its rules as properties, and whole runs against models of sites over virtual time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.sites import (
    Concurrency,
    FixedWindow,
    Log,
    Ours,
    SiteModel,
    SlidingSecond,
    SlowsDown,
    TokenBucket,
    simulate,
    steps,
)
from windrow.politeness import adaptive
from windrow.politeness.adaptive import LEAST, MOST, START, Adaptive, Observation
from windrow.politeness.budget import HostBudget, hold

counts = st.integers(0, 200)
observations = st.builds(
    Observation,
    seconds=st.floats(0.001, 5),
    ok=counts,
    throttled=st.integers(0, 3),
    trouble=st.integers(0, 20),
    latency=st.sampled_from([0.0, 0.01, 0.2, 5.0]),
    entered=counts,
    waited=counts,
    bound=st.sampled_from([0.0, 0.0, 0.5, 20.0]),
    bound_seconds=st.sampled_from([0.0, 3.0]),
)
histories = st.lists(st.tuples(st.floats(0, 20), observations), max_size=40)


def lived(history: list[tuple[float, Observation]], now: float = 1_000.0) -> tuple[Adaptive, float]:
    state = Adaptive()
    for later, seen in history:
        now += later
        state = adaptive.observe(state, seen, now)
    return state, now


@given(histories)
def test_the_rate_stays_in_its_bounds_whatever_is_seen(history: list[tuple[float, Observation]]) -> None:
    state, now = lived(history)
    assert LEAST <= state.rate <= MOST
    assert LEAST <= adaptive.allowed(state, now) <= MOST
    assert now >= state.bound_until or adaptive.allowed(state, now) <= max(LEAST, state.bound)


@given(
    histories,
    st.floats(0.001, 20),
    st.lists(st.tuples(st.floats(0, 2), st.integers(0, 3), st.integers(1, 100)), min_size=1, max_size=30),
    st.floats(0, 30),
)
def test_slots_keep_to_the_users_interval_the_hold_and_one_stretch_ahead(
    history: list[tuple[float, Observation]], least: float, takes: list[tuple[float, int, int]], held: float
) -> None:
    state, now = lived(history)
    until = now + held
    budget, takers, times = hold(HostBudget(), until), dict[str, float](), list[float]()
    for later, worker, slots in takes:
        now += later
        budget, takers, grant = adaptive.take(state, budget, takers, str(worker), slots, least, now)
        assert 1 <= len(grant.times) <= slots
        assert grant.times[0] >= max(now, until)
        assert grant.times[-1] - grant.times[0] <= 1.0
        assert grant.interval >= least
        times += grant.times
    times.sort()
    # In any window no more than the interval allows, and one second's reserve for each worker that took part.
    reserve = 4 * (1 / least + 1)
    for first, begin in enumerate(times):
        assert len(times) - first <= (times[-1] - begin) / least + 1 + reserve


@given(histories, st.integers(1, 1_000_000))
def test_a_clock_that_is_set_back_changes_nothing(history: list[tuple[float, Observation]], back: int) -> None:
    state, now = lived(history, 2e6)
    refused = Observation(seconds=0.5, ok=3, throttled=1, entered=4, waited=4)
    after = adaptive.observe(state, refused, now - back)
    before = adaptive.observe(state, refused, now)
    assert after.rate == pytest.approx(before.rate)
    assert after.probe_at + back == pytest.approx(before.probe_at)


def test_several_workers_send_side_by_side_and_never_at_one_moment() -> None:
    state = Adaptive(rate=40.0, ceiling=42.0, updated=100.0, probe_at=1e9)
    budget, takers = HostBudget(), dict[str, float]()
    times: list[float] = []
    ready = {"a": 100.0, "b": 100.0, "c": 100.0}
    for _ in range(30):
        worker = min(ready, key=lambda name: ready[name])
        now = ready[worker]
        budget, takers, grant = adaptive.take(state, budget, takers, worker, 9, 0.0, now)
        ready[worker] = grant.times[-1]
        times += grant.times
    ordered = sorted(times)[40:-20]
    assert min(b - a for a, b in pairwise(ordered)) >= 0.9 / 40


@given(histories)
@settings(max_examples=15)
def test_it_always_recovers(history: list[tuple[float, Observation]]) -> None:
    state, now = lived(history)
    for _ in range(3_000):
        now += 0.25
        rate = adaptive.allowed(state, now)
        good = Observation(seconds=0.25, ok=max(1, round(rate / 4)), latency=0.01, entered=4, waited=4)
        state = adaptive.observe(state, good, now)
    assert state.rate >= 50.0


def test_what_is_not_used_does_not_grow() -> None:
    state, now = Adaptive(), 50.0
    for _ in range(1_000):
        now += 0.25
        state = adaptive.observe(state, Observation(seconds=0.25, ok=2, latency=0.01, entered=2, waited=0), now)
    assert state.rate == START


def test_one_incident_cuts_once_and_remembers_what_was_borne() -> None:
    state = Adaptive(rate=100.0, flow=50.0, sustained=20.0, updated=10.0)
    once = adaptive.observe(state, Observation(seconds=0.1, throttled=1), 10.0)
    assert once.rate < once.ceiling <= 55.0
    again = adaptive.observe(once, Observation(seconds=0.1, throttled=5), 11.0)
    assert again.rate == once.rate
    assert adaptive.observe(once, Observation(seconds=0.1, throttled=1, ok=20), 12.5).rate < once.rate


def test_a_refusal_with_nothing_borne_since_the_last_one_says_nothing_about_the_rate() -> None:
    once = adaptive.observe(Adaptive(rate=100.0, flow=50.0, updated=10.0), Observation(throttled=1, borne=40), 10.0)
    assert once.ceiling == 40.0
    later = adaptive.observe(once, Observation(throttled=1), 14.0)
    assert (later.rate, later.ceiling) == (once.rate, once.ceiling)


def test_what_was_borne_is_counted_over_all_workers_and_answers_that_come_late() -> None:
    state = Adaptive(rate=100.0, flow=30.0, updated=10.0)
    state = adaptive.observe(state, Observation(throttled=1, borne=25), 10.0)
    state = adaptive.observe(state, Observation(borne=20), 10.01)
    state = adaptive.observe(state, Observation(borne=5), 10.2)
    assert state.ceiling == 50.0
    assert state.rate == pytest.approx(35.0)
    assert adaptive.observe(state, Observation(borne=30), 11.0).ceiling == 50.0


def test_the_jump_that_an_answer_gives_the_flow_is_not_what_a_slow_host_bore() -> None:
    # Three answers per second: right after one of them the flow says 3.9.
    cut = Adaptive(rate=2.7, ceiling=3.0, failed=3.2, borne=1.0, flow=3.9, updated=10.0, cut_at=9.9)
    assert adaptive.observe(cut, Observation(seconds=0.1), 10.0).ceiling == 3.0
    # What is above that jump still counts.
    assert adaptive.observe(replace(cut, failed=9.0, flow=8.0), Observation(seconds=0.1), 10.0).ceiling > 6.0


def test_refusals_before_a_probe_lead_to_what_is_borne_in_the_long_run() -> None:
    state = Adaptive(rate=100.0, flow=90.0, updated=10.0)
    state = adaptive.observe(state, Observation(throttled=1, borne=90), 10.0)
    for again in range(1, 6):
        state = adaptive.observe(state, Observation(seconds=4.0, ok=50, throttled=1, borne=40), 10.0 + 5 * again)
    assert 10.0 <= state.ceiling <= 14.0


def test_a_probe_that_fails_doubles_the_wait_and_one_that_passes_grows_fast() -> None:
    state = Adaptive(rate=60.0, ceiling=60.0, flow=60.0, best=60.0, updated=99.5, cut_at=40.0, probe_at=99.0, wait=60.0)
    failed = adaptive.observe(state, Observation(seconds=0.5, ok=30, throttled=1, borne=59), 100.0)
    assert (failed.wait, failed.probe_at) == (120.0, 220.0)
    assert failed.rate >= 0.85 * 60
    passed = state
    for step in range(1, 30):
        rate = passed.rate
        good = Observation(seconds=0.5, ok=round(rate / 2), latency=0.01, entered=9, waited=9)
        passed = adaptive.observe(passed, good, 100.0 + step / 2)
    assert passed.rate > 2 * 60


def test_a_probe_that_grew_fast_before_it_failed_is_no_measure_of_what_was_borne() -> None:
    state = Adaptive(rate=40.0, ceiling=20.0, flow=36.0, best=57.0, updated=99.5, cut_at=80.0, probe_at=90.0)
    cut = adaptive.observe(state, Observation(seconds=0.5, ok=15, throttled=1, borne=14), 100.0)
    cut = adaptive.observe(cut, Observation(seconds=0.5, ok=15, borne=16), 100.01)
    assert (cut.ceiling, cut.wait) == (30.0, adaptive.WAIT)


def test_while_probing_the_first_wall_is_a_word_and_elsewhere_it_is_none() -> None:
    steady = Adaptive(rate=57.9, ceiling=60.0, flow=57.0, updated=100.0, cut_at=40.0, probe_at=150.0)
    wall = Observation(seconds=0.5, ok=28, trouble=1, entered=29, waited=29)
    assert adaptive.observe(steady, wall, 100.5).rate == steady.rate
    probing = replace(steady, rate=61.0, probe_at=99.0)
    assert adaptive.observe(probing, wall, 100.5).rate < 0.9 * 60


def test_age_takes_trust() -> None:
    known = Adaptive(rate=200.0, ceiling=212.0, updated=1_000.0)
    idle = Observation()
    rates = [adaptive.observe(known, idle, 1_000.0 + age).rate for age in (1, 600, 3_600, 86_400)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 200.0
    assert rates[2] == pytest.approx((200 * START) ** 0.5)
    assert rates[3] == pytest.approx(START, rel=0.01)
    assert adaptive.observe(known, idle, 90_000.0).ceiling == 0.0


# --- whole runs ---


def use(site: SiteModel, log: Log, begin: float, end: float) -> float:
    limit = sum(site.limit(at) for at in range(int(begin), int(end))) / (end - begin)
    return log.goodput(begin, end) / limit


SITES: dict[str, tuple[Callable[[], SiteModel], float, float]] = {
    # name: model, least use of the limit after a quarter of two minutes, most refused
    "sliding second": (lambda: SlidingSecond(60, latency=0.005), 0.94, 0.001),
    "sliding second, far away": (lambda: SlidingSecond(60, latency=0.2), 0.92, 0.001),
    "a slow sliding second": (lambda: SlidingSecond(3), 0.8, 0.03),
    "sliding ten seconds": (lambda: SlidingSecond(10, window=10.0), 0.7, 0.035),
    "fixed window": (lambda: FixedWindow(60), 0.8, 0.005),
    "token bucket": (lambda: TokenBucket(20, burst=40), 0.85, 0.01),
    "token bucket without a word": (lambda: TokenBucket(20, burst=40, retry_after=None), 0.8, 0.01),
    "large token bucket": (lambda: TokenBucket(10, burst=100), 0.85, 0.02),
    "small token bucket": (lambda: TokenBucket(10, burst=3), 0.8, 0.01),
    "cap on concurrency": (lambda: Concurrency(places=8, latency=0.1), 0.5, 0.005),
    "slows down before it fails": (lambda: SlowsDown(50, patience=0.5), 0.7, 0.01),
    "silent walls": (lambda: SlidingSecond(10, walls=True), 0.9, 0.015),
    "strict": (lambda: SlidingSecond(30, retry_after=5.0), 0.85, 0.002),
}


@pytest.mark.parametrize("name", SITES)
def test_most_of_a_limit_is_used_and_little_refused(name: str) -> None:
    make, least, most = SITES[name]
    for seed in range(10):
        site = make()
        log = simulate(site, Ours(), seconds=120.0, random=Random(seed))
        assert use(site, log, 30.0, 120.0) >= least, (seed, use(site, log, 30.0, 120.0))
        assert log.refused_share() <= most, (seed, log.refused_share())
        assert log.during_holds == 0


@pytest.mark.parametrize("low_seconds", [20.0, 45.0, 150.0])
def test_a_limit_that_falls_to_a_third_and_comes_back(low_seconds: float) -> None:
    for seed in range(5):
        limit = steps(60, 20, 30, 30 + low_seconds)
        log = simulate(SlidingSecond(limit, latency=0.005), Ours(), seconds=90.0 + low_seconds, random=Random(seed))
        assert log.refused_share() <= 0.01
        assert max(log.goodput(30 + low_seconds + at, 33 + low_seconds + at) for at in range(28)) >= 0.8 * 60


def test_a_free_and_fast_site_is_not_held_back() -> None:
    log = simulate(SlidingSecond(1e9, latency=0.001), Ours(), seconds=6.0, workers=1)
    assert log.goodput(4.0, 5.0) >= 500


def test_no_session_starves() -> None:
    log = simulate(SlidingSecond(20), Ours(), seconds=120.0, sessions=15, workers=2)
    assert min(log.starts.values()) >= 0.7 * max(log.starts.values())


def test_thousands_of_sites_of_all_kinds() -> None:
    random = Random(20)
    for _ in range(1_500):
        rate = 10 ** random.uniform(0.0, 2.0)
        latency = 10 ** random.uniform(-2.5, -0.5)
        made: list[SiteModel] = [
            SlidingSecond(rate, latency=latency),
            FixedWindow(rate, latency=latency, window=random.choice([1.0, 5.0])),
            TokenBucket(rate, latency=latency, burst=random.uniform(1.0, 2 * rate + 1)),
            SlowsDown(rate, latency=latency),
        ]
        control = Ours(least_interval=random.choice([0.0, 0.0, 0.2]))
        log = simulate(random.choice(made), control, seconds=15.0, workers=random.randint(1, 3), random=random)
        assert log.during_holds == 0
        assert log.refused() <= 28
        assert log.good(0.0, 15.0) >= 3
        assert not control.least_interval or len(log.requests) <= 15.0 / control.least_interval + 6


def test_a_slow_limit_that_falls_and_comes_back_is_found_again_within_half_a_minute() -> None:
    for seed in range(5):
        log = simulate(SlidingSecond(steps(10, 3, 20, 40)), Ours(), seconds=80.0, random=Random(seed))
        assert max(log.goodput(40.0 + at, 45.0 + at) for at in range(26)) >= 0.8 * 10, seed
        assert log.refused_share() <= 0.03, seed


@pytest.mark.parametrize("share", [5, 12, 20])
def test_a_site_that_always_has_some_faults_is_not_slowed_to_a_standstill(share: int) -> None:
    state, now = Adaptive(), 1_000.0
    for _ in range(4_000):
        now += 0.25
        asked = max(4, round(min(adaptive.allowed(state, now), 300.0) / 4))
        faults = sum(1 for number in range(asked) if (number * 37 + int(now * 4)) % 100 < share)
        seen = Observation(seconds=0.25, ok=asked - faults, trouble=faults, latency=0.01, entered=asked, waited=asked)
        state = adaptive.observe(state, seen, now)
    assert state.rate >= 100.0
