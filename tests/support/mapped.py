"""Functions that the tests of `windrow.map` run in workers. Each takes what it needs as its item: workers are told
nothing else."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

LONG = 600.0
"""Seconds nobody waits for: whoever sleeps that long is ended by somebody else."""


@dataclass(frozen=True)
class Page:
    """An item and a value with a type of its own."""

    url: str
    size: int = 0


class Halver:
    """A bound method, and a callable that is no function."""

    def __init__(self, by: int) -> None:
        self.by = by

    def divide(self, number: int) -> float:
        return number / self.by

    def __call__(self, number: int) -> float:
        return number / self.by


class Picky(Exception):
    """Pickles well and does not unpickle: the standard Pool hangs on it."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


class Poisonous:
    """Pickles well and does not unpickle."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ()


def _refuse() -> None:
    raise ValueError("this does not unpickle")


def double(number: int) -> int:
    return 2 * number


def add(left: int, right: int) -> int:
    return left + right


def measured(page: Page) -> Page:
    return Page(page.url, len(page.url))


def whoever(_: object) -> int:
    return os.getpid()


def way(_: object = None) -> str:
    """How this worker was started."""
    spec = sys.modules["__main__"].__spec__
    return "interpreter" if getattr(spec, "name", "") == "windrow.mapping.worker" else "forked"


def shared(value: int) -> tuple[str, int]:
    """How its process was started, and the value, once it was in shared memory."""
    memory = shared_memory.SharedMemory(create=True, size=1)
    try:
        assert memory.buf is not None
        memory.buf[0] = value
        return way(), memory.buf[0]
    finally:
        memory.close()
        memory.unlink()


def descriptors(_: object) -> list[str]:
    """What its process holds open, but for standard output and error."""
    found = []
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        # The one it is listed with is gone by now.
        with contextlib.suppress(FileNotFoundError):
            if name not in ("1", "2"):
                found.append(os.readlink(f"/proc/self/fd/{name}").partition(":")[0])
    return found


def drawn(seconds: float) -> tuple[int, float]:
    """A random number, and whose it is."""
    number = random.random()
    time.sleep(seconds)
    return os.getpid(), number


def leads_its_group(_: object) -> bool:
    return os.getpgrp() == os.getpid()


def all_of_stdin(_: object) -> str:
    return sys.stdin.read()


def hit_by(number: int) -> bool:
    """Sends itself this signal; True when that did nothing."""
    signal.raise_signal(number)  # to this thread: Python acts on it before the next line
    return True


def collects(_: object) -> bool:
    return gc.isenabled()


def collected(_: object) -> int:
    return gc.collect()


def inverse(number: int) -> float:
    return 1 / number


def leave_at_seven(number: int) -> int:
    if number == 7:
        os._exit(3)
    return number


def end(how: str) -> str:
    """Ends its process in the way its item says; returns other items."""
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "segfault":
        ctypes.string_at(0)
    elif how == "exit":
        os._exit(1)
    elif how == "close":
        os.closerange(3, 1000)
        time.sleep(LONG)
    elif how == "sys.exit":
        sys.exit(5)
    return how


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def nap_and_tell(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def noted(item: tuple[str, int]) -> int:
    """Appends its number to a file, so that the test can count who was run."""
    path, number = item
    note(path, str(number))
    return number * 10


def noted_and_stuck(item: tuple[str, int]) -> int:
    """As `noted`, but number 30 never ends."""
    value = noted(item)
    if item[1] == 30:
        time.sleep(LONG)
    return value


def stuck(path: str) -> None:
    """Says who it is, and never ends."""
    note(path, str(os.getpid()))
    time.sleep(LONG)


def first_or_stuck(item: str) -> str:
    """The word "first" comes back; any other item is a path for `stuck`."""
    if item != "first":
        stuck(item)
    print("this is", item)
    return item


def stuck_with_child(path: str) -> None:
    """Starts a process, says which, and never ends."""
    child = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({LONG})"])
    note(path, str(child.pid))
    child.wait()


def third_time_lucky(path: str) -> int:
    """Fails twice, then says how often it was run."""
    note(path, "run")
    runs = len(Path(path).read_text().split())
    if runs < 3:
        raise ConnectionError("not yet")
    return runs


def picky(_: object) -> None:
    raise Picky("this", "that")


def unpicklable(number: int) -> Any:
    return (lambda: number) if number == 3 else number


def poisonous(number: int) -> Any:
    return Poisonous() if number == 3 else number


def unstorable(number: int) -> Any:
    return object() if number == 3 else (number, "as a tuple")


def page_from_store(number: int) -> Page:
    return Page(f"/{number}", number)


def mapped_again(numbers: list[int]) -> list[int]:
    """A map inside of a map."""
    from windrow.mapping.api import map as windrow_map

    return list(windrow_map(double, numbers, workers=2))


async def later(number: int) -> int:
    return number


def counted(read: list[int]) -> Iterator[int]:
    """Numbers without end; how many were read stands in `read`."""
    number = 0
    while True:
        read[0] += 1
        yield number
        number += 1


def note(path: str, line: str) -> None:
    with open(path, "a") as file:
        file.write(line + "\n")
