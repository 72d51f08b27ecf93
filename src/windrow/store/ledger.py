"""The ledger: what a partition found, what of it was saved, and what is missing.

A *sighting* says that a partition found a key; its `saved` says that somebody in this run saved that key. A partition
is complete when it found as many keys as the site reports; a split one, when the distinct keys found below it are as
many. What a split parent found below it in full, the partitions below it cannot be missing: the hits of a longer
prefix are among the hits of the shorter one.

Keys that a partition found but left to another one (which had claimed them first) are checked when the run settles.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import Boolean, Select, and_, bindparam, case, func, insert, or_, select, update
from sqlalchemy import Row as SqlRow

from windrow.partitions import Partition
from windrow.store import identities
from windrow.store.context import Transaction
from windrow.store.leases import PartitionRow, claim_ready, end, give_up_attempt, held
from windrow.store.messages import Child, Commit, Committed, Keys, Lost, Unseen
from windrow.store.prepared import Prepared
from windrow.store.rows import upsert
from windrow.store.tables import claims, invalid, partitions, runs, sightings

SHORTFALL_ATTEMPTS = 2
"""Attempts in a row that may end with less than the site reports and nothing new, before a partition is incomplete."""

MOST_REOPENED = 1
"""How often a partition runs again because the books do not balance, before it is incomplete."""

CHUNK = 500
"""Keys in one statement; SQLite takes at most 32,766 parameters."""


def unseen(tx: Transaction, command: Unseen) -> Keys | Lost:
    """Note that the partition found some keys; those that nobody saved or has in hand are its own from now on."""
    partition = command.lease.partition
    if held(tx, command.lease) is None:
        return Lost()
    keys = list(dict.fromkeys(command.keys))
    mine: set[str] = set()
    found = 0
    for chunk in _chunks(keys):
        saved = {key for key, is_saved in _sighted(tx, chunk) if is_saved}
        found += _sight(tx, partition, [(key, key in saved) for key in chunk])
        fresh = [key for key in chunk if key not in saved]
        mine |= _take(tx, partition, fresh) if command.claim else set(fresh)
    if found or mine:
        values = {"holder": partition, "more": found, "claimed": command.claim and bool(mine)}
        _FOUND.changed(tx.connection, values)
    return Keys([key for key in keys if key in mine])


_FOUND = Prepared(
    lambda connection: (
        update(partitions)
        .where(partitions.c.id == bindparam("holder"))
        .values(
            found=partitions.c.found + bindparam("more"),
            claiming=partitions.c.claiming | bindparam("claimed", type_=Boolean),
        )
    )
)


def commit(tx: Transaction, command: Commit) -> Committed | Lost:
    """Save records and counts and renew the lease; with `last`, end the attempt."""
    row = held(tx, command.lease)
    if row is None:
        return Lost()
    new, found = _save(tx, row, command)
    counts = command.counts
    tx.add(
        row.worker,
        records=new,
        invalid=len(command.invalid),
        requests=counts.requests,
        retries=counts.retries,
        throttled=counts.throttled,
        blocked=counts.blocked,
    )
    values: dict[str, Any] = {
        "progress": row.progress + new,
        "saved": row.saved + new,
        "found": row.found + found,
        "invalid": row.invalid + len(command.invalid),
        "requests": row.requests + counts.requests,
        "reported": row.reported if command.reported is None else command.reported,
    }
    too_many = _too_many_invalid(tx, values["invalid"])
    if too_many is not None and command.last:
        if tx.context.has_identities:
            identities.end_lease(tx, row.id, row.fence, well=False, rests=command.rests)
        return Committed(new, end(tx, row, "failed", **{**values, "reason": too_many}), too_many)
    if command.last:
        state, reason = _end_attempt(tx, row, command, values)
        if tx.context.has_identities:
            identities.end_lease(tx, row.id, row.fence, well=state in ("done", "split"), rests=command.rests)
        return Committed(new, state, reason, claim_ready(tx, row.worker) if command.claiming else None)
    _COUNTED.changed(tx.connection, {"holder": row.id, **values})
    # Not ended here: the worker has a session open, whose identity would be free.
    return Committed(new, "leased", too_many)


_COUNTED = Prepared(
    lambda connection: update(partitions).where(partitions.c.id == bindparam("holder")),
    ("progress", "saved", "found", "invalid", "requests", "reported"),
)


def is_covered(tx: Transaction, parent: int) -> bool | None:
    """Whether the run has saved as many records that belong to a partition as the site reports for it.

    None where what other partitions have in hand may still make the difference.
    """
    row = tx.connection.execute(select(partitions).where(partitions.c.id == parent)).one()
    if row.reported is None:
        return False
    coming = _records_coming(tx)
    if _records_so_far(tx) + coming < row.reported:
        return False
    known = _keys_below(tx, parent)
    if len(known) < row.reported:
        known |= tx.context.guesses.matching(tx, {parent: _as_partition(row)})[parent]
    if len(known) >= row.reported:
        return True
    return None if len(known) + coming >= row.reported else False


def settle(tx: Transaction) -> bool:
    """Every partition has come to an end: balance the books. False where some partitions have to run again."""
    if _requeue_unsaved(tx):
        return False
    _count_unsaved_of_failed(tx)
    for parent in _reporting_parents(tx):
        _balance_parent(tx, parent)
    _balance_by_matching(tx)
    _absolve_below_complete(tx)
    if _reopen_short_parents(tx):
        return False
    missing = sum(_top_missing(tx))
    tx.connection.execute(
        update(runs)
        .where(runs.c.id == tx.context.run)
        .values(state="finished", finished=tx.now, missing=missing, alive_until=tx.now)
    )
    return True


# --- saving -------------------------------------------------------------------------------------------------------


def _save(tx: Transaction, row: PartitionRow, command: Commit) -> tuple[int, int]:
    """How many of the records were not yet saved in this run, and how many keys the partition had not yet found."""
    by_key = dict(command.rows)
    new = found = 0
    for chunk in _chunks(list(by_key)):
        sighted_before = _sighted(tx, chunk)
        saved = {key for key, is_saved in sighted_before if is_saved}
        tx.context.records.save(
            tx.connection, [by_key[key] for key in chunk], partition=row.key, run=tx.context.run, now=tx.now
        )
        sighted = _sight(tx, row.id, [(key, True) for key in chunk])
        if len(sighted_before) > len(saved):
            tx.connection.execute(
                update(sightings)
                .where(sightings.c.run == tx.context.run, sightings.c.key.in_(chunk), sightings.c.saved.is_(False))
                .values(saved=True)
            )
        found += sighted
        new += len(chunk) - len(saved)
    if command.invalid:
        tx.connection.execute(
            insert(invalid),
            [
                {"run": tx.context.run, "partition": row.id, "raw": raw, "error": error, "at": tx.now}
                for raw, error in command.invalid
            ],
        )
    return new, found


def _sighted(tx: Transaction, keys: Sequence[str]) -> set[tuple[str, bool]]:
    """The keys among `keys` that this run has sighted, and whether they are saved."""
    if not keys:
        return set()
    sighted = _sighted_of(_rounded(len(keys)))
    return {(key, bool(saved)) for key, saved in sighted.rows(tx.connection, _one_of(tx, keys))}


@lru_cache(maxsize=16)
def _sighted_of(size: int) -> Prepared:
    return Prepared(
        lambda connection: (
            select(sightings.c.key, sightings.c.saved)
            .distinct()
            .where(sightings.c.run == bindparam("of_run"), sightings.c.key.in_(_places(size)))
        )
    )


def _sight(tx: Transaction, partition: int, seen: Sequence[tuple[str, bool]]) -> int:
    """Note sightings; how many are new."""
    if not seen:
        return 0
    run = tx.context.run
    values = [{"partition": partition, "key": key, "run": run, "saved": saved} for key, saved in seen]
    return max(0, _NOTED.changed_by_each(tx.connection, values))


_NOTED = Prepared(
    lambda connection: upsert(connection, sightings).on_conflict_do_nothing(), ("partition", "key", "run", "saved")
)


def _take(tx: Transaction, partition: int, keys: Sequence[str]) -> set[str]:
    """Claim keys; the ones that are the partition's now. Another's claim stands as long as its lease."""
    if not keys:
        return set()
    run = tx.context.run
    _CLAIMED.changed_by_each(tx.connection, [{"run": run, "key": key, "partition": partition} for key in keys])
    own = _claimed_of(_rounded(len(keys)))
    return {key for (key,) in own.rows(tx.connection, {"holder": partition, **_one_of(tx, keys)})}


_CLAIMED = Prepared(lambda connection: upsert(connection, claims).on_conflict_do_nothing(), ("run", "key", "partition"))


@lru_cache(maxsize=16)
def _claimed_of(size: int) -> Prepared:
    return Prepared(
        lambda connection: select(claims.c.key).where(
            claims.c.run == bindparam("of_run"),
            claims.c.key.in_(_places(size)),
            claims.c.partition == bindparam("holder"),
        )
    )


def _rounded(count: int) -> int:
    """How many places a statement has for `count` keys: few sizes, so that few statements are prepared."""
    return 1 << (count - 1).bit_length()


def _places(size: int) -> list[Any]:
    return [bindparam(f"key_{place}") for place in range(size)]


def _one_of(tx: Transaction, keys: Sequence[str]) -> dict[str, Any]:
    """The run and the keys; places that are left over hold the last key again."""
    values: dict[str, Any] = {f"key_{place}": key for place, key in enumerate(keys)}
    values |= {f"key_{place}": keys[-1] for place in range(len(keys), _rounded(len(keys)))}
    values["of_run"] = tx.context.run
    return values


# --- the end of an attempt -----------------------------------------------------------------------------------------


def _too_many_invalid(tx: Transaction, count: int) -> str | None:
    most = tx.context.limits.invalid
    return None if most is None or count <= most else f"{count} invalid records, the job allows {most}"


def _end_attempt(tx: Transaction, row: PartitionRow, command: Commit, values: dict[str, Any]) -> tuple[str, str | None]:
    """The last batch of an attempt is saved: what the partition becomes, and why. `values`: its counters with it."""
    if command.children is not None:
        _plant(tx, row.id, command.children)
        return end(tx, row, "split", **values), None
    reported, found = values["reported"], values["found"]
    missing = max(0, (reported or 0) - found - _sightless_invalid(tx, row.id, values["invalid"]))
    values |= {"missing": missing, "capped": command.capped}
    if missing == 0 and not (command.capped and reported is None):
        return end(tx, row, "done", **values), None
    if command.capped:
        whole = "does not say how many there are" if reported is None else f"reports {reported}"
        reason = f"the site {whole} and shows {found}, and the partition cannot be split further"
        return end(tx, row, "incomplete", **values, reason=reason), reason
    reason = f"the site reports {reported}, {found} were found"
    return give_up_attempt(tx, row, reason, values, most=SHORTFALL_ATTEMPTS, last="incomplete"), reason


def _sightless_invalid(tx: Transaction, partition: int, invalid_records: int) -> int:
    """Invalid records of which no key was ever sighted: the site's count holds them, `found` does not."""
    if not invalid_records:
        return 0
    unsaved = tx.connection.execute(
        select(func.count()).where(sightings.c.partition == partition, sightings.c.saved.is_(False))
    ).scalar_one()
    return max(0, invalid_records - int(unsaved))


def _plant(tx: Transaction, parent: int, children: Sequence[Child]) -> None:
    """Create the children of a split; those that a former attempt created and that did not succeed run again."""
    if not children:
        return
    values = [
        {
            "run": tx.context.run,
            "key": child.key,
            "params": msgspec.json.encode(child.params).decode(),
            "parent": parent,
            "state": "pending",
            "lazy": child.lazy,
        }
        for child in children
    ]
    tx.connection.execute(upsert(tx.connection, partitions).on_conflict_do_nothing(), values)
    tx.connection.execute(
        update(partitions)
        .where(
            partitions.c.parent == parent,
            or_(
                partitions.c.state.in_(("incomplete", "failed")),
                and_(partitions.c.state == "done", partitions.c.attempt == 0),  # spared before
            ),
        )
        .values(state="pending", failures=0, deaths=0, not_before=0.0, missing=0)
    )


# --- settling ------------------------------------------------------------------------------------------------------


def _requeue_unsaved(tx: Transaction) -> int:
    """Keys left to another partition that never saved them: whoever found them tries itself, then is incomplete."""
    unsaved = (
        select(sightings.c.partition, func.count().label("keys"))
        .where(sightings.c.run == tx.context.run, sightings.c.saved.is_(False))
        .group_by(sightings.c.partition)
        .subquery()
    )
    short = tx.connection.execute(
        select(partitions.c.id, partitions.c.reopened, partitions.c.missing, unsaved.c["keys"])
        .join(unsaved, unsaved.c.partition == partitions.c.id)
        .where(partitions.c.state.in_(("done", "split")), unsaved.c["keys"] > partitions.c.invalid)
    ).all()
    again = 0
    for row in short:
        retried = row.reopened < MOST_REOPENED
        again += retried
        reason = f"{row.keys} records were found and not saved"
        values: dict[str, Any] = {"state": "incomplete", "missing": row.missing + row.keys}
        if retried:
            values = {"state": "pending", "reopened": row.reopened + 1, "not_before": 0.0}
        tx.connection.execute(
            update(partitions)
            .where(partitions.c.id == row.id, partitions.c.state.in_(("done", "split")))
            .values(reason=reason, **values)
        )
    return again


def _reopen_short_parents(tx: Transaction) -> int:
    """A split parent whose children found less than it reports looks again itself, once."""
    children = partitions.alias("children")
    has_children = partitions.c.id.in_(
        select(children.c.parent).where(children.c.run == tx.context.run, children.c.parent.is_not(None))
    )
    again = (
        update(partitions)
        .where(
            partitions.c.run == tx.context.run,
            partitions.c.state == "incomplete",
            partitions.c.reopened < MOST_REOPENED,
            has_children,
        )
        .values(state="pending", reopened=partitions.c.reopened + 1, not_before=0.0)
    )
    return tx.connection.execute(again).rowcount


def _count_unsaved_of_failed(tx: Transaction) -> None:
    """What a failed partition is known to have, less what anybody saved of it, is missing."""
    saved = (
        select(func.count())
        .where(sightings.c.partition == partitions.c.id, sightings.c.saved.is_(True))
        .scalar_subquery()
    )
    known = case((partitions.c.reported > partitions.c.found, partitions.c.reported), else_=partitions.c.found)
    left = known - saved - partitions.c.invalid
    tx.connection.execute(
        update(partitions)
        .where(partitions.c.run == tx.context.run, partitions.c.state == "failed")
        .values(missing=case((left > 0, left), else_=0))
    )


def _reporting_parents(tx: Transaction) -> Sequence[SqlRow[Any]]:
    children = partitions.alias("children")
    return tx.connection.execute(
        select(partitions).where(
            partitions.c.run == tx.context.run,
            partitions.c.reported.is_not(None),
            # A split one may have no child of its own: another partition had planted that key before.
            or_(
                partitions.c.state == "split",
                partitions.c.id.in_(select(children.c.parent).where(children.c.run == tx.context.run)),
            ),
        )
    ).all()


def _balance_parent(tx: Transaction, parent: SqlRow[Any]) -> None:
    _judge(tx, parent, len(_keys_below(tx, parent.id)) + _invalid_below(tx, parent.id), "were found below it")


def _balance_by_matching(tx: Transaction) -> None:
    """Count, for each partition that misses something, the records of the run that the site would list under it."""
    run = tx.context.run
    short = tx.connection.execute(
        select(partitions).where(
            partitions.c.run == run,
            partitions.c.missing > 0,
            partitions.c.reported.is_not(None),
            partitions.c.state == "incomplete",
        )
    ).all()
    if not short:
        return
    matching = tx.context.guesses.matching(tx, {row.id: _as_partition(row) for row in short})
    for row in short:
        if matching[row.id]:
            known = len(matching[row.id] | _keys_below(tx, row.id)) + _invalid_below(tx, row.id)
            _judge(tx, row, known, "of the run's records are among them")


def _as_partition(row: SqlRow[Any]) -> Partition:
    return Partition(row.key, msgspec.json.decode(row.params))


def _judge(tx: Transaction, row: SqlRow[Any], found: int, how: str) -> None:
    missing = max(0, row.reported - found)
    values: dict[str, Any] = {"missing": missing}
    if row.state in {"split", "incomplete", "done"}:
        complete = "split" if _has_children(tx, row.id) else "done"
        values["state"] = "incomplete" if missing else complete
        values["reason"] = f"the site reports {row.reported}, {found} {how}" if missing else None
    tx.connection.execute(
        update(partitions).where(partitions.c.id == row.id, partitions.c.state == row.state).values(**values)
    )


def _absolve_below_complete(tx: Transaction) -> None:
    """What a complete parent found below it in full, no capped partition below it can be missing."""
    complete = (
        select(partitions.c.id)
        .where(
            partitions.c.run == tx.context.run,
            partitions.c.state == "split",
            partitions.c.reported.is_not(None),
            partitions.c.missing == 0,
        )
        .cte("complete", recursive=True)
    )
    children = partitions.alias("children")
    complete = complete.union(select(children.c.id).join(complete, children.c.parent == complete.c.id))
    within = partitions.c.id.in_(select(complete.c.id))
    parents = partitions.alias("parents")
    has_children = partitions.c.id.in_(
        select(parents.c.parent).where(parents.c.run == tx.context.run, parents.c.parent.is_not(None))
    )
    for state, which in (("split", has_children), ("done", and_(~has_children, partitions.c.capped.is_(True)))):
        tx.connection.execute(
            update(partitions)
            .where(partitions.c.run == tx.context.run, partitions.c.state == "incomplete", within, which)
            .values(state=state, missing=0, reason="what it does not show was found elsewhere below its parent")
        )


def _top_missing(tx: Transaction) -> Iterator[int]:
    """What is missing, each shortfall at the highest partition that reports: a child's is part of its parent's."""
    short = tx.connection.execute(
        select(partitions.c.id, partitions.c.parent, partitions.c.missing).where(
            partitions.c.run == tx.context.run, partitions.c.missing > 0
        )
    ).all()
    for row in short:
        if not any(reported is not None for reported in _reports_above(tx, row.parent)):
            yield row.missing


def _reports_above(tx: Transaction, parent: int | None) -> Iterator[int | None]:
    while parent is not None:
        row = tx.connection.execute(
            select(partitions.c.parent, partitions.c.reported).where(partitions.c.id == parent)
        ).one()
        yield row.reported
        parent = row.parent


def _has_children(tx: Transaction, partition: int) -> bool:
    found = tx.connection.execute(select(partitions.c.id).where(partitions.c.parent == partition).limit(1))
    return found.first() is not None


def _below(partition: int) -> Select[tuple[int]]:
    """The ids of a partition and of everything below it."""
    tree = select(partitions.c.id).where(partitions.c.id == partition).cte("below", recursive=True)
    children = partitions.alias("children")
    tree = tree.union_all(select(children.c.id).join(tree, children.c.parent == tree.c.id))
    return select(tree.c.id)


def _keys_below(tx: Transaction, partition: int) -> set[str]:
    """The distinct keys found by a partition or below it that are saved."""
    return set(
        tx.connection.execute(
            select(sightings.c.key)
            .distinct()
            .where(sightings.c.partition.in_(_below(partition)), sightings.c.saved.is_(True))
        ).scalars()
    )


def _invalid_below(tx: Transaction, partition: int) -> int:
    """Invalid records are no missing ones: the site's count holds them, and they are counted apart."""
    rows = tx.connection.execute(
        select(partitions.c.id, partitions.c.invalid).where(
            partitions.c.id.in_(_below(partition)), partitions.c.invalid > 0
        )
    ).all()
    sightless = sighted = 0
    keys: set[str] = set()
    for row in rows:
        unsaved = set(
            tx.connection.execute(
                select(sightings.c.key).where(sightings.c.partition == row.id, sightings.c.saved.is_(False))
            ).scalars()
        )
        keys |= unsaved
        sighted += min(row.invalid, len(unsaved))
        sightless += max(0, row.invalid - len(unsaved))
    # One invalid record can be listed by several partitions below: its key counts once.
    return sightless + min(sighted, len(keys))


def _records_coming(tx: Transaction) -> float:
    """At most how many records are in hand; no bound while a partition under way has not found anything yet."""
    listing = select(func.count()).where(
        partitions.c.run == tx.context.run, partitions.c.state == "leased", partitions.c.found == 0
    )
    if tx.connection.execute(listing).scalar_one():
        return math.inf
    in_hand = select(func.count()).where(claims.c.run == tx.context.run)
    return int(tx.connection.execute(in_hand).scalar_one())


def _records_so_far(tx: Transaction) -> int:
    saved = tx.connection.execute(select(runs.c.records).where(runs.c.id == tx.context.run)).scalar_one()
    return int(saved) + tx.totals.get("records", 0)


def _chunks(keys: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(keys), CHUNK):
        yield keys[start : start + CHUNK]
