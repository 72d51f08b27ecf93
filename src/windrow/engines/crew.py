"""What every engine is given, and how it is asked to stop."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from windrow.clock import Clock
from windrow.engines.burden import weigh
from windrow.engines.memory import keep_memory_of_pages
from windrow.events import Listener, nobody
from windrow.gate import Gate
from windrow.job import AUTO, Job
from windrow.session.factory import over_http
from windrow.store.messages import Answer, Command, Hold
from windrow.store.port import Send, StorePort
from windrow.worker import Worker, WorkerParts

if TYPE_CHECKING:
    # A worker process does without the database library.
    from windrow.store.writer import Writer

Result = TypeVar("Result")
HeldListener = Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True)
class Crew:
    """A run's workers. `reference` and `settings` are how a process of its own finds the same job.

    `workers` is their number and `sessions` the partitions in progress at once over all of them, or the most of them
    where the job says `auto`.
    """

    job: Job
    reference: str
    parameters: Mapping[str, str]
    settings: Mapping[str, Any]
    workers: int
    sessions: int
    writer: Writer
    clock: Clock
    listener: Listener = nobody

    def slots(self, worker: int) -> int:
        """How many of the sessions worker number `worker` (from 0) keeps."""
        share, rest = divmod(self.sessions, self.workers)
        return share + (worker < rest)


@dataclass(eq=False)
class Stop:
    """Asked once, workers finish the records in the making; asked twice, they end at once. Lives in one loop."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    forced: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str | None = None
    """Why the run cannot go on, where it was not a person that asked."""

    def ask(self) -> None:
        """Once: finish what is in flight. Again: stop now."""
        (self.forced if self.asked.is_set() else self.asked).set()

    def fail(self, reason: str) -> None:
        """The run cannot go on."""
        self.reason = self.reason or reason
        self.asked.set()
        self.forced.set()


class Bulletin:
    """Tells every worker of this machine at once that a host wants to be left alone."""

    def __init__(self) -> None:
        self._listeners: dict[str, HeldListener] = {}

    def subscribe(self, worker: str, listener: HeldListener) -> None:
        """`listener(host, seconds)` is called for what other workers report; from any thread."""
        self._listeners = {**self._listeners, worker: listener}

    def unsubscribe(self, worker: str) -> None:
        """Safe to call twice."""
        self._listeners = {name: each for name, each in self._listeners.items() if name != worker}

    def note(self, worker: str, command: Command) -> None:
        """Pass on what concerns the others."""
        if isinstance(command, Hold):
            for name, listener in self._listeners.items():
                if name != worker:
                    listener(command.host, command.seconds)


def worker_name(number: int, generation: int = 0) -> str:
    """A name no other worker of the store has: host, supervisor, number, and how often it was replaced."""
    suffix = f".{generation}" if generation else ""
    return f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}-{number + 1}{suffix}"


@dataclass(frozen=True)
class Built:
    """A worker, its way to the store, and its gate, which wants to hear of holds that other workers report."""

    worker: Worker
    parts: WorkerParts
    port: StorePort
    gate: Gate


@asynccontextmanager
async def building(
    job: Job, *, name: str, slots: int, send: Send, clock: Clock, listener: Listener = nobody
) -> AsyncGenerator[Built]:
    """A worker of the running loop, as long as the context lasts."""
    keep_memory_of_pages()
    port = StorePort(send)
    identities = job.named_identities()
    transport = over_http(job.limits, clock)
    gate = Gate(
        port,
        user_agent=job.user_agent,
        obey_robots=job.robots,
        rate=job.rate or None,
        adaptive=job.rate != 0,
        worker=name,
        limits=job.limits,
        clock=clock,
        fetch_robots=transport.send,
    )
    parts = WorkerParts(name=name, job=job, port=port, gate=gate, clock=clock, listener=listener, identities=identities)
    try:
        yield Built(Worker(parts, slots, weigh=weigh if job.sessions == AUTO else None), parts, port, gate)
    finally:
        await transport.close()


def local_send(crew: Crew, bulletin: Bulletin, worker: str) -> Send:
    """Commands straight to the writer's thread, with news for the other workers of this process."""

    async def send(command: Command) -> Answer:
        bulletin.note(worker, command)
        return await crew.writer.send(command)

    return send


async def until_stopped(worker: Worker, stop: Stop) -> None:
    """Pass a stop on to a worker of this loop; ends only by being cancelled."""
    await stop.asked.wait()
    worker.stop()
    await stop.forced.wait()
    worker.drop()


def run_loop(main: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine in a loop of its own, uvloop where there is one."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return asyncio.run(main)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)
