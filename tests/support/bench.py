"""A real store with one run in it, driven by commands as a worker sends them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from tests.support.clock import ManualClock
from windrow.job import Limits, Matcher
from windrow.partitions import Partition
from windrow.records import record_type
from windrow.store import identities, leases, runs
from windrow.store.context import RunContext
from windrow.store.database import Database, transaction
from windrow.store.guesses import Guesses
from windrow.store.keeper import Keeper
from windrow.store.messages import (
    Answer,
    Child,
    Claim,
    Commit,
    Committed,
    Ended,
    Finished,
    Held,
    Keys,
    Lease,
    Lost,
    Release,
    Unseen,
    Wait,
)
from windrow.store.rows import RecordTable
from windrow.store.runs import Scope
from windrow.store.tables import identities as identity_table
from windrow.store.tables import partitions as partition_table
from windrow.store.tables import runs as run_table


class Bench:
    """One store, one run, and short words for what workers say."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.database = database
        self.clock = clock
        self.keeper: Keeper | None = None

    def wait(self, seconds: float) -> None:
        """Let time pass, with the heartbeats of a supervisor that is awake."""
        assert self.keeper is not None
        while seconds > 0:
            step = min(seconds, 10.0)
            self.clock.forward(step)
            self.keeper.heartbeat(step)
            seconds -= step

    def begin(
        self,
        keys: Sequence[str],
        *,
        limits: Limits | None = None,
        matchers: Sequence[Matcher] = (),
        fresh: bool = False,
        names: Sequence[str] = (),
    ) -> int:
        """Open or resume the run over `keys` of the job `things` with the key `id`; `names`: its identities."""
        self.close()
        record = record_type(None, "id")
        with transaction(self.database) as connection:
            RecordTable("things", record).prepare(connection)
            run, resumed = runs.open_run(
                connection, job="things", table="things", scope=Scope(), settings={}, now=self.clock.now(), fresh=fresh
            )
            runs.plan(connection, run, [Partition(key) for key in keys], job="things")
            runs.learn_sizes(connection, run, "things")
            identities.sync(connection, run, names)
            if resumed:
                identities.pardon(connection, run, wake=False)
        records = RecordTable("things", record)
        context = RunContext(
            run=run,
            records=records,
            limits=limits or Limits(),
            guesses=Guesses(matchers, record.key_of),
            random=random.Random(1),
            has_identities=bool(names),
        )
        self.keeper = Keeper(self.database, context, self.clock)
        self.keeper.transact(lambda tx: records.prepare(tx.connection))
        self.keeper.transact(leases.take_back_all)
        return run

    def close(self) -> None:
        if self.keeper is not None:
            self.keeper.close()
            self.keeper = None

    def say(self, command: Any) -> Answer:
        assert self.keeper is not None
        return self.keeper.answer([command])[0]

    def claim(self, worker: str = "w1", *, idle: bool = True) -> Lease:
        answer = self.say(Claim(worker, idle))
        assert isinstance(answer, Lease), answer
        return answer

    def nothing_to_claim(self, worker: str = "w1", *, idle: bool = True) -> Wait | Finished:
        answer = self.say(Claim(worker, idle))
        assert isinstance(answer, Wait | Finished), answer
        return answer

    def finish(self) -> None:
        """Claims go on until the run settles."""
        for _ in range(10):
            answer = self.say(Claim("w1", True))
            if isinstance(answer, Finished):
                return
            assert isinstance(answer, Wait), answer
            self.wait(max(answer.seconds, 0.001))
        raise AssertionError("the run did not settle")

    def unseen(self, lease: Lease, *keys: str) -> list[str]:
        answer = self.say(Unseen(held(lease), list(keys)))
        assert isinstance(answer, Keys), answer
        return answer.keys

    def save(self, lease: Lease, *keys: str, last: bool = False, **more: Any) -> Committed:
        """Commit records with these keys."""
        answer = self.say(Commit(held(lease), rows=[(key, {"id": key}) for key in keys], last=last, **more))
        assert isinstance(answer, Committed), answer
        return answer

    def split(self, lease: Lease, *children: str, **more: Any) -> Committed:
        return self.save(lease, last=True, children=[Child(child, {}) for child in children], **more)

    def fail(self, lease: Lease, why: str = "failed", seconds: float = 0.0, rests: str | None = None) -> str:
        answer = self.say(Release(held(lease), why, "because", seconds, rests=rests))
        assert isinstance(answer, Ended), answer
        return answer.state

    def state(self, key: str) -> Any:
        """The row of a partition of the latest run."""
        with transaction(self.database) as connection:
            return connection.execute(
                select(partition_table).where(partition_table.c.key == key).order_by(partition_table.c.run.desc())
            ).first()

    def identity(self, name: str) -> Any:
        """The row of an identity of the latest run."""
        with transaction(self.database) as connection:
            return connection.execute(
                select(identity_table).where(identity_table.c.name == name).order_by(identity_table.c.run.desc())
            ).first()

    def run_row(self) -> Any:
        with transaction(self.database) as connection:
            return connection.execute(select(run_table).order_by(run_table.c.id.desc())).first()

    def records(self) -> list[dict[str, Any]]:
        with transaction(self.database) as connection:
            return [dict(row) for row in connection.exec_driver_sql("SELECT * FROM things ORDER BY id").mappings()]


def held(lease: Lease) -> Held:
    return Held(lease.partition, lease.fence)


def is_lost(answer: Answer) -> bool:
    return isinstance(answer, Lost)
