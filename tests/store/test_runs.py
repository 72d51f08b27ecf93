"""Runs: which one a command goes on with, what it plans, and how it is taken up again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, update

from tests.support.bench import Bench
from tests.support.clock import ManualClock
from windrow.errors import SettingError, UsageError
from windrow.job import Limits
from windrow.partitions import Listed, Partition, prefixes, values
from windrow.store import runs
from windrow.store.database import Database, open_for_writing, transaction
from windrow.store.messages import Finished
from windrow.store.runs import Scope
from windrow.store.tables import partitions as partition_table
from windrow.store.tables import runs as run_table
from windrow.store.tables import sightings

NOW = 1_000_000.0


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_for_writing(str(tmp_path / "things.db")) as opened:
        yield opened


def begin(
    database: Database,
    keys: Sequence[str] = ("a", "b"),
    *,
    job: str = "things",
    scope: Scope | None = None,
    fresh: bool = False,
    now: float = NOW,
) -> tuple[int, bool]:
    """Open or resume a run and plan it, as the app does: its number, and whether it is resumed."""
    chosen = scope or Scope()
    with transaction(database) as connection:
        run, resumed = runs.open_run(
            connection, job=job, table=job, scope=chosen, settings={"reference": "x"}, now=now, fresh=fresh
        )
        runs.plan(connection, run, chosen.choose(values(keys), job), job=job)
    return run, resumed


def finish(database: Database, run: int, now: float = NOW) -> None:
    """The run came to its end, all partitions done."""
    with transaction(database) as connection:
        connection.execute(update(partition_table).where(partition_table.c.run == run).values(state="done"))
        connection.execute(
            update(run_table).where(run_table.c.id == run).values(state="finished", finished=now, alive_until=now)
        )


def planned(database: Database, run: int) -> list[str]:
    with transaction(database) as connection:
        chosen = select(partition_table.c.key).where(partition_table.c.run == run).order_by(partition_table.c.id)
        return list(connection.execute(chosen).scalars())


def states(database: Database) -> list[tuple[int, str]]:
    with transaction(database) as connection:
        return [tuple(row) for row in connection.execute(select(run_table.c.id, run_table.c.state))]


# --- which run -----------------------------------------------------------------------------------------------------


def test_an_unfinished_run_is_resumed(database: Database) -> None:
    first, resumed = begin(database)
    assert not resumed
    assert begin(database) == (first, True)
    assert states(database) == [(first, "running")]


def test_a_finished_run_is_not(database: Database) -> None:
    first, _ = begin(database)
    finish(database, first)
    second, resumed = begin(database)
    assert (resumed, second != first) == (False, True)
    assert states(database) == [(first, "finished"), (second, "running")]


def test_fresh_abandons_the_unfinished_run(database: Database) -> None:
    first, _ = begin(database)
    second, resumed = begin(database, fresh=True, now=NOW + 5)
    assert (resumed, second != first) == (False, True)
    assert states(database) == [(first, "abandoned"), (second, "running")]
    with transaction(database) as connection:
        abandoned = select(run_table.c.finished).where(run_table.c.id == first)
        assert connection.execute(abandoned).scalar() == NOW + 5
    assert begin(database) == (second, True), "an abandoned run is not taken up again"


def test_fresh_leaves_a_finished_run_as_it_is(database: Database) -> None:
    first, _ = begin(database)
    finish(database, first)
    second, _ = begin(database, fresh=True)
    assert states(database) == [(first, "finished"), (second, "running")]


def test_each_scope_has_a_run_of_its_own(database: Database) -> None:
    scopes = [Scope(), Scope(("a",)), Scope(("b",)), Scope(("a", "b")), Scope(limit=1), Scope(("a", "b"), limit=1)]
    numbers = [begin(database, scope=scope)[0] for scope in scopes]
    assert len(set(numbers)) == len(scopes)
    assert [begin(database, scope=scope) for scope in scopes] == [(number, True) for number in numbers]
    keys = [planned(database, number) for number in numbers]
    assert keys == [["a", "b"], ["a"], ["b"], ["a", "b"], ["a"], ["a"]]


def test_the_order_of_named_keys_makes_no_other_scope(database: Database) -> None:
    first, _ = begin(database, scope=Scope(("b", "a", "b")))
    assert planned(database, first) == ["b", "a"]
    assert begin(database, scope=Scope(("a", "b"))) == (first, True)


def test_fresh_abandons_only_the_run_of_its_scope(database: Database) -> None:
    whole, _ = begin(database)
    part, _ = begin(database, scope=Scope(("a",)))
    other, _ = begin(database, job="others")
    new, _ = begin(database, scope=Scope(("a",)), fresh=True)
    assert states(database) == [(whole, "running"), (part, "abandoned"), (other, "running"), (new, "running")]


def test_each_job_has_runs_of_its_own(database: Database) -> None:
    first, _ = begin(database)
    second, resumed = begin(database, ["x"], job="others")
    assert (resumed, second != first) == (False, True)
    assert (planned(database, first), planned(database, second)) == (["a", "b"], ["x"])


def test_the_latest_run_is_the_one_that_was_active_last(database: Database) -> None:
    with transaction(database) as connection:
        assert runs.latest_run(connection, "things") is None
    first, _ = begin(database, now=NOW)
    second, _ = begin(database, scope=Scope(("a",)), now=NOW)
    begin(database, job="others", now=NOW + 99)
    with transaction(database) as connection:
        assert runs.latest_run(connection, "things") == second
        runs.conclude(connection, first, NOW + 10)
        assert runs.latest_run(connection, "things") == first


# --- what is planned -----------------------------------------------------------------------------------------------


def test_a_scope_chooses_in_the_order_it_names() -> None:
    source = prefixes("abc", longest=2)
    assert [each.key for each in Scope().choose(source, "job")] == ["a", "b", "c"]
    assert [each.key for each in Scope(limit=2).choose(source, "job")] == ["a", "b"]
    assert [each.key for each in Scope(("cb", "a", "cb")).choose(source, "job")] == ["cb", "a"]
    assert [each.key for each in Scope(("c", "b"), 1).choose(source, "job")] == ["c"]


@pytest.mark.parametrize(
    ("source", "there"),
    [
        (values("abcde"), "there are 'a', 'b', 'c', 'd', 'e'"),
        (values("abcdef"), "there are 'a', 'b', 'c', 'd', 'e', …"),
        (values([]), "there are none"),
    ],
    ids=["few", "many", "none"],
)
def test_a_key_the_job_cannot_have_is_told_some_that_it_has(source: Listed, there: str) -> None:
    with pytest.raises(SettingError) as error:
        list(Scope(("z",)).choose(source, "things"))
    assert str(error.value) == f"things: there is no partition 'z'; {there}"


def test_a_resumed_run_takes_in_what_its_list_has_grown_by(database: Database) -> None:
    run, _ = begin(database, ["a", "b"])
    with transaction(database) as connection:
        connection.execute(update(partition_table).where(partition_table.c.key == "a").values(state="done"))
    assert begin(database, ["c", "a", "b", "d"]) == (run, True)
    with transaction(database) as connection:
        rows = connection.execute(select(partition_table.c.key, partition_table.c.state).order_by(partition_table.c.id))
        assert [tuple(row) for row in rows] == [("a", "done"), ("b", "pending"), ("c", "pending"), ("d", "pending")]


def test_a_resumed_run_keeps_what_its_list_has_lost(database: Database) -> None:
    run, _ = begin(database, ["a", "b"])
    begin(database, ["b"])
    assert planned(database, run) == ["a", "b"]


def test_a_plan_keeps_the_parameters(database: Database) -> None:
    params = {"city": "Orléans", "code": 45, "parts": [1, None, {"x": True}]}
    source = Listed(lambda: [Partition("a", params)], "mine")
    with transaction(database) as connection:
        run, _ = runs.open_run(connection, job="things", table="t", scope=Scope(), settings={}, now=NOW, fresh=False)
        assert runs.plan(connection, run, source.plan(), job="things") == 1
        row = connection.execute(select(partition_table)).one()
    assert Partition("a", params) == next(source.plan())
    assert (row.key, row.state, row.parent, row.attempt) == ("a", "pending", None, 0)
    assert row.params == '{"city":"Orléans","code":45,"parts":[1,null,{"x":true}]}'


def test_more_partitions_than_fit_one_batch(database: Database) -> None:
    keys = [str(number) for number in range(2 * runs.PLAN_BATCH + 1)]
    run, _ = begin(database, keys)
    assert planned(database, run) == keys


def test_an_empty_list_begins_no_run(database: Database) -> None:
    with pytest.raises(UsageError, match="things: there are no partitions to scrape; its list is empty"):
        begin(database, [])
    assert states(database) == []


def test_an_interrupted_plan_leaves_nothing(database: Database) -> None:
    """More than a batch is written by the time the list turns out to be faulty."""
    keys = [str(number) for number in range(runs.PLAN_BATCH + 10)]
    with pytest.raises(SettingError, match="each partition needs a key of its own"):
        begin(database, [*keys, "0"])
    assert states(database) == []
    with transaction(database) as connection:
        assert connection.execute(select(func.count()).select_from(partition_table)).scalar() == 0
    run, resumed = begin(database, keys)
    assert (resumed, planned(database, run)) == (False, keys)


def test_a_resumed_run_survives_an_interrupted_plan(database: Database) -> None:
    run, _ = begin(database, ["a"])
    with pytest.raises(SettingError):
        begin(database, ["a", "b", "b"])
    assert states(database) == [(run, "running")]
    assert planned(database, run) == ["a"]


# --- what a new run learns of the old ones -------------------------------------------------------------------------


def sizes(database: Database, run: int) -> dict[str, int]:
    with transaction(database) as connection:
        runs.learn_sizes(connection, run, "things")
        rows = connection.execute(
            select(partition_table.c.key, partition_table.c.size).where(partition_table.c.run == run)
        )
        return {row.key: row.size for row in rows}


def found(database: Database, run: int, **counts: int) -> None:
    with transaction(database) as connection:
        for key, count in counts.items():
            mine = (partition_table.c.run == run, partition_table.c.key == key)
            connection.execute(update(partition_table).where(*mine).values(found=count))


def test_sizes_are_those_of_the_last_finished_run(database: Database) -> None:
    for counts in ({"a": 1, "b": 2}, {"a": 30, "b": 4}):
        run, _ = begin(database, ["a", "b"])
        found(database, run, **counts)
        finish(database, run)
    abandoned, _ = begin(database, ["a", "b"])
    found(database, abandoned, a=999, b=999)
    run, _ = begin(database, ["a", "b", "new"], fresh=True)
    assert sizes(database, run) == {"a": 30, "b": 4, "new": 0}


def test_a_first_run_knows_no_sizes_and_other_jobs_tell_none(database: Database) -> None:
    other, _ = begin(database, ["a"], job="others")
    found(database, other, a=9)
    finish(database, other)
    run, _ = begin(database, ["a"])
    assert sizes(database, run) == {"a": 0}


def test_sightings_of_old_runs_are_dropped_and_those_of_unfinished_ones_kept(database: Database) -> None:
    old, unfinished, new = (begin(database, scope=Scope(keys))[0] for keys in ((), ("a",), ("b",)))
    with transaction(database) as connection:
        for number, run in enumerate((old, unfinished, new)):
            row = {"partition": number, "key": "k", "run": run, "saved": True}
            connection.execute(insert(sightings).values(row))
    finish(database, old)
    with transaction(database) as connection:
        runs.drop_old_sightings(connection, new)
        assert set(connection.execute(select(sightings.c.run)).scalars()) == {unfinished, new}


# --- how a run stands ----------------------------------------------------------------------------------------------


def test_the_books_of_a_run(database: Database) -> None:
    run, _ = begin(database, ["a", "b", "c", "d"])
    with transaction(database) as connection:
        assert runs.conclude(connection, run, NOW) == runs.Books(False, 0, 0)
        for key, state in (("a", "failed"), ("b", "incomplete"), ("c", "done")):
            connection.execute(update(partition_table).where(partition_table.c.key == key).values(state=state))
        connection.execute(update(run_table).values(state="finished", missing=7))
        assert runs.conclude(connection, run, NOW + 9) == runs.Books(True, 2, 7)
        assert connection.execute(select(run_table.c.alive_until)).scalar() == NOW + 9


def test_the_first_partition_of_a_run(bench: Bench) -> None:
    run = bench.begin(["b", "a"])
    bench.save(bench.claim(), "1", reported=3)
    with transaction(bench.database) as connection:
        assert runs.first_partition(connection, run) == runs.FirstPartition("leased", None, 1, 3, [])


def test_the_first_partition_names_what_it_split_into(bench: Bench) -> None:
    run = bench.begin(["a"])
    bench.split(bench.claim(), "ab", "ac", reported=3)
    with transaction(bench.database) as connection:
        first = runs.first_partition(connection, run)
    assert (first.state, first.reported, first.children) == ("split", 3, ["ab", "ac"])


# --- retry ---------------------------------------------------------------------------------------------------------


def reopened(bench: Bench, run: int, *keys: str) -> list[str]:
    with transaction(bench.database) as connection:
        return runs.reopen(connection, run, keys, bench.clock.now())


def ended_in_three_ways(bench: Bench) -> int:
    """A finished run: `bad` failed, `good` is done, `short` is incomplete."""
    run = bench.begin(["bad", "good", "short"], limits=Limits(attempts=1))
    bench.fail(bench.claim())
    bench.save(bench.claim(), "1", last=True)
    bench.save(bench.claim(), "2", last=True, reported=5, capped=True)
    bench.finish()
    assert [bench.state(key).state for key in ("bad", "good", "short")] == ["failed", "done", "incomplete"]
    assert (bench.run_row().state, bench.run_row().missing) == ("finished", 4)
    return run


def test_all_that_failed_or_is_incomplete_is_reopened(bench: Bench) -> None:
    run = ended_in_three_ways(bench)
    bench.wait(1000)
    used_up = {"failures": 4, "deaths": 2, "reopened": 1, "not_before": bench.clock.now() + 999}
    with transaction(bench.database) as connection:
        connection.execute(update(partition_table).values(**used_up))
    assert sorted(reopened(bench, run)) == ["bad", "short"]
    row = bench.run_row()
    assert (row.id, row.state, row.finished, row.missing) == (run, "running", None, 0)
    assert row.alive_until == bench.clock.now()
    for key in ("bad", "short"):
        row = bench.state(key)
        assert (row.state, row.missing, row.finished) == ("pending", 0, None)
        assert (row.failures, row.deaths, row.reopened, row.not_before) == (0, 0, 0, 0)
    assert bench.state("good").state == "done"
    assert {bench.claim(f"w{n}").key for n in range(2)} == {"bad", "short"}


def test_only_the_named_ones_are_reopened(bench: Bench) -> None:
    run = ended_in_three_ways(bench)
    assert reopened(bench, run, "short") == ["short"]
    assert bench.state("bad").state == "failed"
    assert bench.state("short").state == "pending"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["bad", "nowhere"], "the run has no partition 'nowhere'"),
        (["good"], "the partition 'good' is done; only failed and incomplete ones are retried"),
    ],
)
def test_what_cannot_be_retried_is_named_and_nothing_changes(keys: list[str], message: str, bench: Bench) -> None:
    run = ended_in_three_ways(bench)
    with pytest.raises(SettingError) as error:
        reopened(bench, run, *keys)
    assert str(error.value) == message
    assert bench.state("bad").state == "failed"
    assert bench.run_row().state == "finished"


def test_a_partition_under_way_is_not_retried(bench: Bench) -> None:
    run = bench.begin(["a", "b"])
    assert bench.claim().key == "a"
    for key, state in (("a", "leased"), ("b", "pending")):
        with pytest.raises(SettingError, match=f"the partition '{key}' is {state}"):
            reopened(bench, run, key)


def test_where_nothing_failed_nothing_is_reopened(bench: Bench) -> None:
    run = bench.begin(["a"])
    bench.save(bench.claim(), "1", last=True)
    bench.finish()
    assert reopened(bench, run) == []
    assert bench.run_row().state == "finished"


def test_a_retried_run_comes_to_its_end_with_what_it_had_saved(bench: Bench) -> None:
    run = ended_in_three_ways(bench)
    reopened(bench, run)
    for _ in range(2):
        lease = bench.claim()
        assert lease.attempt == 2
        keys = ("3", "4", "5", "6") if lease.key == "short" else ("7",)
        assert bench.save(lease, *keys, last=True, reported=5 if lease.key == "short" else None).state == "done"
    bench.finish()
    assert (bench.run_row().state, bench.run_row().missing, bench.run_row().records) == ("finished", 0, 7)
    assert isinstance(bench.nothing_to_claim(), Finished)


def test_an_interrupted_run_goes_on_where_it_was(bench: Bench, clock: ManualClock) -> None:
    run = bench.begin(["a", "b"])
    bench.save(bench.claim(), "1", last=True)
    zombie = bench.claim()
    bench.save(zombie, "2")
    clock.forward(3600)
    assert bench.begin(["a", "b"]) == run
    lease = bench.claim()
    assert (lease.key, lease.attempt) == ("b", 2)
    assert bench.unseen(lease, "1", "2", "3") == ["3"], "what was saved before the interruption is not asked for again"


def test_a_resumed_run_counts_deaths_anew(bench: Bench) -> None:
    run = bench.begin(["a", "b"])
    assert bench.keeper is not None
    for _ in range(3):
        bench.claim("w")
        bench.keeper.bury("w", "signal 9", blameless=False)
    assert bench.state("a").state == "failed"
    bench.close()
    with transaction(bench.database) as connection:
        runs.pardon(connection, run, 3)
    row = bench.state("a")
    assert (row.state, row.deaths, row.reason) == ("pending", 0, None)
