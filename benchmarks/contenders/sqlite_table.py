"""The table that the contenders other than Windrow store their rows in."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.contenders.pages import SELECTORS


class ProductTable:
    """A context manager over an SQLite file; commits every `per_commit` rows and at its end. WAL, synchronous=FULL."""

    def __init__(self, path: Path, per_commit: int) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._per_commit = per_commit
        self._open = 0
        fields = ", ".join(f"{field} TEXT" for field in SELECTORS)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute(f"CREATE TABLE products (number INTEGER PRIMARY KEY, {fields})")
        self._insert = f"INSERT OR REPLACE INTO products VALUES (?{', ?' * len(SELECTORS)})"

    def add(self, number: int, fields: Mapping[str, str | None]) -> None:
        """Store one row; SELECTORS say in what order."""
        if not self._open:
            self._connection.execute("BEGIN IMMEDIATE")
        self._connection.execute(self._insert, (number, *(fields[field] for field in SELECTORS)))
        self._open += 1
        if self._open >= self._per_commit:
            self.commit()

    def commit(self) -> None:
        """Make durable what was added."""
        if self._open:
            self._connection.execute("COMMIT")
            self._open = 0

    def close(self) -> None:
        """Commit and close; safe to call twice."""
        self.commit()
        self._connection.close()
        self._per_commit, self._open = 1, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
