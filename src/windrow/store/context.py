"""What the statements of one transaction share."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from windrow.job import Limits
from windrow.store.rows import RecordTable

if TYPE_CHECKING:
    from windrow.store.guesses import Guesses

LEASE_SECONDS = 60.0
"""How long a lease lasts without a sign of life of its worker; workers give one every five seconds."""


@dataclass(frozen=True, slots=True)
class RunContext:
    """One run, as the statements need to know it. `guesses`: see `Job.matches`."""

    run: int
    records: RecordTable
    limits: Limits
    guesses: Guesses
    random: random.Random = field(default_factory=random.Random)
    lease_seconds: float = LEASE_SECONDS
    has_identities: bool = False
    """Whether each partition is leased together with an identity."""
    undecided: dict[int, float] = field(default_factory=dict)
    """Parents of lazy partitions of which nothing could be said, and when to look again."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """One open transaction: its connection, its time, and the run it is for."""

    connection: Connection
    now: float
    context: RunContext
    totals: Counter[str] = field(default_factory=Counter)
    """Run counters to be added once, at the end of the transaction."""
    workers: dict[str, Counter[str]] = field(default_factory=dict)
    """Workers' counters (records, requests), likewise."""

    def add(self, worker: str | None = None, **counts: int) -> None:
        """Add to the run's counters, and to those of the worker that reports them."""
        own = None if worker is None else self.workers.setdefault(worker, Counter())
        # Not Counter.update, which takes longer than the statement that the sum ends in.
        for name, count in counts.items():
            self.totals[name] += count
            if own is not None:
                own[name] += count
