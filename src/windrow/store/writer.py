"""The one writer of a store: a thread that owns the connection and commits whatever is waiting as one group.

Batching is by arrival: while one group is being committed the next one gathers, so a quiet run pays one commit for
each record and a busy one shares a commit among hundreds. Where several come together, the writer also lets two
milliseconds pass before it commits: a commit costs as much as what is written in it, and waking threads and processes
for each command costs as much again.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from windrow.errors import StoreUnavailable
from windrow.store.keeper import Keeper
from windrow.store.messages import Answer, Command, Failure

LARGEST_GROUP = 256
GATHER_SECONDS = 0.002
"""How long a group gathers, where the one before it was more than one command."""

Reply = Future[Any] | asyncio.Future[Any]
"""Where an answer goes: to a thread that waits, or to a task of an event loop."""

Work = tuple[Command | Callable[[Keeper], Any], Reply]


class Writer:
    """Takes commands from any thread; `stop` carries out what is waiting and ends."""

    def __init__(self, keeper: Keeper, *, on_fatal: Callable[[str], None] = lambda message: None) -> None:
        self._keeper = keeper
        self._on_fatal = on_fatal
        self._waiting: SimpleQueue[Work | None] = SimpleQueue()
        self._closing = threading.Lock()
        self._stopped = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="windrow-writer", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self) -> None:
        """Carry out what is waiting, then end. Safe to call twice."""
        with self._closing:
            if not self._stopped:
                self._stopped = True
                self._stopping.set()
                self._waiting.put(None)
        self._thread.join()

    def submit(self, command: Command) -> Future[Answer]:
        """Have a command carried out; its answer comes once it is durable."""
        return self._waited_for(command)

    def call(self, work: Callable[[Keeper], Any]) -> Future[Any]:
        """Have the supervisor's own work done, in turn with the commands."""
        return self._waited_for(work)

    async def send(self, command: Command) -> Answer:
        """`submit` for a running event loop: what a StorePort needs."""
        return await self.ask(command)

    def ask(self, command: Command) -> asyncio.Future[Answer]:
        """As `send`, without a task that waits; call it in the event loop that is to have the answer."""
        reply: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._put(command, reply)
        return reply

    def _waited_for(self, item: Command | Callable[[Keeper], Any]) -> Future[Any]:
        future: Future[Any] = Future()
        self._put(item, future)
        return future

    def _put(self, item: Command | Callable[[Keeper], Any], reply: Reply) -> None:
        with self._closing:
            if self._stopped:
                raise StoreUnavailable("the store was closed")
            self._waiting.put((item, reply))

    def _work(self) -> None:
        are_several = False
        while (first := self._waiting.get()) is not None:
            if are_several:
                self._stopping.wait(GATHER_SECONDS)
            group = [first]
            while len(group) < LARGEST_GROUP and not self._waiting.empty():
                item = self._waiting.get()
                if item is None:
                    self._waiting.put(None)
                    break
                group.append(item)
            are_several = len(group) > 1
            self._carry_out(group)

    def _carry_out(self, group: list[Work]) -> None:
        run: list[tuple[Command, Reply]] = []
        for item, reply in group:
            if callable(item):
                self._answer(run)
                run = []
                _call(item, self._keeper, reply)
            else:
                run.append((item, reply))
        self._answer(run)

    def _answer(self, commands: list[tuple[Command, Reply]]) -> None:
        if not commands:
            return
        try:
            answers = self._keeper.answer([command for command, _ in commands])
        except Exception as error:
            answers = [Failure(f"{type(error).__name__}: {error}", fatal=True)] * len(commands)
        for answer in answers:
            if isinstance(answer, Failure) and answer.fatal:
                self._on_fatal(answer.message)
        _deliver([(reply, answer) for (_, reply), answer in zip(commands, answers, strict=True)])


def _deliver(answers: Sequence[tuple[Reply, Answer]]) -> None:
    """Hand over a group's answers; an event loop is woken once for all of its own."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Answer], Answer]]] = {}
    for reply, answer in answers:
        if isinstance(reply, asyncio.Future):
            loops.setdefault(reply.get_loop(), []).append((reply, answer))
        elif reply.set_running_or_notify_cancel():
            reply.set_result(answer)
    for loop, own in loops.items():
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever waited
            loop.call_soon_threadsafe(_settle, own)


def _settle(answers: Sequence[tuple[asyncio.Future[Answer], Answer]]) -> None:
    for future, answer in answers:
        if not future.done():
            future.set_result(answer)


def _call(work: Callable[[Keeper], Any], keeper: Keeper, reply: Reply) -> None:
    """The supervisor's own work; nobody but a thread's future waits for it."""
    assert isinstance(reply, Future)
    if not reply.set_running_or_notify_cancel():
        return
    try:
        reply.set_result(work(keeper))
    except Exception as error:
        reply.set_exception(error)
