"""Identities in the store: who has which, who rests. Names only; what an identity holds never gets here.

An identity is leased with a partition, in the transaction of its claim: its row names the partition and the fence. It
is held as long as that partition is leased with that fence, and by nothing else: whatever ends a lease (the last
commit, a release, an expiry, a burial, a new supervisor) frees it without a word said here.

An identity that was blocked, or whose proxy cannot be used, rests: for `Limits.rest`, twice as long each further time,
at most for `Limits.longest_rest`. A partition that ends well makes it forget. After `Limits.rests` rests in a row it is
out for this run; when all are out, partitions fail instead of waiting for ever. `windrow retry`, or going on with an
interrupted run, gives those another chance.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Connection, Exists, bindparam, delete, exists, func, select, update

from windrow.politeness.retry import rest
from windrow.store.context import Transaction
from windrow.store.prepared import Prepared
from windrow.store.rows import upsert
from windrow.store.tables import identities, partitions

ALL_OUT = "no identity is left: each one rested {times} times in a row without a partition that ended well"


def sync(connection: Connection, run: int, names: Collection[str]) -> None:
    """The identities of a run are `names`; those it had before keep their rests."""
    connection.execute(delete(identities).where(identities.c.run == run, identities.c.name.not_in(names)))
    if names:
        statement = upsert(connection, identities).on_conflict_do_nothing()
        connection.execute(statement, [{"run": run, "name": name} for name in names])


def pardon(connection: Connection, run: int, *, wake: bool) -> None:
    """Those that are out may be asked again. With `wake`, also those that rest, at once."""
    mine = identities.c.run == run
    connection.execute(update(identities).where(mine, identities.c.is_out.is_(True)).values(is_out=False, rests=0))
    if wake:
        connection.execute(update(identities).where(mine).values(rests=0, rest_until=0.0))


def free(tx: Transaction) -> str | None:
    """The name of the identity that may be leased now and was for the longest time not; None where none may."""
    found = _FREE.rows(tx.connection, {"of_run": tx.context.run, "now": tx.now})
    return found[0][0] if found else None


_FREE = Prepared(
    lambda connection: (
        select(identities.c.name)
        .where(
            identities.c.run == bindparam("of_run"),
            identities.c.is_out.is_(False),
            identities.c.rest_until <= bindparam("now"),
            ~_is_held(),
        )
        .order_by(identities.c.used, identities.c.name)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
)


def lease(tx: Transaction, name: str, partition: int, fence: int) -> None:
    """The identity is that lease's."""
    values = {"of_run": tx.context.run, "of_name": name, "holder": partition, "its_fence": fence, "now": tx.now}
    _LEASED.changed(tx.connection, values)


_LEASED = Prepared(
    lambda connection: (
        update(identities)
        .where(identities.c.run == bindparam("of_run"), identities.c.name == bindparam("of_name"))
        .values(
            partition=bindparam("holder"),
            fence=bindparam("its_fence"),
            used=bindparam("now"),
            uses=identities.c.uses + 1,
        )
    )
)


def end_lease(tx: Transaction, partition: int, fence: int, *, well: bool, rests: str | None) -> None:
    """An attempt is over: its identity `rests`, for that reason, or is as good as new where the attempt ended well."""
    if rests is None:
        if well:
            _FORGIVEN.changed(tx.connection, {"of_run": tx.context.run, "holder": partition, "its_fence": fence})
        return
    mine = (identities.c.run == tx.context.run, identities.c.partition == partition, identities.c.fence == fence)
    row = tx.connection.execute(select(identities.c.name, identities.c.rests).where(*mine)).one_or_none()
    if row is None:
        return
    limits, times = tx.context.limits, row.rests + 1
    values = {
        "rests": times,
        "rest_until": tx.now + rest(times, first=limits.rest, most=limits.longest_rest),
        "is_out": times >= limits.rests,
        "reason": rests,
    }
    tx.connection.execute(update(identities).where(*mine).values(**values))


_FORGIVEN = Prepared(
    lambda connection: (
        update(identities)
        .where(
            identities.c.run == bindparam("of_run"),
            identities.c.partition == bindparam("holder"),
            identities.c.fence == bindparam("its_fence"),
            identities.c.rests > 0,
        )
        .values(rests=0, reason=None)
    )
)


def soonest(tx: Transaction) -> float:
    """When the first rest of an identity that is not out ends; 0 where one rests no more or all are out."""
    mine = (identities.c.run == tx.context.run, identities.c.is_out.is_(False))
    return float(tx.connection.execute(select(func.min(identities.c.rest_until)).where(*mine)).scalar() or 0.0)


def all_out(tx: Transaction) -> str | None:
    """Why no partition can be scraped any more; None as long as one may be."""
    left = exists().where(identities.c.run == tx.context.run, identities.c.is_out.is_(False))
    if tx.connection.execute(select(left)).scalar():
        return None
    last = (
        select(identities.c.name, identities.c.reason)
        .where(identities.c.run == tx.context.run)
        .order_by(identities.c.rest_until.desc())
        .limit(1)
    )
    row = tx.connection.execute(last).one_or_none()
    told = "" if row is None else f"; the last, {row.name}: {row.reason}"
    return ALL_OUT.format(times=tx.context.limits.rests) + told


def fail_pending(tx: Transaction, reason: str) -> int:
    """pending → failed, for all that are not lazy; how many."""
    found = tx.connection.execute(
        update(partitions)
        .where(partitions.c.run == tx.context.run, partitions.c.state == "pending", partitions.c.lazy == 0)
        .values(state="failed", finished=tx.now, reason=reason)
    )
    return found.rowcount


def _is_held() -> Exists:
    return exists().where(
        partitions.c.id == identities.c.partition,
        partitions.c.state == "leased",
        partitions.c.fence == identities.c.fence,
    )
