"""The row of a host: its request slots, how long nobody may send to it, and its robots.txt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, select
from sqlalchemy.dialects import postgresql, sqlite

from windrow.politeness import adaptive
from windrow.politeness.adaptive import Adaptive, Grant, Observation
from windrow.politeness.budget import HostBudget, reserve
from windrow.store.messages import HostNotes
from windrow.store.prepared import Prepared
from windrow.store.rows import upsert
from windrow.store.tables import hosts

ROBOTS_LIFETIME = 24 * 3600.0
"""Seconds a robots.txt may be used before it is fetched again (RFC 9309, 2.4)."""
_STATE: msgspec.json.Decoder[Adaptive] = msgspec.json.Decoder(Adaptive)
_TAKERS: msgspec.json.Decoder[dict[str, float]] = msgspec.json.Decoder(dict[str, float])
_ROW = Prepared(
    lambda connection: (
        select(hosts.c.next_slot, hosts.c.hold_until, hosts.c.takers, hosts.c.budget)
        .where(hosts.c.host == bindparam("of_host"))
        .with_for_update()
    )
)
_KEPT = Prepared(
    lambda connection: _updating(upsert(connection, hosts), "next_slot", "takers", "budget"),
    ("host", "next_slot", "takers", "budget"),
)
_SEEN = Prepared(lambda connection: _updating(upsert(connection, hosts), "budget"), ("host", "budget"))


def take_slots(
    connection: Connection, host: str, worker: str, slots: int, interval: float, seen: Observation, now: float
) -> Grant:
    """Take in what a worker saw, and give it slots at the rate that the budget allows after that."""
    next_slot, hold_until, takers, state = _budget(connection, host)
    # Where the clock was set back, the next slot is as far from now as it was from the last word.
    budget = HostBudget(next_slot - max(0.0, state.updated - now), hold_until)
    state = adaptive.observe(state, seen, now)
    budget, takers, grant = adaptive.take(state, budget, takers, worker, slots, interval, now)
    row = {"host": host, "next_slot": budget.next_slot, "takers": _json(takers), "budget": _json(state)}
    _KEPT.changed(connection, row)
    return grant


def observe(connection: Connection, host: str, seen: Observation, now: float) -> None:
    """Take in what a worker saw."""
    *_, state = _budget(connection, host)
    _SEEN.changed(connection, {"host": host, "budget": _json(adaptive.observe(state, seen, now))})


def _budget(connection: Connection, host: str) -> tuple[float, float, dict[str, float], Adaptive]:
    """Next slot, end of the hold, who took slots when, and what is known of the host's limit."""
    rows: list[Sequence[Any]] = _ROW.rows(connection, {"of_host": host})
    if not rows:
        return 0.0, 0.0, {}, Adaptive()
    next_slot, hold_until, takers, state = rows[0]
    return (
        next_slot,
        hold_until,
        _TAKERS.decode(takers) if takers else {},
        _STATE.decode(state) if state else Adaptive(),
    )


def _updating(statement: sqlite.Insert | postgresql.Insert, *names: str) -> sqlite.Insert | postgresql.Insert:
    return statement.on_conflict_do_update(
        index_elements=["host"], set_={name: statement.excluded[name] for name in names}
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def reserve_slots(connection: Connection, host: str, slots: int, interval: float, now: float) -> list[float]:
    """Seconds from `now` at which each granted slot begins."""
    row = connection.execute(
        select(hosts.c.next_slot, hosts.c.hold_until).where(hosts.c.host == host).with_for_update()
    ).one_or_none()
    budget = HostBudget(row.next_slot, row.hold_until) if row else HostBudget()
    budget, times = reserve(budget, now, slots, interval)
    _put(connection, host, next_slot=budget.next_slot)
    return [time - now for time in times]


def hold(connection: Connection, host: str, until: float) -> None:
    """Nobody may send before `until`; a longer hold stays."""
    current = connection.execute(select(hosts.c.hold_until).where(hosts.c.host == host)).scalar_one_or_none()
    _put(connection, host, hold_until=max(until, current or 0.0))


def notes(connection: Connection, host: str, now: float) -> HostNotes:
    """What is known of a host; a robots.txt that is too old counts as unknown."""
    row = connection.execute(select(hosts).where(hosts.c.host == host)).one_or_none()
    if row is None:
        return HostNotes(None, "", 0.0)
    hold = max(0.0, row.hold_until - now)
    if row.robots_at is None or row.robots_at + ROBOTS_LIFETIME <= now:
        return HostNotes(None, "", hold)
    return HostNotes(row.robots_status, row.robots_text or "", hold, max(0.0, now - row.robots_at))


def keep_robots(connection: Connection, host: str, status: int, text: str, now: float) -> None:
    """Remember a fetched robots.txt."""
    _put(connection, host, robots_status=status, robots_text=text, robots_at=now)


def _put(connection: Connection, host: str, **values: float | int | str) -> None:
    statement = upsert(connection, hosts).values(host=host, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["host"], set_=values))
