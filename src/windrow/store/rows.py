"""The table of a job's records: made, grown, and written once per key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Dialect,
    Float,
    MetaData,
    Table,
    Text,
    inspect,
    text,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.dml import Insert

from windrow.errors import StoreError, WindrowError
from windrow.records import MOST_COLUMNS, OWN_COLUMNS, Kind, RecordType, Row, kind_of
from windrow.store.prepared import Prepared

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql


class _Flag(Boolean):
    """A column that a plain dict began with true or false: what comes later need not be."""

    def bind_processor(self, dialect: Dialect) -> None:
        return None


_TYPES = {
    Kind.TEXT: Text,
    Kind.JSON: Text,
    Kind.INTEGER: BigInteger,
    Kind.REAL: Float,
    Kind.BOOLEAN: _Flag,
}


class TooManyColumns(WindrowError):
    """Plain dicts brought more columns than a table may have."""


def upsert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that knows ON CONFLICT, in the connection's dialect."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    # Imported here: it is the largest part of the database library, and nearly every store does without.
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)


class RecordTable:
    """One column per field, the key as primary key, and Windrow's own columns.

    `_first_seen` and `_last_seen` are seconds since the epoch; `_run` is the last run that saved the record.
    """

    def __init__(self, name: str, record: RecordType) -> None:
        self.name = name
        self._record = record
        self._kinds: dict[str, Kind] = {}
        self._statements: dict[tuple[str, ...], Prepared] = {}

    @property
    def plain_columns(self) -> list[str]:
        """The names of the fields' columns, without those that are known to hold JSON."""
        return [name for name in self._kinds if self._record.columns.get(name) is not Kind.JSON]

    def prepare(self, connection: Connection) -> None:
        """Make the table, or check that the one there is ours and add the columns it lacks. Raises StoreError."""
        declared = {**dict.fromkeys(self._record.key, Kind.TEXT), **self._record.columns}
        if not inspect(connection).has_table(self.name):
            self._kinds = declared
            self._table().create(connection)
            return
        self._adopt(connection)
        for column, kind in declared.items():
            if column not in self._kinds:
                self._add_column(connection, column, kind)

    def save(self, connection: Connection, rows: Sequence[Row], *, partition: str, run: int, now: float) -> None:
        """Insert or update `rows`, each key once; a column a plain dict does not name keeps its value."""
        shapes: dict[tuple[str, ...], list[Row]] = {}
        for row in rows:
            fitted = self._fit(connection, row)
            shapes.setdefault(tuple(fitted), []).append(
                {**fitted, "_partition": partition, "_run": run, "_first_seen": now, "_last_seen": now}
            )
        for columns, alike in shapes.items():
            if columns not in self._statements:
                self._statements[columns] = self._upsert(columns)
            self._statements[columns].changed_by_each(connection, alike)

    def forget_columns(self, connection: Connection) -> None:
        """After a rollback: columns added in that transaction are gone again."""
        self._adopt(connection)

    def _table(self) -> Table:
        fields: list[Column[Any]] = [
            Column(name, _TYPES[kind], primary_key=name in self._record.key, autoincrement=False)
            for name, kind in self._kinds.items()
        ]
        return Table(
            self.name,
            MetaData(),
            *fields,
            Column("_partition", Text, nullable=False),
            Column("_run", BigInteger, nullable=False),
            Column("_first_seen", Float, nullable=False),
            Column("_last_seen", Float, nullable=False),
        )

    def _adopt(self, connection: Connection) -> None:
        seen = inspect(connection)
        columns = {column["name"]: column["type"] for column in seen.get_columns(self.name)}
        key = tuple(seen.get_pk_constraint(self.name)["constrained_columns"])
        if not set(OWN_COLUMNS) <= set(columns):
            raise StoreError(f"the table {self.name!r} of this store is not Windrow's; name the job otherwise")
        if set(key) != set(self._record.key):
            raise StoreError(
                f"the table {self.name!r} of this store has the key {', '.join(key)}, the job has "
                f"{', '.join(self._record.key)}; give --store another file, or name the job otherwise"
            )
        kinds = {BigInteger: Kind.INTEGER, Float: Kind.REAL, Boolean: Kind.BOOLEAN}
        self._kinds = {
            name: next((kind for sql, kind in kinds.items() if isinstance(type_, sql)), Kind.TEXT)
            for name, type_ in columns.items()
            if name not in OWN_COLUMNS
        }
        self._statements.clear()

    def _fit(self, connection: Connection, row: Row) -> Row:
        if row.keys() <= self._kinds.keys():
            return row
        return {self._column(connection, name, value): value for name, value in row.items()}

    def _column(self, connection: Connection, name: str, value: object) -> str:
        """The column for `name`, added if there is none. Names that differ only in case are one column to SQL."""
        if name in self._kinds:
            return name
        for known in self._kinds:
            if known.casefold() == name.casefold():
                return known
        self._add_column(connection, name, kind_of(value) if isinstance(value, str | int | float) else None)
        return name

    def _add_column(self, connection: Connection, name: str, kind: Kind | None) -> None:
        """Without a kind (a plain dict brought null first) SQLite keeps whatever comes as it is."""
        if len(self._kinds) >= MOST_COLUMNS:
            raise TooManyColumns(
                f"the column {name!r} would be number {len(self._kinds) + 1} of {self.name}, {MOST_COLUMNS} are the "
                "most; put what varies into one nested value"
            )
        quote = connection.dialect.identifier_preparer.quote
        untyped = kind is None and connection.dialect.name == "sqlite"
        sql_type = "" if untyped else _TYPES[kind or Kind.TEXT]().compile(dialect=connection.dialect)
        connection.execute(text(f"ALTER TABLE {quote(self.name)} ADD COLUMN {_escaped(quote(name))} {sql_type}"))
        self._kinds[name] = kind or Kind.TEXT
        self._statements.clear()

    def _upsert(self, columns: Sequence[str]) -> Prepared:
        table = self._table()
        changed = [*(c for c in columns if c not in self._record.key), "_partition", "_run", "_last_seen"]

        def build(connection: Connection) -> Insert:
            statement = upsert(connection, table)
            return statement.on_conflict_do_update(
                index_elements=list(self._record.key),
                set_={name: statement.excluded[name] for name in changed},
            )

        return Prepared(build, (*columns, *OWN_COLUMNS))


def _escaped(name: str) -> str:
    """A colon in a column name is no parameter of a textual statement."""
    return name.replace(":", "\\:")


def kinds_of(record: RecordType) -> Mapping[str, str]:
    """Column → kind, as a run's settings keep them for readers."""
    return {name: kind.value for name, kind in record.columns.items()}
