"""What a worker costs its machine: the processor's time and the memory in use."""

from __future__ import annotations

import time
from pathlib import Path

from windrow.politeness.staffing import Burden

_MEMORY = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")


def weigh() -> Burden:
    """Of this process and its machine, now. Where no system tells about its memory, none of it counts as used.

    Not of the worker's thread alone: plain scrape functions run in threads of their own, and share one lock with it.
    """
    return Burden(time.process_time(), _memory_in_use())


def _memory_in_use() -> float:
    """The larger share of the machine's and, in a container that has a bound of its own, of that."""
    return max(_used_of_machine(), _used_of_group())


def _used_of_machine() -> float:
    try:
        sizes = _numbers(_MEMORY)
        return 1.0 - sizes["MemAvailable:"] / sizes["MemTotal:"]
    except (OSError, ValueError, LookupError, ZeroDivisionError):
        return 0.0


def _used_of_group() -> float:
    try:
        bound = float((_GROUP / "memory.max").read_text())
        used = float((_GROUP / "memory.current").read_text())
        # Pages of files that nobody needs now are given back when memory is short.
        return (used - _numbers(_GROUP / "memory.stat").get("inactive_file", 0.0)) / bound
    except (OSError, ValueError, LookupError, ZeroDivisionError):  # "max" where there is no bound
        return 0.0


def _numbers(path: Path) -> dict[str, float]:
    """The first two words of each line of a file of the kernel's: name → number."""
    lines = (line.split() for line in path.read_text().splitlines())
    return {words[0]: float(words[1]) for words in lines if len(words) > 1}
