"""The budget in a host's row: shared, kept over restarts, and its holds as `status` shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.clock import ManualClock
from tests.support.stores import NOW, filled_store
from windrow.job import Job, Pace
from windrow.monitor.live import describe
from windrow.monitor.report import Commands
from windrow.partitions import values
from windrow.politeness.adaptive import Observation
from windrow.store import hosts
from windrow.store.database import open_for_writing, transaction
from windrow.store.reader import open_reader


def test_what_is_learned_outlives_the_process_and_is_shared(tmp_path: Path) -> None:
    path = str(tmp_path / "x.db")
    quiet = Observation(seconds=0.5, ok=4, latency=0.01, entered=4, waited=4)
    with open_for_writing(path) as database, transaction(database) as connection:
        first = hosts.take_slots(connection, "h", "a", 5, 0.0, Observation(), NOW)
        assert first.times[0] == NOW
        for step in range(1, 6):
            hosts.observe(connection, "h", quiet, NOW + step / 2)
        faster = hosts.take_slots(connection, "h", "a", 5, 0.0, quiet, NOW + 3.0)
        assert faster.interval < first.interval
        hosts.observe(connection, "h", Observation(seconds=0.1, throttled=1), NOW + 3.1)
        hosts.hold(connection, "h", NOW + 9.0)
    with open_for_writing(path) as database, transaction(database) as connection:
        slower = hosts.take_slots(connection, "h", "b", 1, 0.0, Observation(), NOW + 4.0)
        assert slower.interval > faster.interval
        assert slower.times[0] >= NOW + 9.0
        assert hosts.take_slots(connection, "h", "b", 1, 2.5, Observation(), NOW + 4.0).interval >= 2.5


def test_a_clock_that_is_set_back_keeps_nobody_waiting(tmp_path: Path) -> None:
    with open_for_writing(str(tmp_path / "x.db")) as database, transaction(database) as connection:
        last = hosts.take_slots(connection, "h", "a", 5, 1.0, Observation(), NOW).times[-1]
        then = NOW - 3_600.0
        again = hosts.take_slots(connection, "h", "a", 1, 1.0, Observation(), then)
        assert then < again.times[0] <= last - 3_600.0 + 1.0


@pytest.mark.parametrize(("seconds", "said"), [(3_600.0, True), (2.0, False), (-5.0, False)])
def test_status_says_until_when_a_host_is_left_alone(tmp_path: Path, seconds: float, said: bool) -> None:
    path = tmp_path / "x.db"
    with filled_store(path) as store:
        run = store.run()
        store.partition(run, "a")
    with open_for_writing(str(path)) as database, transaction(database) as connection:
        hosts.hold(connection, "slow.example", NOW + seconds)
    clock = ManualClock(NOW)
    with open_reader(str(path)) as reader:
        lines = "\n".join(describe(reader, Commands(str(path)), clock))
    assert ("parked until 1970-01-12T14:46:40.000Z: slow.example asks to wait (another 1 h)" in lines) == said


def test_a_rate_of_0_means_no_budget_and_a_delay_of_0_stays() -> None:
    job = Job("x", key="id", partitions=values(["a"]), pace=Pace(1.0, least=0.2), rate=3.0)
    assert job.with_run_settings({"rate": 0.0}).rate == 0.0
    assert job.with_run_settings({}).rate == 3.0
    none = job.with_run_settings({"delay": 0.0}).pace
    assert (none.delay, none.floor) == (0.0, 0.0)
    assert job.with_run_settings({"delay": 2.0}).pace.floor == 0.2
    assert Pace(2.0).floor == 2.0


def test_a_robots_txt_has_an_age_and_is_forgotten_after_a_day(tmp_path: Path) -> None:
    with open_for_writing(str(tmp_path / "x.db")) as database, transaction(database) as connection:
        assert hosts.notes(connection, "http://h", NOW).robots_status is None
        hosts.keep_robots(connection, "http://h", 200, "Disallow: /é", NOW)
        hosts.hold(connection, "http://h", NOW + 50 * 3600.0)
        kept = hosts.notes(connection, "http://h", NOW + 23 * 3600.0)
        assert (kept.robots_status, kept.robots_text, kept.robots_age) == (200, "Disallow: /é", 23 * 3600.0)
        for hours in (24, 30):
            old = hosts.notes(connection, "http://h", NOW + hours * 3600.0)
            assert (old.robots_status, old.robots_text, old.hold) == (None, "", (50 - hours) * 3600.0)
