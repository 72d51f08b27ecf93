"""`windrow.map` beside the standard pools, as a Markdown table: seconds, medians of three, four workers each.

    python benchmarks/mapping.py [REPEATS]

Trivial items take well under a microsecond, "1 ms" ones sleep that long, "mixed" ones sleep 0.1 ms and each 200th of
them 100 ms. The times include starting and ending the workers, but for those named warm, whose workers are up. The
standard pools fork the running program, which takes some milliseconds and shares its threads' locks; Windrow starts
interpreters of their own. The last row has one item that calls `os._exit`: `Pool` waits for it for ever, and
`ProcessPoolExecutor` gives up everything.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
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


def pool(function: Function, items: Sequence[Any], chunk: int) -> int:
    with multiprocessing.Pool(WORKERS) as workers:
        return count(workers.imap_unordered(function, items, chunksize=chunk))


def executor(function: Function, items: Sequence[Any], chunk: int) -> int:
    with ProcessPoolExecutor(WORKERS) as workers:
        return count(workers.map(function, items, chunksize=chunk))


def count(values: Iterable[Any]) -> int:
    return sum(1 for _ in values)


def median_seconds(repeats: int, contender: Contender, function: Function, items: Sequence[Any], chunk: int) -> float:
    clock = SystemClock()
    times: list[float] = []
    for _ in range(repeats):
        begun = clock.monotonic()
        done = contender(function, items, chunk)
        times.append(clock.monotonic() - begun)
        assert done == len(items), f"{done} of {len(items)} values"
    return statistics.median(times)


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    crew, forked = Workers(WORKERS), multiprocessing.Pool(WORKERS)
    count(crew.map(millisecond, range(1_000)))
    count(forked.imap_unordered(millisecond, range(1_000)))

    def warm(function: Function, items: Sequence[Any], _: int) -> int:
        return count(crew.map(function, items, ordered=False))

    def warm_pool(function: Function, items: Sequence[Any], chunk: int) -> int:
        return count(forked.imap_unordered(function, items, chunksize=chunk))

    work: list[tuple[str, Function, Sequence[Any], int]] = [
        ("100,000 trivial", trivial, TRIVIAL, 100),
        ("4,000 of 1 ms", millisecond, MILLISECONDS, 10),
        ("4,000 mixed", time.sleep, MIXED, 10),
    ]
    contenders: list[tuple[str, Contender, bool]] = [
        ("windrow.map", windrow_cold, False),
        ("windrow warm", warm, False),
        ("Pool.imap_unordered, chunksize=1", pool, True),
        ("the same, chunksize=N", pool, False),
        ("the same, chunksize=N, warm", warm_pool, False),
        ("ProcessPoolExecutor.map, chunksize=N", executor, False),
    ]
    print("| items | N | " + " | ".join(name for name, *_ in contenders) + " |")
    print("| --- | --- |" + " --- |" * len(contenders))
    for label, function, items, chunk in work:
        cells = [
            f"{median_seconds(repeats, contender, function, items, 1 if single else chunk):.3f}"
            for _, contender, single in contenders
        ]
        print(f"| {label} | {chunk} | " + " | ".join(cells) + " |", flush=True)
    seconds = median_seconds(repeats, windrow_cold_ordered, killing, KILLER, 0)
    print(f"| 100,000 trivial, one kills its process | | {seconds:.3f} | | never ends | never ends | | all is lost |")
    crew.close()
    forked.terminate()
    forked.join()


if __name__ == "__main__":
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {Path(__file__).name}\n")
    main()
