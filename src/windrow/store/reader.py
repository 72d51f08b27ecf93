"""Reading a store beside the run that writes it: every query of status, monitor, progress, export and the demos.

A `Reader` holds no transaction between two calls: each method reads in one short transaction of its own, and an export
reads page by page, so a reader neither blocks the writer nor keeps its log (WAL) from being folded back.

What is counted over all partitions is counted by an index or in one pass inside the database; lists are bounded by the
caller (`most`) or come page by page. Nothing here depends on how many partitions or records there are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Connection,
    Engine,
    Float,
    Integer,
    Select,
    TableClause,
    column,
    func,
    inspect,
    literal_column,
    or_,
    select,
    table,
)
from sqlalchemy.types import TypeEngine

from windrow.errors import StoreError
from windrow.records import OWN_COLUMNS, Kind, Row, Value
from windrow.store.database import open_for_reading
from windrow.store.tables import STATES, hosts, identities, invalid, partitions, runs, workers

PAGE = 2_000
"""Rows read in one transaction where all of a table is wanted."""

ENDED_LEAVES = ("done", "incomplete", "failed")
ROWID_NAMES = ("rowid", "_rowid_", "oid")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One run. Times are epoch seconds; `state` is as the store has it: running, finished or abandoned."""

    id: int
    job: str
    record_table: str
    state: str
    settings: Mapping[str, Any]
    started: float
    finished: float | None
    alive_until: float
    active_seconds: float
    records: int
    invalid: int
    requests: int
    retries: int
    throttled: int
    blocked: int
    missing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionCounts:
    """How many partitions of a run are in each state."""

    pending: int = 0
    leased: int = 0
    done: int = 0
    split: int = 0
    incomplete: int = 0
    failed: int = 0

    @property
    def total(self) -> int:
        return self.open + self.ended

    @property
    def open(self) -> int:
        """Those still to be scraped, or being scraped."""
        return self.pending + self.leased

    @property
    def ended(self) -> int:
        return self.done + self.split + self.incomplete + self.failed


@dataclass(frozen=True, slots=True)
class LedgerSums:
    """`reported`: by the site for the partitions the run began with, None where it reports nothing. `missing`: so far,
    over the partitions without children that have come to an end.
    """

    reported: int | None
    missing: int


@dataclass(frozen=True, slots=True)
class Overview:
    """One run as it stood at one moment."""

    run: RunRow
    counts: PartitionCounts
    ledger: LedgerSums


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionRow:
    """One partition of a run. Times are epoch seconds."""

    id: int
    key: str
    parent: int | None
    state: str
    worker: str | None
    attempt: int
    not_before: float
    reported: int | None
    found: int
    saved: int
    invalid: int
    missing: int
    requests: int
    reason: str | None
    started: float | None
    finished: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """One worker of a run; `holding` is how many partitions it has in hand now. Times are epoch seconds."""

    name: str
    pid: int
    sessions: int
    started: float
    seen: float
    ended: float | None
    records: int
    requests: int
    holding: int


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """A record that did not fit its type: its partition's key, its text, what is wrong with it, and when."""

    partition: str
    raw: str
    error: str
    at: float


@dataclass(frozen=True, slots=True)
class HostHold:
    """A host that asked to be left alone, and until when (epoch seconds)."""

    host: str
    until: float


@dataclass(frozen=True, slots=True)
class IdentityRest:
    """An identity that rests until then (epoch seconds), or that is out for this run; and why."""

    name: str
    until: float
    is_out: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class RecordColumns:
    """The table of a job's records: its fields with their kinds in order, without Windrow's own columns."""

    table: str
    kinds: Mapping[str, Kind]

    @property
    def names(self) -> tuple[str, ...]:
        """The fields, then Windrow's own columns."""
        return (*self.kinds, *OWN_COLUMNS)


class Reader:
    """Queries over a read-only engine. Raises StoreError where the store does not hold what is asked for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    # --- runs -----------------------------------------------------------------------------------------------------

    def run(self, run: int | None = None) -> RunRow | None:
        """The run of that number, or the one that was active last; None where there is none."""
        with self._reading() as connection:
            return _run(connection, run)

    def overview(self, run: int | None = None) -> Overview | None:
        """That run (None: the one active last) with its counts, all of one moment; None where there is none."""
        with self._reading() as connection:
            row = _run(connection, run)
            if row is None:
                return None
            return Overview(row, _counts(connection, row.id), _ledger(connection, row.id))

    def record_tables(self) -> list[str]:
        """The tables of records this store holds, that of the run active last first."""
        latest = func.max(runs.c.alive_until)
        statement = select(runs.c.record_table).group_by(runs.c.record_table).order_by(latest.desc())
        with self._reading() as connection:
            return list(connection.execute(statement).scalars())

    # --- partitions and workers -----------------------------------------------------------------------------------

    def counts(self, run: int) -> PartitionCounts:
        with self._reading() as connection:
            return _counts(connection, run)

    def in_progress(self, run: int, most: int) -> list[PartitionRow]:
        """Up to `most` partitions that a worker has in hand, the ones begun first before the others."""
        held = _of_run(run, "leased").order_by(partitions.c.started, partitions.c.id)
        return self._partition_rows(held.limit(most))

    def problems(self, run: int, most: int) -> list[PartitionRow]:
        """Up to `most` partitions that failed or are incomplete: failed ones first, the largest of each first."""
        # The order is that of the index windrow_partitions_next: nothing is sorted.
        bad = _of_run(run, "failed", "incomplete").order_by(
            partitions.c.state, partitions.c.size.desc(), partitions.c.id
        )
        return self._partition_rows(bad.limit(most))

    def partitions(self, run: int) -> Iterator[PartitionRow]:
        """All partitions of a run in the order of their keys, read page by page."""
        last = ""
        while True:
            # By key and not by id: only the index of (run, key) leads from one page of a run to the next.
            page = _of_run(run).where(partitions.c.key > last).order_by(partitions.c.key).limit(PAGE)
            rows = self._partition_rows(page)
            yield from rows
            if len(rows) < PAGE:
                return
            last = rows[-1].key

    def workers(self, run: int, most: int) -> list[WorkerRow]:
        """Up to `most` workers of a run, those still at work first, in the order they began."""
        holding = (
            select(func.count())
            .where(partitions.c.run == run, partitions.c.state == "leased", partitions.c.worker == workers.c.name)
            .scalar_subquery()
        )
        named = [workers.c[name] for name in ("name", "pid", "sessions", "started", "seen", "ended")]
        statement = (
            select(*named, workers.c.records, workers.c.requests, holding.label("holding"))
            .where(workers.c.run == run)
            .order_by(workers.c.ended.is_not(None), workers.c.started.desc(), workers.c.name)
            .limit(most)
        )
        with self._reading() as connection:
            return [WorkerRow(**row) for row in connection.execute(statement).mappings()]

    def holds(self, now: float) -> list[HostHold]:
        """The hosts that asked to be left alone until later than `now`, the longest first."""
        statement = select(hosts.c.host, hosts.c.hold_until).where(hosts.c.hold_until > now)
        with self._reading() as connection:
            return [HostHold(*row) for row in connection.execute(statement.order_by(hosts.c.hold_until.desc()))]

    def resting(self, run: int, now: float) -> list[IdentityRest]:
        """The identities of a run that rest for longer than `now` or are out, those that come back first before."""
        named = [identities.c[name] for name in ("name", "rest_until", "is_out", "reason")]
        statement = select(*named).where(
            identities.c.run == run, or_(identities.c.is_out.is_(True), identities.c.rest_until > now)
        )
        statement = statement.order_by(identities.c.is_out, identities.c.rest_until, identities.c.name)
        with self._reading() as connection:
            return [IdentityRest(*row) for row in connection.execute(statement)]

    # --- records --------------------------------------------------------------------------------------------------

    def invalid_records(self, run: int, most: int) -> list[InvalidRow]:
        """Up to `most` invalid records, the latest first."""
        statement = (
            select(partitions.c.key, invalid.c.raw, invalid.c.error, invalid.c.at)
            .join(partitions, partitions.c.id == invalid.c.partition)
            .where(invalid.c.run == run)
            .order_by(invalid.c.id.desc())
            .limit(most)
        )
        with self._reading() as connection:
            return [InvalidRow(*row) for row in connection.execute(statement)]

    def record_columns(self, name: str | None = None) -> RecordColumns:
        """The columns of a record table (None: that of the run active last). Raises StoreError where there is none."""
        with self._reading() as connection:
            row = _run_of_table(connection, name)
            declared = row.settings.get("columns") or {}
            return RecordColumns(row.record_table, _kinds(connection, row.record_table, declared))

    def newest_records(self, columns: RecordColumns, most: int) -> list[Row]:
        """Up to `most` records, the one added to the table last first."""
        rows = self._read_records(columns, lambda place: place.desc(), None, most)
        return [dict(zip(columns.names, row[1:], strict=True)) for row in rows]

    def records(self, columns: RecordColumns) -> Iterator[tuple[Value, ...]]:
        """All records in the order they were first saved, read page by page; values in the order of `columns.names`.

        A record that a run updates meanwhile comes once, as it stood before or after.
        """
        last: int | None = None
        while True:
            rows = self._read_records(columns, lambda place: place.asc(), last, PAGE)
            for row in rows:
                yield row[1:]
            if len(rows) < PAGE:
                return
            last = rows[-1][0]

    def _read_records(
        self,
        columns: RecordColumns,
        order: Callable[[ColumnElement[int]], ColumnElement[int]],
        after: int | None,
        most: int,
    ) -> Sequence[tuple[Any, ...]]:
        source, place = _record_source(columns)
        statement = select(place, *source.c).order_by(order(place)).limit(most)
        if after is not None:
            statement = statement.where(place > after)
        with self._reading() as connection:
            return [tuple(row) for row in connection.execute(statement)]

    # --- how ------------------------------------------------------------------------------------------------------

    def _partition_rows(self, statement: Select[Any]) -> list[PartitionRow]:
        with self._reading() as connection:
            return [PartitionRow(**row) for row in connection.execute(statement).mappings()]

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._engine.connect() as connection:
            if connection.dialect.name == "sqlite":
                # Python's sqlite3 begins no transaction for a SELECT: without this, two of them see two moments.
                connection.exec_driver_sql("BEGIN")
            yield connection
            connection.rollback()


@contextmanager
def open_reader(store: str) -> Iterator[Reader]:
    """A Reader of STORE, a path or a URL. Raises StoreError if it is missing or not ours."""
    with open_for_reading(store) as engine:
        yield Reader(engine)


def _run(connection: Connection, run: int | None) -> RunRow | None:
    statement = select(runs)
    if run is None:
        # A resumed run has an older number than those begun since: what counts is which was active last.
        statement = statement.order_by(runs.c.alive_until.desc(), runs.c.id.desc()).limit(1)
    else:
        statement = statement.where(runs.c.id == run)
    row = connection.execute(statement).mappings().one_or_none()
    return None if row is None else RunRow(**{**row, "settings": _settings(row["settings"])})


def _settings(text: str) -> Mapping[str, Any]:
    settings = json.loads(text) if text else {}
    return settings if isinstance(settings, dict) else {}


def _run_of_table(connection: Connection, name: str | None) -> RunRow:
    statement = select(runs.c.id).order_by(runs.c.alive_until.desc(), runs.c.id.desc()).limit(1)
    if name is not None:
        statement = statement.where(runs.c.record_table == name)
    found = connection.execute(statement).scalar_one_or_none()
    row = None if found is None else _run(connection, found)
    if row is not None:
        return row
    known = connection.execute(select(runs.c.record_table).distinct().order_by(runs.c.record_table)).scalars().all()
    if name is None or not known:
        raise StoreError("there is no run in this store yet, so there are no records either")
    raise StoreError(f"there is no table of records {name!r} in this store; there are {', '.join(known)}")


def _counts(connection: Connection, run: int) -> PartitionCounts:
    statement = select(partitions.c.state, func.count()).where(partitions.c.run == run).group_by(partitions.c.state)
    found = {state: count for state, count in connection.execute(statement) if state in STATES}
    return PartitionCounts(**found)


def _ledger(connection: Connection, run: int) -> LedgerSums:
    reported = select(func.sum(partitions.c.reported)).where(partitions.c.run == run, partitions.c.parent.is_(None))
    children = partitions.alias("children")
    has_children = select(children.c.id).where(children.c.parent == partitions.c.id).exists()
    missing = select(func.coalesce(func.sum(partitions.c.missing), 0)).where(
        partitions.c.run == run,
        partitions.c.state.in_(ENDED_LEAVES),
        partitions.c.missing > 0,
        ~has_children,
    )
    total = connection.execute(reported).scalar_one()
    return LedgerSums(None if total is None else int(total), int(connection.execute(missing).scalar_one()))


def _of_run(run: int, *states: str) -> Select[Any]:
    wanted = [partitions.c[name] for name in PartitionRow.__dataclass_fields__]
    statement = select(*wanted).where(partitions.c.run == run)
    return statement.where(partitions.c.state.in_(states)) if states else statement


def _kinds(connection: Connection, name: str, declared: Mapping[str, str]) -> dict[str, Kind]:
    """The kind of each field: as the job declared it, else as the column's type says."""
    seen = inspect(connection)
    if not seen.has_table(name):
        raise StoreError(f"the table of records {name!r} is not there yet: the run has saved nothing so far")
    return {
        found["name"]: _kind(found["type"], declared.get(found["name"]))
        for found in seen.get_columns(name)
        if found["name"] not in OWN_COLUMNS
    }


def _kind(sql: TypeEngine[Any], declared: str | None) -> Kind:
    if declared in set(Kind):
        return Kind(declared)
    kinds: tuple[tuple[type[TypeEngine[Any]], Kind], ...] = (
        (Boolean, Kind.BOOLEAN),
        (BigInteger, Kind.INTEGER),
        (Integer, Kind.INTEGER),
        (Float, Kind.REAL),
    )
    return next((kind for type_, kind in kinds if isinstance(sql, type_)), Kind.TEXT)


def _record_source(columns: RecordColumns) -> tuple[TableClause, ColumnElement[int]]:
    """The record table and its row number; a field may bear one of the row number's names, never all three."""
    taken = {name.casefold() for name in columns.names}
    free = next((name for name in ROWID_NAMES if name not in taken), None)
    if free is None:
        raise StoreError(f"the table {columns.table!r} has columns named {', '.join(ROWID_NAMES)}: rename one of them")
    return table(columns.table, *map(column, columns.names)), literal_column(free, Integer())
