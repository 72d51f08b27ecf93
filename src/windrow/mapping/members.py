"""One worker as the supervisor sees it: a process or a thread that runs one batch at a time.

A process is `python -m windrow.mapping.worker`, or a fork of the caller's where `forking` allows it. It has its end of
the pipe, the reading end of a lifeline, and a page of shared memory in which it notes where it stands. The caller's
process holds the lifeline's other end and never writes to it: when it dies, however it dies, every lifeline closes and
every worker ends.

Each process leads a group of its own. So Ctrl-C reaches only the caller's process, which ends the workers without a
word from each of them, and a worker is killed together with what its function has started (a browser, say).
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Protocol

from windrow.clock import Clock
from windrow.mapping import execution, forking
from windrow.mapping.execution import (
    BATCH,
    NOWHERE,
    POSITION,
    STANDING_BYTES,
    STARTED,
    Flusher,
    Part,
    Recipe,
    Report,
    Standing,
)
from windrow.mapping.frames import FrameBuffer, framed
from windrow.mapping.functions import Origin, dumps
from windrow.mapping.messages import Arrived, Batch, Unreadable, Unusable, unpack
from windrow.mapping.orders import Order
from windrow.mapping.stretches import Stretch

Message = Arrived | Unusable | Unreadable


@dataclass(slots=True)
class Work:
    """The batch a worker has: `reported` items of it have come back. `weight`: bytes of its pickle."""

    number: int
    order: Order
    stretch: Stretch
    weight: int = 0
    reported: int = 0

    def rest(self) -> Stretch:
        """What has not come back."""
        return self.stretch.part(self.reported, len(self.stretch))


class Member(Protocol):
    """One worker.

    - `work`: what it is at; None when it is idle.
    - `standing`: see `execution.Standing`.
    - `overdue`: the position of the item it was killed for, because its time was up.
    - `doomed`: it was killed, and may not have ended yet.
    - `ready`: it has been heard of, so it is up.
    """

    lane: int
    work: Work | None
    standing: Standing
    overdue: int | None
    doomed: bool
    ready: bool

    def assign(self, work: Work) -> None:
        """Give it work. Raises whatever pickling the items raises; then it has none."""

    def kill(self) -> None:
        """End it at once; safe to call twice."""

    def ended(self) -> str | None:
        """How it ended, in words; None while it lives."""

    def retire(self) -> None:
        """Let it end by itself: there is nothing more to do."""

    def close(self, seconds: float) -> None:
        """Wait that long for its end, then kill it, and give back what it held."""


class Process(Protocol):
    """A child of this process: `subprocess.Popen`, or `forking.ForkedProcess`."""

    pid: int

    def poll(self) -> int | None:
        """Its exit code, or the negative number of the signal that ended it; None while it lives."""

    def wait(self, timeout: float | None = None) -> int:
        """`poll` once it has ended. Raises subprocess.TimeoutExpired when it has not after so many seconds."""


Start = Callable[[socket.socket, int], tuple[Process, Standing]]
"""Starts a worker with its ends of the pipe and the lifeline; gives the process and where it notes its standing."""


class ProcessMember:
    """A worker process. `connection` is non-blocking: `receive` when it is readable, `push` when it is writable.

    `start` starts it. Raises what that raises.
    """

    def __init__(self, lane: int, start: Start) -> None:
        self.lane = lane
        self.work: Work | None = None
        self.overdue: int | None = None
        self.doomed = self.ready = False
        self.hung_up = False
        self._recipe: int | None = None
        self._arriving = FrameBuffer()
        self._leaving = bytearray()
        self.connection, theirs = socket.socketpair()
        lifeline_end, self._lifeline = os.pipe()
        try:
            self._process, self.standing = start(theirs, lifeline_end)
        except BaseException:
            self.connection.close()
            os.close(self._lifeline)
            raise
        finally:
            theirs.close()
            os.close(lifeline_end)
        self.connection.setblocking(False)

    def assign(self, work: Work) -> None:
        order = work.order
        items = dumps(list(work.stretch.items))
        work.weight = len(items)
        recipe = None if self._recipe == order.number else order.recipe.pickle
        self._recipe = order.number
        self.work = work
        self.send(dumps(Batch(work.number, recipe, order.recipe.files, items)))

    def receive(self) -> list[Message]:
        """What has come. `hung_up` is set when nothing more will."""
        self.hung_up = self.hung_up or not self._arriving.read(self.connection)
        return [unpack(frame) for frame in self._arriving.frames()]

    @property
    def has_unsent(self) -> bool:
        """Whether `push` has something to do."""
        return bool(self._leaving)

    def push(self) -> None:
        """Send on what the pipe did not take before."""
        with contextlib.suppress(BlockingIOError):
            while self._leaving:
                try:
                    sent = self.connection.send(self._leaving)
                except ConnectionError:
                    self._leaving.clear()  # it is gone; `ended` says so in a moment
                    return
                del self._leaving[:sent]

    def send(self, body: bytes) -> None:
        """Send a message."""
        self._leaving += framed(body)
        self.push()

    def kill(self) -> None:
        self.doomed = True
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def ended(self) -> str | None:
        status = self._process.poll()
        if status is None:
            return None
        return f"ended with exit code {status}" if status >= 0 else f"was ended by {_signal_name(-status)}"

    def retire(self) -> None:
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)

    def close(self, seconds: float) -> None:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        self.connection.close()
        # As it was left. The page of memory is given back: it is a descriptor, and would keep a later map from forking.
        self.standing = [self.standing[place] for place in (BATCH, POSITION, STARTED)]
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1


def interpreter(lane: int, origin: Origin) -> ProcessMember:
    """A worker that is an interpreter of its own."""
    member = ProcessMember(lane, _start_interpreter)
    member.send(dumps(origin))
    return member


def forked(lane: int, origin: Origin, waiting: forking.Disturbances) -> ProcessMember:
    """A worker that is a copy of this process; see `forking.forked` for when that can be, and for `waiting`."""

    def start(end: socket.socket, lifeline: int) -> tuple[Process, Standing]:
        standing = _nowhere(mmap.mmap(-1, STANDING_BYTES))
        return forking.forked(end, lifeline, standing, origin, waiting), standing

    return ProcessMember(lane, start)


def _start_interpreter(end: socket.socket, lifeline: int) -> tuple[Process, Standing]:
    shared = _shared_page()
    try:
        standing = _nowhere(mmap.mmap(shared, STANDING_BYTES))
        inherited = (end.fileno(), lifeline, shared)
        command = [sys.executable, "-m", "windrow.mapping.worker", *map(str, inherited)]
        process = subprocess.Popen(command, pass_fds=inherited, stdin=subprocess.DEVNULL, process_group=0)
    finally:
        os.close(shared)
    return process, standing


def _nowhere(page: mmap.mmap) -> Standing:
    standing = memoryview(page).cast("d")
    standing[BATCH] = standing[POSITION] = NOWHERE
    return standing


def _shared_page() -> int:
    """A descriptor of a few bytes of memory that two processes can map."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("windrow-standing")
    else:
        import tempfile

        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, STANDING_BYTES)
    return descriptor


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


class ThreadMember:
    """A worker thread. It cannot be killed: it is left alone with its item, and what it says later is not heard."""

    def __init__(self, lane: int, clock: Clock, say: Callable[[ThreadMember, Part], None]) -> None:
        self.lane = lane
        self.work: Work | None = None
        self.overdue: int | None = None
        self.doomed = self.ready = False
        self.standing: Standing = [NOWHERE, NOWHERE, 0.0]
        self._clock = clock
        self._say = say
        self._given: SimpleQueue[tuple[int, Recipe, list[Any]] | None] = SimpleQueue()
        self._flusher = Flusher()
        self._thread = threading.Thread(target=self._run, name=f"windrow-map-{lane + 1}", daemon=True)
        self._thread.start()

    def assign(self, work: Work) -> None:
        self.work = work
        self._given.put((work.number, work.order.recipe.recipe, list(work.stretch.items)))

    def kill(self) -> None:
        self.doomed = True
        self._given.put(None)

    def ended(self) -> str | None:
        return "was left alone" if self.doomed else None

    def retire(self) -> None:
        self._given.put(None)

    def close(self, seconds: float) -> None:
        if not self.doomed:
            self._thread.join(seconds)

    def _run(self) -> None:
        self._flusher.start()
        while (given := self._given.get()) is not None:
            number, recipe, items = given
            report = Report(number, self._report, self._clock)
            self._flusher.watch(report)
            execution.run(recipe, items, report, self.standing, number, self._clock)
            self._flusher.watch(None)
            report.flush(last=True)
        self._flusher.stop()

    def _report(self, part: Part) -> None:
        self._say(self, part)
