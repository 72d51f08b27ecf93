"""Leases: who may scrape a partition, and how a partition comes back.

The state of a partition changes only here and in `ledger`, each time by one UPDATE whose WHERE names the state it
comes from (and the fence, where a worker asks): a transition that is not drawn in docs/architecture.md touches no row.

A worker that dies is either unlucky or was killed by what a partition made it do. After two deaths in a row without
a new record a partition runs alone in its worker, so the third death has one cause only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Row as SqlRow
from sqlalchemy import Update, bindparam, delete, exists, func, insert, select, update

from windrow.politeness.retry import before_attempt
from windrow.store import identities
from windrow.store.context import Transaction
from windrow.store.messages import Counts, Ended, Held, Lapsed, Lease, Lost, Release, Renew, Wait
from windrow.store.prepared import Prepared
from windrow.store.tables import claims, invalid, partitions, workers

SUSPECT_DEATHS = 2
IDLE_WAIT = 0.05
LONGEST_WAIT = 1.0
LAZY_PARENTS = 8
"""How many parents of lazy partitions are looked at for one that can be decided while others are under way."""
UNDECIDED_SECONDS = 0.5
SOON = 30.0
"""Seconds that lazy partitions wait for one that has to be tried again."""


class PartitionRow(NamedTuple):
    """What the statements here and in `ledger` need to know of a partition."""

    id: int
    key: str
    params: str
    fence: int
    worker: str
    attempt: int
    failures: int
    deaths: int
    parked_since: float | None
    reopened: int
    progress: int
    claiming: bool
    reported: int | None
    found: int
    saved: int
    invalid: int
    requests: int


_COLUMNS = [partitions.c[name] for name in PartitionRow._fields]


def greet(tx: Transaction, worker: str, pid: int, sessions: int) -> None:
    """A worker begins."""
    tx.connection.execute(
        insert(workers).values(name=worker, run=tx.context.run, pid=pid, sessions=sessions, started=tx.now, seen=tx.now)
    )


def claim(
    tx: Transaction, worker: str, *, idle: bool, is_covered: Callable[[Transaction, int], bool | None]
) -> Lease | None:
    """The next partition, the largest known first; None where none can be had now.

    Lazy partitions wait until nothing else is ready; they are spared where `is_covered` says of their parent that all
    it reports is known by now, and wait on while it cannot tell. Where the job has identities, one is leased with the
    partition or neither is.
    """
    identity = _free_identity(tx, is_covered) if tx.context.has_identities else None
    if identity is None and tx.context.has_identities:
        return None
    row = _take_pending(tx, worker, idle=idle)
    if row is None and (expire(tx) or _settle_lazy(tx, is_covered)):
        row = _take_pending(tx, worker, idle=idle)
    return None if row is None else _leased(tx, row, identity)


def claim_ready(tx: Transaction, worker: str) -> Lease | None:
    """The next partition for a worker that is not idle, of those that are neither lazy nor somebody's."""
    identity = identities.free(tx) if tx.context.has_identities else None
    if identity is None and tx.context.has_identities:
        return None
    row = _take_pending(tx, worker, idle=False)
    return None if row is None else _leased(tx, row, identity)


def _leased(tx: Transaction, row: PartitionRow, identity: str | None) -> Lease:
    _forget_invalid(tx, row)
    if identity is not None:
        identities.lease(tx, identity, row.id, row.fence)
    return Lease(
        partition=row.id,
        fence=row.fence,
        key=row.key,
        params=msgspec.json.decode(row.params),
        attempt=row.attempt,
        reopened=row.reopened > 0,
        alone=row.deaths >= _suspect_deaths(tx),
        identity=identity,
    )


def waiting_time(tx: Transaction) -> Wait | None:
    """How long to wait for the next claim; None where every partition has come to an end."""
    mine = partitions.c.run == tx.context.run
    if _is_any_leased(tx):
        return Wait(IDLE_WAIT)
    soonest = tx.connection.execute(
        select(func.min(partitions.c.not_before))
        .where(mine, partitions.c.state == "pending")
        # Lazy ones are not what is waited for, unless nothing else is left.
        .order_by(partitions.c.lazy > 0)
        .group_by(partitions.c.lazy > 0)
        .limit(1)
    ).scalar()
    if soonest is None:
        return None
    if tx.context.has_identities:
        soonest = max(soonest, identities.soonest(tx))
    return Wait(min(LONGEST_WAIT, max(0.02, soonest - tx.now)))


def held(tx: Transaction, lease: Held) -> PartitionRow | None:
    """The partition's row while the lease holds, renewed; None where the fence is not its own any more."""
    values = {
        "partition": lease.partition,
        "of_run": tx.context.run,
        "own_fence": lease.fence,
        "until": tx.now + tx.context.lease_seconds,
    }
    return _only(_RENEWED.rows(tx.connection, values))


_RENEWED = Prepared(
    lambda connection: (
        update(partitions)
        .where(
            partitions.c.id == bindparam("partition"),
            partitions.c.run == bindparam("of_run"),
            partitions.c.fence == bindparam("own_fence"),
            partitions.c.state == "leased",
        )
        .values(lease_until=bindparam("until"))
        .returning(*_COLUMNS)
    )
)


def renew(tx: Transaction, command: Renew) -> Lapsed:
    """A worker's sign of life."""
    lapsed = []
    for lease, counts in zip(command.leases, command.counts, strict=True):
        if held(tx, lease) is None:
            lapsed.append(lease.partition)
            continue
        add_counts(tx, command.worker, lease.partition, counts)
    tx.add(command.worker)
    if command.sessions:
        _STAFFED.changed(tx.connection, {"of_worker": command.worker, "now_many": command.sessions})
    expire(tx)
    return Lapsed(lapsed)


_STAFFED = Prepared(
    lambda connection: (
        update(workers).where(workers.c.name == bindparam("of_worker")).values(sessions=bindparam("now_many"))
    )
)


def release(tx: Transaction, command: Release) -> Ended | Lost:
    """Give a partition back unfinished."""
    row = held(tx, command.lease)
    if row is None:
        return Lost()
    add_counts(tx, row.worker, row.id, command.counts)
    if tx.context.has_identities:
        identities.end_lease(tx, row.id, row.fence, well=False, rests=command.rests)
    if command.why == "failed":
        return Ended(give_up_attempt(tx, row, command.reason, {}))
    if command.why == "refused":
        return Ended(end(tx, row, "failed", reason=command.reason))
    if command.why == "parked":
        return Ended(_park(tx, row, command.reason, tx.now + command.seconds))
    return Ended(put_back(tx, row, not_before=0.0, reason=command.reason if command.rests else None))


def _park(tx: Transaction, row: PartitionRow, reason: str, until: float) -> str:
    """Leave the partition alone until then; a host that never lets it come to anything does not keep the run."""
    since = tx.now if row.progress or row.parked_since is None else row.parked_since
    limit = tx.context.limits.parked
    if until - since > limit:
        why = f"parked again and again for {limit:g} s (Limits.parked) without a new record; the last time: {reason}"
        return end(tx, row, "failed", reason=why)
    return put_back(tx, row, not_before=until, reason=reason, parked_since=since)


def give_up_attempt(
    tx: Transaction,
    row: PartitionRow,
    reason: str,
    values: Mapping[str, Any],
    *,
    most: int | None = None,
    last: str = "failed",
) -> str:
    """The attempt came to nothing: try again later, or leave the partition `last` after `most` such attempts in a row.

    `values` are columns that change with it. An attempt that saved something new does not count: a long partition on a
    flaky site creeps forward to its end.
    """
    failures = 0 if values.get("progress", row.progress) else row.failures + 1
    if failures >= (most or tx.context.limits.attempts):
        return end(tx, row, last, **{**values, "reason": reason})
    not_before = tx.now + before_attempt(failures + 1, tx.context.random)
    more = {"not_before": not_before, "reason": reason, "failures": failures, "deaths": 0}
    return put_back(tx, row, **{**values, **more})


def put_back(tx: Transaction, row: PartitionRow, **values: Any) -> str:
    """leased → pending."""
    if values.get("progress", row.progress):
        values.setdefault("parked_since", None)
    return _leave(tx, row, state="pending", **values)


def end(tx: Transaction, row: PartitionRow, state: str, **values: Any) -> str:
    """leased → done, split, incomplete or failed."""
    return _leave(tx, row, state=state, finished=tx.now, **values)


def expire(tx: Transaction) -> int:
    """Take back the leases whose workers gave no sign of life in time; how many."""
    lapsed = _LAPSED.rows(tx.connection, {"of_run": tx.context.run, "now": tx.now})
    for row in map(PartitionRow._make, lapsed):
        _take_from_the_dead(tx, row, "its worker gave no sign of life")
    return len(lapsed)


_LAPSED = Prepared(
    lambda connection: select(*_COLUMNS).where(
        partitions.c.run == bindparam("of_run"),
        partitions.c.state == "leased",
        partitions.c.lease_until < bindparam("now"),
    )
)


def prolong(tx: Transaction, seconds: float) -> None:
    """Give all leases that much more time."""
    longer = update(partitions).where(partitions.c.run == tx.context.run, partitions.c.state == "leased")
    tx.connection.execute(longer.values(lease_until=partitions.c.lease_until + seconds))


def bury(tx: Transaction, worker: str, cause: str, *, blameless: bool) -> None:
    """A worker's process has ended: take its partitions back."""
    rows = tx.connection.execute(
        select(*_COLUMNS).where(partitions.c.run == tx.context.run, partitions.c.worker == worker)
    ).all()
    tx.connection.execute(update(workers).where(workers.c.name == worker).values(ended=tx.now))
    for row in map(PartitionRow._make, rows):
        if blameless:
            put_back(tx, row, not_before=0.0)
        else:
            _take_from_the_dead(tx, row, cause)


def take_back_all(tx: Transaction) -> int:
    """The last supervisor is gone and all its workers with it: every lease is void, and nobody is to blame."""
    run = tx.context.run
    tx.connection.execute(delete(claims).where(claims.c.run == run))
    tx.connection.execute(update(workers).where(workers.c.run == run, workers.c.ended.is_(None)).values(ended=tx.now))
    void = (
        update(partitions)
        .where(partitions.c.run == run, partitions.c.state == "leased")
        .values(state="pending", worker=None, lease_until=None, not_before=0.0, deaths=0)
    )
    return tx.connection.execute(void).rowcount


def add_counts(tx: Transaction, worker: str, partition: int, counts: Counts) -> None:
    """Add what happened to the run's, the worker's and the partition's counters."""
    tx.add(worker, requests=counts.requests, retries=counts.retries, throttled=counts.throttled, blocked=counts.blocked)
    if counts.requests:
        tx.connection.execute(
            update(partitions)
            .where(partitions.c.id == partition)
            .values(requests=partitions.c.requests + counts.requests)
        )


def _free_identity(tx: Transaction, is_covered: Callable[[Transaction, int], bool | None]) -> str | None:
    """An identity that may be leased. Where none ever will be again, what is pending fails instead of waiting."""
    found = identities.free(tx)
    if found is None and expire(tx):
        found = identities.free(tx)
    reason = identities.all_out(tx) if found is None else None
    if reason is not None:
        identities.fail_pending(tx, reason)
        while _settle_lazy(tx, is_covered):
            identities.fail_pending(tx, reason)
    return found


def _take_pending(tx: Transaction, worker: str, *, idle: bool) -> PartitionRow | None:
    """pending → leased, for the next partition that is not lazy."""
    values = {
        "of_run": tx.context.run,
        "by": worker,
        "now": tx.now,
        "until": tx.now + tx.context.lease_seconds,
        "suspect": _suspect_deaths(tx),
    }
    return _only((_TAKEN_WHEN_IDLE if idle else _TAKEN).rows(tx.connection, values))


def _suspect_deaths(tx: Transaction) -> int:
    """The last death that fails a partition must have one cause only."""
    return max(1, min(SUSPECT_DEATHS, tx.context.limits.deaths - 1))


def _taking(*, suspects: bool) -> Update:
    """The statement of `_take_pending`; without `suspects` it passes over what may have killed its workers."""
    candidates = partitions.alias("candidates")
    allowed = () if suspects else (candidates.c.deaths < bindparam("suspect"),)
    following = (
        select(candidates.c.id)
        .where(
            candidates.c.run == bindparam("of_run"),
            candidates.c.state == "pending",
            candidates.c.lazy == 0,
            candidates.c.not_before <= bindparam("now"),
            *allowed,
        )
        .order_by(candidates.c.size.desc(), candidates.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    return (
        update(partitions)
        .where(partitions.c.id == following, partitions.c.state == "pending")
        .values(
            state="leased",
            worker=bindparam("by"),
            fence=partitions.c.fence + 1,
            attempt=partitions.c.attempt + 1,
            lease_until=bindparam("until"),
            progress=0,
            capped=False,
            claiming=False,
            reason=None,
            finished=None,
            started=func.coalesce(partitions.c.started, bindparam("now")),
        )
        .returning(*_COLUMNS)
    )


_TAKEN = Prepared(lambda connection: _taking(suspects=False))
_TAKEN_WHEN_IDLE = Prepared(lambda connection: _taking(suspects=True))


def _settle_lazy(tx: Transaction, is_covered: Callable[[Transaction, int], bool | None]) -> bool:
    """Wake the least lazy partitions, or spare them; True where some were woken.

    They wait for all that is ready, and for what is under way as long as that may make them needless.
    """
    while not _is_any_ready(tx):
        lazy = _least_lazy(tx)
        verdicts = ((row, _verdict(tx, row.parent, is_covered)) for row in lazy)
        row, covered = next(((row, covered) for row, covered in verdicts if covered is not None), (None, None))
        if row is None and (not lazy or _is_any_leased(tx)):
            return False
        row = row or lazy[0]
        _wake_or_spare(tx, row, spare=bool(covered))
        if not covered:
            return True
    return False


def _least_lazy(tx: Transaction) -> Sequence[Any]:
    """One of the least lazy children of each of some parents."""
    mine = (partitions.c.run == tx.context.run, partitions.c.state == "pending")
    rank = select(func.min(partitions.c.lazy)).where(*mine, partitions.c.lazy > 0).scalar_subquery()
    return tx.connection.execute(
        select(partitions.c.parent, func.min(partitions.c.lazy).label("lazy"))
        .where(*mine, partitions.c.lazy == rank)
        .group_by(partitions.c.parent)
        .order_by(partitions.c.parent)
        .limit(LAZY_PARENTS)
    ).all()


def _verdict(tx: Transaction, parent: int, is_covered: Callable[[Transaction, int], bool | None]) -> bool | None:
    """`is_covered`, asked again only after a while where it could not tell: idle workers ask often."""
    if tx.context.undecided.get(parent, 0.0) > tx.now and _is_any_leased(tx):
        return None
    covered = is_covered(tx, parent)
    if covered is None:
        tx.context.undecided[parent] = tx.now + UNDECIDED_SECONDS
    return covered


def _is_any_ready(tx: Transaction) -> bool:
    ready = exists().where(
        partitions.c.run == tx.context.run,
        partitions.c.state == "pending",
        partitions.c.lazy == 0,
        partitions.c.not_before <= tx.now + SOON,
    )
    return bool(tx.connection.execute(select(ready)).scalar())


def _is_any_leased(tx: Transaction) -> bool:
    leased = exists().where(partitions.c.run == tx.context.run, partitions.c.state == "leased")
    return bool(tx.connection.execute(select(leased)).scalar())


def _wake_or_spare(tx: Transaction, row: SqlRow[Any], *, spare: bool) -> None:
    """The equally lazy children of a parent: needed after all, or, all its lazy ones, done without a request."""
    lazy = partitions.c.lazy > 0 if spare else partitions.c.lazy == row.lazy
    values: dict[str, Any] = {"lazy": 0}
    if spare:
        reason = "not needed: all that the site reports for its parent was found elsewhere"
        values = {"state": "done", "lazy": 0, "finished": tx.now, "reason": reason}
    tx.connection.execute(
        update(partitions)
        .where(partitions.c.parent == row.parent, partitions.c.state == "pending", lazy)
        .values(**values)
    )


def _leave(tx: Transaction, row: PartitionRow, **values: Any) -> str:
    if row.claiming:
        _DROPPED_CLAIMS.changed(tx.connection, {"holder": row.id})
    values |= {"worker": None, "lease_until": None, "claiming": False}
    changed = _left(tuple(values)).changed(tx.connection, {"partition": row.id, "own_fence": row.fence, **values})
    if changed != 1:
        raise RuntimeError(f"partition {row.id} was left by a worker that did not hold it")
    return str(values["state"])


_DROPPED_CLAIMS = Prepared(lambda connection: delete(claims).where(claims.c.partition == bindparam("holder")))


@lru_cache(maxsize=64)
def _left(columns: tuple[str, ...]) -> Prepared:
    """Set `columns` of a partition as its holder; leased → whatever they say."""
    return Prepared(
        lambda connection: update(partitions).where(
            partitions.c.id == bindparam("partition"),
            partitions.c.fence == bindparam("own_fence"),
            partitions.c.state == "leased",
        ),
        columns,
    )


def _take_from_the_dead(tx: Transaction, row: PartitionRow, cause: str) -> str:
    deaths = 0 if row.progress else row.deaths + 1
    if deaths >= tx.context.limits.deaths:
        return end(tx, row, "failed", deaths=deaths, reason=f"it killed its worker {deaths} times: {cause}")
    return put_back(tx, row, deaths=deaths, not_before=0.0, reason=cause)


def _forget_invalid(tx: Transaction, row: PartitionRow) -> None:
    """A new attempt judges its records anew."""
    if row.invalid:
        tx.connection.execute(delete(invalid).where(invalid.c.run == tx.context.run, invalid.c.partition == row.id))
        tx.connection.execute(update(partitions).where(partitions.c.id == row.id).values(invalid=0))
        tx.add(invalid=-row.invalid)


def _only(rows: list[Sequence[Any]]) -> PartitionRow | None:
    return PartitionRow._make(rows[0]) if rows else None
