"""Reading a store, beside the one who writes it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from tests.support.stores import NOW, FilledStore, filled_store
from windrow.errors import StoreError
from windrow.records import Kind, record_type
from windrow.store import reader as reader_module
from windrow.store.reader import LedgerSums, PartitionCounts, Reader, open_reader

THINGS = record_type(None, "id")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FilledStore]:
    with filled_store(tmp_path / "people.db") as filled:
        yield filled


@pytest.fixture
def reader(store: FilledStore) -> Iterator[Reader]:
    with open_reader(str(store.path)) as opened:
        yield opened


def test_a_store_without_runs_has_no_overview(reader: Reader) -> None:
    assert reader.run() is None
    assert reader.overview() is None
    assert reader.record_tables() == []
    with pytest.raises(StoreError, match="no run in this store yet"):
        reader.record_columns()


def test_a_missing_store_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such store"), open_reader(str(tmp_path / "nowhere.db")):
        pass


def test_a_url_means_the_same_store(store: FilledStore) -> None:
    run = store.run()
    with open_reader(f"sqlite:///{store.path}") as opened:
        found = opened.run()
    assert found is not None
    assert found.id == run


def test_the_run_that_was_active_last_counts_not_the_last_one_begun(store: FilledStore, reader: Reader) -> None:
    resumed = store.run("people", alive_until=NOW + 50.0)
    newer = store.run("places", alive_until=NOW)
    found = reader.run()
    assert found is not None
    assert found.id == resumed
    assert found.settings["reference"] == "people.py"
    named = reader.run(newer)
    assert named is not None
    assert named.job == "places"
    assert reader.record_tables() == ["people", "places"]


def test_partitions_are_counted_by_state(store: FilledStore, reader: Reader) -> None:
    other = store.run("places", alive_until=NOW - 50.0)
    store.partitions(other, {"done": 9})
    run = store.run()
    store.partitions(run, {"pending": 3, "leased": 2, "done": 5, "split": 1, "incomplete": 4, "failed": 6})
    counts = reader.counts(run)
    assert counts == PartitionCounts(pending=3, leased=2, done=5, split=1, incomplete=4, failed=6)
    assert (counts.total, counts.open, counts.ended) == (21, 5, 16)
    overview = reader.overview()
    assert overview is not None
    assert (overview.run.id, overview.counts) == (run, counts)


def test_reported_is_what_the_site_says_of_the_partitions_the_run_began_with(
    store: FilledStore, reader: Reader
) -> None:
    run = store.run()
    parent = store.partition(run, "a", "split", reported=150)
    store.partition(run, "ab", "done", parent=parent, reported=100)
    store.partition(run, "b", "done", reported=7)
    store.partition(run, "c", "pending")
    overview = reader.overview(run)
    assert overview is not None
    assert overview.ledger == LedgerSums(157, 0)


def test_reported_is_unknown_where_no_partition_reports(store: FilledStore, reader: Reader) -> None:
    run = store.run()
    store.partition(run, "a", "done")
    overview = reader.overview(run)
    assert overview is not None
    assert overview.ledger.reported is None


def test_missing_counts_the_leaves_that_have_ended(store: FilledStore, reader: Reader) -> None:
    run = store.run()
    parent = store.partition(run, "a", "incomplete", missing=50)
    store.partition(run, "ab", "incomplete", parent=parent, missing=3)
    store.partition(run, "b", "failed", missing=4)
    store.partition(run, "c", "pending", missing=100)
    store.partition(run, "d", "leased", missing=100)
    overview = reader.overview(run)
    assert overview is not None
    assert overview.ledger.missing == 7


def test_partitions_in_progress_and_problems_are_bounded_and_ordered(store: FilledStore, reader: Reader) -> None:
    run = store.run()
    store.partition(run, "late", "leased", started=NOW - 1.0)
    store.partition(run, "early", "leased", started=NOW - 9.0)
    store.partition(run, "lacking", "incomplete", missing=2, reason="found 1 of 3")
    store.partition(run, "small", "failed", size=1)
    store.partition(run, "large", "failed", size=9, reason="it died")
    assert [row.key for row in reader.in_progress(run, 9)] == ["early", "late"]
    assert [row.key for row in reader.in_progress(run, 1)] == ["early"]
    problems = reader.problems(run, 9)
    assert [row.key for row in problems] == ["large", "small", "lacking"]
    assert (problems[0].reason, problems[2].missing) == ("it died", 2)
    assert len(reader.problems(run, 2)) == 2


def test_workers_say_how_many_partitions_they_hold(store: FilledStore, reader: Reader) -> None:
    run = store.run()
    store.worker(run, "w0", ended=NOW - 5.0)
    store.worker(run, "w1", records=4, requests=9)
    store.worker(store.run("places"), "elsewhere")
    store.partitions(run, {"leased": 2})
    rows = reader.workers(run, 9)
    assert [(row.name, row.holding, row.records) for row in rows] == [("w1", 2, 4), ("w0", 0, 0)]


def test_invalid_records_come_with_their_partition_latest_first(store: FilledStore, reader: Reader) -> None:
    run = store.run()
    partition = store.partition(run, "a", "done")
    store.invalid(run, partition, '{"id": 1}', "name: missing")
    store.invalid(run, partition, '{"id": 2}', "name: too long")
    rows = reader.invalid_records(run, 5)
    assert [(row.partition, row.error) for row in rows] == [("a", "name: too long"), ("a", "name: missing")]
    assert len(reader.invalid_records(run, 1)) == 1


def test_all_partitions_come_page_by_page(store: FilledStore, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "PAGE", 3)
    run = store.run()
    store.partitions(run, {"done": 7})
    assert [row.key for row in reader.partitions(run)] == [f"done-{number}" for number in range(7)]


def test_records_come_once_each_in_order_while_others_are_saved(
    store: FilledStore, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "PAGE", 3)
    store.run()
    store.records(THINGS, [{"id": f"k{number}", "n": number} for number in range(7)])
    columns = reader.record_columns()
    assert columns.kinds == {"id": Kind.TEXT, "n": Kind.INTEGER}
    assert columns.names == ("id", "n", "_partition", "_run", "_first_seen", "_last_seen")
    found = reader.records(columns)
    first = next(found)
    assert first == ("k0", 0, "a", 1, NOW, NOW)
    store.records(THINGS, [{"id": "k0", "n": 100}, {"id": "k6", "n": 60}, {"id": "k7", "n": 7}])
    assert [row[:2] for row in found] == [("k1", 1), ("k2", 2), ("k3", 3), ("k4", 4), ("k5", 5), ("k6", 60), ("k7", 7)]


def test_the_newest_records_come_last_added_first(store: FilledStore, reader: Reader) -> None:
    store.run()
    store.records(THINGS, [{"id": "z"}, {"id": "a"}, {"id": "m"}])
    newest = reader.newest_records(reader.record_columns(), 2)
    assert [row["id"] for row in newest] == ["m", "a"]
    assert newest[0]["_partition"] == "a"


def test_columns_may_bear_any_name(store: FilledStore, reader: Reader) -> None:
    names = ["rowid", "P/E", "EPS next Y %", 'say "hi"', "a:b", "select", "%s", "Prénom"]
    store.run()
    store.records(THINGS, [{"id": "k", **dict.fromkeys(names, "v")}])
    columns = reader.record_columns()
    assert set(names) <= set(columns.names)
    assert [set(row[1:9]) for row in reader.records(columns)] == [{"v"}]


def test_the_kinds_a_job_declares_win_over_the_columns_types(store: FilledStore, reader: Reader) -> None:
    store.run(settings='{"columns": {"facts": "json", "gone": "text"}}')
    store.records(THINGS, [{"id": "k", "facts": "{}", "flag": True, "share": 0.5}])
    kinds = reader.record_columns().kinds
    assert kinds == {"id": Kind.TEXT, "facts": Kind.JSON, "flag": Kind.BOOLEAN, "share": Kind.REAL}


def test_an_unknown_record_table_is_an_error_that_lists_the_known(store: FilledStore, reader: Reader) -> None:
    store.run("people")
    store.run("places")
    with pytest.raises(StoreError, match="there are people, places"):
        reader.record_columns("windrow_meta")
    with pytest.raises(StoreError, match="saved nothing so far"):
        reader.record_columns("people")


def test_a_reader_does_not_hold_up_the_writer(store: FilledStore, reader: Reader) -> None:
    run = store.run()
    store.records(THINGS, [{"id": "k"}])
    records = reader.records(reader.record_columns())
    next(records)
    store.partition(run, "while it reads", "done")
    assert reader.counts(run).done == 1


def test_a_reader_writes_nothing(store: FilledStore) -> None:
    with (
        open_reader(str(store.path)) as opened,
        opened._reading() as connection,
        pytest.raises(OperationalError, match="readonly"),
    ):
        connection.exec_driver_sql("CREATE TABLE mine (x)")


OTHER_PROGRAM = (
    "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('select 1 from windrow_meta'); c.close()"
)


def test_reading_in_the_writers_process_leaves_its_locks_in_place(tmp_path: Path) -> None:
    """POSIX drops all locks of a process on a file as soon as it closes any descriptor of that file.

    Were that to happen to the writer, another program that merely looked at the store would fold back its log and
    delete it at its end, and whatever the run writes from then on would be lost.
    """
    path = tmp_path / "people.db"
    with filled_store(path) as store:
        writer = sqlite3.connect(path, isolation_level=None)
        writer.execute("INSERT INTO windrow_meta VALUES ('before', '1')")
        with open_reader(str(path)) as opened:
            opened.run()
        subprocess.run([sys.executable, "-c", OTHER_PROGRAM, str(path)], check=True)
        writer.execute("INSERT INTO windrow_meta VALUES ('after', '1')")
        assert path.with_name(store.path.name + "-wal").exists(), "the log was deleted under the writer's feet"
        writer.close()
