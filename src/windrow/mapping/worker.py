"""What a worker process does; see `members` for how it is started, `forking` for when it is forked instead.

It leads a process group of its own: a Ctrl-C at the terminal reaches the caller's process only, which decides what it
means, and what the function has started in processes of its own can be ended together with the worker.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import sys
import threading
from typing import Any, NoReturn

from windrow.clock import Clock, SystemClock
from windrow.mapping import execution
from windrow.mapping.execution import STANDING_BYTES, Flusher, Part, Recipe, Report, Standing
from windrow.mapping.frames import framed, read_frame
from windrow.mapping.functions import Loader, loads_here
from windrow.mapping.messages import Batch, pack_part, pack_unusable
from windrow.mapping.stretches import Caught

ORPHANED = 3


def main() -> None:
    """An interpreter of its own: its arguments are the numbers of the descriptors it was given."""
    pipe, lifeline, shared = (int(argument) for argument in sys.argv[1:4])
    for descriptor in (pipe, lifeline, shared):
        os.set_inheritable(descriptor, False)
    _mind(lifeline)
    end = socket.socket(fileno=pipe)
    first = read_frame(end)
    if first is None:
        os._exit(0)
    standing = memoryview(mmap.mmap(shared, STANDING_BYTES)).cast("d")
    os.close(shared)
    _Desk(end, Loader(loads_here(first)), standing, SystemClock()).work()


def work_forked(end: socket.socket, lifeline: int, standing: Standing, loader: Loader) -> NoReturn:
    """A copy of the caller's process, which has been rid of what is the caller's."""
    _mind(lifeline)
    _Desk(end, loader, standing, SystemClock()).work()


def _mind(lifeline: int) -> None:
    threading.Thread(target=_follow_into_death, args=(lifeline,), name="windrow-lifeline", daemon=True).start()


def _follow_into_death(lifeline: int) -> None:
    """Nothing is ever written to the lifeline: reading it ends when the caller's process does."""
    with contextlib.suppress(OSError):
        os.read(lifeline, 1)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(ORPHANED)


class _Desk:
    """Takes batches from the pipe, one at a time, and reports on them."""

    def __init__(self, end: socket.socket, loader: Loader, standing: Standing, clock: Clock) -> None:
        self._end = end
        self._standing = standing
        self._clock = clock
        self._loader = loader
        self._recipe: Recipe | None = None
        self._flusher = Flusher()

    def work(self) -> NoReturn:
        """Run batches until the caller's process closes the pipe, then exit with status 0."""
        self._loader.enter()
        self._flusher.start()
        while (frame := read_frame(self._end)) is not None:
            batch: Batch = loads_here(frame)
            items = self._unpacked(batch)
            if items is not None and self._recipe is not None:
                self._run(batch.number, self._recipe, items)
        flush_output()
        # Not sys.exit: a function's threads must not keep the process.
        os._exit(0)

    def _unpacked(self, batch: Batch) -> list[Any] | None:
        """The batch's items; None where they or their function cannot be loaded, which is told."""
        self._loader.know(batch.files)
        about_recipe = batch.recipe is not None
        try:
            if batch.recipe is not None:
                self._recipe = self._loader.load(batch.recipe)
            about_recipe = False
            items: list[Any] = self._loader.load(batch.items)
        except BaseException as error:  # SystemExit too: a script may leave while it is loaded
            caught = Caught(error, execution.traceback_text(error))
            self._send(pack_unusable(batch.number, caught, recipe=about_recipe))
            return None
        return items

    def _run(self, number: int, recipe: Recipe, items: list[Any]) -> None:
        report = Report(number, self._send_part, self._clock)
        self._flusher.watch(report)
        execution.run(recipe, items, report, self._standing, number, self._clock)
        self._flusher.watch(None)
        # The supervisor may kill an idle worker at any time: what the function printed should be out by then.
        flush_output()
        report.flush(last=True)

    def _send_part(self, part: Part) -> None:
        self._send(pack_part(part))

    def _send(self, body: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # the caller's process is gone, and so is this one in a moment
            self._end.sendall(framed(body))


def flush_output() -> None:
    """Write out what was printed."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()


if __name__ == "__main__":
    main()
