"""What a refused command leaves behind: nothing, in any table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.bench import Bench, held, is_lost
from tests.support.clock import ManualClock
from windrow.records import Row
from windrow.store.context import LEASE_SECONDS
from windrow.store.database import Database, open_for_writing, transaction
from windrow.store.messages import (
    Child,
    Command,
    Commit,
    Committed,
    Counts,
    Failure,
    Held,
    Lapsed,
    Release,
    Renew,
    Unseen,
)

TOO_LARGE = 2**70
"""No column can hold it: the database refuses it in the middle of a command."""


def contents(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """Every table of a store, row by row."""
    with transaction(database) as connection:
        names = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        tables = [name for (name,) in names if not name.startswith("sqlite_")]
        return {name: [tuple(row) for row in connection.exec_driver_sql(f'SELECT * FROM "{name}"')] for name in tables}


@contextmanager
def new_bench(path: Path) -> Iterator[Bench]:
    with open_for_writing(str(path)) as database:
        bench = Bench(database, ManualClock())
        try:
            yield bench
        finally:
            bench.close()


def answered_together(path: Path, *, with_bad: bool) -> dict[str, list[tuple[Any, ...]]]:
    """A store after a group of commands of two partitions, with or without one that cannot be carried out."""
    with new_bench(path) as bench:
        bench.begin(["a", "b"])
        first, second = bench.claim("w1"), bench.claim("w2")
        bench.unseen(first, "1", "2")
        bench.unseen(second, "7")
        good: list[Command] = [
            Commit(held(first), rows=[("1", {"id": "1", "n": 1})], counts=Counts(requests=3, retries=1), reported=2),
            Unseen(held(second), ["8", "9"]),
            Commit(held(first), rows=[("2", {"id": "2", "n": 2})], invalid=[("?", "bad")], last=True),
        ]
        rows: list[tuple[str, Row]] = [("7", {"id": "7", "n": 7}), ("8", {"id": "8", "n": TOO_LARGE})]
        bad = Commit(held(second), rows=rows, invalid=[("??", "bad")], counts=Counts(requests=5), reported=9, last=True)
        assert bench.keeper is not None
        answers = bench.keeper.answer([*good[:2], bad, good[2]] if with_bad else good)
        assert sum(isinstance(answer, Failure) for answer in answers) == with_bad
        assert isinstance(answers[-1], Committed)
        return contents(bench.database)


def test_a_command_that_fails_in_a_group_leaves_the_store_as_if_it_had_not_been_there(tmp_path: Path) -> None:
    without = answered_together(tmp_path / "without.db", with_bad=False)
    assert without["things"]
    assert answered_together(tmp_path / "with.db", with_bad=True) == without


@pytest.mark.parametrize("heir", ["w1", "w2"], ids=["the same worker", "another worker"])
@pytest.mark.parametrize(
    "command",
    [
        lambda lease: Commit(lease, rows=[("1", {"id": "1"})], counts=Counts(requests=3), reported=5),
        lambda lease: Commit(lease, invalid=[("?", "bad")]),
        lambda lease: Commit(lease, last=True),
        lambda lease: Commit(lease, last=True, capped=True, reported=7),
        lambda lease: Commit(lease, last=True, children=[Child("aa", {})]),
        lambda lease: Unseen(lease, ["2"]),
        lambda lease: Unseen(lease, ["2"], claim=False),
        lambda lease: Release(lease, "failed", "late", counts=Counts(requests=3)),
        lambda lease: Release(lease, "parked", "late", 60.0),
        lambda lease: Release(lease, "stopped", "late"),
        lambda lease: Release(lease, "refused", "late"),
    ],
    ids=["records", "invalid", "last", "capped", "split", "unseen", "found", "failed", "parked", "stopped", "refused"],
)
def test_whoever_lost_the_lease_writes_nothing(bench: Bench, command: Callable[[Held], Command], heir: str) -> None:
    bench.begin(["a"])
    zombie = bench.claim("w1")
    bench.wait(LEASE_SECONDS + 1)
    assert bench.claim(heir).fence == zombie.fence + 1
    before = contents(bench.database)
    assert is_lost(bench.say(command(held(zombie))))
    assert contents(bench.database) == before


def test_a_sign_of_life_renews_no_lease_that_was_lost(bench: Bench) -> None:
    bench.begin(["a"])
    zombie = bench.claim("w1")
    bench.wait(LEASE_SECONDS + 1)
    bench.claim("w2")
    before = contents(bench.database)
    assert bench.say(Renew("w1", [held(zombie)], [Counts(requests=3)])) == Lapsed([zombie.partition])
    after = contents(bench.database)
    assert after["windrow_partitions"] == before["windrow_partitions"]
    assert after["windrow_runs"] == before["windrow_runs"]


def test_what_the_workers_of_a_dead_supervisor_had_in_hand_is_anybodys(bench: Bench) -> None:
    bench.begin(["a", "b"])
    first = bench.claim("w1")
    assert bench.unseen(first, "1", "2") == ["1", "2"]
    bench.save(first, "1")
    bench.begin(["a", "b"])
    bench.claim("w3")
    assert bench.unseen(bench.claim("w4"), "1", "2") == ["2"]
