"""The writer: commands from many threads, in groups, each durable once it is answered."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

import windrow.store.writer
from tests.support.bench import Bench, held
from tests.support.clock import ManualClock
from windrow.errors import StoreUnavailable
from windrow.store.database import open_for_writing
from windrow.store.keeper import Keeper
from windrow.store.messages import Answer, Command, Commit, Committed, Counts, Done, Failure, Hello, Lease, Lost, Renew
from windrow.store.writer import LARGEST_GROUP, Writer

WAIT = 30.0
Opened = Callable[..., Writer]


@pytest.fixture
def writing(bench: Bench) -> Iterator[Opened]:
    """Starts the writer of a bench on which a run has begun; it stops at the end."""
    with ExitStack() as stack:

        def start(**options: Any) -> Writer:
            assert bench.keeper is not None
            writer = Writer(bench.keeper, **options)
            writer.start()
            stack.callback(writer.stop)
            return writer

        yield start


class Gate:
    """Holds up a writer in the middle of its work, so that a group gathers behind it."""

    def __init__(self, writer: Writer) -> None:
        self._reached = threading.Event()
        self._open = threading.Event()
        self.passed: Future[Any] = writer.call(self._wait)
        assert self._reached.wait(WAIT)

    def open(self) -> None:
        self._open.set()

    def _wait(self, keeper: Keeper) -> None:
        self._reached.set()
        assert self._open.wait(WAIT)


def saving(lease: Lease, *keys: str, **values: Any) -> Commit:
    return Commit(held(lease), rows=[(key, {"id": key, **values}) for key in keys])


def answers(futures: list[Future[Answer]]) -> list[Answer]:
    return [future.result(WAIT) for future in futures]


def ids(path: Path) -> set[str]:
    """What is in the file for somebody who opens it anew."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return {key for (key,) in connection.execute("SELECT id FROM things")}


def commits_of(bench: Bench) -> list[str]:
    """Grows by one for each commit from now on."""
    seen: list[str] = []
    event.listen(bench.database, "commit", lambda connection: seen.append("commit"))
    return seen


# --- answers -------------------------------------------------------------------------------------------------------


def test_an_answer_is_durable(bench: Bench, writing: Opened, tmp_path: Path) -> None:
    bench.begin(["a"])
    lease = bench.claim()
    writer = writing()
    for number in range(5):
        assert writer.submit(saving(lease, str(number))).result(WAIT) == Committed(1, "leased")
        assert ids(tmp_path / "things.db") == {str(each) for each in range(number + 1)}


def test_a_running_loop_may_wait_for_an_answer(bench: Bench, writing: Opened) -> None:
    bench.begin(["a"])
    lease = bench.claim()
    writer = writing()
    assert asyncio.run(writer.send(saving(lease, "1"))) == Committed(1, "leased")


def test_a_group_is_one_commit_and_each_command_has_its_own_answer(bench: Bench, writing: Opened) -> None:
    bench.begin(["a", "b"])
    first, second = bench.claim(), bench.claim()
    commits = commits_of(bench)
    writer = writing()
    gate = Gate(writer)
    commands: list[Command] = [
        saving(first, "1", "2"),
        saving(second, "2", "3"),
        Renew("w1", [], []),
        saving(first, "3"),
        Hello("w", 1, 2),
    ]
    futures = [writer.submit(command) for command in commands]
    assert not any(future.done() for future in futures)
    gate.open()
    leased = "leased"
    assert [type(answer).__name__ for answer in answers(futures)] == ["Committed"] * 2 + ["Lapsed", "Committed", "Done"]
    new = [answer for answer in answers(futures) if isinstance(answer, Committed)]
    assert new == [Committed(2, leased), Committed(1, leased), Committed(0, leased)], "in the order they came"
    assert len(commits) == 1
    assert [record["_partition"] for record in bench.records()] == ["a", "b", "a"]


def test_a_large_crowd_is_carried_out_in_several_groups(bench: Bench, writing: Opened) -> None:
    bench.begin(["a"])
    lease = bench.claim()
    commits = commits_of(bench)
    writer = writing()
    gate = Gate(writer)
    futures = [writer.submit(saving(lease, str(number))) for number in range(LARGEST_GROUP + 1)]
    gate.open()
    assert answers(futures) == [Committed(1, "leased")] * (LARGEST_GROUP + 1)
    assert len(commits) == 2
    assert len(bench.records()) == LARGEST_GROUP + 1


def test_once_commands_come_together_a_group_gathers(
    bench: Bench, writing: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windrow.store.writer, "GATHER_SECONDS", WAIT)  # its end is the end of the writer
    bench.begin(["a"])
    lease = bench.claim()
    writer = writing()
    gate = Gate(writer)
    together = [writer.submit(saving(lease, key)) for key in "12"]
    gate.open()
    assert answers(together) == [Committed(1, "leased")] * 2
    commits = commits_of(bench)
    later = [writer.submit(saving(lease, key)) for key in "345"]
    assert not wait(later, 0.3, FIRST_COMPLETED).done, "without gathering, the first is answered within a millisecond"
    writer.stop()
    assert answers(later) == [Committed(1, "leased")] * 3
    assert len(commits) == 1


def test_a_command_that_comes_alone_waits_for_no_other(
    bench: Bench, writing: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windrow.store.writer, "GATHER_SECONDS", 10 * WAIT)
    bench.begin(["a"])
    lease = bench.claim()
    writer = writing()
    for key in "123":
        assert writer.submit(saving(lease, key)).result(WAIT) == Committed(1, "leased")


def test_the_supervisors_work_keeps_its_turn(bench: Bench, writing: Opened) -> None:
    """A worker is buried after what it had committed, and before what comes later."""
    bench.begin(["a"])
    lease = bench.claim("w1")
    writer = writing()
    gate = Gate(writer)
    before = writer.submit(saving(lease, "1"))
    buried = writer.call(lambda keeper: keeper.bury("w1", "signal 9", blameless=False))
    after = writer.submit(saving(lease, "2"))
    gate.open()
    assert before.result(WAIT) == Committed(1, "leased")
    assert buried.result(WAIT) is None
    assert after.result(WAIT) == Lost()
    assert [record["id"] for record in bench.records()] == ["1"]


def test_what_the_supervisors_work_returns_or_raises_is_handed_on(bench: Bench, writing: Opened) -> None:
    run = bench.begin(["a"])
    lease = bench.claim()
    writer = writing()
    assert writer.call(lambda keeper: keeper.run).result(WAIT) == run
    with pytest.raises(ZeroDivisionError):
        writer.call(lambda keeper: 1 // 0).result(WAIT)
    assert writer.submit(saving(lease, "1")).result(WAIT) == Committed(1, "leased"), "the writer goes on"


# --- what goes wrong -----------------------------------------------------------------------------------------------


def test_one_failing_command_of_a_group_is_refused_alone(bench: Bench, writing: Opened) -> None:
    bench.begin(["a", "b"])
    first, second = bench.claim(), bench.claim()
    fatal: list[str] = []
    writer = writing(on_fatal=fatal.append)
    gate = Gate(writer)
    commands = [
        Commit(held(first), rows=[("1", {"id": "1"})], counts=Counts(requests=3)),
        Commit(held(second), rows=[("2", {"id": "2", "n": 2**70})], counts=Counts(requests=5)),
        Commit(held(first), rows=[("3", {"id": "3"})], counts=Counts(requests=7)),
    ]
    futures = [writer.submit(command) for command in commands]
    gate.open()
    one, two, three = answers(futures)
    assert (one, three) == (Committed(1, "leased"), Committed(1, "leased"))
    assert isinstance(two, Failure)
    assert not two.fatal
    assert "too large" in two.message
    assert fatal == []
    assert [record["id"] for record in bench.records()] == ["1", "3"]
    assert bench.run_row().requests == 10, "what the group did first was undone, and counts once"


def test_a_lost_lease_is_no_failure_of_its_group(bench: Bench, writing: Opened) -> None:
    bench.begin(["a", "b"])
    zombie, good = bench.claim("w1"), bench.claim("w2")
    assert bench.keeper is not None
    bench.keeper.bury("w1", "signal 9", blameless=True)
    writer = writing()
    gate = Gate(writer)
    futures = [writer.submit(saving(zombie, "1")), writer.submit(saving(good, "2"))]
    gate.open()
    assert answers(futures) == [Lost(), Committed(1, "leased")]
    assert [record["id"] for record in bench.records()] == ["2"]


def test_a_command_that_nobody_waits_for_any_more_is_carried_out_all_the_same(bench: Bench, writing: Opened) -> None:
    bench.begin(["a"])
    lease = bench.claim()
    writer = writing()
    gate = Gate(writer)
    forgotten = writer.submit(saving(lease, "1"))
    assert forgotten.cancel()
    waited = writer.submit(saving(lease, "2"))
    gate.open()
    assert waited.result(WAIT) == Committed(1, "leased")
    assert [record["id"] for record in bench.records()] == ["1", "2"]


def test_a_full_disk_reaches_whoever_must_know(bench: Bench, writing: Opened, tmp_path: Path) -> None:
    def fill(connection: sqlite3.Connection, entry: object) -> None:
        connection.execute("PRAGMA max_page_count=100")  # of 4 kB

    event.listen(bench.database, "connect", fill)
    bench.begin(["a"])
    lease = bench.claim()
    fatal: list[str] = []
    writer = writing(on_fatal=fatal.append)
    assert writer.submit(saving(lease, "small")).result(WAIT) == Committed(1, "leased")
    answer = writer.submit(saving(lease, "large", text="x" * 1_000_000)).result(WAIT)
    assert answer == Failure("database or disk is full", fatal=True)
    assert fatal == ["database or disk is full"]
    assert ids(tmp_path / "things.db") == {"small"}


def test_a_fatal_failure_is_the_answer_of_every_command_that_meets_it(bench: Bench, writing: Opened) -> None:
    bench.begin(["a"])
    lease = bench.claim()
    fatal: list[str] = []
    writer = writing(on_fatal=fatal.append)
    gate = Gate(writer)
    assert bench.keeper is not None
    bench.keeper.close()
    futures = [writer.submit(saving(lease, str(number))) for number in range(3)]
    gate.open()
    found = answers(futures)
    assert all(isinstance(answer, Failure) for answer in found), "nobody waits for ever"
    assert bench.records() == []


# --- its end -------------------------------------------------------------------------------------------------------


def test_stopping_carries_out_what_is_waiting(bench: Bench, writing: Opened, tmp_path: Path) -> None:
    bench.begin(["a"])
    lease = bench.claim()
    writer = writing()
    gate = Gate(writer)
    futures = [writer.submit(saving(lease, str(number))) for number in range(10)]
    with ThreadPoolExecutor(1) as elsewhere:
        stopped = elsewhere.submit(writer.stop)
        gate.open()
        stopped.result(WAIT)
    assert all(future.done() for future in futures)
    assert ids(tmp_path / "things.db") == {str(number) for number in range(10)}


def test_stopping_twice_is_safe_and_later_commands_are_refused(bench: Bench, writing: Opened) -> None:
    bench.begin(["a"])
    lease = bench.claim()
    writer = writing()
    writer.stop()
    writer.stop()
    for late in (lambda: writer.submit(saving(lease, "1")), lambda: writer.call(lambda keeper: None)):
        with pytest.raises(StoreUnavailable, match="the store was closed"):
            late()
    with pytest.raises(StoreUnavailable):
        asyncio.run(writer.send(saving(lease, "1")))
    assert bench.records() == []


def test_many_may_stop_it_at_once(bench: Bench, writing: Opened) -> None:
    bench.begin(["a"])
    writer = writing()
    with ThreadPoolExecutor(8) as pool:
        for stopped in [pool.submit(writer.stop) for _ in range(8)]:
            stopped.result(WAIT)


def test_commands_from_many_threads_are_each_durable(tmp_path: Path, clock: ManualClock) -> None:
    threads, each = 8, 40
    path = tmp_path / "things.db"
    partitions = [str(number) for number in range(threads)]
    with open_for_writing(str(path)) as database, ExitStack() as stack:
        bench = Bench(database, clock)
        stack.callback(bench.close)
        bench.begin(partitions)
        leases = [bench.claim() for _ in partitions]
        assert bench.keeper is not None
        writer = Writer(bench.keeper)
        writer.start()

        def work(lease: Lease) -> list[str]:
            confirmed = []
            for number in range(each):
                key = f"{lease.key}.{number}"
                assert writer.submit(saving(lease, key, n=number)).result(WAIT) == Committed(1, "leased")
                confirmed.append(key)
            return confirmed

        with ThreadPoolExecutor(threads) as pool:
            confirmed = {key for keys in pool.map(work, leases) for key in keys}
        writer.stop()
    assert len(confirmed) == threads * each
    assert ids(path) == confirmed
    with open_for_writing(str(path)) as database:
        bench = Bench(database, clock)
        assert bench.run_row().records == threads * each
        assert {bench.state(key).saved for key in partitions} == {each}


def test_a_worker_says_hello_once(bench: Bench, writing: Opened) -> None:
    """A name that is taken is refused, and the writer goes on."""
    bench.begin(["a"])
    writer = writing()
    assert writer.submit(Hello("w1", 42, 2)).result(WAIT) == Done()
    again = writer.submit(Hello("w1", 43, 2)).result(WAIT)
    assert isinstance(again, Failure)
    assert not again.fatal
    assert writer.submit(Hello("w2", 44, 2)).result(WAIT) == Done()
