"""The one place that builds a run's concrete parts: store, keeper, writer, workers."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Literal

from windrow.clock import Clock, SystemClock
from windrow.engines import processes, sequential, threads
from windrow.engines.crew import Bulletin, Crew, Stop, building, local_send, run_loop
from windrow.errors import SettingError, StoreError, StoreUnavailable, WindrowError
from windrow.events import Listener
from windrow.identity import check_ways
from windrow.job import AUTO, LOADING, Job, LoadedFarEnough, load_job
from windrow.store import identities, leases, runs
from windrow.store.context import RunContext
from windrow.store.database import Database, open_for_writing, store_path, store_url, transaction
from windrow.store.guesses import Guesses
from windrow.store.keeper import Keeper
from windrow.store.messages import Lease
from windrow.store.rows import RecordTable, kinds_of
from windrow.store.runs import Scope
from windrow.store.writer import Writer
from windrow.worker import Attempt

ENGINES = {"processes": processes.run, "threads": threads.run, "sequential": sequential.run}
HEARTBEAT_SECONDS = 3.0

Watch = Callable[[str], AbstractContextManager[Any]]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What a command line says of a run; None leaves what the job declares. `delay` and `rate`: 0 means none."""

    job: str
    store: str | None = None
    engine: str = "processes"
    sessions: int | Literal["auto"] | None = None
    workers: int | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    delay: float | None = None
    rate: float | None = None
    only: tuple[str, ...] = ()
    limit: int | None = None
    fresh: bool = False
    ignore_robots: bool = False

    def manner(self) -> list[str]:
        """The options that say how to ask, as they are typed."""
        words = [] if self.engine == RunOptions.engine else ["--engine", self.engine]
        for name in ("sessions", "workers", "delay", "rate"):
            value = getattr(self, name)
            words += [] if value is None else [f"--{name}", value if isinstance(value, str) else f"{value:g}"]
        return [*words, *(["--ignore-robots"] if self.ignore_robots else [])]

    def scope(self) -> list[str]:
        """The options that say for which partitions, as they are typed."""
        words = [word for key in self.only for word in ("--only", key)]
        return [*words, *([] if self.limit is None else ["--limit", str(self.limit)])]


class Outcome(StrEnum):
    """How a run ended; the command line's exit codes are 0, 3, 130 and 1 in this order."""

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    INTERRUPTED = "interrupted"
    FAILED = "failed"


@dataclass(frozen=True)
class RunResult:
    """`seconds` is the wall time of this command; `message` says why a run failed, or that there was nothing to do."""

    outcome: Outcome
    store: str
    run: int
    seconds: float
    message: str | None = None


@dataclass(frozen=True)
class CheckResult:
    """How one partition would have ended. `children` are the keys it would have split into."""

    state: str
    reason: str | None
    records: int
    reported: int | None
    children: list[str]


def run(options: RunOptions, *, watch: Watch = nullcontext) -> RunResult:
    """Run a job, or go on with its unfinished run. `watch(store)` is entered while the workers work.

    Raises UsageError for what cannot begin; what fails later is in the result.
    """
    prepared = _prepare(options)
    with open_for_writing(prepared.store) as engine:
        run_id = _begin(engine, prepared, SystemClock().now())
        return _carry_on(engine, run_id, prepared, watch)


def retry(options: RunOptions, keys: Sequence[str], *, watch: Watch = nullcontext) -> RunResult:
    """Run the failed and incomplete partitions of the job's latest run again: all of them, or those named."""
    prepared = _prepare(options)
    if not store_path(store_url(prepared.store)).exists():
        raise StoreError(f"{prepared.store}: no such store; there is no run to retry")
    with open_for_writing(prepared.store) as engine:
        run_id, reopened = _reopen(engine, prepared, keys, SystemClock().now())
        if not reopened:
            outcome = _conclude(engine, run_id, SystemClock().now())
            return RunResult(outcome, prepared.store, run_id, 0.0, "no partition failed or is incomplete")
        return _carry_on(engine, run_id, prepared, watch)


def run_job(job: Job, *, watch: Watch = nullcontext, **options: Any) -> RunResult:
    """Run a job from the script that declares it; `options` are the fields of RunOptions.

    Worker processes load the same file: for them, and for `windrow run FILE`, this call ends the loading.
    """
    function = job.function
    if function is None:
        raise SettingError(f"{job.name}: has no scrape function; decorate one with @job.scrape")
    if hasattr(sys.modules[function.__module__], LOADING):
        raise LoadedFarEnough
    names = [name for name, value in vars(sys.modules[function.__module__]).items() if value is job]
    if not names:
        raise SettingError(f"{job.name}: must be a variable of the module that holds its scrape function")
    return run(RunOptions(job=f"{inspect.getfile(function)}:{names[0]}", **options), watch=watch)


def check(options: RunOptions, key: str, listener: Listener) -> CheckResult:
    """Scrape one partition once, tell `listener` all that happens, and keep nothing."""
    prepared = _prepare(replace(options, only=(key,), limit=None, engine="sequential", sessions=None, workers=None))
    job = prepared.job.with_settings({"limits": replace(prepared.job.limits, attempts=1)})
    with tempfile.TemporaryDirectory(prefix="windrow-check-") as folder:
        prepared = replace(prepared, job=job, store=str(Path(folder) / "check.db"))
        with open_for_writing(prepared.store) as engine:
            run_id = _begin(engine, prepared, SystemClock().now())
            with _writing(engine, run_id, prepared) as writer:
                run_loop(_attempt_once(prepared.crew(writer, listener)))
            return _checked(engine, run_id)


# --- options -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """Options that have been checked."""

    job: Job
    reference: str
    parameters: Mapping[str, str]
    settings: Mapping[str, Any]
    store: str
    engine: str
    workers: int
    sessions: int
    scope: Scope
    identities: tuple[str, ...]
    fresh: bool
    manner: list[str]
    scope_words: list[str]

    def crew(self, writer: Writer, listener: Listener | None = None) -> Crew:
        more = {} if listener is None else {"listener": listener}
        return Crew(
            job=self.job,
            reference=self.reference,
            parameters=self.parameters,
            settings=self.settings,
            workers=self.workers,
            sessions=self.sessions,
            writer=writer,
            clock=SystemClock(),
            **more,
        )


def _prepare(options: RunOptions) -> _Prepared:
    if options.engine not in ENGINES:
        raise SettingError(f"--engine {options.engine}: there are {', '.join(ENGINES)}")
    if options.limit is not None and options.limit < 1:
        raise SettingError(f"--limit must be at least 1, not {options.limit}")
    for name, number in (("--delay", options.delay), ("--rate", options.rate)):
        if number is not None and not 0 <= number < float("inf"):
            raise SettingError(f"{name} must be 0 (none) or more, not {number:g}")
    settings = {
        "delay": options.delay,
        "rate": options.rate,
        "robots": False if options.ignore_robots else None,
        "sessions": options.sessions,
    }
    job = load_job(options.job).with_parameters(options.parameters).with_run_settings(settings)
    if options.workers is not None:
        job = job.with_settings({"workers": options.workers})
    named = job.named_identities()
    check_ways(named)
    sessions, workers = _staff(options, job, len(named))
    return _Prepared(
        job=job,
        reference=_absolute(options.job),
        parameters=options.parameters,
        settings=settings,
        store=options.store or f"{job.name}.db",
        engine=options.engine,
        workers=workers,
        sessions=sessions,
        scope=Scope(options.only, options.limit),
        identities=tuple(named),
        fresh=options.fresh,
        manner=options.manner(),
        scope_words=options.scope(),
    )


def _staff(options: RunOptions, job: Job, identities: int) -> tuple[int, int]:
    """How many sessions and workers there are to be; a session without an identity could only wait for one."""
    if options.engine == "sequential":
        if options.sessions not in (None, 1) or (options.workers or 1) > 1:
            raise SettingError(
                "--engine sequential has one worker with one session; leave --sessions and --workers out"
            )
        return 1, 1
    sessions = job.most_sessions if job.sessions == AUTO else job.sessions
    sessions = min(sessions, identities or sessions)
    return sessions, min(job.workers or _cores(), sessions)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _absolute(reference: str) -> str:
    """A reference that also holds where the working directory is another one."""
    place, colon, name = reference.partition(":")
    return f"{Path(place).resolve()}{colon}{name}" if place.endswith(".py") else reference


# --- a run's beginning and end -------------------------------------------------------------------------------------


def _begin(engine: Database, prepared: _Prepared, now: float) -> int:
    """Open the run and plan it; the run's id. Nothing is left behind when this raises."""
    job = prepared.job
    chosen = prepared.scope.choose(job.source(), job.name)
    with transaction(engine) as connection:
        RecordTable(job.name, job.record_type).prepare(connection)
        run_id, resumed = runs.open_run(
            connection,
            job=job.name,
            table=job.name,
            scope=prepared.scope,
            settings={
                "columns": kinds_of(job.record_type),
                "reference": prepared.reference,
                "parameters": dict(prepared.parameters),
                "manner": prepared.manner,
                "scope_words": prepared.scope_words,
            },
            now=now,
            fresh=prepared.fresh,
        )
        runs.plan(connection, run_id, chosen, job=job.name)
        identities.sync(connection, run_id, prepared.identities)
        if resumed:
            identities.pardon(connection, run_id, wake=False)
            runs.pardon(connection, run_id, job.limits.deaths)
        else:
            runs.learn_sizes(connection, run_id, job.name)
            runs.drop_old_sightings(connection, run_id)
    return run_id


def _reopen(engine: Database, prepared: _Prepared, keys: Sequence[str], now: float) -> tuple[int, list[str]]:
    job = prepared.job
    with transaction(engine) as connection:
        run_id = runs.latest_run(connection, job.name)
        if run_id is None:
            raise StoreError(f"{prepared.store}: holds no run of the job {job.name!r}; there is nothing to retry")
        identities.sync(connection, run_id, prepared.identities)
        identities.pardon(connection, run_id, wake=True)
        return run_id, runs.reopen(connection, run_id, keys, now)


@contextmanager
def _writing(
    engine: Database, run_id: int, prepared: _Prepared, on_fatal: Callable[[str], None] = lambda message: None
) -> Iterator[Writer]:
    """The run's writer; leases that a dead supervisor left are void before it takes its first command."""
    job = prepared.job
    records = RecordTable(job.name, job.record_type)
    guesses = Guesses(job.matchers, job.record_type.key_of)
    context = RunContext(
        run=run_id, records=records, limits=job.limits, guesses=guesses, has_identities=bool(prepared.identities)
    )
    keeper = Keeper(engine, context, SystemClock())
    try:
        keeper.transact(lambda tx: records.prepare(tx.connection))
        keeper.transact(leases.take_back_all)
        keeper.heartbeat(0.0)
        writer = Writer(keeper, on_fatal=on_fatal)
        writer.start()
        try:
            yield writer
        finally:
            writer.stop()
    finally:
        keeper.close()


def _carry_on(engine: Database, run_id: int, prepared: _Prepared, watch: Watch) -> RunResult:
    clock = SystemClock()
    started = clock.monotonic()
    message = None
    stopped = False
    with _writing(engine, run_id, prepared) as writer:
        try:
            with watch(prepared.store):
                stop = run_loop(_work(prepared, writer, clock))
            stopped, message = stop.asked.is_set(), stop.reason
        except (WindrowError, OSError) as error:
            message = str(error) or type(error).__name__
    outcome = _conclude(engine, run_id, clock.now())
    if message is not None:
        outcome = Outcome.FAILED
    elif outcome is Outcome.INTERRUPTED and not stopped:
        outcome, message = Outcome.FAILED, "the workers ended before the run was finished"
    return RunResult(outcome, prepared.store, run_id, clock.monotonic() - started, message)


async def _work(prepared: _Prepared, writer: Writer, clock: Clock) -> Stop:
    stop = Stop()
    crew = prepared.crew(writer)
    beating = asyncio.create_task(_beat(writer, clock, stop))
    try:
        with _signals(stop):
            await ENGINES[prepared.engine](crew, stop)
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
    return stop


async def _beat(writer: Writer, clock: Clock, stop: Stop) -> None:
    """Say that the run is alive; a store that cannot be written any more ends it."""
    last = clock.monotonic()
    while True:
        await clock.sleep(HEARTBEAT_SECONDS)
        now = clock.monotonic()
        passed, last = now - last, now
        try:
            await asyncio.wrap_future(writer.call(partial(Keeper.heartbeat, seconds=passed)))
        except Exception as error:
            stop.fail(f"the store cannot be written: {error}")


@contextmanager
def _signals(stop: Stop) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask to stop; a second one stops at once. Only the main thread may listen to signals."""
    loop = asyncio.get_running_loop()
    listened = []
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop.ask)
        except (ValueError, RuntimeError, NotImplementedError):
            continue
        listened.append(number)
    try:
        yield
    finally:
        for number in listened:
            loop.remove_signal_handler(number)


def _conclude(engine: Database, run_id: int, now: float) -> Outcome:
    with transaction(engine) as connection:
        books = runs.conclude(connection, run_id, now)
    if not books.finished:
        return Outcome.INTERRUPTED
    return Outcome.INCOMPLETE if books.unfinished or books.missing else Outcome.COMPLETE


# --- check ---------------------------------------------------------------------------------------------------------


async def _attempt_once(crew: Crew) -> None:
    send = local_send(crew, Bulletin(), "check")
    async with building(crew.job, name="check", slots=1, send=send, clock=crew.clock, listener=crew.listener) as built:
        lease = await built.port.claim("check", idle=True)
        if not isinstance(lease, Lease):
            raise StoreUnavailable("the partition could not be claimed")
        await Attempt(lease, built.parts).run()


def _checked(engine: Database, run_id: int) -> CheckResult:
    with transaction(engine) as connection:
        root = runs.first_partition(connection, run_id)
        return CheckResult(root.state, root.reason, root.saved, root.reported, root.children)
