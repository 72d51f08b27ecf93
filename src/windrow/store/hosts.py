"""The row of a host: its request slots, how long nobody may send to it, and its robots.txt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sqlalchemy import Connection, select

from windrow.politeness import adaptive
from windrow.politeness.adaptive import Adaptive, Grant, Observation
from windrow.politeness.budget import HostBudget, reserve
from windrow.store.messages import HostNotes
from windrow.store.rows import upsert
from windrow.store.tables import hosts

ROBOTS_LIFETIME = 24 * 3600.0
"""Seconds a robots.txt may be used before it is fetched again (RFC 9309, 2.4)."""
_BUDGET = [hosts.c[f"budget_{each.name}"] for each in fields(Adaptive)]


def take_slots(
    connection: Connection, host: str, worker: str, slots: int, interval: float, seen: Observation, now: float
) -> Grant:
    """Take in what a worker saw, and give it slots at the rate that the budget allows after that."""
    statement = select(hosts.c.next_slot, hosts.c.hold_until, hosts.c.takers, *_BUDGET)
    row = connection.execute(statement.where(hosts.c.host == host).with_for_update()).mappings().one_or_none()
    budget = HostBudget(row["next_slot"], row["hold_until"]) if row else HostBudget()
    takers = json.loads(row["takers"]) if row and row["takers"] else {}
    state = adaptive.observe(_state(row), seen, now)
    budget, takers, grant = adaptive.take(state, budget, takers, worker, slots, interval, now)
    _put(connection, host, next_slot=budget.next_slot, takers=json.dumps(takers), **_columns(state))
    return grant


def observe(connection: Connection, host: str, seen: Observation, now: float) -> None:
    """Take in what a worker saw."""
    statement = select(*_BUDGET).where(hosts.c.host == host).with_for_update()
    row = connection.execute(statement).mappings().one_or_none()
    _put(connection, host, **_columns(adaptive.observe(_state(row), seen, now)))


def _state(row: Mapping[Any, Any] | None) -> Adaptive:
    values = {} if row is None else {each.name: row[f"budget_{each.name}"] for each in fields(Adaptive)}
    return Adaptive(**{name: value for name, value in values.items() if value is not None})


def _columns(state: Adaptive) -> dict[str, float]:
    return {f"budget_{each.name}": getattr(state, each.name) for each in fields(Adaptive)}


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
    fresh = row.robots_at is not None and row.robots_at + ROBOTS_LIFETIME > now
    status = row.robots_status if fresh else None
    return HostNotes(status, row.robots_text or "" if fresh else "", max(0.0, row.hold_until - now))


def keep_robots(connection: Connection, host: str, status: int, text: str, now: float) -> None:
    """Remember a fetched robots.txt."""
    _put(connection, host, robots_status=status, robots_text=text, robots_at=now)


def _put(connection: Connection, host: str, **values: float | int | str) -> None:
    statement = upsert(connection, hosts).values(host=host, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["host"], set_=values))
