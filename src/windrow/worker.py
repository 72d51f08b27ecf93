"""A worker takes partitions and scrapes them: claim → scrape → commit.

One worker is one event loop with some slots; each slot has at most one partition, and each attempt at a partition one
session. The same worker runs in a process, in a thread and in the caller's own loop; what differs is only how its
commands travel to the store.

Records travel while the scrape function goes on: a commit takes along whatever has gathered since the last one left,
so at most one commit of a partition is under way, and a kill costs at most the records of that commit, those of the
hundredth of a second in which the next one gathers, and the one in the making.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import operator
import random
import sysconfig
import traceback
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from windrow.clock import Clock
from windrow.errors import AttemptFailed, Gone, LeaseLost, PageError, Parked, ProxyFailed, Refused, StoreUnavailable
from windrow.events import (
    Event,
    Listener,
    PartitionEnded,
    PartitionStarted,
    RecordInvalid,
    RecordMade,
    RequestDone,
    Verdict,
)
from windrow.gate import Gate
from windrow.identity import Identity
from windrow.job import Job
from windrow.partitions import Partition
from windrow.politeness.staffing import START, Burden, Load, staffed
from windrow.records import InvalidRecord, Row, raw_text
from windrow.session import Session, SessionFactory
from windrow.store.messages import Child, Commit, Counts, Finished, Held, Lease, Release, Wait
from windrow.store.port import CommandFailed, StorePort

Item = TypeVar("Item")

HEARTBEAT_SECONDS = 5.0
ADAPT_SECONDS = 2.0
MOST_UNSAVED = 500
"""Records that may wait for their commit before the scrape function is made to wait."""
COMMIT_SECONDS = 0.01
"""How long a first record waits for others, or for the end of the attempt, to share its commit."""
GRACE_SECONDS = 20.0
"""How long a record in the making may take to be finished once the worker was asked to stop."""


class LeasedPartition:
    """The partition a scrape function works on."""

    def __init__(self, lease: Lease, job: Job, port: StorePort) -> None:
        self._lease = Held(lease.partition, lease.fence)
        self._job = job
        self._port = port
        self._partition = Partition(lease.key, lease.params)
        self.key = lease.key
        self.params: Mapping[str, Any] = lease.params
        self.attempt = lease.attempt
        self.reopened = lease.reopened
        self.reported: int | None = None
        self.children: list[Child] | None = None
        self.capped = False

    def __repr__(self) -> str:
        return f"<partition {self.key!r}, attempt {self.attempt}>"

    def __getitem__(self, name: str) -> Any:
        """A cell of the partition's row. Raises KeyError naming the cells there are."""
        try:
            return self.params[name]
        except KeyError:
            raise KeyError(
                f"{name!r}; the partition {self.key!r} has {', '.join(self.params) or 'no parameters'}"
            ) from None

    @property
    def value(self) -> Any:
        """The value, for partitions made by `values()`; else the key."""
        return self.params.get("value", self.key)

    def reports(self, count: int) -> None:
        """The site says that this partition has `count` records: the ledger checks that as many were found."""
        number = operator.index(count)
        if number < 0:
            raise PageError(f"partition {self.key!r}: a site cannot report {count} records")
        self.reported = number

    def split(self, children: Iterable[str | Partition] | None = None, *, lazily: int = 0) -> bool:
        """Hand the work to children once this attempt ends well, because the site caps its results.

        `children` are keys or partitions; without them the job's source says what this partition splits into. Further
        calls add further children. With `lazily` above 0 they run after all that is less lazy, and not at all if by
        then the run has saved as many records that belong to this partition (see `Job.matches`) as it reports.
        Returns False where it cannot be split further; the ledger then says what is missing.
        """
        if children is None:
            chosen = self._job.source().children(self._partition)
        else:
            chosen = [child if isinstance(child, Partition) else Partition(child) for child in children]
        more = [Child(child.key, dict(child.params), lazily) for child in chosen]
        self.children = [*(self.children or ()), *more] or None
        self.capped = self.children is None
        return not self.capped

    async def found(self, keys: Iterable[object]) -> None:
        """These records are this partition's, but others will save them: the ledger checks that somebody did.

        Where nobody did, the partition runs once more, with `reopened` set: then it should save them itself.
        """
        await self._port.unseen(self._lease, [str(key) for key in keys], claim=False)

    async def unseen(self, items: Iterable[Item], *, key: str | Callable[[Item], object] | None = None) -> list[Item]:
        """Those of `items` that nobody has saved in this run and no other partition has in hand.

        `items` are keys themselves (key=None), mappings or objects with the field `key` names, or anything a function
        `key` takes the record's key from. All of them count as found by this partition.
        """
        by_key = {_key_of(item, key): item for item in items}
        wanted = await self._port.unseen(self._lease, list(by_key))
        return [by_key[name] for name in wanted]


class BlockingPartition:
    """The partition a plain scrape function works on; see LeasedPartition."""

    def __init__(self, partition: LeasedPartition, loop: asyncio.AbstractEventLoop) -> None:
        self._partition = partition
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._partition, name)

    def __getitem__(self, name: str) -> Any:
        return self._partition[name]

    def found(self, keys: Iterable[object]) -> None:
        """See LeasedPartition.found; blocks."""
        asyncio.run_coroutine_threadsafe(self._partition.found(keys), self._loop).result()

    def unseen(self, items: Iterable[Item], *, key: str | Callable[[Item], object] | None = None) -> list[Item]:
        """See LeasedPartition.unseen; blocks."""
        asked = self._partition.unseen(items, key=key)
        future: Future[list[Item]] = asyncio.run_coroutine_threadsafe(asked, self._loop)
        return future.result()


def _key_of(item: Any, key: str | Callable[[Any], object] | None) -> str:
    if key is None:
        return str(item)
    if callable(key):
        return str(key(item))
    try:
        return str(item[key] if isinstance(item, Mapping) else getattr(item, key))
    except (KeyError, AttributeError) as error:
        raise PageError(f"unseen(): an item has no {key!r}: {raw_text(item, 200)}") from error


# --- calling the scrape function -----------------------------------------------------------------------------------


async def scraped(function: Callable[..., Any], session: Session, partition: LeasedPartition) -> AsyncGenerator[Any]:
    """The records a scrape function makes, whichever of its four forms it has."""
    if inspect.isasyncgenfunction(function):
        async with aclosing(function(session, partition)) as records:
            async for record in records:
                yield record
    elif inspect.iscoroutinefunction(function):
        for record in _several(await function(session, partition)):
            yield record
    else:
        async with aclosing(_from_thread(function, session, partition)) as records:
            async for record in records:
                yield record


async def _from_thread(
    function: Callable[..., Any], session: Session, partition: LeasedPartition
) -> AsyncGenerator[Any]:
    """A plain function runs in one thread of its own, one step for each record it yields."""
    loop = asyncio.get_running_loop()
    thread = ThreadPoolExecutor(1, thread_name_prefix=f"windrow-{partition.key[:20]}")
    blocking = session.blocking()
    try:
        made = await loop.run_in_executor(thread, _call, function, blocking, BlockingPartition(partition, loop))
        records = made if isinstance(made, Iterator) else iter(_several(made))
        end = object()
        while (record := await loop.run_in_executor(thread, next, records, end)) is not end:
            yield record
    finally:
        blocking.cancel()
        thread.shutdown(wait=False, cancel_futures=True)


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except StopIteration as error:
        # A future of asyncio takes none (Python 3.11): whoever waits for it would wait for ever.
        raise RuntimeError("StopIteration: next() found nothing").with_traceback(error.__traceback__) from error


def _several(made: Any) -> Iterable[Any]:
    """What a function returned, as records: nothing, one record, or several."""
    if made is None:
        return ()
    if isinstance(made, Mapping | BaseModel) or hasattr(made, "__dataclass_fields__"):
        return (made,)
    if isinstance(made, Iterable) and not isinstance(made, str | bytes):
        return made
    return (made,)


# --- one attempt ---------------------------------------------------------------------------------------------------


@dataclass(eq=False, kw_only=True)
class WorkerParts:
    """What a worker is made of."""

    name: str
    job: Job
    port: StorePort
    gate: Gate
    clock: Clock
    listener: Listener
    random: random.Random = field(default_factory=random.Random)
    identities: Mapping[str, Identity] = field(default_factory=dict)
    delay: float | None = None
    """What the session that ended last had adapted its pace to: the next one does not begin faster after a block."""


class Attempt:
    """One attempt at one partition, with one session.

    With `claiming` it asks for the worker's next partition as it leaves this one; `following` is what it was given.
    """

    def __init__(self, lease: Lease, parts: WorkerParts, *, claiming: bool = False) -> None:
        self.lease = lease
        self.following: Lease | None = None
        self.held = Held(lease.partition, lease.fence)
        self._parts = parts
        self._claiming = claiming
        self._partition = LeasedPartition(lease, parts.job, parts.port)
        self._rows: list[tuple[str, Row]] = []
        self._invalid: list[tuple[str, str]] = []
        self._counts = Counts()
        self._saved = 0
        self._flushing: asyncio.Task[None] | None = None
        self._soon: asyncio.TimerHandle | None = None
        self._ending = False
        self._scraping: asyncio.Task[None] | None = None
        self._cause: Exception | None = None
        self._stopping = False
        self._rests: str | None = None
        self._refused: str | None = None
        self._clean: Callable[[str], str] = str

    async def run(self) -> None:
        """Scrape the partition and leave it in the state it deserves. Raises StoreUnavailable only."""
        self._parts.listener(PartitionStarted(self.lease.key, self.lease.attempt, self.lease.identity))
        # A task of its own: a cancellation ends the scraping and never the leaving.
        self._scraping = asyncio.create_task(self._scrape())
        try:
            await asyncio.wait({self._scraping})
        finally:
            self._scraping.cancel()
        await self._leave(self._why_ended(self._scraping))

    async def decline(self) -> None:
        """Give the partition back without having begun."""
        with contextlib.suppress(LeaseLost, CommandFailed):
            await self._parts.port.release(self._release("stopped", "stopped"))

    def stop(self) -> None:
        """Finish the record in the making, then give the partition back."""
        self._stopping = True

    def cancel(self, cause: Exception | None = None) -> None:
        """Drop what is in the making. With a `cause`, it is why; without, the partition is given back."""
        self._cause = self._cause or cause
        self._stopping = True
        if self._scraping is not None:
            self._scraping.cancel()

    def take_counts(self) -> Counts:
        """What happened since this was last asked."""
        counts, self._counts = self._counts, Counts()
        return counts

    def observe(self, event: Event) -> None:
        """Count a session's event and pass it on."""
        if isinstance(event, RequestDone):
            self._counts.requests += 1
            self._counts.retries += event.retry > 0
            self._counts.throttled += event.verdict is Verdict.THROTTLED
            self._counts.blocked += event.verdict is Verdict.BLOCKED
        self._parts.listener(event)

    async def _scrape(self) -> None:
        parts = self._parts
        factory = SessionFactory(parts.job, parts.gate, parts.clock, self.observe, random=parts.random)
        session = factory.open(self.lease.key, parts.delay, self._identity())
        self._clean = session.clean
        assert parts.job.function is not None
        try:
            async with (
                asyncio.timeout(parts.job.limits.partition),
                aclosing(scraped(parts.job.function, session, self._partition)) as records,
            ):
                await session.start()
                async for record in records:
                    await self._take(record)
                    if self._stopping:
                        break
            # What has gathered leaves with the end of the attempt, even if other sessions have their turn before.
            self._cancel_soon()
        except (Exception, asyncio.CancelledError):
            raise
        except BaseException as error:
            # sys.exit() and its like in a scrape function end its attempt, not the worker.
            raise AttemptFailed(f"{type(error).__name__}: {error}{_place(error)}") from error
        finally:
            parts.delay, self._rests = session.delay, session.rests
            await session.close()

    def _identity(self) -> Identity | None:
        name = self.lease.identity
        if name is None:
            return None
        try:
            return self._parts.identities[name]
        except KeyError:
            raise AttemptFailed(
                f"this worker knows no identity {name!r}: the list was changed while the run was under way"
            ) from None

    async def _take(self, record: object) -> None:
        record_type = self._parts.job.record_type
        try:
            row = record_type.row(record, self._clean)
        except InvalidRecord as error:
            raw, why = raw_text(record, clean=self._clean), self._clean(str(error))
            self._invalid.append((raw, why))
            self._parts.listener(RecordInvalid(self.lease.key, why, raw))
        else:
            self._rows.append((record_type.key_of(row), row))
            self._parts.listener(RecordMade(self.lease.key, dict(row)))
        if len(self._rows) + len(self._invalid) > MOST_UNSAVED:
            await asyncio.shield(self._flush_now())
        elif self._flushing is None or self._flushing.done():
            self._flush_soon()

    def _flush_now(self) -> asyncio.Task[None]:
        """Commit what has gathered; the commit under way, if there is one, is followed by another."""
        self._cancel_soon()
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush())
        return self._flushing

    def _cancel_soon(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None

    async def _flush(self) -> None:
        try:
            while (self._rows or self._invalid) and not self._ending:
                committed = await self._parts.port.commit(self._commit())
                self._saved += committed.new
                if committed.reason is not None:
                    self._refused = committed.reason
                    self.cancel()
                    return
                if len(self._rows) + len(self._invalid) < MOST_UNSAVED:
                    # What came meanwhile waits for others as a first record does.
                    self._flush_soon()
                    break
        except Exception as error:
            self.cancel(error)

    def _flush_soon(self) -> None:
        if (self._rows or self._invalid) and not self._ending and self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(COMMIT_SECONDS, self._flush_now)

    def _commit(self, **end: Any) -> Commit:
        rows, self._rows = self._rows, []
        invalid, self._invalid = self._invalid, []
        return Commit(
            self.held,
            rows=rows,
            invalid=invalid,
            counts=self.take_counts(),
            reported=self._partition.reported,
            **end,
        )

    async def _leave(self, why: Release | None) -> None:
        try:
            state, reason = await self._settle(why)
        except LeaseLost as error:
            state, reason = "lost", str(error)
        except CommandFailed as error:
            state, reason = await self._refused_by_the_store(error)
        self._parts.listener(PartitionEnded(self.lease.key, state, self._saved, reason))

    async def _settle(self, why: Release | None) -> tuple[str, str | None]:
        self._ending = True
        self._cancel_soon()
        if self._flushing is not None:
            await self._flushing
        if self._cause is not None:
            raise self._cause
        port = self._parts.port
        if why is None:
            partition = self._partition
            commit = self._commit(
                last=True,
                claiming=self._claiming,
                capped=partition.capped,
                children=partition.children,
                rests=self._rests,
            )
            committed = await port.commit(commit)
            self._saved += committed.new
            self.following = committed.following
            return committed.state, committed.reason
        if self._rows or self._invalid:
            committed = await port.commit(self._commit())
            self._saved += committed.new
            self._refused = self._refused or committed.reason
        if self._refused is not None:
            why = self._release("refused", self._refused)
        why = Release(why.lease, why.why, why.reason, why.seconds, self.take_counts(), why.rests)
        return await port.release(why), why.reason

    async def _refused_by_the_store(self, error: CommandFailed) -> tuple[str, str]:
        reason = f"the store refused a record: {error}"
        with contextlib.suppress(LeaseLost, CommandFailed):
            return await self._parts.port.release(self._release("failed", reason)), reason
        return "lost", reason

    def _release(self, why: str, reason: str, seconds: float = 0.0) -> Release:
        told = self._clean(reason)[:2_000].encode(errors="backslashreplace").decode()
        return Release(self.held, why, told, seconds, rests=self._rests)

    def _why_ended(self, scraping: asyncio.Task[None]) -> Release | None:
        """Why the attempt has to give its partition back unfinished; None where it has not."""
        if self._refused is not None:
            return self._release("refused", self._refused)
        if scraping.cancelled():
            if self._stopping:
                return self._release("stopped", "stopped")
            return self._release("failed", "the scrape function cancelled itself (asyncio.CancelledError)")
        error = scraping.exception()
        if error is None:
            return self._release("stopped", "stopped") if self._stopping else None
        if isinstance(error, TimeoutError):
            return self._release("failed", self._explain_timeout(error))
        if isinstance(error, Exception):
            return self._why(error)
        raise error

    def _why(self, error: Exception) -> Release:
        if isinstance(error, Parked):
            return self._release("parked", str(error), error.seconds)
        if isinstance(error, ProxyFailed):
            # No fault of the partition's: it goes on at once, with another identity.
            return self._release("stopped", str(error))
        if isinstance(error, Refused | Gone):
            return self._release("refused", str(error))
        if isinstance(error, AttemptFailed):
            return self._release("failed", str(error))
        if isinstance(error, StoreUnavailable | LeaseLost | CommandFailed):
            self._cause = self._cause or error
            return self._release("stopped", str(error))
        return self._release("failed", f"{type(error).__name__}: {error}{_place(error)}")

    def _explain_timeout(self, error: TimeoutError) -> str:
        limit = self._parts.job.limits.partition
        return (
            f"TimeoutError: {error}{_place(error)}"
            if str(error)
            else f"took longer than {limit:g} s (Limits.partition)"
        )


def _place(error: BaseException) -> str:
    """Where in the user's code an error arose."""
    frames = traceback.extract_tb(error.__traceback__)
    outside = [frame for frame in frames if not frame.filename.startswith(str(Path(__file__).parent))]
    own = [frame for frame in outside if not frame.filename.startswith(("<", *sysconfig.get_paths().values()))]
    chosen = (own or outside or frames)[-1:]
    return "".join(f" ({Path(frame.filename).name}, line {frame.lineno})" for frame in chosen)


# --- the worker ----------------------------------------------------------------------------------------------------


class Worker:
    """Keeps partitions in progress until the run is finished or it is stopped.

    `slots` is how many at once; with `weigh` it is the most, and how many there are follows what the hosts' budgets,
    the processor and the memory bear (`politeness/staffing.py`). A session that is one too many ends with its
    partition.
    """

    def __init__(self, parts: WorkerParts, slots: int, *, weigh: Callable[[], Burden] | None = None) -> None:
        self._parts = parts
        self._most = slots
        self._weigh = weigh
        self._slots = slots if weigh is None else min(slots, START)
        self._serving = 0
        self._finished = False
        self._attempts: set[Attempt] = set()
        self._stopping = asyncio.Event()
        self._alone = asyncio.Lock()
        self._claims = 0

    async def work(self) -> None:
        """Returns when the run is finished or the worker stopped. Raises StoreUnavailable when the store is gone."""
        beside = [asyncio.create_task(self._beat())]
        try:
            async with asyncio.TaskGroup() as group:
                self._fill(group)
                if self._weigh is not None:
                    beside.append(asyncio.create_task(self._adapt(group, self._weigh)))
        except* StoreUnavailable as errors:
            raise StoreUnavailable(str(errors.exceptions[0])) from errors
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    @property
    def slots(self) -> int:
        """How many partitions there may be in progress now."""
        return self._slots

    def stop(self) -> None:
        """Finish the records in the making, give the partitions back, claim no more. Safe to call twice."""
        if not self._stopping.is_set():
            self._stopping.set()
            for attempt in self._attempts:
                attempt.stop()

    def drop(self) -> None:
        """Give the partitions back now, without the records in the making."""
        self.stop()
        for attempt in self._attempts:
            attempt.cancel()

    def _fill(self, group: asyncio.TaskGroup) -> None:
        while self._serving < self._slots:
            self._serving += 1
            group.create_task(self._serve())

    async def _adapt(self, group: asyncio.TaskGroup, weigh: Callable[[], Burden]) -> None:
        """Look every now and then whether there are too many sessions or too few."""
        parts = self._parts
        gate = parts.gate
        then, waited, held, burden = parts.clock.monotonic(), gate.waited, gate.held_back, weigh()
        while True:
            await parts.clock.sleep(ADAPT_SECONDS)
            if self._finished or self._stopping.is_set():
                return
            now, burden_then, waited_then, held_then = parts.clock.monotonic(), burden, waited, held
            passed, then = max(now - then, 1e-3), now
            burden, waited, held = weigh(), gate.waited, gate.held_back
            busy = len(self._attempts)
            time = passed * max(1, busy)
            load = Load(
                sessions=self._slots,
                busy=busy,
                waiting=min(1.0, (waited - waited_then) / time),
                held=min(1.0, (held - held_then) / time),
                cpu=(burden.cpu - burden_then.cpu) / passed,
                memory=burden.memory,
            )
            self._slots = staffed(load, self._most)
            self._fill(group)

    async def _serve(self) -> None:
        try:
            while not self._stopping.is_set() and self._serving <= self._slots:
                answer = await self._next()
                if isinstance(answer, Finished):
                    self._finished = True
                    return
                if isinstance(answer, Lease):
                    await self._keep_on(answer)
                else:
                    await self._pause(answer.seconds)
        finally:
            self._serving -= 1

    async def _keep_on(self, lease: Lease) -> None:
        """Attempt a partition, and each further one that is claimed as the one before ends."""
        following: Lease | None = lease
        while following is not None:
            # No other task runs in between: to them the worker is never idle.
            following = await self._attempt(following, claiming=self._serving <= self._slots)

    async def _next(self) -> Lease | Wait | Finished:
        """What a slot is to do next. A partition that has to be alone in its worker is dealt with here.

        Only a worker that has nothing in hand and asks for nothing else may be given such a one; it keeps the lock
        for as long as that takes. Otherwise slots ask side by side, so that their claims share a transaction.
        """
        async with self._alone:
            if not self._attempts and not self._claims:
                answer = await self._claim(idle=True)
                if isinstance(answer, Lease) and answer.alone:
                    await self._attempt(answer, claiming=False)
                    return Wait(0.0)
                return answer
        return await self._claim(idle=False)

    async def _claim(self, *, idle: bool) -> Lease | Wait | Finished:
        self._claims += 1
        try:
            return await self._parts.port.claim(self._parts.name, idle=idle)
        except CommandFailed:
            return Wait(1.0)
        finally:
            self._claims -= 1

    async def _attempt(self, lease: Lease, *, claiming: bool) -> Lease | None:
        """One attempt; the next lease, where one was claimed as it ended."""
        attempt = Attempt(lease, self._parts, claiming=claiming)
        if self._stopping.is_set():
            await attempt.decline()
            return None
        self._attempts.add(attempt)
        try:
            await attempt.run()
        finally:
            self._attempts.discard(attempt)
        return attempt.following

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _beat(self) -> None:
        grace = GRACE_SECONDS
        while True:
            await self._parts.clock.sleep(HEARTBEAT_SECONDS)
            await self._renew(list(self._attempts))
            if self._stopping.is_set():
                grace -= HEARTBEAT_SECONDS
                if grace <= 0:
                    self.drop()

    async def _renew(self, attempts: Sequence[Attempt]) -> None:
        leases, counts = [a.held for a in attempts], [a.take_counts() for a in attempts]
        with contextlib.suppress(CommandFailed, StoreUnavailable):
            lapsed = await self._parts.port.renew(self._parts.name, leases, counts, sessions=self._slots)
            for attempt in attempts:
                if attempt.held.partition in lapsed and attempt in self._attempts:
                    attempt.cancel(LeaseLost("the lease ran out"))
