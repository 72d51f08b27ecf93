"""What a worker and a store say to each other, over a real writer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

import windrow.worker
from tests.support.bench import Bench
from windrow import Job, LeasedPartition, Pace, Session, values
from windrow.clock import SystemClock
from windrow.engines.crew import Built, building
from windrow.store.messages import Answer, Command, Commit
from windrow.store.writer import Writer

DEADLINE = 30.0

job = Job("things", key="id", partitions=values("abc"), robots=False, pace=Pace(0.0))


@job.scrape
async def scrape(session: Session, partition: LeasedPartition) -> AsyncIterator[dict[str, str]]:
    yield {"id": partition.key}


def worked(bench: Bench, *, stops_at: type[Command] | None = None) -> list[Command]:
    """What a worker with one session says in a run over a, b and c; it is stopped as it says the first `stops_at`."""
    bench.begin(["a", "b", "c"])
    assert bench.keeper is not None
    writer = Writer(bench.keeper)
    said: list[Command] = []
    built: Built

    async def send(command: Command) -> Answer:
        said.append(command)
        if stops_at is not None and isinstance(command, stops_at):
            built.worker.stop()
        return await writer.send(command)

    async def work() -> None:
        nonlocal built
        async with (
            asyncio.timeout(DEADLINE),
            building(job, name="w1", slots=1, send=send, clock=SystemClock()) as built,
        ):
            await built.port.hello("w1", os.getpid(), 1)
            await built.worker.work()

    writer.start()
    try:
        asyncio.run(work())
    finally:
        writer.stop()
    return said


def test_a_short_partition_costs_one_command(bench: Bench) -> None:
    said = [type(command).__name__ for command in worked(bench)]
    assert said == ["Hello", "Claim", "Commit", "Commit", "Commit", "Claim"]
    assert bench.run_row().state == "finished"
    assert [record["id"] for record in bench.records()] == ["a", "b", "c"]


def test_a_worker_that_is_stopped_gives_back_what_its_last_commit_claimed(bench: Bench) -> None:
    said = [type(command).__name__ for command in worked(bench, stops_at=Commit)]
    assert said == ["Hello", "Claim", "Commit", "Release"]
    assert {key: bench.state(key).state for key in "abc"} == {"a": "done", "b": "pending", "c": "pending"}
    assert bench.state("b").failures == 0


def test_records_that_come_during_a_commit_share_the_next(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first commit is answered when the second record is there; it then waits for the end of the attempt."""
    monkeypatch.setattr(windrow.worker, "COMMIT_SECONDS", 0.0)
    bench.begin(["a"])
    under_way, go_on, answered = asyncio.Event(), asyncio.Event(), asyncio.Event()
    several = Job("things", key="id", partitions=values("a"), robots=False, pace=Pace(0.0))

    @several.scrape
    async def scrape(session: Session, partition: LeasedPartition) -> AsyncIterator[dict[str, str]]:
        yield {"id": "1"}
        await under_way.wait()
        monkeypatch.setattr(windrow.worker, "COMMIT_SECONDS", DEADLINE)
        yield {"id": "2"}
        go_on.set()
        await answered.wait()
        yield {"id": "3"}

    assert bench.keeper is not None
    writer = Writer(bench.keeper)
    commits: list[Commit] = []

    async def send(command: Command) -> Answer:
        if not isinstance(command, Commit):
            return await writer.send(command)
        commits.append(command)
        under_way.set()
        await go_on.wait()
        answer = await writer.send(command)
        asyncio.get_running_loop().call_soon(answered.set)
        return answer

    async def work() -> None:
        async with (
            asyncio.timeout(DEADLINE),
            building(several, name="w1", slots=1, send=send, clock=SystemClock()) as built,
        ):
            await built.worker.work()

    writer.start()
    try:
        asyncio.run(work())
    finally:
        writer.stop()
    assert [[key for key, _ in commit.rows] for commit in commits] == [["1"], ["2", "3"]]
    assert [record["id"] for record in bench.records()] == ["1", "2", "3"]
