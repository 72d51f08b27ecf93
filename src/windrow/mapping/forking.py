"""Workers that are forked from the caller's process, in milliseconds, where that cannot be told from starting them.

A fork copies everything: locks that other threads hold, unwritten output, connections, positions in files, the lock on
a store. A worker that is an interpreter of its own has none of it. So `may_fork` looks whether there is anything of
that kind, and where there is, or where it cannot know, interpreters are started as everywhere else. It is asked before
the supervisor's thread begins, so only the first workers of a single `windrow.map` are ever forked; who takes the place
of a dead one is an interpreter, and that is why a function must be one that an interpreter would find.

What a forked worker inherits all the same is what modules hold: caches, settings, random generators other than that of
`random` (which Python seeds anew).
"""

from __future__ import annotations

import gc
import os
import pickle
import re
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any, NoReturn

from windrow.mapping import worker
from windrow.mapping.execution import Recipe, Standing
from windrow.mapping.functions import PROTOCOL, Loader, Origin

STANDARD = frozenset({0, 1, 2})
MOST_FORKED = 32
"""Forked workers begin all at once, whether there is work for them or not; interpreters only when there is."""
CRASHED = 1
LOOKS = 5
LOOK_SECONDS = 0.001


def may_fork(recipe: Recipe, origin: Origin) -> bool:
    """Whether workers forked by the calling thread now would be as good as interpreters of their own."""
    try:
        return _is_plain() and _interpreter_would_find(recipe, origin) and _is_written() and _can_be_waited_for()
    except OSError:  # there is no /proc, or the script is gone
        return False


def _is_plain() -> bool:
    return (
        sys.platform == "linux"  # macOS's own libraries do not survive a fork
        and _is_only_thread()
        and _holds_nothing_to_share()
        # An exception that is being handled would become the context of every exception in the worker.
        and sys.exc_info()[1] is None
        and sys.gettrace() is None
        and sys.getprofile() is None
    )


def _is_only_thread() -> bool:
    """C libraries start threads too, which Python does not know of.

    The system lists a thread for a moment after it was joined, that of the map before this one for instance.
    """
    if threading.active_count() > 1:
        return False
    for _ in range(LOOKS):
        if len(os.listdir("/proc/self/task")) == 1:
            return True
        threading.Event().wait(LOOK_SECONDS)
    return False


def _holds_nothing_to_share() -> bool:
    """Beside standard input and output nothing that this program has opened, but for pipes and devices.

    Python makes all it opens end at an exec; what does not was handed down by whoever started this program, is not in
    anybody's hands here, and is closed in the worker as it would be in an interpreter. So are pipes and devices, which
    have no position, no lock and no unwritten rest to share: a `multiprocessing.Pool` that has ended leaves pipes
    behind for as long as anything refers to it.
    """
    opened = set(_open_descriptors())
    return opened >= STANDARD and all(_is_no_matter(descriptor) for descriptor in opened - STANDARD)


def _is_no_matter(descriptor: int) -> bool:
    kind = os.fstat(descriptor).st_mode
    return os.get_inheritable(descriptor) or stat.S_ISFIFO(kind) or stat.S_ISCHR(kind)


def _open_descriptors() -> list[int]:
    listed = [int(name) for name in os.listdir("/proc/self/fd")]
    return [descriptor for descriptor in listed if _is_open(descriptor)]  # but for the one it was listed with


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _is_written() -> bool:
    """Write out what was printed, or the worker would print it again. False where output is not what Python set up."""
    if sys.stdout is not sys.__stdout__ or sys.stderr is not sys.__stderr__:
        return False
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        return False
    return True


def _can_be_waited_for() -> bool:
    """Old kernels and some sandboxes have no descriptors of processes."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


def _interpreter_would_find(recipe: Recipe, origin: Origin) -> bool:
    """Whether what the recipe needs of the script is plainly defined at the script's top level.

    A function below `if __name__ == "__main__":` would be there after a fork, and missing in the worker that takes a
    dead one's place.
    """
    names = _names_in_main(recipe)
    if not names:
        return True
    if origin.main_file is None:
        return False
    text = Path(origin.main_file).read_bytes().decode(errors="replace")
    return all(re.search(rf"^(?:def|class)\s+{re.escape(name)}\b", text, re.MULTILINE) for name in names)


def _names_in_main(recipe: Recipe) -> set[str]:
    finder = _NamesInMain()
    finder.dump(recipe)
    return finder.names


class _Nowhere:
    def write(self, _: Any) -> None:
        return


class _NamesInMain(pickle.Pickler):
    """Notes which functions and classes of the script a pickle refers to."""

    def __init__(self) -> None:
        super().__init__(_Nowhere(), PROTOCOL)
        self.names: set[str] = set()

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, FunctionType | type) and value.__module__ == "__main__":
            self.names.add(value.__qualname__.partition(".")[0])
        return NotImplemented


@dataclass(frozen=True, slots=True)
class Disturbances:
    """What may come at any time: signals, but for those that are blocked, and the garbage collector."""

    blocked: Collection[int]
    collecting: bool

    def let_in(self) -> None:
        """Allow them again."""
        if self.collecting:
            gc.enable()
        signal.pthread_sigmask(signal.SIG_SETMASK, self.blocked)


@contextmanager
def undisturbed() -> Iterator[Disturbances]:
    """Gives what has to wait until the end.

    Between a fork and its being noted a Ctrl-C would lose a worker. In a child the collector must not find what was
    garbage before the fork: its finalizers are the caller's to run.
    """
    before = Disturbances(signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()), gc.isenabled())
    gc.disable()
    try:
        yield before
    finally:
        before.let_in()


class ForkedProcess:
    """A forked worker: what `subprocess.Popen` is for an interpreter."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None
        self._descriptor = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Its exit code, or the negative number of the signal that ended it; None while it lives."""
        if self._status is None:
            self._look(os.WNOHANG)
        return self._status

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended. Raises subprocess.TimeoutExpired when it has not after so many seconds."""
        if self._status is None:
            waiting = select.poll()
            waiting.register(self._descriptor, select.POLLIN)
            waiting.poll(None if timeout is None else timeout * 1000)
            self._look(os.WNOHANG)
        if self._status is None:
            raise subprocess.TimeoutExpired("a forked worker", timeout or 0.0)
        return self._status

    def _look(self, options: int) -> None:
        try:
            pid, status = os.waitpid(self.pid, options)
        except ChildProcessError:  # somebody else in this program has waited for it; Popen takes that for 0, too
            pid, status = self.pid, 0
        if pid == self.pid:
            self._status = os.waitstatus_to_exitcode(status)
            os.close(self._descriptor)


def forked(
    end: socket.socket, lifeline: int, standing: Standing, origin: Origin, waiting: Disturbances
) -> ForkedProcess:
    """A worker that has these three and nothing else; to be called where `may_fork`, and `undisturbed`.

    `end`: its end of the pipe. `lifeline`: the reading end. `standing`: memory that both share. `waiting`: see
    `undisturbed`. Raises OSError where the machine has no room for another process.
    """
    pid = os.fork()
    if pid == 0:
        _be_worker(end, lifeline, standing, origin, waiting)
    with suppress(OSError):  # by both, so that it is done when either goes on
        os.setpgid(pid, pid)
    return ForkedProcess(pid)


def _be_worker(
    end: socket.socket, lifeline: int, standing: Standing, origin: Origin, waiting: Disturbances
) -> NoReturn:
    """Never returns and never raises: what lies below on the stack is the caller's, as are its `finally` blocks."""
    try:
        gc.freeze()  # what is there now is never collected here
        os.setpgid(0, 0)
        _let_go_of_descriptors({end.fileno(), lifeline})
        _forget_signals()
        waiting.let_in()
        worker.work_forked(end, lifeline, standing, Loader(origin, sys.modules["__main__"]))
    except BaseException:
        sys.__excepthook__(*sys.exc_info())
        worker.flush_output()
    finally:
        os._exit(CRASHED)


def _let_go_of_descriptors(own: set[int]) -> None:
    """Other workers' lifelines above all: whoever holds one keeps that worker alive when the caller dies.

    Their numbers lead to /dev/null from now on and are not given to what is opened next: an object of the caller's
    that still has one (the pipe of `multiprocessing`'s resource tracker, say) would write there, or close it.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in {0, *_open_descriptors()} - own - {1, 2, nothing}:
        os.dup2(nothing, descriptor, inheritable=descriptor == 0)
    os.close(nothing)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 (the old one may hold what was read ahead)


def _forget_signals() -> None:
    """Handlers are the caller's, but for what is ignored: an exec leaves it so, too."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
