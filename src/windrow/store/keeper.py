"""The keeper of one run: carries out workers' commands, many in one transaction.

A group of commands is tried as one transaction. When one of them raises, the transaction is rolled back and each
command is carried out in a transaction of its own, so that only the faulty one is refused. Nothing but the database
remembers, so a rollback forgets all of it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, bindparam, select, update
from sqlalchemy.exc import SQLAlchemyError

from windrow.clock import Clock
from windrow.errors import WindrowError
from windrow.store import hosts, leases, ledger
from windrow.store.context import RunContext, Transaction
from windrow.store.guesses import MatcherFailed
from windrow.store.messages import (
    Answer,
    AskHost,
    Claim,
    Command,
    Commit,
    Done,
    Failure,
    Finished,
    Hello,
    Hold,
    KeepRobots,
    Observe,
    Release,
    Renew,
    Reserve,
    Slots,
    Take,
    Unseen,
    Wait,
)
from windrow.store.prepared import Prepared
from windrow.store.tables import runs, workers

Result = TypeVar("Result")

ALIVE_SECONDS = 15.0
"""A run whose supervisor has given no sign of life for this long counts as interrupted."""


class Keeper:
    """Carries out commands for one run over one connection. Not for several threads at once."""

    def __init__(self, engine: Engine, context: RunContext, clock: Clock) -> None:
        self._connection: Connection = engine.connect()
        self._context = context
        self._clock = clock
        self._last = clock.now()
        self._carry_out: Mapping[type, Callable[[Transaction, Any], Answer]] = {
            Hello: _hello,
            Claim: _claim,
            Unseen: ledger.unseen,
            Commit: ledger.commit,
            Release: leases.release,
            Renew: leases.renew,
            Reserve: _reserve,
            Take: _take,
            Observe: _observe,
            Hold: _hold,
            AskHost: lambda tx, c: hosts.notes(tx.connection, c.host, tx.now),
            KeepRobots: _keep_robots,
        }

    @property
    def run(self) -> int:
        """The run's id."""
        return self._context.run

    def answer(self, commands: Sequence[Command]) -> list[Answer]:
        """Carry out `commands` in order; one answer for each, durable when this returns."""
        try:
            return self.transact(lambda tx: [self._answer(tx, command) for command in commands])
        except (SQLAlchemyError, WindrowError, ValueError, TypeError, ArithmeticError) as error:
            if len(commands) == 1:
                return [Failure(_explain(error), fatal=_is_fatal(error))]
            return [answer for command in commands for answer in self.answer([command])]

    def transact(self, work: Callable[[Transaction], Result]) -> Result:
        """Do `work` in one transaction and commit it; roll back and raise what it raises."""
        now = self._clock.now()
        tx = Transaction(self._connection, now, self._context)
        asleep = now - self._last
        try:
            with self._connection.begin():
                if asleep > self._context.lease_seconds / 2:
                    # Nobody could renew while this process was stopped (a laptop's lid, a debugger, a full disk).
                    leases.prolong(tx, asleep)
                result = work(tx)
                _add_totals(tx)
        except BaseException:
            self._context.records.forget_columns(self._connection)
            self._connection.rollback()
            raise
        self._last = now
        return result

    def heartbeat(self, seconds: float) -> None:
        """The supervisor is alive; `seconds` have passed since it last said so."""
        self.transact(lambda tx: _beat(tx, seconds))

    def bury(self, worker: str, cause: str, *, blameless: bool) -> None:
        """A worker's process has ended: take its partitions back. `blameless`: none of them can have been the cause."""
        self.transact(lambda tx: leases.bury(tx, worker, cause, blameless=blameless))

    def close(self) -> None:
        """Give the connection back; safe to call twice."""
        self._connection.close()

    def _answer(self, tx: Transaction, command: Command) -> Answer:
        return self._carry_out[type(command)](tx, command)


def _hello(tx: Transaction, command: Hello) -> Done:
    leases.greet(tx, command.worker, command.pid, command.sessions)
    return Done()


def _claim(tx: Transaction, command: Claim) -> Answer:
    lease = leases.claim(tx, command.worker, idle=command.idle, is_covered=ledger.is_covered)
    if lease is not None:
        return lease
    wait = leases.waiting_time(tx)
    if wait is not None:
        return wait
    return Finished() if _is_finished(tx) or ledger.settle(tx) else Wait(0.0)


def _is_finished(tx: Transaction) -> bool:
    state = tx.connection.execute(select(runs.c.state).where(runs.c.id == tx.context.run)).scalar_one()
    return bool(state == "finished")


def _reserve(tx: Transaction, command: Reserve) -> Slots:
    return Slots(hosts.reserve_slots(tx.connection, command.host, command.slots, command.interval, tx.now))


def _take(tx: Transaction, command: Take) -> Slots:
    grant = hosts.take_slots(
        tx.connection, command.host, command.worker, command.slots, command.interval, command.seen, tx.now
    )
    return Slots([time - tx.now for time in grant.times], grant.interval)


def _observe(tx: Transaction, command: Observe) -> Done:
    hosts.observe(tx.connection, command.host, command.seen, tx.now)
    return Done()


def _hold(tx: Transaction, command: Hold) -> Done:
    if command.seen is not None:
        hosts.observe(tx.connection, command.host, command.seen, tx.now)
    hosts.hold(tx.connection, command.host, tx.now + command.seconds)
    return Done()


def _keep_robots(tx: Transaction, command: KeepRobots) -> Done:
    hosts.keep_robots(tx.connection, command.host, command.status, command.text, tx.now)
    return Done()


def _beat(tx: Transaction, seconds: float) -> None:
    tx.connection.execute(
        update(runs)
        .where(runs.c.id == tx.context.run)
        .values(alive_until=tx.now + ALIVE_SECONDS, active_seconds=runs.c.active_seconds + seconds)
    )


def _add_totals(tx: Transaction) -> None:
    if any(tx.totals.values()):
        counts = {f"more_{name}": tx.totals[name] for name in _RUN_COUNTERS}
        _ADDED_TO_RUN.changed(tx.connection, {"of_run": tx.context.run, **counts})
    for name, added in tx.workers.items():
        counts = {f"more_{each}": added[each] for each in _WORKER_COUNTERS}
        _ADDED_TO_WORKER.changed(tx.connection, {"of_worker": name, "now": tx.now, **counts})


_RUN_COUNTERS = ("records", "invalid", "requests", "retries", "throttled", "blocked")
_WORKER_COUNTERS = ("records", "requests")
_ADDED_TO_RUN = Prepared(
    lambda connection: (
        update(runs)
        .where(runs.c.id == bindparam("of_run"))
        .values({name: runs.c[name] + bindparam(f"more_{name}") for name in _RUN_COUNTERS})
    )
)
_ADDED_TO_WORKER = Prepared(
    lambda connection: (
        update(workers)
        .where(workers.c.name == bindparam("of_worker"))
        .values(
            {"seen": bindparam("now")}
            | {name: workers.c[name] + bindparam(f"more_{name}") for name in _WORKER_COUNTERS}
        )
    )
)


def _explain(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error)


_FATAL_CODES = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOTADB,
}


def _is_fatal(error: Exception) -> bool:
    """Whether no further command can go well (disk full, file gone, the books cannot be balanced)."""
    if isinstance(error, WindrowError):
        return isinstance(error, MatcherFailed)
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _FATAL_CODES
