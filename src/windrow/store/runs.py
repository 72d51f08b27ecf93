"""Runs: begun, resumed, planned, and taken up again where they failed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update

from windrow.errors import SettingError, UsageError
from windrow.partitions import Partition, PartitionSource
from windrow.store.rows import upsert
from windrow.store.tables import partitions, runs, sightings

PLAN_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Scope:
    """What part of a job's partitions a run is for; a run is resumed only by a command of the same scope."""

    only: tuple[str, ...] = ()
    limit: int | None = None

    def choose(self, source: PartitionSource, job: str) -> Iterable[Partition]:
        """The partitions of this scope. Raises SettingError for a key the job cannot have."""
        if not self.only:
            return islice(source.plan(), self.limit)
        return islice((find_partition(source, key, job) for key in dict.fromkeys(self.only)), self.limit)


def find_partition(source: PartitionSource, key: str, job: str) -> Partition:
    """The partition of that key. Raises SettingError with some of the keys there are."""
    partition = source.find(key)
    if partition is None:
        some = [known.key for known in islice(source.plan(), 6)]
        listed = ", ".join(map(repr, some[:5])) + (", …" if len(some) > 5 else "")
        raise SettingError(f"{job}: there is no partition {key!r}; there are {listed or 'none'}")
    return partition


def open_run(
    connection: Connection, *, job: str, table: str, scope: Scope, settings: Mapping[str, Any], now: float, fresh: bool
) -> tuple[int, bool]:
    """The unfinished run of that job and scope, or a new one: (id, whether it is resumed)."""
    wanted = scope_text(scope)
    unfinished = connection.execute(
        select(runs.c.id, runs.c.settings).where(runs.c.job == job, runs.c.state == "running").order_by(runs.c.id)
    ).all()
    same = [row.id for row in unfinished if scope_of(row.settings) == wanted]
    if same and not fresh:
        return same[-1], True
    connection.execute(update(runs).where(runs.c.id.in_(same)).values(state="abandoned", finished=now))
    values = {
        "job": job,
        "record_table": table,
        "state": "running",
        "settings": json.dumps({**settings, "scope": wanted}),
        "started": now,
        "alive_until": now,
    }
    run = connection.execute(insert(runs).values(**values).returning(runs.c.id)).scalar_one()
    return run, False


def plan(connection: Connection, run: int, chosen: Iterable[Partition], *, job: str) -> int:
    """Add the partitions the run does not have yet; how many it has now. Raises UsageError where there is none."""
    statement = upsert(connection, partitions).on_conflict_do_nothing()
    for batch in _batches(chosen):
        connection.execute(statement, [_planned(run, partition) for partition in batch])
    count = connection.execute(select(func.count()).where(partitions.c.run == run)).scalar_one()
    if not count:
        raise UsageError(f"{job}: there are no partitions to scrape; its list is empty")
    return count


def learn_sizes(connection: Connection, run: int, job: str) -> None:
    """The sizes of the last finished run: the largest partitions are handed out first."""
    last = _last_finished(connection, job, run)
    if last is None:
        return
    before = partitions.alias("before")
    found = select(before.c.found).where(before.c.run == last, before.c.key == partitions.c.key).scalar_subquery()
    connection.execute(update(partitions).where(partitions.c.run == run).values(size=func.coalesce(found, 0)))


def pardon(connection: Connection, run: int, most_deaths: int) -> None:
    """A resumed run counts the deaths of workers anew, as they may have been killed with everything else, and the time
    that partitions were parked."""
    mine = (partitions.c.run == run, partitions.c.deaths > 0)
    connection.execute(
        update(partitions)
        .where(*mine, partitions.c.state == "failed", partitions.c.deaths >= most_deaths)
        .values(state="pending", deaths=0, not_before=0.0, missing=0, reason=None, finished=None)
    )
    connection.execute(update(partitions).where(*mine, partitions.c.state == "pending").values(deaths=0))
    parked = partitions.c.run == run, partitions.c.parked_since.is_not(None)
    connection.execute(update(partitions).where(*parked).values(parked_since=None))


def drop_old_sightings(connection: Connection, run: int) -> None:
    """Sightings belong to a job's unfinished runs and to its last one; older ones only cost space."""
    job = select(runs.c.job).where(runs.c.id == run).scalar_subquery()
    old = select(runs.c.id).where(runs.c.job == job, runs.c.state != "running", runs.c.id != run)
    connection.execute(delete(sightings).where(sightings.c.run.in_(old)))


def latest_run(connection: Connection, job: str) -> int | None:
    """The run of that job that was active last."""
    return connection.execute(
        select(runs.c.id).where(runs.c.job == job).order_by(runs.c.alive_until.desc(), runs.c.id.desc()).limit(1)
    ).scalar_one_or_none()


def reopen(connection: Connection, run: int, keys: Sequence[str], now: float) -> list[str]:
    """Make failed and incomplete partitions pending again (all of them, or those named); their keys.

    Raises SettingError for a key that the run does not have or that came to a good end.
    """
    open_states = partitions.c.state.in_(("failed", "incomplete"))
    chosen = [partitions.c.run == run, open_states]
    if keys:
        _check_reopened(connection, run, keys)
        chosen.append(partitions.c.key.in_(keys))
    names = list(connection.execute(select(partitions.c.key).where(*chosen)).scalars())
    counters = dict.fromkeys(("failures", "deaths", "reopened", "not_before", "missing"), 0)
    fresh = {**counters, "state": "pending", "finished": None, "parked_since": None}
    if names:
        connection.execute(update(partitions).where(*chosen).values(**fresh))
        connection.execute(
            update(runs).where(runs.c.id == run).values(state="running", finished=None, missing=0, alive_until=now)
        )
    return names


@dataclass(frozen=True, slots=True)
class Books:
    """How a run stands: `unfinished` counts its failed and incomplete partitions, `missing` its records."""

    finished: bool
    unfinished: int
    missing: int


def conclude(connection: Connection, run: int, now: float) -> Books:
    """The supervisor leaves: an unfinished run counts as interrupted from now on."""
    row = connection.execute(select(runs.c.state, runs.c.missing).where(runs.c.id == run)).one()
    connection.execute(update(runs).where(runs.c.id == run).values(alive_until=now))
    unfinished = connection.execute(
        select(func.count()).where(partitions.c.run == run, partitions.c.state.in_(("failed", "incomplete")))
    ).scalar_one()
    return Books(row.state == "finished", unfinished, row.missing)


@dataclass(frozen=True, slots=True)
class FirstPartition:
    """How the first partition of a run ended, and the keys it split into."""

    state: str
    reason: str | None
    saved: int
    reported: int | None
    children: list[str]


def first_partition(connection: Connection, run: int) -> FirstPartition:
    """The first planned partition of a run."""
    row = connection.execute(select(partitions).where(partitions.c.run == run).order_by(partitions.c.id).limit(1)).one()
    children = connection.execute(select(partitions.c.key).where(partitions.c.parent == row.id)).scalars()
    return FirstPartition(row.state, row.reason, row.saved, row.reported, list(children))


def scope_text(scope: Scope) -> list[Any]:
    """A scope as a run's settings keep it."""
    return [sorted(set(scope.only)), scope.limit]


def scope_of(settings: str) -> list[Any]:
    """The scope in a run's settings."""
    scope: list[Any] = json.loads(settings)["scope"]
    return scope


def _check_reopened(connection: Connection, run: int, keys: Sequence[str]) -> None:
    states = dict(
        tuple(row)
        for row in connection.execute(
            select(partitions.c.key, partitions.c.state).where(partitions.c.run == run, partitions.c.key.in_(keys))
        )
    )
    for key in keys:
        if key not in states:
            raise SettingError(f"the run has no partition {key!r}")
        if states[key] not in {"failed", "incomplete"}:
            raise SettingError(f"the partition {key!r} is {states[key]}; only failed and incomplete ones are retried")


def _last_finished(connection: Connection, job: str, before: int) -> int | None:
    return connection.execute(
        select(func.max(runs.c.id)).where(runs.c.job == job, runs.c.state == "finished", runs.c.id < before)
    ).scalar_one_or_none()


def _planned(run: int, partition: Partition) -> dict[str, Any]:
    return {
        "run": run,
        "key": partition.key,
        "params": msgspec.json.encode(dict(partition.params), enc_hook=str).decode(),
        "state": "pending",
    }


def _batches(chosen: Iterable[Partition]) -> Iterator[Sequence[Partition]]:
    iterator = iter(chosen)
    while batch := list(islice(iterator, PLAN_BATCH)):
        yield batch
