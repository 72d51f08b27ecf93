"""The results of `windrow.map`: one JSON text for each name of a map and key of an item, written once.

The table is made when it is first needed, so that stores of runs do without it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Column, Connection, Float, MetaData, Table, Text, select
from sqlalchemy.exc import SQLAlchemyError

from windrow.errors import StoreUnavailable
from windrow.store.database import Database
from windrow.store.rows import upsert

KEYS_AT_ONCE = 500

results = Table(
    "windrow_results",
    MetaData(),
    Column("map", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),  # JSON
    Column("at", Float, nullable=False),  # seconds since the epoch
    sqlite_with_rowid=False,
)


class StoredResults:
    """The results of one map. Its methods may be called by several threads."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        self._using = threading.Lock()
        self._insert = upsert(connection, results).on_conflict_do_nothing()

    def find(self, keys: Sequence[str]) -> dict[str, str]:
        """The JSON texts of those keys that have one. Raises StoreUnavailable."""
        found: dict[str, str] = {}
        with self._transaction() as connection:
            for begin in range(0, len(keys), KEYS_AT_ONCE):
                chosen = keys[begin : begin + KEYS_AT_ONCE]
                query = select(results.c.key, results.c.value).where(
                    results.c.map == self._name, results.c.key.in_(chosen)
                )
                found.update((row.key, row.value) for row in connection.execute(query))
        return found

    def keep(self, rows: Sequence[tuple[str, str]], now: float) -> None:
        """Write pairs of key and JSON text, in one transaction; a key that is there stays as it is.

        Raises StoreUnavailable, and has written none of them.
        """
        with self._transaction() as connection:
            connection.execute(
                self._insert, [{"map": self._name, "key": key, "value": value, "at": now} for key, value in rows]
            )

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._using, self._connection.begin():
                yield self._connection
        except SQLAlchemyError as error:
            raise StoreUnavailable(f"the results cannot be kept: {getattr(error, 'orig', None) or error}") from error


@contextmanager
def opened_results(database: Database, name: str) -> Iterator[StoredResults]:
    """The results of the map `name` in a store that was opened for writing."""
    with database.connect() as connection:
        with connection.begin():
            results.create(connection, checkfirst=True)
        yield StoredResults(connection, name)
