"""`windrow.map` beside the standard pools, as a Markdown table: seconds, medians of three, four workers each.

    python -m benchmarks.mapping [REPEATS]

Trivial items take well under a microsecond, "1 ms" ones sleep that long, "mixed" ones sleep 0.1 ms and each 200th of
them 100 ms. The times include starting and ending the workers, but for those named warm, whose workers are up. The
standard pools fork the running program, whatever it holds. `windrow.map` does so where that is safe, as it is here, and
starts interpreters elsewhere: in the column that says so the program holds a file open. The last row has one item that
calls `os._exit`: `Pool` waits for it for ever, and `ProcessPoolExecutor` gives up everything.

Below the table stands how long `windrow.map` takes for each second of `Pool`, both cold or both warm. The two take
turns, so that what else the machine does meets both.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from windrow.clock import SystemClock
from windrow.mapping.api import Workers
from windrow.mapping.api import map as windrow_map

WORKERS = 4
TRIVIAL = range(100_000)
MILLISECONDS = range(4_000)
MIXED = [0.1 if number % 200 == 0 else 0.0001 for number in range(4_000)]
KILLER = [-1 if number == 50_000 else number for number in range(100_000)]

Function = Callable[[Any], Any]
Contender = Callable[[Function, Sequence[Any], int], int]


@dataclass(frozen=True)
class Entry:
    """`single`: a chunk is one item."""

    name: str
    contender: Contender
    single: bool = False


@dataclass(frozen=True)
class Work:
    """`chunk`: what the standard pools are told."""

    name: str
    function: Function
    items: Sequence[Any]
    chunk: int


def trivial(number: int) -> int:
    return number + 1


def millisecond(_: int) -> None:
    time.sleep(0.001)


def killing(number: int) -> int:
    if number < 0:
        os._exit(1)
    return number


def windrow_cold(function: Function, items: Sequence[Any], _: int) -> int:
    return count(windrow_map(function, items, workers=WORKERS, ordered=False))


def windrow_cold_ordered(function: Function, items: Sequence[Any], _: int) -> int:
    return count(windrow_map(function, items, workers=WORKERS, errors="return"))


def windrow_interpreters(function: Function, items: Sequence[Any], chunk: int) -> int:
    with open(__file__):
        return windrow_cold(function, items, chunk)


def pool(function: Function, items: Sequence[Any], chunk: int) -> int:
    with multiprocessing.Pool(WORKERS) as workers:
        return count(workers.imap_unordered(function, items, chunksize=chunk))


def executor(function: Function, items: Sequence[Any], chunk: int) -> int:
    with ProcessPoolExecutor(WORKERS) as workers:
        return count(workers.map(function, items, chunksize=chunk))


def count(values: Iterable[Any]) -> int:
    return sum(1 for _ in values)


WINDROW = "windrow.map"
WARM = "windrow warm"
POOL = "Pool.imap_unordered, chunksize=N"
POOL_WARM = "the same, warm"
COLD = [
    Entry(WINDROW, windrow_cold),
    Entry(POOL, pool),
    Entry("windrow.map, interpreters", windrow_interpreters),
    Entry("the same, chunksize=1", pool, single=True),
    Entry("ProcessPoolExecutor.map, chunksize=N", executor),
]
COLUMNS = [WINDROW, COLD[2].name, WARM, POOL, COLD[3].name, POOL_WARM, COLD[4].name]
WORKS = [
    Work("100,000 trivial", trivial, TRIVIAL, 100),
    Work("4,000 of 1 ms", millisecond, MILLISECONDS, 10),
    Work("4,000 mixed", time.sleep, MIXED, 10),
]
KILLING = Work("100,000 trivial, one kills its process", killing, KILLER, 0)


def seconds_taken(contender: Contender, work: Work, chunk: int) -> float:
    clock = SystemClock()
    begun = clock.monotonic()
    done = contender(work.function, work.items, chunk)
    taken = clock.monotonic() - begun
    assert done == len(work.items), f"{done} of {len(work.items)} values"
    return taken


def medians(repeats: int, contenders: Sequence[Entry], works: Sequence[Work]) -> dict[tuple[str, str], float]:
    """By the names of the work and of the contender, in seconds."""
    found: dict[tuple[str, str], float] = {}
    for work in works:
        times: dict[str, list[float]] = {entry.name: [] for entry in contenders}
        for _ in range(repeats):
            for entry in contenders:
                chunk = 1 if entry.single else work.chunk
                times[entry.name].append(seconds_taken(entry.contender, work, chunk))
        found |= {(work.name, name): statistics.median(each) for name, each in times.items()}
    return found


def cold_medians(repeats: int) -> dict[tuple[str, str], float]:
    found = medians(repeats, COLD, WORKS)
    return found | medians(repeats, [Entry(WINDROW, windrow_cold_ordered)], [KILLING])


def warm_medians(repeats: int) -> dict[tuple[str, str], float]:
    """To be measured last: as long as these workers are up, the program has threads, and forks nothing safely."""
    with Workers(WORKERS) as crew, multiprocessing.Pool(WORKERS) as forked:

        def warm(function: Function, items: Sequence[Any], _: int) -> int:
            return count(crew.map(function, items, ordered=False))

        def warm_pool(function: Function, items: Sequence[Any], chunk: int) -> int:
            return count(forked.imap_unordered(function, items, chunksize=chunk))

        warm(millisecond, range(1_000), 0)
        warm_pool(millisecond, range(1_000), 1)
        return medians(repeats, [Entry(WARM, warm), Entry(POOL_WARM, warm_pool)], WORKS)


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    found = cold_medians(repeats) | warm_medians(repeats)
    print("| items | N | " + " | ".join(COLUMNS) + " |")
    print("| --- | --- |" + " --- |" * len(COLUMNS))
    for work in WORKS:
        cells = [f"{found[work.name, name]:.3f}" for name in COLUMNS]
        print(f"| {work.name} | {work.chunk} | " + " | ".join(cells) + " |")
    seconds = found[KILLING.name, WINDROW]
    print(f"| {KILLING.name} | | {seconds:.3f} | | | never ends | never ends | | all is lost |\n")
    for name, ours, theirs in (("cold", WINDROW, POOL), ("warm", WARM, POOL_WARM)):
        ratios = [f"{found[work.name, ours] / found[work.name, theirs]:.2f} ({work.name})" for work in WORKS]
        print(f"`windrow.map` / `Pool.imap_unordered, chunksize=N`, {name}: {', '.join(ratios)}")


if __name__ == "__main__":
    load = ", ".join(f"{number:.2f}" for number in os.getloadavg())
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, load {load}, {Path(__file__).name}\n")
    main()
