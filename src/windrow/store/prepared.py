"""How statements of the hot path are run: compiled once, then handed to the driver as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Delete, Dialect, Select, Update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.dml import Insert

Build = Callable[[Connection], Insert | Update | Delete | Select[Any]]
Bind = Callable[[Any], Any]


class Prepared:
    """A statement that is built and compiled once, and then goes to the driver as it is.

    Building a statement anew costs SQLAlchemy 0.1 ms and running a finished one 0.02 ms more than SQLite itself needs;
    a partition of one page runs eight. What it is remains SQLAlchemy Core, in the dialect of each connection.

    `build`: the statement; its values come by the names of its `bindparam`s. `columns`: what an INSERT or UPDATE sets,
    each by its own name. Rows come as tuples, as the driver gives them: a Boolean of SQLite is 0 or 1.
    """

    def __init__(self, build: Build, columns: Sequence[str] | None = None) -> None:
        self._build = build
        self._columns = columns
        self._compiled: dict[Dialect, _Compiled] = {}

    def rows(self, connection: Connection, values: Mapping[str, Any]) -> list[Sequence[Any]]:
        """Run it; the rows it returns."""
        cursor = connection.connection.cursor()
        compiled = self._for(connection)
        try:
            cursor.execute(compiled.sql, compiled.bound(values))
            return list(cursor.fetchall())
        except compiled.error as error:
            raise compiled.explained(error, values) from error

    def changed(self, connection: Connection, values: Mapping[str, Any]) -> int:
        """Run it; how many rows it changed."""
        cursor = connection.connection.cursor()
        compiled = self._for(connection)
        try:
            cursor.execute(compiled.sql, compiled.bound(values))
        except compiled.error as error:
            raise compiled.explained(error, values) from error
        return int(cursor.rowcount)

    def changed_by_each(self, connection: Connection, several: Sequence[Mapping[str, Any]]) -> int:
        """Run it once for each of `several`; how many rows that changed."""
        cursor = connection.connection.cursor()
        compiled = self._for(connection)
        try:
            cursor.executemany(compiled.sql, [compiled.bound(values) for values in several])
        except compiled.error as error:
            raise compiled.explained(error, several) from error
        return int(cursor.rowcount)

    def _for(self, connection: Connection) -> _Compiled:
        # SQLAlchemy would begin a transaction by itself; here nothing would, and each statement be one of its own.
        assert connection.in_transaction(), "a prepared statement belongs into a transaction"
        dialect = connection.dialect
        compiled = self._compiled.get(dialect)
        if compiled is None:
            compiled = self._compiled[dialect] = _compiled(self._build(connection), self._columns, dialect)
        return compiled


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A statement in one dialect.

    `constants`: values that stand in the statement itself, as the driver takes them. `processors`: what makes the
    driver's values of the others, where they are not the same.
    `names`: of its values, in their order; None for a driver that takes them by name, some of them `escaped`.
    """

    sql: str
    constants: Mapping[str, Any]
    names: tuple[str, ...] | None
    escaped: Mapping[str, str]
    processors: tuple[tuple[str, Bind], ...]
    dialect: Dialect
    error: type[Exception]

    def bound(self, values: Mapping[str, Any]) -> Any:
        """The values as the driver takes them."""
        whole = {**self.constants, **values}
        for name, process in self.processors:
            whole[name] = process(whole[name])
        if self.names is None:
            return {self.escaped.get(name, name): value for name, value in whole.items()}
        return [whole[name] for name in self.names]

    def explained(self, error: Exception, values: Any) -> BaseException:
        """The driver's error as SQLAlchemy would raise it."""
        return DBAPIError.instance(self.sql, values, error, self.error, dialect=self.dialect)


def _compiled(statement: Any, columns: Sequence[str] | None, dialect: Dialect) -> _Compiled:
    compiled = statement.compile(dialect=dialect, column_keys=None if columns is None else list(columns))
    binds = compiled.binds
    processors = {
        name: process
        for name, bind in binds.items()
        if (process := bind.type.dialect_impl(dialect).bind_processor(dialect)) is not None
    }
    constants = {name: bind.effective_value for name, bind in binds.items() if not bind.required}
    return _Compiled(
        sql=str(compiled),
        constants={name: processors.get(name, _as_it_is)(value) for name, value in constants.items()},
        names=tuple(compiled.positiontup) if compiled.positional else None,
        escaped=dict(compiled.escaped_bind_names),
        processors=tuple((name, process) for name, process in processors.items() if name not in constants),
        dialect=dialect,
        error=dialect.loaded_dbapi.Error,
    )


def _as_it_is(value: Any) -> Any:
    return value
