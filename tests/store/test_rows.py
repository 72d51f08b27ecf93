"""The table of a job's records: made, adopted, grown, and written once per key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from sqlalchemy import Connection, inspect

from tests.support.bench import Bench, held
from windrow.errors import StoreError
from windrow.records import LARGEST_INTEGER, MOST_COLUMNS, OWN_COLUMNS, RecordType, Row, record_type
from windrow.store.database import Database, open_for_writing, transaction
from windrow.store.messages import Commit, Committed, Failure
from windrow.store.rows import RecordTable, TooManyColumns, kinds_of

PLAIN = record_type(None, "id")


class Thing(BaseModel):
    id: int
    name: str
    weight: float | None = None
    good: bool = False
    parts: list[str] = []


THING = record_type(Thing, "id")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with open_for_writing(str(tmp_path / "things.db")) as opened:
        yield opened


def made(connection: Connection, kind: RecordType = PLAIN, name: str = "things") -> RecordTable:
    """The table as a run makes or adopts it."""
    table = RecordTable(name, kind)
    table.prepare(connection)
    return table


def save(connection: Connection, table: RecordTable, *rows: Row, **more: Any) -> None:
    table.save(connection, rows, **{"partition": "a", "run": 1, "now": 100.0, **more})


def stored(connection: Connection, name: str = "things") -> list[dict[str, Any]]:
    return [dict(row) for row in connection.exec_driver_sql(f"SELECT * FROM {name} ORDER BY id").mappings()]


def fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """A stored row without Windrow's own columns."""
    return {name: value for name, value in row.items() if name not in OWN_COLUMNS}


def types(connection: Connection, name: str = "things") -> dict[str, str]:
    return {column["name"]: str(column["type"]) for column in inspect(connection).get_columns(name)}


# --- made, adopted, grown ------------------------------------------------------------------------------------------


def test_a_table_has_a_column_for_each_field_and_windrows_own(database: Database) -> None:
    with transaction(database) as connection:
        table = made(connection, THING)
        assert types(connection) == {
            "id": "BIGINT",
            "name": "TEXT",
            "weight": "FLOAT",
            "good": "BOOLEAN",
            "parts": "TEXT",
            "_partition": "TEXT",
            "_run": "BIGINT",
            "_first_seen": "FLOAT",
            "_last_seen": "FLOAT",
        }
        assert inspect(connection).get_pk_constraint("things")["constrained_columns"] == ["id"]
        assert table.plain_columns == ["id", "name", "weight", "good"]
    assert kinds_of(THING) == {"id": "integer", "name": "text", "weight": "real", "good": "boolean", "parts": "json"}


def test_a_table_of_plain_dicts_begins_with_its_key(database: Database) -> None:
    with transaction(database) as connection:
        made(connection, record_type(None, ("city", "street")))
        assert list(types(connection)) == ["city", "street", *OWN_COLUMNS]
        assert inspect(connection).get_pk_constraint("things")["constrained_columns"] == ["city", "street"]


def test_a_table_is_adopted_with_its_rows(database: Database) -> None:
    record = Thing(id=1, name="one", weight=1.5, good=True, parts=["x"])
    with transaction(database) as connection:
        save(connection, made(connection, THING), THING.row(record))
        before = types(connection)
    with transaction(database) as connection:
        table = made(connection, THING)
        assert types(connection) == before
        save(connection, table, THING.row(Thing(id=2, name="two")))
        assert [fields(row) for row in stored(connection)] == [
            {"id": 1, "name": "one", "weight": 1.5, "good": 1, "parts": '["x"]'},
            {"id": 2, "name": "two", "weight": None, "good": 0, "parts": "[]"},
        ]


def test_a_job_that_declares_more_fields_grows_its_table(database: Database) -> None:
    class Smaller(BaseModel):
        id: int
        name: str

    smaller = record_type(Smaller, "id")
    with transaction(database) as connection:
        save(connection, made(connection, smaller), {"id": 1, "name": "one"})
        table = made(connection, THING)
        assert list(types(connection)) == ["id", "name", *OWN_COLUMNS, "weight", "good", "parts"]
        save(connection, table, THING.row(Thing(id=1, name="uno", weight=2.0)))
        assert [fields(row) for row in stored(connection)] == [
            {"id": 1, "name": "uno", "weight": 2.0, "good": 0, "parts": "[]"}
        ]


def test_a_job_that_declares_fewer_fields_keeps_the_columns(database: Database) -> None:
    class Smaller(BaseModel):
        id: int
        name: str

    with transaction(database) as connection:
        save(connection, made(connection, THING), THING.row(Thing(id=1, name="one", weight=2.0)))
        save(connection, made(connection, record_type(Smaller, "id")), {"id": 1, "name": "uno"})
        (row,) = stored(connection)
        assert (row["name"], row["weight"]) == ("uno", 2.0)


def test_plain_dicts_bring_columns_as_they_come(database: Database) -> None:
    with transaction(database) as connection:
        table = made(connection)
        save(connection, table, {"id": "1", "n": 5}, {"id": "2", "x": 1.5, "yes": True}, {"id": "3", "t": "a", "n": 6})
        assert types(connection) == {
            "id": "TEXT",
            "_partition": "TEXT",
            "_run": "BIGINT",
            "_first_seen": "FLOAT",
            "_last_seen": "FLOAT",
            "n": "BIGINT",
            "x": "FLOAT",
            "yes": "BOOLEAN",
            "t": "TEXT",
        }
        nothing = {"n": None, "x": None, "yes": None, "t": None}
        assert [fields(row) for row in stored(connection)] == [
            {"id": "1", **nothing, "n": 5},
            {"id": "2", **nothing, "x": 1.5, "yes": 1},
            {"id": "3", **nothing, "n": 6, "t": "a"},
        ]


def test_a_column_that_began_with_null_takes_what_comes_as_it_is(database: Database) -> None:
    with transaction(database) as connection:
        table = made(connection)
        for number, value in enumerate((None, 5, "05", 1.5)):
            save(connection, table, {"id": str(number), "x": value})
        assert [row["x"] for row in stored(connection)] == [None, 5, "05", 1.5]


def test_another_run_knows_the_columns_that_came(database: Database) -> None:
    with transaction(database) as connection:
        save(connection, made(connection), {"id": "1", "n": 5})
    with transaction(database) as connection:
        save(connection, made(connection), {"id": "1", "n": 6}, {"id": "2", "m": 7})
        assert [fields(row) for row in stored(connection)] == [
            {"id": "1", "n": 6, "m": None},
            {"id": "2", "n": None, "m": 7},
        ]


# --- tables that are not ours --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE things (id TEXT PRIMARY KEY, name TEXT)",
        "CREATE TABLE things (id TEXT PRIMARY KEY, _partition TEXT, _run INT, _first_seen FLOAT)",
        "CREATE VIEW things AS SELECT 1 AS id",
    ],
    ids=["table", "nearly ours", "view"],
)
def test_a_foreign_table_of_the_same_name_is_left_alone(statement: str, database: Database) -> None:
    with transaction(database) as connection:
        connection.exec_driver_sql(statement)
        before = connection.exec_driver_sql("SELECT sql FROM sqlite_master ORDER BY name").all()
        with pytest.raises(StoreError) as error:
            made(connection)
        assert str(error.value) == "the table 'things' of this store is not Windrow's; name the job otherwise"
        assert connection.exec_driver_sql("SELECT sql FROM sqlite_master ORDER BY name").all() == before


@pytest.mark.parametrize("key", ["code", ("id", "code")])
def test_a_table_with_another_key_is_left_alone(key: Any, database: Database) -> None:
    with transaction(database) as connection:
        made(connection)
        with pytest.raises(StoreError, match=r"has the key id, the job has .*code; give --store another file"):
            made(connection, record_type(None, key))
        assert "code" not in types(connection)


def test_the_order_of_a_key_makes_no_difference(database: Database) -> None:
    with transaction(database) as connection:
        table = made(connection, record_type(None, ("a", "b")))
        table.save(connection, [{"a": "1", "b": "2", "n": 1}], partition="a", run=1, now=1.0)
        again = made(connection, record_type(None, ("b", "a")))
        again.save(connection, [{"a": "1", "b": "2", "n": 2}], partition="a", run=1, now=1.0)
        assert connection.exec_driver_sql("SELECT a, b, n FROM things").all() == [("1", "2", 2)]


# --- one row for each key ------------------------------------------------------------------------------------------


def test_a_known_key_is_updated_and_keeps_when_it_was_first_seen(database: Database) -> None:
    with transaction(database) as connection:
        table = made(connection)
        save(connection, table, {"id": "1", "n": 1}, {"id": "2", "n": 2})
        save(connection, table, {"id": "1", "n": 10}, partition="b", run=2, now=200.0)
        assert stored(connection) == [
            {"id": "1", "_partition": "b", "_run": 2, "_first_seen": 100.0, "_last_seen": 200.0, "n": 10},
            {"id": "2", "_partition": "a", "_run": 1, "_first_seen": 100.0, "_last_seen": 100.0, "n": 2},
        ]


def test_an_update_keeps_the_columns_that_a_dict_does_not_name(database: Database) -> None:
    with transaction(database) as connection:
        table = made(connection)
        save(connection, table, {"id": "1", "n": 1, "m": 2})
        save(connection, table, {"id": "1", "m": 3})
        save(connection, table, {"id": "1"})
        save(connection, table, {"id": "1", "o": 4})
        assert [fields(row) for row in stored(connection)] == [{"id": "1", "n": 1, "m": 3, "o": 4}]


def test_an_update_can_make_a_column_empty(database: Database) -> None:
    with transaction(database) as connection:
        table = made(connection)
        save(connection, table, {"id": "1", "n": 1})
        save(connection, table, {"id": "1", "n": None})
        assert [fields(row) for row in stored(connection)] == [{"id": "1", "n": None}]


def test_the_order_of_a_dicts_columns_makes_no_difference(database: Database) -> None:
    with transaction(database) as connection:
        table = made(connection)
        save(connection, table, {"id": "1", "n": 1, "m": 2}, {"m": 20, "n": 10, "id": "2"}, {"n": 100, "id": "3"})
        assert [fields(row) for row in stored(connection)] == [
            {"id": "1", "n": 1, "m": 2},
            {"id": "2", "n": 10, "m": 20},
            {"id": "3", "n": 100, "m": None},
        ]


def test_keys_of_several_columns_are_told_apart(database: Database) -> None:
    kind = record_type(None, ("id", "side"))
    with transaction(database) as connection:
        table = made(connection, kind)
        save(connection, table, {"id": "1", "side": "l", "n": 1}, {"id": "1", "side": "r", "n": 2})
        save(connection, table, {"id": "1", "side": "r", "n": 3})
        assert [fields(row) for row in stored(connection)] == [
            {"id": "1", "side": "l", "n": 1},
            {"id": "1", "side": "r", "n": 3},
        ]


# --- names of columns ----------------------------------------------------------------------------------------------

ODD_NAMES = [
    'say "hi"',
    "it's",
    "100 %",
    "%s",
    "%(x)s",
    "EPS next Y %",
    "EPS_next_Y_P",
    "a:b",
    ":a",
    "a::b",
    "a\\:b",
    "\\",
    "P/E",
    " leading",
    "trailing ",
    "a b",
    "a_b",
    "a.b",
    "a[b]",
    "(x)",
    "?",
    "?1",
    "$1",
    "@x",
    "`x`",
    "[x]",
    "x;--",
    "new\nline",
    "tab\t",
    "🐈",
    "Prénom",
    "名前",
    "select",
    "from",
    "order",
    "rowid",
    "things",
    "excluded",
    "key",
    "values",
    "1",
    "param_1",
    "_partition_1",
    "x" * 300,
]


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_a_column_may_bear_any_name(name: str, database: Database) -> None:
    with transaction(database) as connection:
        table = made(connection)
        save(connection, table, PLAIN.row({"id": "1", name: "new"}))
        save(connection, table, PLAIN.row({"id": "1", name: "changed"}))
        assert [fields(row) for row in stored(connection)] == [{"id": "1", name: "changed"}]
    with transaction(database) as connection:
        save(connection, made(connection), PLAIN.row({"id": "1", name: "adopted"}))
        assert [fields(row) for row in stored(connection)] == [{"id": "1", name: "adopted"}]


def test_columns_of_odd_names_are_not_mixed_up(database: Database) -> None:
    record = {"id": "1", **{name: number for number, name in enumerate(ODD_NAMES)}}
    with transaction(database) as connection:
        save(connection, made(connection), PLAIN.row(record))
        assert [fields(row) for row in stored(connection)] == [record]


@pytest.mark.parametrize("name", ["select", "it's 100 %", "a:b", "🐈"])
def test_the_key_may_bear_any_name(name: str, database: Database) -> None:
    kind = record_type(None, name)
    with transaction(database) as connection:
        for value in (1, 2):
            made(connection, kind).save(connection, [{name: "k", "n": value}], partition="a", run=1, now=1.0)
        assert connection.exec_driver_sql("SELECT n FROM things").all() == [(2,)]


def test_a_declared_field_may_bear_any_name(database: Database) -> None:
    declared = type("Odd", (BaseModel,), {"__annotations__": {"id": str, "select": str, "prénom": str}})
    kind = record_type(declared, "id")
    with transaction(database) as connection:
        save(connection, made(connection, kind), kind.row({"id": "1", "select": "x", "prénom": "y"}))
        assert [fields(row) for row in stored(connection)] == [{"id": "1", "select": "x", "prénom": "y"}]


@pytest.mark.parametrize(("known", "name"), [("Name", "name"), ("p/e: x", "P/E: X"), ("PRÉNOM", "prénom")])
def test_names_that_differ_only_in_case_are_one_column(known: str, name: str, database: Database) -> None:
    with transaction(database) as connection:
        table = made(connection)
        save(connection, table, {"id": "1", known: "old"})
        save(connection, table, {"id": "1", name: "new"}, {"id": "2", name: "too"})
        assert [fields(row) for row in stored(connection)] == [{"id": "1", known: "new"}, {"id": "2", known: "too"}]
        save(connection, made(connection), {"id": "2", name: "adopted"})
        assert fields(stored(connection)[1]) == {"id": "2", known: "adopted"}


# --- how many columns ----------------------------------------------------------------------------------------------


def test_plain_dicts_bring_at_most_a_thousand_columns(database: Database) -> None:
    with transaction(database) as connection:
        table = made(connection)
        most = {f"c{number}": number for number in range(MOST_COLUMNS - 1)}
        save(connection, table, {"id": "1", **most})
        assert fields(stored(connection)[0]) == {"id": "1", **most}
        with pytest.raises(TooManyColumns) as error:
            save(connection, table, {"id": "2", "one more": 1})
        assert str(error.value) == (
            "the column 'one more' would be number 1001 of things, 1000 are the most; put what varies into one nested "
            "value"
        )
        save(connection, table, {"id": "2", "c5": 5})
        assert len(stored(connection)) == 2


def test_a_record_with_too_many_columns_is_refused_and_others_are_saved(bench: Bench) -> None:
    bench.begin(["a"])
    lease = bench.claim()
    wide: list[tuple[str, Row]] = [
        (part, {"id": part, **{f"c{part}.{number}": number for number in range(600)}}) for part in ("0", "1")
    ]
    assert isinstance(bench.say(Commit(held(lease), rows=wide[:1])), Committed)
    answer = bench.say(Commit(held(lease), rows=wide[1:]))
    assert isinstance(answer, Failure)
    assert not answer.fatal
    assert "1000 are the most" in answer.message
    assert bench.save(lease, "2").new == 1
    assert [record["id"] for record in bench.records()] == ["0", "2"]


def test_columns_of_a_transaction_that_was_rolled_back_can_come_again(database: Database) -> None:
    with transaction(database) as connection:
        table = made(connection)
    with database.connect() as connection, connection.begin() as begun:
        save(connection, table, {"id": "1", "n": 1})
        begun.rollback()
    with transaction(database) as connection:
        table.forget_columns(connection)
        save(connection, table, {"id": "1", "n": 2})
        assert [fields(row) for row in stored(connection)] == [{"id": "1", "n": 2}]


# --- properties ----------------------------------------------------------------------------------------------------

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-LARGEST_INTEGER, LARGEST_INTEGER)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(record=st.dictionaries(NAMES, VALUES, max_size=8), key=st.text("abc", min_size=1, max_size=3))
def test_any_dict_is_given_back_as_it_was(record: dict[str, Any], key: str, database: Database) -> None:
    record = {**record, "id": key}
    assume(all(name.strip() and name.casefold() not in OWN_COLUMNS for name in record))
    assume(len({name.casefold() for name in record}) == len(record))
    with database.connect() as connection, connection.begin() as begun:
        save(connection, made(connection), PLAIN.row(record))
        assert [fields(row) for row in stored(connection)] == [record]
        begun.rollback()
