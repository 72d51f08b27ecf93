"""What a worker costs its machine: the processor's time and the memory in use."""

from __future__ import annotations

import time
from pathlib import Path

from windrow.politeness.staffing import Burden

_MEMORY = Path("/proc/meminfo")


def weigh() -> Burden:
    """Of this process and its machine, now. Where no system tells about its memory, none of it counts as used.

    Not of the worker's thread alone: plain scrape functions run in threads of their own, and share one lock with it.
    """
    return Burden(time.process_time(), _memory_in_use())


def _memory_in_use() -> float:
    try:
        lines = _MEMORY.read_text().splitlines()
    except OSError:
        return 0.0
    sizes = {name: float(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if rest}
    total = sizes.get("MemTotal", 0.0)
    return 1.0 - sizes["MemAvailable"] / total if total and "MemAvailable" in sizes else 0.0
