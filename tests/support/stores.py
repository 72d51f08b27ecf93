"""Stores as files on disk, filled row by row: for tests of what reads a store."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Table, insert, update

from windrow.records import RecordType, Row
from windrow.store.database import Database, open_for_writing, transaction
from windrow.store.rows import RecordTable, kinds_of
from windrow.store.tables import invalid, partitions, runs, workers

NOW = 1_000_000.0
"""When the runs of these tests are looked at."""


class FilledStore:
    """A store that is open for writing, and short words for what is in it."""

    def __init__(self, path: Path, database: Database) -> None:
        self.path = path
        self._database = database

    def run(self, job: str = "people", record: RecordType | None = None, **values: Any) -> int:
        """A run that began 100 seconds ago and is alive for another 10; its number."""
        kinds = {} if record is None else dict(kinds_of(record))
        row = {
            "job": job,
            "record_table": job,
            "state": "running",
            "settings": json.dumps({"columns": kinds, "reference": f"{job}.py"}),
            "started": NOW - 100.0,
            "alive_until": NOW + 10.0,
        }
        return self._insert(runs, {**row, **values})

    def change_run(self, run: int, **values: Any) -> None:
        with transaction(self._database) as connection:
            connection.execute(update(runs).where(runs.c.id == run).values(**values))

    def partition(self, run: int, key: str, state: str = "pending", **values: Any) -> int:
        """A partition; its number. A leased one is held by `w1` unless `worker` says otherwise."""
        worker = {"worker": "w1"} if state == "leased" else {}
        return self._insert(partitions, {"run": run, "key": key, "params": "{}", "state": state, **worker, **values})

    def partitions(self, run: int, states: Mapping[str, int]) -> None:
        """Many partitions: state → how many."""
        rows = [
            {"run": run, "key": f"{state}-{number}", "params": "{}", "state": state, "worker": None}
            | ({"worker": "w1"} if state == "leased" else {})
            for state, count in states.items()
            for number in range(count)
        ]
        with transaction(self._database) as connection:
            connection.execute(insert(partitions), rows)

    def worker(self, run: int, name: str, **values: Any) -> None:
        row = {"name": name, "run": run, "pid": 42, "sessions": 2, "started": NOW - 90.0, "seen": NOW - 1.0, **values}
        self._insert(workers, row)

    def invalid(self, run: int, partition: int, raw: str, error: str) -> None:
        self._insert(invalid, {"run": run, "partition": partition, "raw": raw, "error": error, "at": NOW})

    def records(
        self, record: RecordType, rows: Sequence[Row], *, table: str = "people", run: int = 1, now: float = NOW
    ) -> None:
        """Records saved as a run saves them."""
        made = RecordTable(table, record)
        with transaction(self._database) as connection:
            made.prepare(connection)
            made.save(connection, rows, partition="a", run=run, now=now)

    def _insert(self, table: Table, values: Mapping[str, Any]) -> int:
        with transaction(self._database) as connection:
            found = connection.execute(insert(table).values(**values)).inserted_primary_key
        assert found is not None
        return found[0] if isinstance(found[0], int) else 0


@contextmanager
def filled_store(path: Path) -> Iterator[FilledStore]:
    """A store at `path`, open for writing until the end of the context."""
    with open_for_writing(str(path)) as database:
        yield FilledStore(path, database)
