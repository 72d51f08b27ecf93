"""How a site searches is not known: a job guesses, and the run's own evidence says which guess holds.

`Job.matches` may be given several guesses. Each complete list of the run (a partition that found just as many keys as
the site reports) is evidence: a guess that leaves out a record that stood on it, or lists one that did not, is
refuted. What all surviving guesses agree on counts as listed. As long as the truth is among them this errs on the side
of too little: a partition is then searched once more, and never taken for complete when it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sqlalchemy import column, func, select, table

from windrow.errors import WindrowError
from windrow.job import Matcher
from windrow.partitions import Partition
from windrow.store.context import Transaction
from windrow.store.tables import partitions, sightings

MOST_RECORDS = 20_000
"""Records up to which a run is matched: each takes some microseconds for each guess, and the writer waits meanwhile."""

MOST_EVIDENCE = 400
"""Complete lists that one look takes in; the next look goes on behind them."""

MOST_OTHERS = 100
"""Records that were not on a list, tried against it: a sample, spread over the run."""

Record = Mapping[str, Any]


class MatcherFailed(WindrowError):
    """The job's own function failed while the books were balanced."""


@dataclass(slots=True)
class Guesses:
    """The guesses that survive, and how far the evidence was read. Can be made anew at any time from the store."""

    matchers: Sequence[Matcher]
    key_of: Callable[[Record], str]
    refuted: set[int] = field(default_factory=set)
    read_until: tuple[float, int] = (0.0, 0)

    def matching(self, tx: Transaction, asked: Mapping[int, Partition]) -> dict[int, set[str]]:
        """For each partition in `asked` the keys of the run's records that the site must list under it."""
        found: dict[int, set[str]] = {name: set() for name in asked}
        if not self.matchers or not _few_enough(tx):
            return found
        records = _records_of_the_run(tx)
        self._weigh(tx, records)
        surviving = [each for number, each in enumerate(self.matchers) if number not in self.refuted]
        if not surviving or self.read_until == (0.0, 0):
            return found  # all refuted, or no evidence yet
        for record in records:
            key = self.key_of(record)
            for name, partition in asked.items():
                if all(_says(matcher, record, partition) for matcher in surviving):
                    found[name].add(key)
        return found

    def _weigh(self, tx: Transaction, records: Sequence[Record]) -> None:
        """Refute the guesses that do not explain the complete lists since the last look."""
        by_key = {self.key_of(record): record for record in records}
        others = records[:: max(1, len(records) // MOST_OTHERS)]
        for row in _complete_lists(tx, self.read_until):
            listed = set(
                tx.connection.execute(select(sightings.c.key).where(sightings.c.partition == row.id)).scalars()
            )
            tried = [record for key, record in by_key.items() if key in listed]
            tried += [record for record in others if self.key_of(record) not in listed]
            partition = Partition(row.key, msgspec.json.decode(row.params))
            for number, matcher in enumerate(self.matchers):
                if number not in self.refuted and not self._explains(matcher, tried, listed, partition):
                    self.refuted.add(number)
            self.read_until = (row.finished, row.id)

    def _explains(self, matcher: Matcher, tried: Sequence[Record], listed: set[str], partition: Partition) -> bool:
        return all(_says(matcher, record, partition) in (None, self.key_of(record) in listed) for record in tried)


def _says(matcher: Matcher, record: Record, partition: Partition) -> bool | None:
    try:
        return matcher(record, partition)
    except Exception as error:
        raise MatcherFailed(f"the job's matches() raised {type(error).__name__}: {error}") from error


def _few_enough(tx: Transaction) -> bool:
    records = table(tx.context.records.name, column("_run"))
    count = select(func.count()).select_from(records).where(records.c["_run"] == tx.context.run)
    return bool(tx.connection.execute(count).scalar_one() <= MOST_RECORDS)


def _records_of_the_run(tx: Transaction) -> list[Record]:
    """What was saved, without the columns that hold JSON."""
    records = table(tx.context.records.name, *map(column, [*tx.context.records.plain_columns, "_run"]))
    rows = tx.connection.execute(select(records).where(records.c["_run"] == tx.context.run))
    return [dict(row) for row in rows.mappings()]


def _complete_lists(tx: Transaction, after: tuple[float, int]) -> Sequence[Any]:
    """Partitions that found just what the site reports, in the order they ended. Those with parameters of their own
    (a page of a search) are no evidence: what they list is not told by their key."""
    children = partitions.alias("children")
    return tx.connection.execute(
        select(partitions)
        .where(
            partitions.c.run == tx.context.run,
            partitions.c.state == "done",
            partitions.c.params == "{}",
            partitions.c.reported == partitions.c.found,
            partitions.c.invalid == 0,
            (partitions.c.finished > after[0]) | ((partitions.c.finished == after[0]) & (partitions.c.id > after[1])),
            partitions.c.id.not_in(
                select(children.c.parent).where(children.c.run == tx.context.run, children.c.parent.is_not(None))
            ),
        )
        .order_by(partitions.c.finished, partitions.c.id)
        .limit(MOST_EVIDENCE)
    ).all()
